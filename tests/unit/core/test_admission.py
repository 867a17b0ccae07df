"""What is taken and what is refused at the door: by what is held, and by the wait that a place in the queue implies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.core.buffer import Buffer
from proxy.core.limits import MIB, StreamLimits
from proxy.core.ordering import Ordering
from proxy.core.record import State
from tests.unit.core.builders import MS, SECOND, THROTTLED, Bench, failed, record_of, shards_of, unlimited

if TYPE_CHECKING:
    from proxy.core.record import Record

WAIT = 100 * MS


def limits_of(**limits: object) -> StreamLimits:
    """Return limits under which a queue of a hundred milliseconds is the longest, of a shard and of a key."""
    lives = {"admission_wait_ns": WAIT, "delivery_timeout_ns": WAIT * 5 // 4}
    return StreamLimits(**(lives | {"stream_buffer_ratio": 1} | limits))  # type: ignore[arg-type]


def offer(bench: Bench, *partition_keys: str, size_bytes: int = 10, hash_key: int = 0) -> list[Record]:
    """Append a record for each key, each by a call of its own; return those that were rejected."""
    records = [record_of(key, size_bytes=size_bytes, hash_key=hash_key) for key in partition_keys]
    for record in records:
        bench.append(record)
    return [record for record in records if record.state is State.REJECTED]


def known_bench(limits: StreamLimits) -> Bench:
    """Return a stream of one shard whose map is known."""
    bench = Bench(limits)
    bench.learn(1)
    return bench


def many(count: int, prefix: str = "k") -> list[str]:
    """Return so many partition keys."""
    return [f"{prefix}{number}" for number in range(count)]


def test_a_queue_is_as_long_as_its_shard_can_send_in_time() -> None:
    """A thousand a second for a hundred milliseconds; the first token takes one more."""
    bench = Bench(limits_of())
    bench.learn(1)
    rejected = offer(bench, *many(150))
    assert len(rejected) == 50
    assert bench.stream.queued_records == 100


def test_a_refusal_says_what_is_full_and_when_to_come_again() -> None:
    """Between the half and the whole of the wait, in the error that every SDK retries."""
    bench = Bench(limits_of(), random=0.5)
    bench.learn(1)
    (rejected,) = offer(bench, *many(101))
    assert rejected.error_code == THROTTLED
    assert rejected.error_message == (
        "Rate exceeded for shard shardId-000000000000: the proxy's queue for it would take 101 ms at the present rate."
    )
    assert rejected.retry_after_ms == int(101 * 0.75)


def test_bytes_fill_a_queue_as_records_do() -> None:
    """A tenth of a mebibyte, in whatever number of records."""
    bench = Bench(limits_of(shard_bytes_per_second=MIB))
    bench.learn(1)
    rejected = offer(bench, *many(10), size_bytes=MIB // 20)
    assert len(rejected) == 8


def test_a_full_queue_of_one_shard_is_not_the_others() -> None:
    """Records of one call that go elsewhere are taken."""
    bench = Bench(limits_of())
    low, high = shards_of(2)
    bench.learn([low, high])
    assert offer(bench, *many(120), hash_key=low.starting_hash_key)
    lost, taken = record_of("l", hash_key=low.starting_hash_key), record_of("h", hash_key=high.starting_hash_key)
    assert bench.append(lost, taken) == 1
    assert (lost.state, taken.state) == (State.REJECTED, State.QUEUED)


def test_there_is_room_again_when_the_shard_has_taken_some() -> None:
    """The queue's length is what it would take now."""
    bench = Bench(limits_of())
    bench.learn(1)
    offer(bench, *many(150))
    bench.poll(50 * MS)
    assert len(offer(bench, *many(60, "new"))) == 10


def test_records_that_take_a_request_each_fill_a_queue_by_their_requests() -> None:
    """However much the shard takes: two requests go in a round trip of 20 ms, so a hundred milliseconds take ten."""
    bench = Bench(unlimited(in_flight_max=2, admission_wait_ns=WAIT))
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put("warm")
    batch = bench.poll_one()
    bench.now_ns = 20 * MS
    bench.answer(batch)
    ordered = [record_of(key, hash_key=0, sequence_number_for_ordering="1") for key in many(15)]
    for record in ordered:
        bench.append(record)
    assert [record.state for record in ordered].count(State.REJECTED) == 4
    assert offer(bench, "behind them", hash_key=0)
    assert not offer(bench, "elsewhere", hash_key=high.starting_hash_key)
    for batch in bench.poll():
        bench.answer(batch)
    assert not offer(bench, "behind them", hash_key=0)


