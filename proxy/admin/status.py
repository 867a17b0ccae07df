"""The status document: what a person asks a running proxy first. One object, read in one go.

Partition keys and data are in none of it: of the hottest keys it shows the first digits of their hashes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.core.hashing import shown_hash_key

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from proxy.admin.pulse import Pulse
    from proxy.core.lane import Lane
    from proxy.core.stream import Stream
    from proxy.driver import Driver
    from proxy.upstream.counters import UpstreamCounters

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
# A page that a person reads; metrics carry the sums.
STREAMS_SHOWN_MAX = 100
SHARDS_SHOWN_MAX = 100
HOT_KEYS_SHOWN_MAX = 5


def rate_totals(driver: Driver) -> dict[Hashable, int]:
    """Return the growing totals whose rates the status shows."""
    totals: dict[Hashable, int] = {}
    for identity, stream in driver.streams.items():
        totals["received", identity] = stream.counters.received_records
        totals["delivered", identity] = stream.counters.acknowledged_records
    return totals


def describe_streams(driver: Driver, pulse: Pulse, now_ns: int) -> dict[str, Any]:
    """Describe the buffer and each stream: records by outcome, rates, shards."""
    streams = list(driver.streams.items())
    buffer = driver.buffer
    return {
        "records": describe_records(driver),
        "buffer": {
            "records": buffer.records,
            "records_max": buffer.records_max,
            "bytes": buffer.bytes,
            "bytes_max": buffer.bytes_max,
            "oldest_record_age_ms": driver.oldest_record_age_ns() // MILLISECOND_NS,
        },
        "streams": [_stream(identity, stream, pulse, now_ns) for identity, stream in streams[:STREAMS_SHOWN_MAX]],
        "streams_not_shown": max(0, len(streams) - STREAMS_SHOWN_MAX),
    }


def describe_upstream(counters: UpstreamCounters) -> dict[str, Any]:
    """Describe what became of the requests to the upstream."""
    requests: dict[str, dict[str, int]] = {}
    for (operation, outcome), count in counters.requests.items():
        if count:
            requests.setdefault(operation, {})[outcome.value] = count
    return {"requests": requests, "requests_in_flight": counters.in_flight}


def describe_records(driver: Driver) -> dict[str, int]:
    """Return the balance of all records: received = delivered + refused + expired + withdrawn + queued + in flight."""
    streams = driver.streams.values()
    counters = [*driver.forgotten.values(), *(stream.counters for stream in streams)]
    return {
        "received": sum(each.received_records for each in counters),
        "delivered": sum(each.acknowledged_records for each in counters),
        "refused": sum(each.refused_records for each in counters),
        "expired": sum(each.expired_records for each in counters),
        "withdrawn": sum(each.withdrawn_records for each in counters),
        "queued": sum(stream.queued_records for stream in streams),
        "in_flight": sum(stream.in_flight_records for stream in streams),
    }


def describe_records_of(stream: Stream) -> dict[str, int]:
    """Return the balance of one stream's records, as above."""
    counters = stream.counters
    return {
        "received": counters.received_records,
        "delivered": counters.acknowledged_records,
        "refused": counters.refused_records,
        "expired": counters.expired_records,
        "withdrawn": counters.withdrawn_records,
        "queued": stream.queued_records,
        "in_flight": stream.in_flight_records,
    }


def _stream(identity: str, stream: Stream, pulse: Pulse, now_ns: int) -> dict[str, Any]:
    counters = stream.counters
    summary = stream.summary
    oldest_at_ns = stream.oldest_received_at_ns()
    lanes = stream.lanes
    batches = sum(counters.batch_records.counts)
    return {
        "name": stream.name,
        "arn": stream.arn or (summary.stream_arn if summary else None),
        "open_shards": stream.open_shard_count,
        "record_bytes_max": summary.record_bytes_max if summary else None,
        "received_per_second": round(pulse.per_second(("received", identity)), 1),
        "delivered_per_second": round(pulse.per_second(("delivered", identity)), 1),
        "records": describe_records_of(stream),
        "queued_bytes": stream.queued_bytes,
        "partition_keys": stream.key_count,
        "oldest_record_age_ms": None if oldest_at_ns is None else (now_ns - oldest_at_ns) // MILLISECOND_NS,
        "requests_in_flight": stream.in_flight_requests,
        "batches": batches,
        "records_per_batch": round(counters.batch_records.sum / batches, 1) if batches else None,
        "retried_records": counters.retried_records,
        "errors": _ranked(counters.record_errors),
        "hot_partition_keys": _hot_keys(stream, now_ns),
        "shards": [_shard(lane, now_ns) for lane in lanes[:SHARDS_SHOWN_MAX]],
        "shards_not_shown": max(0, len(lanes) - SHARDS_SHOWN_MAX),
    }


def _shard(lane: Lane, now_ns: int) -> dict[str, Any]:
    records_allowed, bytes_allowed = lane.limit.allowed(now_ns)
    return {
        "shard_id": lane.shard_id or "unknown",
        "ready_partition_keys": len(lane.ready),
        "throttled_records": lane.throttled_records,
        "rate_ratio": round(lane.rate_ratio, 4),
        "stray_throttled_ratio": round(lane.stray_ratio, 4),
        "utilization_ratio": round(lane.utilization_ratio(now_ns), 3),
        "backoff_ms": max(0, lane.backoff_until_ns - now_ns) // MILLISECOND_NS,
        "records_allowed_now": round(records_allowed, 1),
        "bytes_allowed_now": round(bytes_allowed),
    }


def _hot_keys(stream: Stream, now_ns: int) -> list[dict[str, Any]]:
    """Describe the keys that met most of the throttles of the last minutes; none where no key stands out."""
    return [
        {
            "hash_key": shown_hash_key(key.hash_key),
            "shard_id": stream.shard_id_of(key.hash_key),
            "throttled_or_held_back": key.records,
            "share": round(key.share, 3),
        }
        for key in stream.hot_keys.top(HOT_KEYS_SHOWN_MAX, now_ns)
    ]


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
