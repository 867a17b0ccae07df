"""Whose turn it is: takes ready keys from the lanes, fairly, within each shard's limit.

Theory of operation: a lane is in one of three places.

    IDLE ──enlist──> TURNS ──limit or backoff──> WAITING ──its instant comes──> TURNS
      ^                └──────nothing ready────────┐ └──────nothing ready──────┐
      └────────────────────────────────────────────┴────────────────────────────┘

Lanes in TURNS give at most a slice of a batch each, round robin, and each of their keys one record, or a run of them
where the stream's ordering lets several of a key travel together. Instants of WAITING lanes are rounded up to the
linger grid, so that lanes which wait for tokens wake together and share a request, with a few milliseconds' worth of
tokens each, instead of sending one record at a time.

Must never know: the outcome of anything, the number of requests in flight.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from proxy.core.lane import Place
from proxy.core.limits import MILLISECOND_NS
from proxy.core.ordering import Ordering

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.key_queue import KeyQueue
    from proxy.core.lane import Lane
    from proxy.core.limits import StreamLimits
    from proxy.core.record import Record

# Looked up once: Python 3.11 finds a member of an Enum by way of its metaclass, several times for each record.
_IDLE: Final = Place.IDLE
_TURNS: Final = Place.TURNS
_WAITING: Final = Place.WAITING


class LaneSchedule:
    """The lanes of one stream in the order of their turns.

    `ready_keys` is the number of ready keys over the lanes in TURNS: what one drain can find at the most. `ready_alone`
    is the number of keys, over all lanes, whose turn is a request for one record alone.
    """

    __slots__ = ("_limits", "_ordinal", "_runs", "_turns", "_waiting", "_whole_calls", "ready_alone", "ready_keys")

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._runs = limits.ordering.runs
        self._whole_calls = limits.ordering is Ordering.CALL
        self._turns: deque[Lane] = deque()
        self._waiting: list[tuple[int, int, Lane]] = []
        self._ordinal = 0
        self.ready_keys = 0
        self.ready_alone = 0

    def requests_before(self, lane: Lane) -> int:
        """Return about how many requests go, for records that travel alone, before a new key of a lane has its turn.

        Lanes take turns: one with few of them waits for as many of each of the others.
        """
        return min(self.ready_alone, lane.ready_alone * max(1, len(self._turns)))

    @property
    def anything_ready(self) -> bool:
        """Whether any lane may give a record now."""
        return bool(self._turns)

    @property
    def next_wake_ns(self) -> int | None:
        """Instant at which the first waiting lane may go on."""
        return self._waiting[0][0] if self._waiting else None

    def enlist(self, key_queue: KeyQueue, lane: Lane, *, front: bool = False) -> None:
        """List a key as ready in its lane: at the back, or in front when its record comes back from an attempt."""
        key_queue.lane = lane
        ready, place = lane.ready, lane.place
        if front:
            ready.appendleft(key_queue)
        else:
            ready.append(key_queue)
        self._count(key_queue, lane)
        if place is _TURNS:
            self.ready_keys += 1
        elif place is _IDLE:
            self._give_turn(lane)
        elif front or len(ready) == 1:
            self.reconsider(lane)

    def delist(self, key_queue: KeyQueue) -> None:
        """Take a listed key off its lane, because nothing of it waits any more."""
        lane = key_queue.lane
        if lane is None:
            raise AssertionError("a listed key has a lane")
        self._unlist(key_queue, lane)
        if lane.place is _TURNS:
            self.ready_keys -= 1
        self.reconsider(lane)

    def recount(self, key_queue: KeyQueue) -> None:
        """Note that other records than before wait behind a listed key."""
        lane = key_queue.lane
        if lane is None:
            raise AssertionError("a listed key has a lane")
        self._uncount(key_queue, lane)
        self._count(key_queue, lane)

    def _count(self, key_queue: KeyQueue, lane: Lane) -> None:
        """Add to a lane what it is to send of a key before another has its turn."""
        first = key_queue.first
        if self._runs:
            key_queue.listed_records, key_queue.listed_bytes = key_queue.records, key_queue.bytes
        else:
            key_queue.listed_records, key_queue.listed_bytes = 1, first.size_bytes
        lane.ready_records += key_queue.listed_records
        lane.ready_bytes += key_queue.listed_bytes
        if first.sequence_number_for_ordering is not None:
            key_queue.listed_alone = 1
            lane.ready_alone += 1
            self.ready_alone += 1

    def _uncount(self, key_queue: KeyQueue, lane: Lane) -> None:
        lane.ready_records -= key_queue.listed_records
        lane.ready_bytes -= key_queue.listed_bytes
        if key_queue.listed_alone:
            key_queue.listed_alone = 0
            lane.ready_alone -= 1
            self.ready_alone -= 1

    def _unlist(self, key_queue: KeyQueue, lane: Lane) -> None:
        lane.ready.remove(key_queue)
        self._uncount(key_queue, lane)

    def reconsider(self, lane: Lane) -> None:
        """Let a waiting lane look again: it waits for what was first before, which may have needed more tokens."""
        if lane.place is _WAITING and lane.ready:
            self._give_turn(lane)

    def wake(self, now_ns: int) -> bool:
        """Give every lane whose instant has come its turn again; return whether there was one with something ready."""
        woken = False
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, ordinal, lane = heappop(self._waiting)
            if lane.place is not _WAITING or lane.wake_ordinal != ordinal:
                continue  # it was given its turn before
            if lane.ready:
                self._give_turn(lane)
                woken = True
            else:
                lane.place = _IDLE
        return woken

    def _give_turn(self, lane: Lane) -> None:
        lane.place = _TURNS
        self._turns.append(lane)
        self.ready_keys += len(lane.ready)

    def drain(self, now_ns: int) -> list[Record]:
        """Take the records of the next batch, oldest ready keys first, and mute their keys.

        Returns:
            At most a batch, in order, each lane's share within its slice and its limit; a record with
            SequenceNumberForOrdering comes alone. Empty when no lane may give anything now.
        """
        records: list[Record] = []
        room_bytes = self._limits.batch_bytes_max
        for _ in range(len(self._turns)):
            lane = self._turns.popleft()
            drained, ready = len(records), len(lane.ready)
            room_bytes, batch_is_full = self._drain_lane(lane, records, room_bytes, now_ns)
            self.ready_keys -= ready - len(lane.ready)
            if lane.place is _TURNS:
                if not lane.ready:
                    lane.place = _IDLE
                elif batch_is_full and len(records) == drained:
                    self._turns.appendleft(lane)  # it gave nothing, so it is still its turn
                else:
                    self._turns.append(lane)
            if batch_is_full:
                break
        return records

    def _drain_lane(self, lane: Lane, records: list[Record], room_bytes: int, now_ns: int) -> tuple[int, bool]:
        """Move one lane's share into the batch; return the room left and whether the batch must go as it is."""
        slice_bytes = self._limits.shard_slice_bytes_max * lane.shards
        gave = False
        while (key_queue := lane.ready.first) is not None:
            record = key_queue.first
            size_bytes = record.size_bytes
            if (ready_at_ns := lane.ready_at_ns(size_bytes)) > now_ns:
                self._wait(lane, ready_at_ns)
                break
            if len(records) >= self._limits.batch_records_max or (records and size_bytes > room_bytes):
                return room_bytes, True
            if gave and size_bytes > slice_bytes:
                break
            travels_alone = record.sequence_number_for_ordering is not None
            if travels_alone and records:
                return room_bytes, True
            self._unlist(key_queue, lane)
            self._take(lane, key_queue, records, now_ns)
            gave = True
            room_bytes -= size_bytes
            slice_bytes -= size_bytes
            if travels_alone:
                return room_bytes, True
            if self._runs:
                run_bytes = self._drain_run(lane, key_queue, records, min(room_bytes, slice_bytes), now_ns)
                room_bytes -= run_bytes
                slice_bytes -= run_bytes
        return room_bytes, False

    def _drain_run(self, lane: Lane, key_queue: KeyQueue, records: list[Record], room_bytes: int, now_ns: int) -> int:
        """Take what may travel behind the record of its key that was taken last; return its bytes."""
        first, run_bytes = records[-1], 0
        while (record := key_queue.head) is not None:
            if (
                len(records) >= self._limits.batch_records_max
                or run_bytes + record.size_bytes > room_bytes
                or record.hash_key != first.hash_key
                or record.sequence_number_for_ordering is not None
                or (self._whole_calls and record.call_ordinal != first.call_ordinal)
                or lane.ready_at_ns(record.size_bytes) > now_ns
            ):
                break
            self._take(lane, key_queue, records, now_ns)
            run_bytes += record.size_bytes
        return run_bytes

    @staticmethod
    def _take(lane: Lane, key_queue: KeyQueue, records: list[Record], now_ns: int) -> None:
        """Move the first record of a key into a batch."""
        record = key_queue.popleft()
        key_queue.in_flight += 1
        lane.take(record.size_bytes, now_ns)
        records.append(record)

    def _wait(self, lane: Lane, ready_at_ns: int) -> None:
        """Put a lane aside until the first point of the grid at which it may go on."""
        grid_ns = max(self._limits.linger_ns, MILLISECOND_NS)
        wake_at_ns = -(-ready_at_ns // grid_ns) * grid_ns
        self.ready_keys -= len(lane.ready)
        lane.place = _WAITING
        self._ordinal += 1
        lane.wake_ordinal = self._ordinal
        heappush(self._waiting, (wake_at_ns, self._ordinal, lane))

    def relocate(self, lane_of: Callable[[KeyQueue], Lane]) -> None:
        """List every ready key anew, in the lane that a new shard map gives it."""
        listed: list[KeyQueue] = []
        for lane in (*self._turns, *(lane for _, _, lane in sorted(self._waiting))):
            for key_queue in lane.ready.take_all():
                self._uncount(key_queue, lane)
                listed.append(key_queue)
            lane.place = _IDLE
        self._turns.clear()
        self._waiting.clear()
        self.ready_keys = 0
        for key_queue in listed:
            self.enlist(key_queue, lane_of(key_queue))
