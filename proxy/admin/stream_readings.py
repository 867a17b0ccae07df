"""Reads the records' way through the proxy: the driver's counters and gauges as metric readings."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from proxy.core.counters import StreamCounters
from proxy.core.limits import SECOND_NS
from proxy.core.verdicts import THROUGHPUT_EXCEEDED
from proxy.metrics.labels import ERROR_CODES_SHOWN, OTHER, error_code_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.stream import Stream
    from proxy.driver import Driver
    from proxy.metrics.collector import Labels, Readings
    from proxy.metrics.labels import StreamLabels

T = TypeVar("T")


class _Sum:
    """All streams that share a label, taken together."""

    __slots__ = (
        "backing_off_shards",
        "counters",
        "in_flight_records",
        "oldest_received_at_ns",
        "open_shards",
        "partition_keys",
        "queued_records",
        "rate_ratio",
        "utilization_ratio",
    )

    def __init__(self) -> None:
        self.counters = StreamCounters()
        self.queued_records = 0
        self.in_flight_records = 0
        self.partition_keys = 0
        self.open_shards = 0
        self.backing_off_shards = 0
        self.oldest_received_at_ns: int | None = None
        # of the worst shard
        self.rate_ratio = 1.0
        self.utilization_ratio = 0.0

    def add(self, stream: Stream, now_ns: int) -> None:
        self.counters.add(stream.counters)
        self.queued_records += stream.queued_records
        self.in_flight_records += stream.in_flight_records
        self.partition_keys += stream.key_count
        self.open_shards += stream.open_shard_count
        oldest_at_ns = stream.oldest_received_at_ns()
        if oldest_at_ns is not None:
            self.oldest_received_at_ns = min(oldest_at_ns, self.oldest_received_at_ns or oldest_at_ns)
        for lane in stream.lanes:
            self.backing_off_shards += lane.backoff_until_ns > now_ns
            self.rate_ratio = min(self.rate_ratio, lane.rate_ratio)
            self.utilization_ratio = max(self.utilization_ratio, lane.utilization_ratio(now_ns))

    def oldest_record_age_seconds(self, now_ns: int) -> float:
        return 0.0 if self.oldest_received_at_ns is None else (now_ns - self.oldest_received_at_ns) / SECOND_NS


def read_streams(driver: Driver, labels: StreamLabels, now_ns: int, shard_rate_ratio: float = 1.0) -> Readings:
    """Read all streams and the buffer that they share, in one go.

    Args:
        driver: knows the streams.
        labels: how they are called.
        now_ns: the present, on the driver's clock.
        shard_rate_ratio: share of the shards' limits that the streams' own limits are.
    """
    # `other` is there from the start, so that every family is.
    sums = {OTHER: _Sum()}
    # Under the label that they had: counts that moved to another would pass there for new ones.
    for label, counters in driver.forgotten.items():
        sums.setdefault(label, _Sum()).counters.add(counters)
    for stream in driver.streams.values():
        sums.setdefault(labels.label(stream.name), _Sum()).add(stream, now_ns)
    errors = dict.fromkeys(ERROR_CODES_SHOWN, 0)
    failed: dict[Labels, float] = {}
    held: dict[Labels, float] = {}
    for label, total in sums.items():
        counters = total.counters
        failed[label, "refused"] = counters.refused_records
        failed[label, "expired"] = counters.expired_records
        failed[label, "withdrawn"] = counters.withdrawn_records
        held[label, "queued"] = total.queued_records
        held[label, "in_flight"] = total.in_flight_records
        for code, count in counters.record_errors.items():
            shown = error_code_label(code)
            errors[shown] = errors.get(shown, 0) + count

    def by_stream(value: Callable[[_Sum], T]) -> dict[Labels, T]:
        return {(label,): value(total) for label, total in sums.items()}

    buffer = driver.buffer
    return {
        **{family: by_stream(attrgetter(f"counters.{name}")) for name, family in _COUNTERS.items()},
        "failed_records_total": failed,
        "throttled_records_total": by_stream(lambda total: total.counters.record_errors.get(THROUGHPUT_EXCEEDED, 0)),
        "record_errors_total": {(code,): count for code, count in errors.items()},
        "buffer_records": held,
        "buffer_oldest_record_age_seconds": by_stream(lambda total: total.oldest_record_age_seconds(now_ns)),
        "partition_keys": by_stream(attrgetter("partition_keys")),
        "stream_open_shards": by_stream(attrgetter("open_shards")),
        "shard_utilization_ratio": by_stream(lambda total: shard_rate_ratio * total.utilization_ratio),
        "shard_rate_limit_ratio": by_stream(lambda total: shard_rate_ratio * total.rate_ratio),
        "shards_backing_off": by_stream(attrgetter("backing_off_shards")),
        "streams": {(): len(driver.streams)},
        "buffer_bytes": {(): buffer.bytes},
        "buffer_limit_records": {(): buffer.records_max},
        "buffer_limit_bytes": {(): buffer.bytes_max},
    }


# What the core calls it, and the family that it is exported as.
_COUNTERS = {
    "received_records": "received_records_total",
    "received_bytes": "received_bytes_total",
    "acknowledged_records": "delivered_records_total",
    "acknowledged_bytes": "delivered_bytes_total",
    "retried_records": "record_retries_total",
    "unknown_outcomes": "unknown_outcome_records_total",
    "late_acknowledgements": "late_acknowledgements_total",
    "sequence_regressions": "sequence_regressions_total",
    "order_inversions": "order_inversions_total",
    "mispredicted_records": "mispredicted_records_total",
    "map_refreshes": "shard_map_refreshes_total",
    "batch_records": "batch_records",
    "batch_bytes": "batch_bytes",
    "buffer_time_seconds": "record_buffer_time_seconds",
}
