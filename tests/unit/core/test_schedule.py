from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.core.backoff import Backoff
from proxy.core.key_queue import KeyQueue
from proxy.core.lane import Lane, Place
from proxy.core.limits import StreamLimits
from proxy.core.schedule import LaneSchedule
from proxy.core.shard_limit import ShardLimit
from tests.unit.core.builders import MS, SECOND, record_of, unlimited

if TYPE_CHECKING:
    from proxy.core.record import Record


def lane_of(records_per_second: int = 0, bytes_per_second: int = 0) -> Lane:
    """Return a lane; unlimited unless told."""
    return Lane("shard", ShardLimit(records_per_second, bytes_per_second, 100 * MS, 0))


def list_keys(schedule: LaneSchedule, lane: Lane, *names: str, size_bytes: int = 10) -> list[KeyQueue]:
    """List a key for each name, each with one record."""
    queues = []
    for name in names:
        queue = KeyQueue(name)
        queue.append(record_of(name, size_bytes=size_bytes))
        schedule.enlist(queue, lane)
        queues.append(queue)
    return queues


def drained(schedule: LaneSchedule, now_ns: int = 0) -> list[str]:
    """Drain a batch and return its partition keys."""
    return names_of(schedule.drain(now_ns))


def names_of(records: list[Record]) -> list[str]:
    """Return partition keys in order."""
    return [record.partition_key for record in records]


def many(count: int, prefix: str = "k") -> list[str]:
    """Return so many names."""
    return [f"{prefix}{number}" for number in range(count)]


def test_ready_keys_of_a_lane_go_first_come_first_served() -> None:
    """In the order in which they were listed."""
    schedule, lane = LaneSchedule(unlimited()), lane_of()
    list_keys(schedule, lane, "a", "b", "c")
    assert drained(schedule) == ["a", "b", "c"]


def test_a_lane_with_few_records_that_travel_alone_does_not_wait_for_all_of_another() -> None:
    """Lanes take turns, and what is gone is waited for no more."""
    schedule, much, little, nothing = LaneSchedule(unlimited()), lane_of(), lane_of(), lane_of()
    for lane, count in ((much, 9), (little, 1)):
        for name in many(count):
            queue = KeyQueue(name)
            queue.append(record_of(name, sequence_number_for_ordering="1"))
            schedule.enlist(queue, lane)
    list_keys(schedule, nothing, "a", "b")
    assert [schedule.requests_before(lane) for lane in (much, little, nothing)] == [10, 3, 0]
    assert len(drained(schedule)) == 1
    assert schedule.requests_before(much) == 9


def test_a_key_listed_in_front_goes_before_the_others() -> None:
    """A retry does not queue up again."""
    schedule, lane = LaneSchedule(unlimited()), lane_of()
    list_keys(schedule, lane, "a", "b")
    queue = KeyQueue("retried")
    queue.append(record_of("retried"))
    schedule.enlist(queue, lane, front=True)
    assert drained(schedule) == ["retried", "a", "b"]


def test_a_drained_key_is_muted_and_in_no_lane() -> None:
    """Its younger records wait for the outcome."""
    schedule, lane = LaneSchedule(unlimited()), lane_of()
    (queue,) = list_keys(schedule, lane, "a")
    younger = record_of("a")
    queue.append(younger)
    assert drained(schedule) == ["a"]
    assert queue.muted
    assert queue.first is younger
    assert not lane.ready
    assert drained(schedule) == []


def test_an_empty_schedule_drains_nothing() -> None:
    """And has nothing to wake up for."""
    schedule = LaneSchedule(unlimited())
    assert schedule.drain(0) == []
    assert not schedule.anything_ready
    assert schedule.next_wake_ns is None
    assert not schedule.wake(SECOND)


def test_a_batch_has_at_most_its_number_of_records() -> None:
    """The next one has the rest."""
    schedule, lane = LaneSchedule(unlimited(batch_records_max=500)), lane_of()
    list_keys(schedule, lane, *many(501))
    assert len(schedule.drain(0)) == 500
    assert drained(schedule) == ["k500"]


