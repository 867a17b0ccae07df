"""All that waits in one stream: the queues of its partition keys, listed as ready in the lanes of their shards.

The invariant on which order rests: a key with a record in flight is muted, a muted key is in no lane, and only a listed
key is drained. So a key has at most one record in flight, and what comes back goes before everything younger.

    append ──> queue of the key ──unmuted──> listed in a lane ──drain──> muted ──release / reenqueue──> listed again
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.key_queue import KeyQueue
from proxy.core.lanes import Lanes
from proxy.core.schedule import LaneSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.lane import Lane
    from proxy.core.limits import StreamLimits
    from proxy.core.record import Record
    from proxy.core.shard_map import Shard


class Queues:
    """Key queues, lanes and schedule of one stream, kept in step.

    Args:
        limits: see `StreamLimits`.
        now_ns: the present.
    """

    __slots__ = ("_keys", "lanes", "schedule")

    def __init__(self, limits: StreamLimits, now_ns: int) -> None:
        # a record without a partition key (a stream that ignores keys takes it) has no order to keep: it is alone
        self._keys: dict[object, KeyQueue] = {}
        self.lanes = Lanes(limits, now_ns)
        self.schedule = LaneSchedule(limits)

    @property
    def key_count(self) -> int:
        """Partition keys with an open record."""
        return len(self._keys)

    def append(self, record: Record) -> None:
        """Queue a new record behind all of its key."""
        key = record.partition_key or object()
        key_queue = self._keys.get(key)
        if key_queue is None:
            key_queue = self._keys[key] = KeyQueue(key)
        key_queue.append(record)
        if key_queue.head is record and not key_queue.muted:
            self.schedule.enlist(key_queue, self.lanes.lane_of(record.hash_key))

    def release(self, record: Record) -> None:
        """Unmute the key of a record that has left flight for good."""
        self._unmute(queue_of(record), front=False)

    def reenqueue(self, record: Record) -> None:
        """Put a record that failed back in front of its key, and its key in front of its lane."""
        key_queue = queue_of(record)
        key_queue.reenqueue(record)
        self._unmute(key_queue, front=True)

    def discard(self, record: Record) -> None:
        """Remove a waiting record: the head of its key, since everything older is settled or in flight."""
        key_queue = queue_of(record)
        if key_queue.first is not record:
            raise AssertionError("the oldest waiting record heads its key")
        key_queue.popleft()
        if key_queue.muted:
            return
        head = key_queue.head
        if head is None:
            self.schedule.delist(key_queue)
            del self._keys[key_queue.key]
        elif (lane := self.lanes.lane_of(head.hash_key)) is key_queue.lane:
            self.schedule.reconsider(lane)  # the key keeps its place: at the back, with expiring heads, it would starve
        else:
            self.schedule.delist(key_queue)  # an explicit hash key sends the next record elsewhere
            self.schedule.enlist(key_queue, lane)

    def relocate(self, shards: Sequence[Shard], now_ns: int, *, auto_distribution: bool) -> None:
        """Take over a new shard map: every ready key moves to its new lane."""
        self.lanes.learn(shards, now_ns, auto_distribution=auto_distribution)
        self.schedule.relocate(lambda key_queue: self.lanes.lane_of(key_queue.first.hash_key))

    def _unmute(self, key_queue: KeyQueue, *, front: bool) -> None:
        key_queue.muted = False
        if key_queue.head is None:
            del self._keys[key_queue.key]
        else:
            self.schedule.enlist(key_queue, self.lanes.lane_of(key_queue.head.hash_key), front=front)


def queue_of(record: Record) -> KeyQueue:
    """Return the queue of an accepted record's key."""
    if record.key_queue is None:
        raise AssertionError("an accepted record has a queue")
    return record.key_queue


def lane_of_flight(record: Record) -> Lane:
    """Return the lane that a record in flight was drained from."""
    lane = queue_of(record).lane
    if lane is None:
        raise AssertionError("a record in flight came from a lane")
    return lane
