"""All that waits in one stream: the queues of its partition keys, listed as ready in the lanes of their shards.

The invariant on which order rests: a key with anything in flight is muted, a muted key is in no lane, and only a listed
key is drained. So a key has at most one request in flight, and what comes back goes before everything younger.

    append ──> queue of the key ──unmuted──> listed in a lane ──drain──> muted ──release / reenqueue──> listed again
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.key_queue import KeyQueue
from proxy.core.lanes import Lanes
from proxy.core.ordering import Ordering
from proxy.core.schedule import LaneSchedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.core.lane import Lane
    from proxy.core.limits import StreamLimits
    from proxy.core.record import Record
    from proxy.core.shard_map import Shard


class Queues:
    """Key queues, lanes and schedule of one stream, kept in step.

    Args:
        limits: see `StreamLimits`.
        now_ns: the present.

    `keeps_order` is whether the records of one partition key wait for each other: not where the service ignores keys.
    """

    __slots__ = ("_keys", "_ordered", "_runs", "keeps_order", "lanes", "schedule")

    def __init__(self, limits: StreamLimits, now_ns: int) -> None:
        # a record that has no order to keep, or no partition key, is alone under an object of its own
        self._keys: dict[object, KeyQueue] = {}
        self.keeps_order = self._ordered = limits.ordering is not Ordering.NONE
        self._runs = limits.ordering.runs
        self.lanes = Lanes(limits, now_ns)
        self.schedule = LaneSchedule(limits)

    @property
    def key_count(self) -> int:
        """Partition keys with an open record."""
        return len(self._keys)

    def find(self, record: Record) -> KeyQueue | None:
        """Return the queue that a new record would wait in behind others."""
        return self._keys.get(record.partition_key) if self.keeps_order else None

    def append(self, record: Record, key_queue: KeyQueue | None, lane: Lane) -> None:
        """Queue a new record behind all of its key.

        Args:
            record: the youngest.
            key_queue: what `find` found for it.
            lane: in which its hash key lies.
        """
        if key_queue is None:
            key = (record.partition_key if self.keeps_order else None) or object()
            key_queue = self._keys[key] = KeyQueue(key)
        key_queue.append(record)
        if key_queue.in_flight:
            return
        if key_queue.head is record:
            self.schedule.enlist(key_queue, lane)
        elif self._runs:
            self.schedule.recount(key_queue)

    def release(self, record: Record) -> None:
        """Note that a record has left flight for good; the last one unmutes its key."""
        self._landed(queue_of(record))

    def reenqueue(self, record: Record) -> None:
        """Put a record that failed back in front of its key; the last one unmutes it."""
        key_queue = queue_of(record)
        key_queue.reenqueue(record)
        self._landed(key_queue)

    def discard(self, record: Record) -> None:
        """Remove a waiting record: the head of its key, since everything older is settled or in flight."""
        key_queue = queue_of(record)
        if key_queue.first is not record:
            raise AssertionError("the oldest waiting record heads its key")
        key_queue.popleft()
        self._head_changed(key_queue)

    def drop_withdrawn(self, records: Iterable[Record]) -> None:
        """Remove records that were withdrawn, each of which was waiting, from anywhere in their keys."""
        for record in records:
            key_queue = queue_of(record)
            was_head = key_queue.head is record
            key_queue.remove(record)
            if was_head:
                self._head_changed(key_queue)
            elif self._runs and not key_queue.in_flight:
                self.schedule.recount(key_queue)

    def relocate(self, shards: Sequence[Shard], now_ns: int, *, auto_shards: int) -> None:
        """Take over a new shard map: every ready key moves to its new lane."""
        self.lanes.learn(shards, now_ns, auto_shards=auto_shards)
        self.keeps_order = self._ordered and not self.lanes.auto_distribution
        self.schedule.relocate(lambda key_queue: self.lanes.lane_of(key_queue.first.hash_key))

    def _landed(self, key_queue: KeyQueue) -> None:
        key_queue.in_flight -= 1
        if key_queue.in_flight:
            return
        head = key_queue.head
        if head is None:
            del self._keys[key_queue.key]
        else:
            # what was sent before goes first: it does not queue up again
            self.schedule.enlist(key_queue, self.lanes.lane_of(head.hash_key), front=head.attempts > 0)

    def _head_changed(self, key_queue: KeyQueue) -> None:
        """Keep the lists true when the oldest record of a key is gone without having been sent."""
        if key_queue.in_flight:
            return
        head = key_queue.head
        if head is None:
            self.schedule.delist(key_queue)
            del self._keys[key_queue.key]
        elif (lane := self.lanes.lane_of(head.hash_key)) is key_queue.lane:
            self.schedule.recount(key_queue)
            self.schedule.reconsider(lane)  # the key keeps its place: at the back, with expiring heads, it would starve
        else:
            self.schedule.delist(key_queue)  # an explicit hash key sends the next record elsewhere
            self.schedule.enlist(key_queue, lane)


def queue_of(record: Record) -> KeyQueue:
    """Return the queue of an accepted record's key."""
    key_queue = record.key_queue
    if key_queue is None:
        raise AssertionError("an accepted record has a queue")
    return key_queue


def lane_of_flight(record: Record) -> Lane:
    """Return the lane that a record in flight was drained from."""
    lane = queue_of(record).lane
    if lane is None:
        raise AssertionError("a record in flight came from a lane")
    return lane