def test_a_batch_has_at_most_its_number_of_bytes() -> None:
    """Exactly the limit still fits."""
    schedule, lane = LaneSchedule(unlimited(batch_bytes_max=100)), lane_of()
    list_keys(schedule, lane, *many(5), size_bytes=50)
    assert [drained(schedule) for _ in range(3)] == [["k0", "k1"], ["k2", "k3"], ["k4"]]


def test_a_record_larger_than_a_batch_goes_alone() -> None:
    """Before and after it others travel together."""
    schedule, lane = LaneSchedule(unlimited(batch_bytes_max=100)), lane_of()
    list_keys(schedule, lane, "a", "b")
    list_keys(schedule, lane, "huge", size_bytes=101)
    list_keys(schedule, lane, "c", "d")
    assert [drained(schedule) for _ in range(3)] == [["a", "b"], ["huge"], ["c", "d"]]


def test_lanes_take_turns_a_slice_at_a_time() -> None:
    """No shard is burst, and none waits for another to be empty."""
    schedule = LaneSchedule(unlimited(shard_slice_bytes_max=20))
    low, high = lane_of(), lane_of()
    list_keys(schedule, low, *many(5, "low"))
    list_keys(schedule, high, *many(3, "high"))
    assert drained(schedule) == ["low0", "low1", "high0", "high1"]
    assert drained(schedule) == ["low2", "low3", "high2"]
    assert drained(schedule) == ["low4"]


def test_a_record_larger_than_a_slice_goes_when_it_is_the_first_of_its_lane() -> None:
    """And no other of its lane in that batch."""
    schedule = LaneSchedule(unlimited(shard_slice_bytes_max=20))
    low, high = lane_of(), lane_of()
    list_keys(schedule, low, "a", size_bytes=10)
    list_keys(schedule, low, "large", size_bytes=21)
    list_keys(schedule, low, "b", size_bytes=10)
    list_keys(schedule, high, "c")
    assert [drained(schedule) for _ in range(3)] == [["a", "c"], ["large"], ["b"]]


def test_the_lane_that_was_cut_off_by_a_full_batch_comes_after_the_others() -> None:
    """It has had its turn."""
    schedule = LaneSchedule(unlimited(batch_records_max=2))
    low, high = lane_of(), lane_of()
    list_keys(schedule, low, *many(3, "low"))
    list_keys(schedule, high, *many(3, "high"))
    batches = [drained(schedule) for _ in range(4)]
    assert batches == [["low0", "low1"], ["high0", "high1"], ["low2", "high2"], []]


def test_a_lane_that_found_no_room_in_a_batch_is_the_first_of_the_next() -> None:
    """It gave nothing, so it is still its turn."""
    schedule = LaneSchedule(unlimited(batch_bytes_max=100))
    first, second, third = lane_of(), lane_of(), lane_of()
    list_keys(schedule, first, "a", "b", size_bytes=40)
    list_keys(schedule, second, "c", size_bytes=90)
    list_keys(schedule, third, "d", size_bytes=10)
    assert [drained(schedule) for _ in range(2)] == [["a", "b"], ["c", "d"]]


def test_an_ordered_record_travels_alone_and_in_its_turn() -> None:
    """PutRecords cannot carry it, and nothing of its lane that came later overtakes it."""
    schedule, lane = LaneSchedule(unlimited()), lane_of()
    list_keys(schedule, lane, "a")
    queue = KeyQueue("ordered")
    queue.append(record_of("ordered", sequence_number_for_ordering="42"))
    schedule.enlist(queue, lane)
    list_keys(schedule, lane, "b", "c")
    assert [drained(schedule) for _ in range(3)] == [["a"], ["ordered"], ["b", "c"]]


def test_an_ordered_record_is_not_put_off_for_ever_by_other_lanes() -> None:
    """Its lane keeps the turn in which it could not join a batch."""
    schedule = LaneSchedule(unlimited())
    busy, lane = lane_of(), lane_of()
    list_keys(schedule, busy, "a")
    queue = KeyQueue("ordered")
    queue.append(record_of("ordered", sequence_number_for_ordering="42"))
    schedule.enlist(queue, lane)
    assert drained(schedule) == ["a"]
    list_keys(schedule, busy, "b")
    assert drained(schedule) == ["ordered"]


