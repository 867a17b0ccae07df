"""How a stream's shards are: their rates against their limits, for the page to watch.

Of many shards the most pressed are shown, and all are counted. Rates are measured only while somebody watches: each
lane's counts are compared with those of some seconds ago.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.core.lane import Lane

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
SHARDS_SHOWN_MAX = 24
# Of a larger stream, these many in the order of their hash keys.
LANES_MAX = 2_000
# Streams whose shards are measured at once; the one that was asked for longest ago is forgotten first.
STREAMS_MAX = 8
SPAN_NS = 5 * SECOND_NS
UNWATCHED_NS = 15 * SECOND_NS
AT_LIMIT_RATIO = 0.9

BACKING_OFF, THROTTLED, AT_LIMIT, FLOWING, IDLE = "backing off", "throttled", "at limit", "flowing", "idle"
_PRESSURE = {state: rank for rank, state in enumerate((BACKING_OFF, THROTTLED, AT_LIMIT, FLOWING, IDLE))}


class Mark(NamedTuple):
    """Counts of lanes at a moment: records and bytes sent, records throttled, by shard."""

    at_ns: int
    counts: dict[str | None, tuple[int, int, int]]


class Measured:
    """Two marks of one stream, the older of which is far enough back to measure rates from.

    Args:
        mark: the first.
    """

    __slots__ = ("asked_at_ns", "newer", "older")

    def __init__(self, mark: Mark) -> None:
        self.older = self.newer = mark
        self.asked_at_ns = mark.at_ns

    def advance(self, lanes: Sequence[Lane], now_ns: int) -> None:
        """Mark the present, when the newer mark is old enough to take the older one's place."""
        self.asked_at_ns = now_ns
        if now_ns - self.newer.at_ns >= SPAN_NS:
            self.older, self.newer = self.newer, mark_of(lanes, now_ns)


class ShardWatch:
    """Measures the shards of the streams that are looked at."""

    def __init__(self) -> None:
        self._measured: OrderedDict[str, Measured] = OrderedDict()

    def describe(self, identity: str, all_lanes: Sequence[Lane], now_ns: int) -> dict[str, Any]:
        """Describe a stream's shards: all of them where they are few, else the most pressed."""
        lanes = all_lanes[:LANES_MAX]
        measured = self._measured.get(identity)
        if measured is None:
            measured = self._measured[identity] = Measured(mark_of(lanes, now_ns))
        self._measured.move_to_end(identity)
        while len(self._measured) > STREAMS_MAX:
            self._measured.popitem(last=False)
        measured.advance(lanes, now_ns)
        mark = measured.older
        counts = dict.fromkeys(_PRESSURE, 0)
        pressed = []
        for place, lane in enumerate(lanes):
            state = _state(lane, mark, now_ns)
            counts[state] += 1
            pressed.append((_PRESSURE[state], -lane.utilization_ratio(now_ns), place))
        if len(lanes) > SHARDS_SHOWN_MAX:
            lanes = [lanes[place] for _, _, place in nsmallest(SHARDS_SHOWN_MAX, pressed)]
        return {
            "shards": [_shard(lane, mark, now_ns) for lane in lanes],
            "shards_known": len(all_lanes),
            "shards_counted": len(pressed),
            "shards_by_state": counts,
        }

    def forget_unwatched(self, now_ns: int) -> None:
        """Forget the streams that nobody looks at any more."""
        while self._measured:
            identity, measured = next(iter(self._measured.items()))
            if now_ns - measured.asked_at_ns < UNWATCHED_NS:
                break
            del self._measured[identity]


def survey(lanes: Iterable[Lane], now_ns: int) -> dict[str, Any]:
    """Return what a stream's shards come to together, and which is the most used."""
    hottest, hottest_ratio = None, -1.0
    limit = allowed = 0.0
    backing_off = at_limit = known = 0
    for lane in lanes:
        ratio = lane.utilization_ratio(now_ns)
        if ratio > hottest_ratio:
            hottest, hottest_ratio = lane.shard_id, ratio
        records = lane.limit.records.rate_per_second
        allowed += records
        limit += records / lane.limit.ratio
        backing_off += lane.backoff_until_ns > now_ns
        at_limit += ratio >= AT_LIMIT_RATIO * lane.limit.ratio
        known += lane.shard_id is not None
    return {
        "known": known,
        "hottest": hottest,
        "hottest_utilization_ratio": round(max(0.0, hottest_ratio), 3),
        "limit_per_second": round(limit),
        "allowed_per_second": round(allowed),
        "backing_off": backing_off,
        "at_limit": at_limit,
    }


def mark_of(lanes: Iterable[Lane], now_ns: int) -> Mark:
    """Read the lanes' counts."""
    lanes = islice(lanes, LANES_MAX)
    return Mark(now_ns, {lane.shard_id: (lane.sent_records, lane.sent_bytes, lane.throttled_records) for lane in lanes})


def _shard(lane: Lane, mark: Mark, now_ns: int) -> dict[str, Any]:
    ratio = lane.limit.ratio
    records, size_bytes, throttled = _grown(lane, mark)
    seconds = (now_ns - mark.at_ns) / SECOND_NS
    return {
        "shard_id": lane.shard_id,
        "state": _state(lane, mark, now_ns),
        "records_per_second": round(records / seconds, 1) if seconds else None,
        "bytes_per_second": round(size_bytes / seconds) if seconds else None,
        "throttled_per_second": round(throttled / seconds, 1) if seconds else None,
        "utilization_ratio": round(lane.utilization_ratio(now_ns), 3),
        "rate_ratio": round(ratio, 3),
        "limit_records_per_second": round(lane.limit.records.rate_per_second / ratio),
        "limit_bytes_per_second": round(lane.limit.bytes.rate_per_second / ratio),
        "ready_records": lane.ready_records,
        "throttled_records": lane.throttled_records,
        "backoff_ms": max(0, lane.backoff_until_ns - now_ns) // MILLISECOND_NS,
    }


def _grown(lane: Lane, mark: Mark) -> tuple[int, int, int]:
    """Return what a lane has sent and had throttled since a mark; one that is not in it, or began anew, from zero."""
    before = mark.counts.get(lane.shard_id, (0, 0, 0))
    if before[0] > lane.sent_records:
        before = (0, 0, 0)
    return lane.sent_records - before[0], lane.sent_bytes - before[1], lane.throttled_records - before[2]


def _state(lane: Lane, mark: Mark, now_ns: int) -> str:
    if lane.backoff_until_ns > now_ns:
        return BACKING_OFF
    if _grown(lane, mark)[2]:
        return THROTTLED
    utilization = lane.utilization_ratio(now_ns)
    if utilization >= AT_LIMIT_RATIO * lane.limit.ratio:
        return AT_LIMIT
    return FLOWING if utilization or lane.ready else IDLE
