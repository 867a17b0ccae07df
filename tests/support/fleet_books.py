"""The accounts of a running fleet: what each proxy, the emulator and the processes say of themselves at a moment."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from proxy.metrics.catalogue import PREFIX
from tests.support.processes import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Service

THROTTLED = "ProvisionedThroughputExceededException"
TIMED_OUT = "RequestTimeout"
READ = tuple(
    PREFIX + name
    for name in (
        "received_records_total",
        "delivered_records_total",
        "failed_records_total",
        "buffer_records",
        "rejected_records_total",
        "batch_records_sum",
        "record_errors_total",
        "unknown_outcome_records_total",
        "sequence_regressions_total",
        "http_request_duration_seconds_bucket",
        "event_loop_lag_seconds",
    )
)


@dataclass(frozen=True, slots=True)
class ProxyBooks:
    """One proxy's own account of its records, and what it cost.

    Args:
        received: accepted into the queue.
        delivered: taken by the upstream.
        failed: accepted and not delivered, whatever the reason.
        held: waiting or in flight.
        rejected: answered with an error without being accepted.
        attempts: records in all requests upstream.
        throttled: of them, those that the upstream throttled.
        timed_out: of them, those whose request took too long.
        unknown_outcomes: records sent again although they may have been written.
        regressions: sequence numbers that were not above the one before of their key.
        singles: PutRecord calls answered.
        quick_singles: of them, those that were answered within ten milliseconds, by the proxy's own clock.
        lag_seconds: longest delay of the event loop in the last ten seconds.
        cpu_seconds: used so far.
        resident_bytes: memory.
    """

    received: int
    delivered: int
    failed: int
    held: int
    rejected: int
    attempts: int
    throttled: int
    timed_out: int
    unknown_outcomes: int
    regressions: int
    singles: int
    quick_singles: int
    lag_seconds: float
    cpu_seconds: float
    resident_bytes: int

    @classmethod
    def of(cls, proxy: Service) -> ProxyBooks:
        """Look at a running proxy."""
        metrics = _metrics(proxy)

        def total(name: str, **labels: str) -> int:
            return int(metrics.total(f"{PREFIX}{name}", **labels))

        return cls(
            received=total("received_records_total"),
            delivered=total("delivered_records_total"),
            failed=total("failed_records_total"),
            held=total("buffer_records"),
            rejected=total("rejected_records_total"),
            attempts=total("batch_records_sum"),
            throttled=total("record_errors_total", error_code=THROTTLED),
            timed_out=total("record_errors_total", error_code=TIMED_OUT),
            unknown_outcomes=total("unknown_outcome_records_total"),
            regressions=total("sequence_regressions_total"),
            singles=total("http_request_duration_seconds_bucket", operation="PutRecord", le="+Inf"),
            quick_singles=total("http_request_duration_seconds_bucket", operation="PutRecord", le="0.01"),
            lag_seconds=metrics.total(f"{PREFIX}event_loop_lag_seconds"),
            cpu_seconds=proxy.cpu_seconds(),
            resident_bytes=proxy.resident_bytes(),
        )

    @property
    def balance(self) -> int:
        """Records that the account does not explain; 0 at any moment."""
        return self.received - self.delivered - self.failed - self.held


@dataclass(frozen=True, slots=True)
class StreamBooks:
    """The emulator's account of the one stream.

    Args:
        open_shards: at this moment.
        shard_ids: all that there ever were.
        accepted: records written.
        throttled: records over a shard's limits.
        faulted: records that an injected fault throttled or failed.
        kept: records still to be read.
        lag_seconds: longest delay of the emulator's event loop in the last ten seconds.
        cpu_seconds: used by the emulator so far.
        resident_bytes: the emulator's memory.
    """

    open_shards: int
    shard_ids: frozenset[str]
    accepted: int
    throttled: int
    faulted: int
    kept: int
    lag_seconds: float
    cpu_seconds: float
    resident_bytes: int

    @classmethod
    def of(cls, emulator: Service) -> StreamBooks:
        """Look at the running emulator."""
        with urlopen(f"{emulator.admin_url}/streams", timeout=10) as response:  # noqa: S310 - our own process
            document: dict[str, Any] = json.load(response)
        (stream,) = document["streams"]
        injected = document["faults_injected"]
        return cls(
            open_shards=stream["open_shards"],
            shard_ids=frozenset(shard["shard_id"] for shard in stream["shards"]),
            accepted=sum(shard["accepted_records"] for shard in stream["shards"]),
            throttled=sum(shard["throttled_records"] for shard in stream["shards"]),
            faulted=injected["throttle"] + injected["internal_failure"],
            kept=document["kept_records"],
            lag_seconds=_metrics(emulator).total(f"{PREFIX}event_loop_lag_seconds"),
            cpu_seconds=emulator.cpu_seconds(),
            resident_bytes=emulator.resident_bytes(),
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """All accounts at one moment.

    Args:
        at: monotonic seconds.
        proxies: by number.
        stream: the emulator's.
    """

    at: float
    proxies: list[ProxyBooks]
    stream: StreamBooks

    @classmethod
    def of(cls, proxies: list[Service], emulator: Service) -> Sample:
        """Look at everyone; the moment is that of the emulator, whose counts make rates."""
        books = [ProxyBooks.of(proxy) for proxy in proxies]
        return cls(time.monotonic(), books, StreamBooks.of(emulator))

    def total(self, count: Callable[[ProxyBooks], int]) -> int:
        """Add up over all proxies."""
        return sum(map(count, self.proxies))


def _metrics(service: Service) -> Metrics:
    """Scrape what is read of it: parsing everything costs ten times as much, and many are looked at often."""
    with urlopen(f"{service.admin_url}/metrics", timeout=10) as response:  # noqa: S310 - our own process
        text: str = response.read().decode()
    return Metrics("".join(line for line in text.splitlines(keepends=True) if line.startswith(READ)))


def put_faults(emulator: Service, faults: dict[str, Any]) -> None:
    """Switch the emulator's faults to these alone."""
    body = json.dumps(faults).encode()
    request = Request(f"{emulator.admin_url}/faults", data=body, method="PUT")  # noqa: S310 - our own process
    with urlopen(request, timeout=10) as response:  # noqa: S310 - our own process
        response.read()