def test_a_lane_gives_no_more_than_its_tokens() -> None:
    """Ten milliseconds at a thousand a second are ten records."""
    schedule, lane = LaneSchedule(unlimited()), lane_of(records_per_second=1000)
    list_keys(schedule, lane, *many(25))
    assert len(schedule.drain(10 * MS)) == 10
    assert lane.place is Place.WAITING
    assert schedule.drain(10 * MS) == []


def test_a_lane_without_tokens_never_holds_up_another() -> None:
    """What it cannot give, others may."""
    schedule = LaneSchedule(unlimited())
    poor, rich = lane_of(records_per_second=1), lane_of()
    list_keys(schedule, poor, *many(500, "poor"))
    list_keys(schedule, rich, "a", "b")
    assert drained(schedule) == ["a", "b"]


def test_a_lane_that_backs_off_never_holds_up_another() -> None:
    """Trouble of one shard is trouble of one shard."""
    schedule = LaneSchedule(unlimited())
    ill, well = lane_of(), lane_of()
    ill.back_off(0, 0, Backoff(SECOND, SECOND, lambda: 0.5))
    list_keys(schedule, ill, "a")
    list_keys(schedule, well, "b")
    assert drained(schedule) == ["b"]
    assert schedule.next_wake_ns == 500 * MS


def test_a_record_larger_than_the_burst_passes_when_the_bucket_is_full() -> None:
    """A hundred milliseconds fill it, whatever the record's size."""
    schedule, lane = LaneSchedule(unlimited()), lane_of(bytes_per_second=1000)
    list_keys(schedule, lane, "huge", size_bytes=5000)
    assert schedule.drain(100 * MS - 1) == []
    schedule.wake(100 * MS)
    assert drained(schedule, 100 * MS) == ["huge"]


def test_waiting_lanes_wake_together_on_the_linger_grid() -> None:
    """They share a request, with a few tokens each, instead of sending one record at a time."""
    schedule = LaneSchedule(StreamLimits(linger_ns=5 * MS))
    slow, fast = lane_of(records_per_second=250), lane_of(records_per_second=1000)
    list_keys(schedule, slow, *many(3, "slow"))
    list_keys(schedule, fast, *many(9, "fast"))
    assert schedule.drain(0) == []
    assert schedule.next_wake_ns == 5 * MS
    assert not schedule.wake(5 * MS - 1)
    assert schedule.wake(5 * MS)
    assert sorted(drained(schedule, 5 * MS)) == ["fast0", "fast1", "fast2", "fast3", "fast4", "slow0"]
    assert schedule.next_wake_ns == 10 * MS


def test_an_instant_on_the_grid_is_not_put_off_to_the_next_point() -> None:
    """Rounded up means up to the next point at the most."""
    schedule, lane = LaneSchedule(StreamLimits(linger_ns=5 * MS)), lane_of(records_per_second=100)
    list_keys(schedule, lane, "a")
    schedule.drain(0)
    assert schedule.next_wake_ns == 10 * MS


def test_without_linger_the_grid_is_a_millisecond() -> None:
    """Finer timers are not to be had."""
    schedule = LaneSchedule(StreamLimits(linger_ns=0))
    lane = lane_of(records_per_second=999)
    list_keys(schedule, lane, "a")
    schedule.drain(0)
    assert schedule.next_wake_ns == 2 * MS


def test_a_waiting_lane_whose_keys_are_all_gone_wakes_to_rest() -> None:
    """Its records expired meanwhile."""
    schedule, lane = LaneSchedule(unlimited()), lane_of(records_per_second=1)
    (queue,) = list_keys(schedule, lane, "a")
    schedule.drain(0)
    schedule.delist(queue)
    assert not schedule.wake(10 * SECOND)
    assert lane.place is Place.IDLE
    assert schedule.next_wake_ns is None
    list_keys(schedule, lane, "b")
    assert drained(schedule, 10 * SECOND) == ["b"]