def test_a_key_whose_records_take_a_request_each_waits_for_as_many_round_trips() -> None:
    """Its order may be as loose as it will: a run holds one of them."""
    bench = Bench(unlimited(ordering=Ordering.RELAXED, delivery_timeout_ns=WAIT * 5 // 4))
    bench.put("warm")
    batch = bench.poll_one()
    bench.now_ns = 20 * MS
    bench.answer(batch)
    bench.learn(1)
    ordered = [record_of("a", sequence_number_for_ordering="1") for _ in range(9)]
    for record in ordered:
        bench.append(record)
    assert [record.state for record in ordered].count(State.REJECTED) == 4
    assert not offer(bench, *["b"] * 9)


def test_a_slower_shard_has_a_shorter_queue() -> None:
    """The present rate counts, not the nominal one."""
    bench = Bench(limits_of())
    bench.learn(1)
    (lane,) = bench.stream.lanes
    lane.limit.records.rate_per_second = 100
    assert len(offer(bench, *many(20))) == 10


def test_a_shard_that_backs_off_counts_its_backoff() -> None:
    """Nothing is sent meanwhile."""
    bench = Bench(limits_of(backoff_base_ns=400 * MS, backoff_max_ns=400 * MS, delivery_timeout_ns=SECOND))
    bench.learn(1)
    bench.put("a", hash_key=0)
    bench.answer(bench.poll_one(10 * MS), failed(THROTTLED))
    assert len(offer(bench, "b")) == 1


def test_unlimited_shards_have_no_queue_to_wait_in() -> None:
    """Only the buffer bounds them."""
    bench = known_bench(limits_of(shard_records_per_second=0, shard_bytes_per_second=0))
    assert offer(bench, *many(5_000)) == []


def test_a_record_larger_than_the_shard_takes_in_time_finds_room_in_an_empty_queue() -> None:
    """What waits before it counts, not what it is itself: no record is too large for ever."""
    bench = Bench(limits_of(shard_burst_ns=50 * MS))
    bench.learn(1)
    assert offer(bench, "huge", size_bytes=MIB) == []
    assert len(offer(bench, "next")) == 1


def test_a_key_waits_a_round_trip_for_each_record_before_its_own() -> None:
    """In strict order, and then its own: five of twenty milliseconds are delivered in four fifths of their life."""
    bench = known_bench(limits_of(shard_records_per_second=0, shard_bytes_per_second=0))
    bench.put("a")
    batch = bench.poll_one()
    bench.now_ns = 20 * MS
    bench.answer(batch)
    assert len(offer(bench, *["hot"] * 8)) == 3
    rejected = record_of("hot")
    bench.append(rejected)
    assert rejected.error_message == (
        "Rate exceeded for the partition key: the proxy's queue for it would take 120 ms at the present rate."
    )


def test_a_busy_key_does_not_keep_a_quiet_one_out() -> None:
    """Who queues much waits long; the others find their turn within a round."""
    bench = Bench(limits_of())
    bench.learn(1)
    offer(bench, *many(99), hash_key=0)
    assert len(offer(bench, *["k1"] * 50, hash_key=0)) >= 48
    assert offer(bench, "quiet", hash_key=0) == []


def test_a_key_that_is_held_back_by_its_own_order_is_told_once() -> None:
    """For the log, with how many wait behind it."""
    bench = known_bench(limits_of(shard_records_per_second=0, shard_bytes_per_second=0))
    bench.put("a")
    batch = bench.poll_one()
    bench.now_ns = 60 * MS
    bench.answer(batch)
    offer(bench, *["hot"] * 4)
    held_back = bench.stream.take_held_back()
    assert held_back is not None
    assert (held_back.record.partition_key, held_back.waiting) == ("hot", 1)
    assert bench.stream.take_held_back() is None


def test_a_key_whose_record_went_late_behind_others_of_its_own_is_told_too() -> None:
    """Although there was room for it."""
    waits = {"admission_wait_ns": 200 * MS, "delivery_timeout_ns": SECOND}
    bench = known_bench(limits_of(shard_records_per_second=0, shard_bytes_per_second=0, **waits))
    bench.put("hot", "hot", "cold")
    batch = bench.poll_one()
    bench.poll(100 * MS + 1)
    assert bench.stream.take_held_back() is None
    bench.answer(batch)
    bench.poll_one()
    held_back = bench.stream.take_held_back()
    assert held_back is not None
    assert held_back.record.partition_key == "hot"


@pytest.mark.parametrize("ordering", [Ordering.CALL, Ordering.RELAXED])
def test_where_runs_travel_together_a_key_waits_for_its_shard_alone(ordering: Ordering) -> None:
    """All that waits counts then, whichever key it is of."""
    bench = Bench(limits_of(ordering=ordering))
    bench.learn(1)
    assert len(offer(bench, *["hot"] * 150)) == 50
    assert len(offer(bench, "other")) == 1


@pytest.mark.parametrize(("ordering", "taken"), [(Ordering.STRICT, 8), (Ordering.CALL, 8), (Ordering.RELAXED, 100)])
def test_a_key_waits_a_round_trip_for_each_request_that_it_takes(ordering: Ordering, taken: int) -> None:
    """In call order that is one a call: taken by the shard's rate alone, they all came too late, and were written."""
    waits = {"admission_wait_ns": SECOND, "delivery_timeout_ns": SECOND}
    bench = known_bench(limits_of(ordering=ordering, shard_records_per_second=0, shard_bytes_per_second=0, **waits))
    bench.put("hot")
    first = bench.poll_one()
    bench.now_ns = 100 * MS
    bench.answer(first)
    assert len(offer(bench, *["hot"] * 100)) == 100 - taken


def test_a_large_key_waits_a_round_trip_for_each_slice_of_it() -> None:
    """In relaxed order, with records of 64 KiB: four in a request, 28 in seven of a tenth of a second, before one."""
    waits = {"admission_wait_ns": SECOND, "delivery_timeout_ns": SECOND}
    limits = limits_of(ordering=Ordering.RELAXED, shard_records_per_second=0, shard_bytes_per_second=0, **waits)
    bench = known_bench(limits)
    bench.put("hot")
    first = bench.poll_one()
    bench.now_ns = 100 * MS
    bench.answer(first)
    assert len(offer(bench, *["hot"] * 100, size_bytes=64 * 1024)) == 71


def test_once_a_record_of_a_key_is_refused_no_later_one_of_its_call_is_taken() -> None:
    """Its caller will send it again, and then it must not come behind the younger one."""
    bench = Bench(limits_of(), buffer=Buffer(1000, 1024 + 100 + 1024))
    big = record_of("a", data="x" * 200)
    small = record_of("a", data="x")
    other = record_of("b", data="x")
    bench.append(record_of("z", data="x"))
    assert bench.append(big, small, other) == 2
    assert [record.state for record in (big, small, other)] == [State.REJECTED, State.REJECTED, State.QUEUED]


def test_without_order_each_record_is_judged_by_itself() -> None:
    """Nothing can be overtaken that has no place."""
    bench = Bench(limits_of(ordering=Ordering.NONE), buffer=Buffer(1000, 1024 + 100 + 1024))
    big, small = record_of("a", data="x" * 200), record_of("a", data="x")
    bench.append(record_of("z", data="x"))
    assert bench.append(big, small) == 1
    assert (big.state, small.state) == (State.REJECTED, State.QUEUED)


def test_no_call_takes_more_than_half_of_the_room_that_others_leave() -> None:
    """So that one call of five hundred does not shut out a hundred calls of one."""
    bench = known_bench(limits_of())
    offer(bench, *many(20, "others"))
    call = [record_of(key, hash_key=0) for key in many(500)]
    assert bench.append(*call) == 460
    assert [record.state for record in call[:40]] == [State.QUEUED] * 40
    assert offer(bench, *many(40, "more")) == []


def test_a_call_that_finds_nobody_waiting_takes_all_the_room() -> None:
    """There is nobody to leave it to."""
    bench = known_bench(limits_of())
    assert bench.append(*[record_of(key, hash_key=0) for key in many(500)]) == 400


def test_a_full_call_of_a_few_keys_is_taken_whole_by_a_quiet_stream() -> None:
    """Keys take turns, and each of its records has its own in time."""
    bench = known_bench(StreamLimits())
    assert bench.append(*[record_of(f"k{number % 50}", hash_key=0) for number in range(500)]) == 0


def test_no_stream_takes_more_than_its_share_of_the_buffer() -> None:
    """One that is stuck does not take the others with it."""
    buffer = Buffer(10, 1024 * MIB)
    stuck, well = (Bench(limits_of(stream_buffer_ratio=0.8), buffer=buffer) for _ in range(2))
    (*_, rejected) = offer(stuck, *many(9))
    assert stuck.stream.open_records == 8
    assert rejected.error_message == "The proxy's buffer of 8 records for one stream is full."
    assert offer(well, "a", "b") == []


def test_no_stream_takes_more_than_its_share_of_the_bytes() -> None:
    """Counted as they are held."""
    bench = Bench(limits_of(stream_buffer_ratio=0.5), buffer=Buffer(100, 4 * 1024))
    rejected = offer(bench, "a", "b", "c")
    assert [record.error_message for record in rejected] == ["The proxy's buffer of 2048 bytes for one stream is full."]


def test_before_the_shards_are_known_only_the_buffer_bounds_the_queue() -> None:
    """The first calls of a stream come before its map; how long they wait is not known yet."""
    bench = Bench(limits_of())
    assert offer(bench, *many(500)) == []
    bench.stream.map_failed(0)
    assert len(offer(bench, "next")) == 1
    bench = Bench(limits_of())
    bench.learn(1)
    assert len(offer(bench, *many(500))) == 400
