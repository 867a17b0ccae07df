"""What may travel together in each ordering, and what is an inversion."""

from __future__ import annotations

import pytest

from proxy.core.limits import KIB
from proxy.core.ordering import Ordering
from proxy.core.record import State
from proxy.core.shard_map import StreamSummary
from tests.unit.core.builders import MS, SECOND, Bench, failed, keys_of, record_of, shards_of, taken, unlimited

AUTO = StreamSummary("arn", 4, auto_distribution=True)
RUNS = [Ordering.CALL, Ordering.RELAXED]


def bench_of(ordering: Ordering, **limits: int) -> Bench:
    """Return a stream of that ordering."""
    return Bench(unlimited(ordering=ordering, **limits))


def test_in_strict_order_a_key_has_one_record_in_flight() -> None:
    """Also of one call."""
    bench = bench_of(Ordering.STRICT)
    bench.put("a", "a", "b")
    assert keys_of(bench.poll_one()) == ["a", "b"]


@pytest.mark.parametrize("ordering", RUNS)
def test_records_of_one_key_and_call_travel_together_in_their_order(ordering: Ordering) -> None:
    """As the caller wrote them."""
    bench = bench_of(ordering)
    first, second, other, third = bench.put("a", "a", "b", "a")
    assert bench.poll_one().records == [first, second, third, other]


def test_records_of_two_calls_travel_together_only_in_relaxed_order() -> None:
    """In call order the second call waits for the outcome of the first."""
    for ordering, expected in ((Ordering.CALL, 2), (Ordering.RELAXED, 3)):
        bench = bench_of(ordering)
        bench.put("a", "a")
        bench.put("a")
        batch = bench.poll_one()
        assert len(batch.records) == expected
        assert bench.poll(SECOND) == []
        bench.answer(batch)
        assert [len(batch.records) for batch in bench.poll()] == ([] if expected == 3 else [1])


@pytest.mark.parametrize("ordering", RUNS)
def test_a_key_has_one_request_in_flight(ordering: Ordering) -> None:
    """What has come meanwhile waits for all of its outcomes."""
    bench = bench_of(ordering)
    bench.put("a", "a")
    batch = bench.poll_one()
    (late,) = bench.put("a")
    assert bench.poll(SECOND) == []
    bench.answer(batch)
    assert bench.poll_one().records == [late]


@pytest.mark.parametrize("ordering", RUNS)
def test_what_fails_of_a_run_goes_before_everything_younger(ordering: Ordering) -> None:
    """In the order that it had; and what has passed it is counted as an inversion."""
    bench = bench_of(ordering, backoff_base_ns=1, backoff_max_ns=1)
    first, second, third, fourth = bench.put("a", "a", "a", "a")
    batch = bench.poll_one()
    (late,) = bench.put("a")
    bench.answer(batch, failed(), taken(1), failed(), failed())
    assert bench.stream.counters.order_inversions == 1
    again = bench.poll_one(MS)
    assert again.records[:3] == [first, third, fourth]
    assert again.records[3:] == ([] if ordering is Ordering.CALL else [late])
    assert second.state is State.ACKNOWLEDGED


@pytest.mark.parametrize("ordering", RUNS)
def test_a_failure_at_the_end_of_a_run_is_no_inversion(ordering: Ordering) -> None:
    """Nor is one of another key, nor a record that is refused for good."""
    bench = bench_of(ordering)
    bench.put("a", "a", "a", "b", "b")
    bench.answer(bench.poll_one(), taken(1), failed("KMSDisabledException"), taken(2), taken(3), failed())
    assert bench.stream.counters.order_inversions == 0


@pytest.mark.parametrize("ordering", RUNS)
def test_a_run_stays_within_the_bounds_of_a_batch_and_of_a_shard(ordering: Ordering) -> None:
    """Records, bytes, slice and tokens are counted for each record."""
    bench = bench_of(ordering, batch_records_max=3)
    bench.put(*["a"] * 5)
    assert len(bench.poll_one().records) == 3
    bench = bench_of(ordering, batch_bytes_max=100)
    bench.put(*["a"] * 5, size_bytes=30)
    assert len(bench.poll_one().records) == 3
    bench = bench_of(ordering, shard_slice_bytes_max=60)
    bench.put(*["a"] * 5, size_bytes=30)
    assert len(bench.poll_one().records) == 2
    bench = bench_of(ordering, shard_records_per_second=1000)
    bench.put(*["a"] * 9)
    assert bench.poll() == []
    assert len(bench.poll_one(4 * MS).records) == 4


@pytest.mark.parametrize("ordering", RUNS)
def test_a_run_ends_where_its_key_goes_to_another_shard_or_asks_for_a_place(ordering: Ordering) -> None:
    """An explicit hash key can send the next record elsewhere; PutRecords has no place for an ordered one."""
    low, high = shards_of(2)
    bench = bench_of(ordering)
    bench.learn([low, high])
    records = [record_of("a", hash_key=low.starting_hash_key), record_of("a", hash_key=high.starting_hash_key)]
    bench.append(*records)
    assert bench.poll_one().records == records[:1]
    bench = bench_of(ordering)
    records = [record_of("a"), record_of("a", sequence_number_for_ordering="7")]
    bench.append(*records)
    assert bench.poll_one().records == records[:1]


