"""What comes back, and what it means for the records, their shards and their stream."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.batch import Answer, Written
from proxy.core.ordering import Ordering
from proxy.core.record import State
from tests.unit.core.builders import (
    MS,
    SECOND,
    THROTTLED,
    Bench,
    PutResult,
    failed,
    keys_of,
    shard_id_of,
    shards_of,
    state_of,
    taken,
    unlimited,
)


def test_an_acknowledged_record_has_what_the_service_assigned() -> None:
    """Shard id, sequence number and encryption type."""
    bench = Bench()
    (record,) = bench.put("a")
    bench.stream.completed(bench.poll_one(), Answer([taken(42, shard=3)], "KMS"), bench.now_ns)
    assert record.state is State.ACKNOWLEDGED
    assert (record.shard_id, record.sequence_number, record.encryption_type) == (shard_id_of(3), "42", "KMS")
    assert bench.stream.take_settled() == [record]
    assert bench.stream.take_settled() == []


def test_each_record_of_a_response_has_its_own_outcome() -> None:
    """A request that succeeds in part is no success of all, and no failure of all either."""
    bench = Bench()
    good, throttled, refused = bench.put("a", "b", "c")
    batch = bench.poll_one()
    bench.answer(batch, taken(1), failed(THROTTLED), failed("KMSDisabledException", "the key is disabled"))
    assert (good.state, throttled.state, refused.state) == (State.ACKNOWLEDGED, State.QUEUED, State.REFUSED)
    assert (refused.error_code, refused.error_message) == ("KMSDisabledException", "the key is disabled")
    assert bench.poll_one(SECOND).records == [throttled]
    counters = bench.stream.counters
    assert (counters.acknowledged_records, counters.refused_records, counters.retried_records) == (1, 1, 1)
    assert counters.record_errors == {THROTTLED: 1, "KMSDisabledException": 1}
    assert bench.identity_holds()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_wrong_result_count_is_retried_and_acknowledges_nothing(count: int) -> None:
    """Which result belongs to which record cannot be known."""
    bench = Bench()
    records = bench.put("a", "b")
    bench.stream.completed(bench.poll_one(), Answer([taken(n) for n in range(count)]), bench.now_ns)
    assert [record.state for record in records] == [State.QUEUED] * 2
    assert bench.stream.counters.record_errors == {"WrongResultCount": 2}
    assert bench.stream.counters.unknown_outcomes == 2
    assert bench.poll_one(SECOND).records == records


@pytest.mark.parametrize(
    "result",
    [PutResult(), PutResult(shard_id="s"), PutResult(sequence_number="1"), PutResult("", "", ""), PutResult("s", "")],
)
def test_a_result_that_says_neither_success_nor_error_is_retried(result: PutResult) -> None:
    """Half an acknowledgement is none."""
    bench = Bench()
    (record,) = bench.put("a")
    bench.answer(bench.poll_one(), result)
    assert record.state is State.QUEUED
    assert bench.stream.counters.record_errors == {"MalformedResponse": 1}
    assert bench.poll_one(SECOND).records == [record]


def test_a_result_that_names_a_place_and_an_error_is_the_error() -> None:
    """Every SDK takes an entry with an error code for a failure, whatever else stands in it."""
    bench = Bench()
    throttled, refused = bench.put("a", "b")
    place = (shard_id_of(0), "42")
    bench.answer(bench.poll_one(), PutResult(*place, THROTTLED), PutResult(*place, "KMSDisabledException"))
    assert (throttled.state, refused.state) == (State.QUEUED, State.REFUSED)
    assert bench.stream.counters.record_errors == {THROTTLED: 1, "KMSDisabledException": 1}
    assert bench.poll_one(SECOND).records == [throttled]


def test_an_error_code_without_a_character_is_none() -> None:
    """So some servers write that there was no error."""
    bench = Bench()
    (record,) = bench.put("a")
    bench.answer(bench.poll_one(), PutResult(shard_id_of(0), "42", "", ""))
    assert record.state is State.ACKNOWLEDGED


def test_an_unknown_error_code_of_a_record_does_not_strand_its_queue() -> None:
    """It is retried, counted by name, and what waits behind it goes in its turn."""
    bench = Bench()
    first, second = bench.put("a", "a")
    bench.answer(bench.poll_one(), failed("BrandNewException"))
    assert bench.stream.counters.record_errors == {"BrandNewException": 1}
    retry = bench.poll_one(SECOND)
    assert retry.records == [first]
    bench.answer(retry)
    assert bench.poll_one().records == [second]


def test_an_unknown_error_code_of_a_request_does_not_strand_its_stream() -> None:
    """It is retried until the deadline, then its caller is told of an internal failure."""
    bench = Bench()
    (record,) = bench.put("a")
    while bench.stream.open_records:
        wake_at_ns = bench.stream.next_wake_ns()
        for batch in bench.poll(wake_at_ns):
            bench.fail(batch, "BrandNewException", status=418)
    assert (record.state, record.error_code) == (State.EXPIRED, "InternalFailure")
    assert record.attempts > 3


def test_a_request_that_the_service_refuses_for_its_stream_is_not_split() -> None:
    """Every record of the stream would meet the same: all callers get the service's own error."""
    bench = Bench()
    records = bench.put("a", "b", "c")
    bench.fail(bench.poll_one(), "ResourceNotFoundException", status=400)
    assert [record.state for record in records] == [State.REFUSED] * 3
    assert {record.error_code for record in records} == {"ResourceNotFoundException"}
    assert {record.error_message for record in records} == {"ResourceNotFoundException it is"}
    assert bench.poll(SECOND) == []
    assert bench.identity_holds()


