"""The order of one partition key, whatever happens to its records on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.record import State
from tests.unit.core.builders import MS, SECOND, THROTTLED, Bench, failed, keys_of, record_of, taken, unlimited

if TYPE_CHECKING:
    from proxy.core.record import Record


def deliver_all(bench: Bench) -> list[Record]:
    """Poll once a millisecond and answer at once until nothing is open; return the records in the order they went."""
    gone: list[Record] = []
    while bench.stream.open_records:
        for batch in bench.poll(bench.now_ns + MS):
            gone.extend(batch.records)
            bench.answer(batch)
    return gone


def test_a_key_has_at_most_one_record_in_flight() -> None:
    """PutRecords does not stop at a failed record: a second one of its key could land before the first."""
    bench = Bench()
    bench.put("a", "a", "b", "a")
    batch = bench.poll_one()
    assert keys_of(batch) == ["a", "b"]
    bench.put("a", "c")
    assert bench.poll() == []
    assert keys_of(bench.poll_one(5 * MS)) == ["c"]
    assert bench.poll(100 * MS) == []
    bench.answer(batch)
    assert keys_of(bench.poll_one()) == ["a"]


def test_records_of_a_key_go_in_the_order_in_which_they_came() -> None:
    """Over calls and within one."""
    bench = Bench()
    records = bench.put("a", "a", "b", "a")
    records += bench.put("b", "a")
    gone = deliver_all(bench)
    for key in ("a", "b"):
        assert [record for record in gone if record.partition_key == key] == [
            record for record in records if record.partition_key == key
        ]


def test_throttled_record_returns_to_the_front_of_its_key() -> None:
    """What came later waits behind it."""
    bench = Bench()
    first, second, third = bench.put("a", "a", "a")
    batch = bench.poll_one()
    bench.answer(batch, failed(THROTTLED))
    assert first.state is State.QUEUED
    retry = bench.poll_one(SECOND)
    assert retry.records == [first]
    bench.answer(retry, taken(1))
    assert bench.poll_one().records == [second]
    assert third.state is State.QUEUED


def test_records_of_a_failed_request_return_to_the_front_of_their_keys() -> None:
    """All of them, and in front of keys that came later."""
    bench = Bench()
    a, _, b = bench.put("a", "a", "b")
    bench.fail(bench.poll_one(), "RequestTimeout")
    (c,) = bench.put("c")
    assert bench.poll_one(SECOND).records == [a, b, c]


def test_records_that_come_while_one_of_their_key_is_retried_stay_behind_it() -> None:
    """An unmuted key is no empty one."""
    bench = Bench()
    (first,) = bench.put("a")
    bench.answer(bench.poll_one(), failed(THROTTLED))
    (second,) = bench.put("a")
    retry = bench.poll_one(SECOND)
    assert retry.records == [first]
    bench.answer(retry)
    assert bench.poll_one().records == [second]


def test_an_explicit_hash_key_does_not_let_a_record_overtake_its_key() -> None:
    """Order is promised for the partition key, whatever shards its records go to."""
    bench = Bench()
    bench.learn(2)
    (low,) = bench.put("a", hash_key=0)
    batch = bench.poll_one()
    (high,) = bench.put("a", hash_key=HASH_KEY_MAX)
    assert bench.poll(100 * MS) == []
    bench.answer(batch, failed(THROTTLED))
    retry = bench.poll_one(SECOND)
    assert retry.records == [low]
    bench.answer(retry, taken(1, shard=0))
    assert bench.poll_one().records == [high]


def test_a_refused_record_frees_its_key() -> None:
    """The next one may be innocent."""
    bench = Bench()
    refused, second = bench.put("a", "a")
    bench.fail(bench.poll_one(), "ValidationException")
    assert refused.state is State.REFUSED
    assert bench.poll_one().records == [second]


def test_keys_of_a_split_batch_stay_muted_until_their_outcome() -> None:
    """A part of a refused batch is still in flight for all that concerns its keys."""
    bench = Bench()
    records = bench.put("a", "b")
    bench.fail(bench.poll_one(), "ValidationException")
    bench.put("a", "b")
    halves = bench.poll(SECOND)
    assert [half.records for half in halves] == [[records[0]], [records[1]]]
    for half in halves:
        bench.answer(half)
    assert keys_of(bench.poll_one(2 * SECOND)) == ["a", "b"]


def test_a_record_with_sequence_number_for_ordering_travels_alone_in_its_turn() -> None:
    """PutRecords has no such member: it goes by PutRecord, before what came after it and after what came before."""
    bench = Bench()
    first, ordered, third = (
        record_of("a"),
        record_of("a", sequence_number_for_ordering="42"),
        record_of("a"),
    )
    assert bench.append(first, ordered, third) == 0
    kinds = []
    for expected in (first, ordered, third):
        batch = bench.poll_one(bench.now_ns + SECOND // 4)
        assert batch.records == [expected]
        kinds.append(batch.ordered)
        bench.answer(batch)
    assert kinds == [False, True, False]


def test_a_retried_ordered_record_still_travels_by_put_record() -> None:
    """Its kind is its own, not its batch's."""
    bench = Bench()
    assert bench.append(record_of("a", sequence_number_for_ordering="42")) == 0
    bench.fail(bench.poll_one(), THROTTLED)
    retry = bench.poll_one(SECOND)
    assert retry.ordered


def test_keys_share_a_lane_first_come_first_served() -> None:
    """A key that always has something to send goes behind those that waited for their turn."""
    bench = Bench(unlimited(batch_records_max=2, in_flight_max=1))
    bench.put("a", "a", "b", "c")
    batch = bench.poll_one()
    assert keys_of(batch) == ["a", "b"]
    bench.answer(batch)
    assert keys_of(bench.poll_one()) == ["c", "a"]


@pytest.mark.parametrize(
    ("sequence_numbers", "regressions"), [((9, 10, 11), 0), ((10, 10), 1), ((10, 9), 1), ((10, 7, 8, 7), 2)]
)
def test_a_sequence_number_that_does_not_increase_within_a_key_is_counted(
    sequence_numbers: tuple[int, ...], regressions: int
) -> None:
    """As integers: ten comes after nine, whatever their texts say."""
    bench = Bench()
    bench.put(*("a" for _ in sequence_numbers))
    for sequence_number in sequence_numbers:
        bench.answer(bench.poll_one(), taken(sequence_number))
    assert bench.stream.counters.sequence_regressions == regressions


def test_sequence_numbers_of_different_keys_are_not_compared() -> None:
    """Within one response the order of the shards decides."""
    bench = Bench()
    bench.put("a", "b")
    bench.answer(bench.poll_one(), taken(20), taken(10))
    assert bench.stream.counters.sequence_regressions == 0


def test_sequence_numbers_of_different_shards_are_not_compared() -> None:
    """An explicit hash key, or a resharding, takes a key to another shard, which counts by itself."""
    bench = Bench()
    bench.put("a", "a", "a")
    for sequence_number, shard in ((20, 0), (10, 1), (5, 1)):
        bench.answer(bench.poll_one(), taken(sequence_number, shard=shard))
    assert bench.stream.counters.sequence_regressions == 1


def test_only_a_key_with_a_backlog_is_watched() -> None:
    """A key without an open record is forgotten, and the last sequence number with it."""
    bench = Bench()
    for sequence_number in (9, 7):
        bench.put("a")
        bench.answer(bench.poll_one(), taken(sequence_number))
    assert bench.stream.counters.sequence_regressions == 0