def test_ready_keys_are_those_of_the_lanes_that_have_their_turn() -> None:
    """Keys of a waiting lane cannot fill a batch now."""
    schedule = LaneSchedule(unlimited())
    poor, rich = lane_of(records_per_second=1), lane_of()
    list_keys(schedule, poor, *many(5, "poor"))
    listed = list_keys(schedule, rich, *many(4, "rich"))
    assert schedule.ready_keys == 9
    schedule.delist(listed[0])
    assert schedule.ready_keys == 8
    schedule.drain(0)
    assert schedule.ready_keys == 0
    list_keys(schedule, poor, "late")
    assert schedule.ready_keys == 0
    schedule.wake(SECOND)
    assert schedule.ready_keys == 6
    schedule.drain(SECOND)
    assert schedule.ready_keys == 0


def test_a_relocated_key_is_listed_in_its_new_lane_alone() -> None:
    """Ready and waiting keys alike, in the order that they had."""
    schedule = LaneSchedule(unlimited())
    old, poor = lane_of(), lane_of(records_per_second=1)
    list_keys(schedule, poor, "p")
    assert schedule.drain(0) == []
    list_keys(schedule, old, "a", "b", "c")
    new = {"a": lane_of(), "b": lane_of()}
    rest = lane_of()
    schedule.relocate(lambda queue: new.get(queue.first.partition_key, rest))
    assert schedule.next_wake_ns is None
    assert schedule.ready_keys == 4
    assert not old.ready
    assert not poor.ready
    assert names_of([queue.first for queue in rest.ready]) == ["c", "p"]
    assert sorted(drained(schedule)) == ["a", "b", "c", "p"]


def test_a_lane_that_keeps_its_keys_over_a_new_map_keeps_to_its_tokens() -> None:
    """A new map is no new budget."""
    schedule, lane = LaneSchedule(unlimited(linger_ns=5 * MS)), lane_of(records_per_second=1000)
    list_keys(schedule, lane, *many(20))
    assert len(schedule.drain(10 * MS)) == 10
    schedule.relocate(lambda _: lane)
    assert schedule.drain(10 * MS) == []
    assert schedule.next_wake_ns == 15 * MS


def test_a_key_that_was_never_listed_cannot_be_delisted() -> None:
    """A defect in the core says so."""
    with pytest.raises(AssertionError):
        LaneSchedule(unlimited()).delist(KeyQueue("a"))


def test_a_lane_whose_large_head_is_gone_does_not_wait_for_its_tokens() -> None:
    """The instant for which a lane waits is that of the record that is its first now."""
    schedule = LaneSchedule(StreamLimits(linger_ns=5 * MS))
    lane = lane_of(bytes_per_second=1000)
    (huge,) = list_keys(schedule, lane, "huge", size_bytes=100)
    list_keys(schedule, lane, "small", size_bytes=1)
    assert schedule.drain(0) == []
    schedule.delist(huge)
    assert drained(schedule, 1 * MS) == ["small"]


def test_a_key_that_comes_to_an_emptied_waiting_lane_does_not_wait_for_those_that_left() -> None:
    """It is the lane's first now, and its tokens are there."""
    schedule = LaneSchedule(StreamLimits(linger_ns=5 * MS))
    lane = lane_of(bytes_per_second=1000)
    (huge,) = list_keys(schedule, lane, "huge", size_bytes=100)
    assert schedule.drain(0) == []
    schedule.delist(huge)
    list_keys(schedule, lane, "small", size_bytes=1)
    assert drained(schedule, 1 * MS) == ["small"]


def test_a_lane_that_was_given_its_turn_early_is_not_given_it_twice() -> None:
    """The instant that it waited for before counts no more."""
    schedule = LaneSchedule(StreamLimits(linger_ns=5 * MS))
    lane = lane_of(bytes_per_second=1000)
    (huge,) = list_keys(schedule, lane, "huge", size_bytes=100)
    list_keys(schedule, lane, *many(3), size_bytes=30)
    assert schedule.drain(0) == []
    schedule.delist(huge)
    assert drained(schedule, 30 * MS) == ["k0"]
    assert lane.place is Place.WAITING
    assert schedule.wake(60 * MS)
    assert drained(schedule, 60 * MS) == ["k1"]
    assert schedule.wake(100 * MS)
    assert schedule.ready_keys == 1
    assert drained(schedule, 100 * MS) == ["k2"]
    assert not schedule.wake(SECOND)
    assert (schedule.ready_keys, lane.place) == (0, Place.IDLE)