@pytest.mark.parametrize(("code", "status"), [("ValidationException", 400), ("AnyoneKnows", 413)])
def test_refused_batch_is_split_until_the_guilty_record_is_alone(code: str, status: int) -> None:
    """One bad record never fails another caller's."""
    bench = Bench()
    records = bench.put(*(f"k{number}" for number in range(8)))
    guilty = records[5]
    requests = 0
    while bench.stream.open_records:
        for batch in bench.poll(bench.now_ns + MS):
            requests += 1
            if guilty in batch.records:
                bench.fail(batch, code, status=status)
            else:
                bench.answer(batch)
    assert guilty.state is State.REFUSED
    assert guilty.error_code == code
    assert {record.state for record in records if record is not guilty} == {State.ACKNOWLEDGED}
    assert requests == 7
    assert bench.identity_holds()


def test_parts_of_a_split_batch_keep_the_order_of_their_records() -> None:
    """And an odd one out belongs to the first half."""
    bench = Bench()
    records = bench.put("a", "b", "c")
    bench.fail(bench.poll_one(), "ValidationException")
    assert [batch.records for batch in bench.poll()] == [records[:2], records[2:]]


def test_a_lone_refused_record_is_refused_at_once() -> None:
    """There is nobody else to blame."""
    bench = Bench()
    (record,) = bench.put("a")
    bench.fail(bench.poll_one(), "InvalidArgumentException")
    assert record.state is State.REFUSED
    assert bench.stream.in_flight_requests == 0


@pytest.mark.parametrize("ordering", ["strict", "relaxed"])
def test_a_record_is_not_refused_for_a_neighbour_that_expired_while_the_request_was_out(ordering: str) -> None:
    """It is alone then, but was not in the request: it is sent again by itself."""
    bench = Bench(replace(unlimited(delivery_timeout_ns=SECOND), ordering=Ordering(ordering)))
    (guilty,) = bench.put("a")
    first = bench.poll_one()
    bench.now_ns = 10 * MS
    (innocent,) = bench.put("b")
    bench.fail(first, "ConnectFailed")
    batch = bench.poll_one(500 * MS)
    assert keys_of(batch) == ["a", "b"]
    bench.poll(SECOND)
    assert guilty.state is State.EXPIRED
    bench.fail(batch, "ValidationException")
    assert state_of(innocent) is State.IN_FLIGHT
    bench.answer(bench.poll_one(), taken())
    assert state_of(innocent) is State.ACKNOWLEDGED
    assert bench.poll() == []
    assert bench.identity_holds()


def test_a_part_of_a_split_batch_that_meets_trouble_is_retried_as_usual() -> None:
    """Its records go back to the front of their keys."""
    bench = Bench()
    records = bench.put("a", "b")
    bench.fail(bench.poll_one(), "ValidationException")
    first, second = bench.poll()
    bench.fail(first, "RequestTimeout", written=Written.UNKNOWN)
    bench.answer(second)
    assert [record.state for record in records] == [State.QUEUED, State.ACKNOWLEDGED]
    assert bench.poll_one(SECOND).records == [records[0]]


def test_outcomes_that_nobody_knows_are_counted() -> None:
    """After a timeout a retry may write a record twice; after a refused connection it cannot."""
    bench = Bench()
    bench.put("a", "b")
    bench.fail(bench.poll_one(), "ConnectFailed", written=Written.NOT_SENT)
    assert bench.stream.counters.unknown_outcomes == 0
    bench.fail(bench.poll_one(SECOND), "RequestTimeout", written=Written.UNKNOWN)
    assert bench.stream.counters.unknown_outcomes == 2
    assert bench.stream.counters.record_errors == {"ConnectFailed": 2, "RequestTimeout": 2}


def test_a_failed_request_shuts_the_stream_for_a_backoff() -> None:
    """Half of 50 ms by these dice; there is no retry loop without a wait."""
    bench = Bench()
    bench.put("a")
    bench.fail(bench.poll_one(), "ServiceUnavailable")
    assert bench.poll() == []
    assert bench.stream.next_wake_ns() == 25 * MS
    assert bench.poll(25 * MS - 1) == []
    assert keys_of(bench.poll_one(25 * MS)) == ["a"]


def test_after_a_failure_one_request_tries_before_the_others_follow() -> None:
    """It finds out whether the trouble is over."""
    bench = Bench(unlimited(batch_records_max=1))
    bench.put("a", "b", "c")
    for batch in bench.poll():
        bench.fail(batch, "ConnectFailed")
    trial = bench.poll_one(SECOND)
    assert bench.poll(SECOND + 100 * MS) == []
    bench.answer(trial)
    assert len(bench.poll()) == 2


