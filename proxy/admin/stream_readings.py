"""Reads the records' way through the proxy: the driver's counters and gauges as metric readings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.counters import Histogram, StreamCounters
from proxy.metrics.labels import ERROR_CODES, OTHER, error_code_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.core.stream import Stream
    from proxy.driver import Driver
    from proxy.metrics.collector import Labels
    from proxy.metrics.labels import StreamLabels

SECOND_NS = 1_000_000_000


class _Sum:
    """All streams that share a label, added up."""

    __slots__ = ("counters", "in_flight_records", "open_shards", "queued_records")

    def __init__(self) -> None:
        self.counters = StreamCounters()
        self.queued_records = 0
        self.in_flight_records = 0
        self.open_shards = 0

    def add(self, stream: Stream) -> None:
        self.counters.add(stream.counters)
        self.queued_records += stream.queued_records
        self.in_flight_records += stream.in_flight_records
        self.open_shards += stream.open_shard_count


def read_streams(driver: Driver, labels: StreamLabels) -> Mapping[str, Mapping[Labels, float | Histogram]]:
    """Read all streams and the buffer that they share, in one go."""
    # `other` is there from the start, so that every family is, and holds what is no longer known stream by stream.
    sums = {OTHER: _Sum()}
    sums[OTHER].counters.add(driver.forgotten)
    for stream in driver.streams.values():
        sums.setdefault(labels.label(stream.name), _Sum()).add(stream)
    readings: dict[str, dict[Labels, float | Histogram]] = {name: {} for name in _COUNTERS.values()}
    errors = dict.fromkeys(sorted((*ERROR_CODES, OTHER)), 0)
    failed: dict[Labels, float | Histogram] = {}
    held: dict[Labels, float | Histogram] = {}
    open_shards: dict[Labels, float | Histogram] = {}
    for label, total in sums.items():
        counters = total.counters
        for attribute, family in _COUNTERS.items():
            readings[family][label,] = getattr(counters, attribute)
        failed[label, "refused"] = counters.refused_records
        failed[label, "expired"] = counters.expired_records
        failed[label, "withdrawn"] = counters.withdrawn_records
        held[label, "queued"] = total.queued_records
        held[label, "in_flight"] = total.in_flight_records
        open_shards[label,] = total.open_shards
        for code, count in counters.record_errors.items():
            errors[error_code_label(code)] += count
    buffer = driver.buffer
    return {
        **readings,
        "failed_records_total": failed,
        "record_errors_total": {(code,): count for code, count in errors.items()},
        "buffer_records": held,
        "stream_open_shards": open_shards,
        "streams": {(): len(driver.streams)},
        "buffer_bytes": {(): buffer.bytes},
        "buffer_limit_records": {(): buffer.records_max},
        "buffer_limit_bytes": {(): buffer.bytes_max},
        "buffer_oldest_record_age_seconds": {(): driver.oldest_record_age_ns() / SECOND_NS},
    }


def worst_rate_limit_ratio(driver: Driver) -> float:
    """Return what the most crowded shard of all streams is sent of its nominal rate at the most; 1 if there is none."""
    return min((lane.rate_ratio for stream in driver.streams.values() for lane in stream.lanes), default=1.0)


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
