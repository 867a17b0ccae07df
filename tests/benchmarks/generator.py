"""A lean load generator for PutRecord and PutRecords: raw asyncio protocols, requests built before they are needed.

    python -m tests.benchmarks.generator '{"port": 4567, "connections": 64, "seconds": 5.0}'

It runs as a process of its own, so that its CPU time is not counted as the server's, and prints one JSON object.
Closed loop: each connection sends its next request when the last one is answered. With `rate` it is open loop: requests
fall due at fixed intervals and their latency counts from then, also when no connection was free (no coordinated
omission).
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import re
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

from tests.support.kinesis_client import AUTHORIZATION, CONTENT_TYPE, TARGET_PREFIX

CONTENT_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
FAILED_COUNT = re.compile(rb'"FailedRecordCount": ?(\d+)')
PREBUILT_CALLS = 64
HEADER_END = b"\r\n\r\n"
STATUS_OK = b"HTTP/1.1 200"
TICK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Options:
    """What to send.

    Args:
        port: of the server, on loopback.
        connections: open at once.
        seconds: how long requests are sent.
        stream_name: named in each request.
        partition_keys: drawn from evenly.
        data_bytes: size of each payload.
        records_per_call: 1 sends PutRecord, more PutRecords.
        rate: requests a second in all; 0 sends as fast as answers come.
        seed: of the keys.
    """

    port: int
    connections: int
    seconds: float
    stream_name: str = "bench"
    partition_keys: int = 100_000
    data_bytes: int = 200
    records_per_call: int = 1
    rate: float = 0.0
    seed: int = 1


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


class Requests:
    """Builds requests: by filling in a key of fixed width (PutRecord), or ahead of time (PutRecords)."""

    def __init__(self, options: Options) -> None:
        self._random = random.Random(options.seed)  # noqa: S311 - a seeded load, no secret
        self._partition_keys = options.partition_keys
        data = base64.b64encode(self._random.randbytes(options.data_bytes)).decode()
        stream = f'{{"StreamName":"{options.stream_name}",'
        body = f'{stream}"Data":"{data}","PartitionKey":"{0:07d}"}}'
        self._before, _, self._after = _request("PutRecord", body).rpartition(b"0000000")
        self._calls: list[bytes] = []
        for _ in range(PREBUILT_CALLS if options.records_per_call > 1 else 0):
            keys = self._random.sample(range(self._partition_keys), options.records_per_call)
            entries = ",".join(f'{{"Data":"{data}","PartitionKey":"{key:07d}"}}' for key in keys)
            self._calls.append(_request("PutRecords", f'{stream}"Records":[{entries}]}}'))

    def next(self) -> bytes:
        """Return a whole request."""
        if self._calls:
            return self._random.choice(self._calls)
        key = int(self._random.random() * self._partition_keys)
        return b"%b%07d%b" % (self._before, key, self._after)


def _request(operation: str, body: str) -> bytes:
    head = (
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nX-Amz-Target: {TARGET_PREFIX}{operation}\r\n"
        f"X-Amz-Date: 20260101T000000Z\r\nAuthorization: {AUTHORIZATION}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


class Run:
    """One run: its clock, its requests and its counts, shared by the connections."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.requests = Requests(options)
        self.report = Report()
        self.free: deque[Connection] = deque()
        self.due: deque[float] = deque()
        self.end_at = 0.0
        self.out = 0
        self.done = asyncio.Event()

    def next_send(self, connection: Connection) -> None:
        """Give a free connection its next request, if one is due."""
        now = time.perf_counter()
        if self.options.rate:
            if self.due:
                connection.send(self.due.popleft())
            else:
                self.free.append(connection)
        elif now < self.end_at:
            connection.send(now)
        if not self.out and not self.due and now >= self.end_at:
            self.done.set()

    def account(self, status_ok: bool, body: bytes, latency: float) -> None:  # noqa: FBT001 - one of three results
        """Count one answer."""
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
        if not self.out and not self.due:
            self.done.set()


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request out."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0
        self._waits = False
        self._needed_bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, due_at: float) -> None:
        """Send the next request; its latency counts from `due_at`."""
        assert self._transport is not None
        self._sent_at = due_at
        self._waits = True
        self._run.out += 1
        self._transport.write(self._run.requests.next())

    def data_received(self, data: bytes) -> None:
        """Collect an answer, count it and go on."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._needed_bytes:
            head_end = self._buffer.find(HEADER_END)
            if head_end < 0:
                return
            match = CONTENT_LENGTH.search(self._buffer, 0, head_end)
            assert match is not None, "an answer has a Content-Length"
            self._needed_bytes = head_end + len(HEADER_END) + int(match[1])
        if len(self._buffer) < self._needed_bytes:
            return
        answer, self._buffer, self._needed_bytes, self._waits = self._buffer, b"", 0, False
        self._run.out -= 1
        self._run.account(answer.startswith(STATUS_OK), answer, time.perf_counter() - self._sent_at)
        self._run.next_send(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the run with an error if an answer was still to come."""
        if self._waits:
            self._run.report.first_failure = f"connection lost: {exc!r}"
            self._run.done.set()


async def generate(options: Options) -> Report:
    """Send until the time is over and every answer is there."""
    run = Run(options)
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(run), "127.0.0.1", options.port))[1]
        for _ in range(options.connections)
    ]
    started_at = time.perf_counter()
    run.end_at = started_at + options.seconds
    for connection in connections:
        run.next_send(connection)
    if options.rate:
        await run.pace()
    await run.done.wait()
    report = run.report
    report.seconds = time.perf_counter() - started_at
    latencies = sorted(report.latencies)
    report.latency_p50 = latencies[len(latencies) // 2]
    report.latency_p99 = latencies[len(latencies) * 99 // 100]
    report.latencies = []
    return report


def main() -> None:
    """Run with the options of the command line and print the report."""
    options = Options(**json.loads(sys.argv[1]))
    report = uvloop.run(generate(options))
    print(json.dumps(asdict(report)))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