def test_requests_that_fail_together_are_one_failure() -> None:
    """Eight connections that break at once do not double the wait seven times."""
    bench = Bench(unlimited(batch_records_max=1))
    bench.put(*(f"k{number}" for number in range(8)))
    batches = bench.poll()
    assert len(batches) == 8
    bench.now_ns = 10 * MS
    for batch in batches:
        bench.fail(batch, "ConnectionReset", written=Written.UNKNOWN)
    bench.poll()
    assert bench.stream.next_wake_ns() == 35 * MS


def test_a_throttled_shard_backs_off_alone() -> None:
    """Its lane waits, the stream's gate stays open."""
    bench = Bench(unlimited(linger_ns=5 * MS))
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put("low", hash_key=0)
    bench.answer(bench.poll_one(), failed(THROTTLED))
    bench.put("low2", hash_key=1)
    bench.put("high", hash_key=high.starting_hash_key)
    assert keys_of(bench.poll_one()) == ["high"]
    assert keys_of(bench.poll_one(25 * MS)) == ["low", "low2"]


def test_throttled_records_are_counted_at_their_shard() -> None:
    """To find the hot one."""
    bench = Bench()
    bench.learn(2)
    bench.put("a", "b", hash_key=0)
    bench.answer(bench.poll_one(), failed(THROTTLED), failed("InternalFailure"))
    assert [lane.throttled_records for lane in bench.stream.lanes] == [1, 0]


@pytest.mark.parametrize(
    ("throttled", "backs_off"),
    [("...x", False), ("x...", False), ("..xx", False), (".xxx", True), ("xx.x", False), ("xxxx", True), ("xx", True)],
)
def test_a_shard_that_took_one_of_the_last_records_is_not_at_its_limit(throttled: str, *, backs_off: bool) -> None:
    """A shard at its limit refuses all that comes after: then its lane backs off, and only then."""
    bench = Bench()
    bench.learn(1)
    (lane,) = bench.stream.lanes
    bench.put(*[f"k{number}" for number in range(len(throttled))])
    bench.answer(bench.poll_one(), *[failed(THROTTLED) if mark == "x" else taken(1) for mark in throttled])
    assert (lane.troubles == 1) is backs_off
    assert lane.throttled_records == throttled.count("x")


def test_a_shard_without_trouble_starts_over_with_the_shortest_backoff() -> None:
    """All of its last records throttled is trouble; none is none."""
    bench = Bench()
    bench.learn(1)
    (lane,) = bench.stream.lanes
    bench.put("a")
    bench.answer(bench.poll_one(), failed(THROTTLED))
    bench.answer(bench.poll_one(SECOND), failed(THROTTLED))
    assert lane.troubles == 2
    bench.answer(bench.poll_one(2 * SECOND))
    assert lane.troubles == 0


def test_a_lone_record_that_failed_with_its_request_slows_its_shard_alone() -> None:
    """PutRecord answers a throttled shard with a failed request."""
    bench = Bench()
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put("low", hash_key=0, sequence_number_for_ordering="1")
    bench.fail(bench.poll_one(), THROTTLED, status=400)
    bench.put("high", hash_key=high.starting_hash_key)
    assert keys_of(bench.poll_one()) == ["high"]
    assert [lane.throttled_records for lane in bench.stream.lanes] == [1, 0]


def test_a_request_of_many_that_failed_as_throttled_slows_the_stream() -> None:
    """No shard of it can be told."""
    bench = Bench()
    bench.put("a", "b")
    bench.fail(bench.poll_one(), "LimitExceededException", status=400)
    bench.put("c")
    assert bench.poll() == []
    assert keys_of(bench.poll_one(25 * MS)) == ["a", "b", "c"]


def test_a_retry_that_succeeds_leaves_no_trace_of_its_error() -> None:
    """The caller sees a success and nothing else."""
    bench = Bench()
    (record,) = bench.put("a")
    bench.answer(bench.poll_one(), failed(THROTTLED, "Rate exceeded"))
    bench.answer(bench.poll_one(SECOND))
    assert record.state is State.ACKNOWLEDGED
    assert (record.error_code, record.error_message, record.attempts) == (None, None, 2)


def test_a_probe_that_expired_in_flight_and_comes_back_throttled_does_not_hold_its_lane_up() -> None:
    """Nothing is sent again, but the next probe may go as soon as the new backoff is over."""
    bench = Bench(unlimited(shard_records_per_second=1000, delivery_timeout_ns=100 * MS))
    bench.learn(1)
    bench.put("a")
    bench.answer(bench.poll_one(10 * MS), failed(THROTTLED))
    probe = bench.poll_one(36 * MS)
    bench.now_ns = 90 * MS
    (waiting,) = bench.put("b")
    bench.poll()
    bench.poll(110 * MS)
    bench.answer(probe, failed(THROTTLED))
    assert bench.poll() == []
    wake_at_ns = bench.stream.next_wake_ns()
    assert wake_at_ns == 136 * MS
    assert bench.poll_one(wake_at_ns).records == [waiting]
