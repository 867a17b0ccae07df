"""What a load is, and one run of it: its clock, its requests and its counts, shared by the connections.

Closed loop: each connection sends its next request when the last one is answered. With `rate` it is open loop: requests
fall due at fixed intervals and their latency counts from then, also when no connection was free (no coordinated
omission).

Must never know: how a request travels.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.request_pool import Requests

FAILED_COUNT = re.compile(rb'"FailedRecordCount": ?(\d+)')
TICK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Options:
    """What to send.

    Args:
        port: of the server, on loopback.
        connections: open at once; over HTTP/2 requests at once, on one connection.
        seconds: how long requests are sent.
        stream_name: named in each request; with `streams`, how their names begin.
        streams: more than one are drawn from evenly, by the names of `stream_names`.
        partition_keys: drawn from evenly.
        data_bytes: size of each payload.
        records_per_call: 1 sends PutRecord, more PutRecords.
        rate: requests a second in all; 0 sends as fast as answers come.
        seed: of the keys.
        encoding: of the bodies.
        protocol: what they travel by.
        tls: in TLS, the certificate checked.
        signed: with a real signature, out of a pool that is signed beforehand.
        fresh: every request on a connection of its own.
    """

    port: int
    connections: int
    seconds: float
    stream_name: str = "bench"
    streams: int = 1
    partition_keys: int = 100_000
    data_bytes: int = 200
    records_per_call: int = 1
    rate: float = 0.0
    seed: int = 1
    encoding: Literal["json", "cbor"] = "json"
    protocol: Literal["http1", "http2"] = "http1"
    tls: bool = False
    signed: bool = False
    fresh: bool = False

    def stream_names(self) -> list[str]:
        """Return the names of all streams."""
        if self.streams == 1:
            return [self.stream_name]
        return [f"{self.stream_name}-{number:03d}" for number in range(self.streams)]


@dataclass(slots=True)
class Report:
    """What came of it: latencies in seconds, by quantile."""

    requests: int = 0
    records: int = 0
    failed_requests: int = 0
    failed_records: int = 0
    seconds: float = 0.0
    latency_p50: float = 0.0
    latency_p99: float = 0.0
    first_failure: str = ""
    latencies: list[float] = field(default_factory=list)


class Sender(Protocol):
    """A connection, or one that takes several requests at once."""

    def send(self, due_at: float) -> None:
        """Send the next request; its latency counts from `due_at`."""

    def close(self) -> None:
        """Close the connection, whose answers are all there."""


class Run:
    """One run.

    Args:
        options: what to send.
        requests: where the next request comes from.
        renew: opens another connection and has it go on; for fresh ones.
    """

    def __init__(self, options: Options, requests: Requests, renew: Callable[[], None]) -> None:
        self.options = options
        self.requests = requests
        self.report = Report()
        self.free: deque[Sender] = deque()
        self.due: deque[float] = deque()
        self.end_at = 0.0
        self.out = 0
        self.done = asyncio.Event()
        self._renew = renew

    def next_send(self, sender: Sender) -> None:
        """Give a free connection its next request, if one is due."""
        now = time.perf_counter()
        if self.options.rate:
            if self.due:
                sender.send(self.due.popleft())
            else:
                self.free.append(sender)
        elif now < self.end_at:
            sender.send(now)
        self._end_if_over(now)

    def answered(self, sender: Sender, status_ok: bool, body: bytes, latency: float) -> None:  # noqa: FBT001 - a result
        """Count one answer and go on."""
        self.out -= 1
        self._account(status_ok, body, latency)
        if self.options.fresh:
            sender.close()
            self._renew()
        else:
            self.next_send(sender)

    def broken(self, what: str) -> None:
        """End the run with an error: an answer will not come."""
        self.report.first_failure = what
        self.done.set()

    def _account(self, status_ok: bool, body: bytes, latency: float) -> None:  # noqa: FBT001 - a result
        report = self.report
        report.requests += 1
        report.latencies.append(latency)
        if not status_ok:
            report.failed_requests += 1
            report.failed_records += self.options.records_per_call
            report.first_failure = report.first_failure or body[:200].decode(errors="replace")
            return
        failed = 0
        if self.options.records_per_call > 1:
            match = FAILED_COUNT.search(body)
            failed = int(match[1]) if match else self.options.records_per_call
            if failed and not report.first_failure:
                report.first_failure = body[:200].decode(errors="replace")
        report.failed_records += failed
        report.records += self.options.records_per_call - failed

    async def pace(self) -> None:
        """Let requests fall due at the rate until the end."""
        interval, due_at = 1.0 / self.options.rate, time.perf_counter()
        while due_at < self.end_at:
            now = time.perf_counter()
            while due_at <= now and due_at < self.end_at:
                self.due.append(due_at)
                due_at += interval
            while self.due and self.free:
                self.free.popleft().send(self.due.popleft())
            await asyncio.sleep(TICK_SECONDS)
        # The last request may be answered before the time is over: no other will come to notice its end.
        self.end_at = 0.0
        self._end_if_over(time.perf_counter())

    def _end_if_over(self, now: float) -> None:
        if not self.out and not self.due and now >= self.end_at:
            self.done.set()

    def summary(self, started_at: float) -> Report:
        """Return what came of it; the quantiles instead of all latencies."""
        report = self.report
        report.seconds = time.perf_counter() - started_at
        latencies = sorted(report.latencies)
        if latencies:
            report.latency_p50 = latencies[len(latencies) // 2]
            report.latency_p99 = latencies[len(latencies) * 99 // 100]
        report.latencies = []
        return report
