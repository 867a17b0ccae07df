from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.queues import Queues, lane_of_flight, queue_of
from tests.unit.core.builders import record_of, shard_id_of, shards_of, unlimited

if TYPE_CHECKING:
    from proxy.core.record import Record


def queues_of(*records: Record) -> Queues:
    """Return the queues of a stream of two shards, with records in them."""
    queues = Queues(unlimited(), 0)
    queues.relocate(shards_of(2), 0, auto_shards=0)
    for record in records:
        queues.append(record, queues.find(record), queues.lanes.lane_of(record.hash_key))
    return queues


def test_a_key_gives_one_record_until_its_outcome() -> None:
    """Muted from drain to release."""
    first, second = record_of("a"), record_of("a")
    queues = queues_of(first, second)
    assert queues.schedule.drain(0) == [first]
    assert queues.schedule.drain(0) == []
    queues.release(first)
    assert queues.schedule.drain(0) == [second]


def test_a_record_that_comes_while_its_key_is_muted_waits() -> None:
    """An empty queue is no free one."""
    first, second = record_of("a"), record_of("a")
    queues = queues_of(first)
    queues.schedule.drain(0)
    queues.append(second, queues.find(second), queues.lanes.lane_of(second.hash_key))
    assert queues.schedule.drain(0) == []


def test_a_reenqueued_record_goes_before_everything_younger_of_its_key() -> None:
    """And before the other keys of its lane."""
    first, second, other = record_of("a"), record_of("a"), record_of("a-like", hash_key=record_of("a").hash_key)
    queues = queues_of(first, second)
    queues.schedule.drain(0)
    first.attempts = 1
    queues.append(other, queues.find(other), queues.lanes.lane_of(other.hash_key))
    queues.reenqueue(first)
    assert queues.schedule.drain(0) == [first, other]
    queues.release(first)
    assert queues.schedule.drain(0) == [second]


def test_a_key_without_a_record_is_forgotten() -> None:
    """Keys that will never be seen again must not fill the memory."""
    record = record_of("a")
    queues = queues_of(record)
    queues.schedule.drain(0)
    assert queues.key_count == 1
    queues.release(record)
    assert queues.key_count == 0


def test_a_key_in_flight_is_not_forgotten_while_nothing_waits() -> None:
    """A younger record would overtake it."""
    first, second = record_of("a"), record_of("a")
    queues = queues_of(first, second)
    queues.schedule.drain(0)
    queues.discard(second)
    assert queues.key_count == 1
    queues.release(first)
    assert queues.key_count == 0


def test_a_discarded_head_leaves_its_key_to_the_next_record() -> None:
    """In the key's place: keys that lose records must not starve."""
    first, second, other = record_of("a"), record_of("a"), record_of("b", hash_key=record_of("a").hash_key)
    queues = queues_of(first, second, other)
    queues.discard(first)
    assert queues.schedule.drain(0) == [second, other]


def test_a_discarded_last_record_leaves_nothing() -> None:
    """Neither key nor turn."""
    record = record_of("a")
    queues = queues_of(record)
    queues.discard(record)
    assert queues.key_count == 0
    assert queues.schedule.drain(0) == []


def test_only_the_head_of_a_key_can_be_discarded() -> None:
    """To drop one from the middle would be a defect."""
    first, second = record_of("a"), record_of("a")
    queues = queues_of(first, second)
    with pytest.raises(AssertionError):
        queues.discard(second)
    assert queues.schedule.drain(0) == [first]


def test_each_record_of_a_key_goes_to_the_lane_of_its_own_hash_key() -> None:
    """An explicit hash key sends one record elsewhere without touching the order of its key."""
    low, high, again = record_of("a", hash_key=0), record_of("a", hash_key=HASH_KEY_MAX), record_of("a", hash_key=1)
    queues = queues_of(low, high, again)
    for record, index in ((low, 0), (high, 1), (again, 0)):
        assert queues.schedule.drain(0) == [record]
        assert lane_of_flight(record).shard_id == shard_id_of(index)
        queues.release(record)


def test_a_key_whose_head_is_discarded_moves_to_the_lane_of_the_next_record() -> None:
    """The lane is the record's, not the key's."""
    low, high = record_of("a", hash_key=0), record_of("a", hash_key=HASH_KEY_MAX)
    queues = queues_of(low, high)
    queues.discard(low)
    assert queues.schedule.drain(0) == [high]
    assert lane_of_flight(high).shard_id == shard_id_of(1)


def test_ready_keys_move_to_the_lanes_of_a_new_map() -> None:
    """And what was drained before keeps the lane that it came from."""
    ready, flying = record_of("a", hash_key=HASH_KEY_MAX), record_of("b", hash_key=HASH_KEY_MAX)
    queues = queues_of(flying)
    queues.schedule.drain(0)
    queues.append(ready, queues.find(ready), queues.lanes.lane_of(ready.hash_key))
    queues.relocate(shards_of(4), 0, auto_shards=0)
    assert queues.schedule.drain(0) == [ready]
    assert lane_of_flight(ready).shard_id == shard_id_of(3)
    assert lane_of_flight(flying).shard_id == shard_id_of(1)


def test_a_muted_key_joins_the_lane_of_the_new_map_when_it_is_unmuted() -> None:
    """A retry goes where its hash key belongs now."""
    record = record_of("a", hash_key=HASH_KEY_MAX)
    queues = queues_of(record)
    queues.schedule.drain(0)
    queues.relocate(shards_of(4), 0, auto_shards=0)
    queues.reenqueue(record)
    assert queues.schedule.drain(0) == [record]
    assert lane_of_flight(record).shard_id == shard_id_of(3)


def test_records_without_a_partition_key_do_not_wait_for_each_other() -> None:
    """A stream that ignores keys takes them, and they have no order to keep."""
    records = [record_of("") for _ in range(3)]
    queues = queues_of(*records)
    assert queues.schedule.drain(0) == records
    assert queues.key_count == 3
    queues.reenqueue(records[1])
    queues.release(records[0])
    queues.release(records[2])
    assert queues.schedule.drain(0) == [records[1]]
    queues.release(records[1])
    assert queues.key_count == 0


def test_a_discarded_record_without_a_partition_key_leaves_the_others() -> None:
    """Each is alone."""
    first, second = record_of(""), record_of("")
    queues = queues_of(first, second)
    queues.discard(first)
    assert queues.key_count == 1
    assert queues.schedule.drain(0) == [second]


def test_a_record_that_was_never_accepted_has_no_queue() -> None:
    """A defect in the core says so."""
    with pytest.raises(AssertionError):
        queue_of(record_of())
    record = record_of()
    queues = Queues(unlimited(), 0)
    queues.append(record, queues.find(record), queues.lanes.lane_of(record.hash_key))
    queue_of(record).lane = None
    with pytest.raises(AssertionError):
        lane_of_flight(record)