@pytest.mark.parametrize("ordering", RUNS)
def test_a_run_that_is_refused_is_taken_apart_in_its_order(ordering: Ordering) -> None:
    """The second half never goes before the first has its outcome."""
    bench = bench_of(ordering)
    records = bench.put("a", "a", "a", "a")
    bench.fail(bench.poll_one(), "ValidationException")
    half = bench.poll_one()
    assert half.records == records[:2]
    assert bench.poll(SECOND) == []
    bench.fail(half, "ValidationException")
    guilty = bench.poll_one()
    bench.fail(guilty, "ValidationException")
    assert [record.state for record in records] == [State.REFUSED, *[State.QUEUED] * 3]
    rest = bench.poll_one()
    assert rest.records == records[1:]
    bench.answer(rest)
    assert bench.stream.counters.order_inversions == 0
    assert bench.identity_holds()


def test_without_order_every_record_goes_as_soon_as_it_may() -> None:
    """A record that fails holds nothing of its key back."""
    bench = bench_of(Ordering.NONE, backoff_base_ns=1, backoff_max_ns=1)
    bench.put("a", "a", "a")
    batch = bench.poll_one()
    assert len(batch.records) == 3
    bench.put("a")
    assert bench.poll() == []
    assert len(bench.poll_one(10 * MS).records) == 1
    bench.answer(batch, failed(), taken(1), taken(2))
    assert bench.poll() == []
    assert len(bench.poll_one(20 * MS).records) == 1
    assert bench.stream.counters.order_inversions == 0


def test_a_stream_that_ignores_keys_keeps_no_order_of_them() -> None:
    """The service would not keep it either; what came before that was known keeps its own."""
    bench = bench_of(Ordering.STRICT)
    bench.put("a", "a")
    bench.stream.learn_summary(AUTO, 0)
    bench.learn(4)
    bench.put("a", "a")
    assert keys_of(bench.poll_one()) == ["a"] * 3


def test_a_withdrawn_record_is_never_sent() -> None:
    """Its key goes on with what came after it."""
    bench = bench_of(Ordering.STRICT)
    first, second, third = bench.put("a", "a", "a")
    bench.stream.withdraw([second])
    assert bench.stream.take_settled() == [second]
    batch = bench.poll_one()
    bench.answer(batch)
    assert (batch.records, bench.poll_one().records) == ([first], [third])
    assert second.state is State.WITHDRAWN
    assert bench.identity_holds()


def test_a_key_of_which_everything_is_withdrawn_is_forgotten() -> None:
    """And its lane has nothing to send."""
    bench = bench_of(Ordering.STRICT)
    bench.stream.withdraw(bench.put("a", "b"))
    assert bench.poll() == []
    assert bench.stream.key_count == 0
    assert bench.buffer.records == 0


def test_what_is_in_flight_cannot_be_withdrawn() -> None:
    """It may be written already; only what waits behind it is taken out."""
    bench = bench_of(Ordering.STRICT)
    flying, waiting = bench.put("a", "a")
    batch = bench.poll_one()
    bench.stream.withdraw([flying, waiting])
    assert (flying.state, waiting.state) == (State.IN_FLIGHT, State.WITHDRAWN)
    bench.answer(batch)
    assert bench.stream.take_settled() == [waiting, flying]
    assert bench.stream.key_count == 0
    assert bench.identity_holds()


def test_a_withdrawn_head_sends_its_key_to_the_shard_of_the_next_record() -> None:
    """An explicit hash key can lie anywhere."""
    low, high = shards_of(2)
    bench = bench_of(Ordering.STRICT)
    bench.learn([low, high])
    head, following = record_of("a", hash_key=0), record_of("a", hash_key=high.starting_hash_key)
    bench.append(head, following)
    bench.stream.withdraw([head])
    (batch,) = bench.poll()
    assert batch.records == [following]
    assert [len(lane.ready) for lane in bench.stream.lanes] == [0, 0]


@pytest.mark.parametrize("ordering", list(Ordering))
def test_room_that_was_withdrawn_is_room_again(ordering: Ordering) -> None:
    """In the queue of the shard as in the buffer."""
    bench = Bench(unlimited(ordering=ordering, shard_records_per_second=1000, admission_wait_ns=10 * MS))
    bench.learn(1)
    records = [record_of(f"k{number}") for number in range(20)]
    for record in records:
        bench.append(record)
    queued = [record for record in records if record.state is State.QUEUED]
    assert len(queued) == 10
    bench.stream.withdraw(queued[:4])
    assert [bench.append(record_of(f"n{number}")) for number in range(5)] == [0, 0, 0, 0, 1]


def test_a_stream_that_ignores_keys_puts_a_slice_of_each_shard_into_a_request() -> None:
    """All its shards are one lane: by a single slice, of 256 KiB, thirty of them would be as slow as one."""
    bench = Bench(unlimited())
    bench.learn(4)
    bench.stream.learn_summary(AUTO, 0)
    for number in range(20):
        bench.put(f"key-{number}", size_bytes=64 * KIB)
    assert len(bench.poll_one().records) == 16
