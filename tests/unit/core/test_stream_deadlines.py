"""What becomes of records that find no room or whose time is over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from proxy.core.buffer import Buffer
from proxy.core.record import RECORD_OVERHEAD_BYTES, State
from tests.unit.core.builders import (
    MS,
    SECOND,
    THROTTLED,
    Bench,
    failed,
    record_of,
    shards_of,
    state_of,
    taken,
    unlimited,
)

if TYPE_CHECKING:
    from proxy.core.batch import Batch

TIMEOUT = 2500 * MS


def throttled_bench() -> Bench:
    """Return a stream that takes its first record after a second and gives up on it after half of one."""
    return Bench(unlimited(shard_burst_ns=SECOND, shard_records_per_second=1, delivery_timeout_ns=SECOND // 2))


def test_a_waiting_record_expires_at_its_deadline() -> None:
    """Not a nanosecond before, and the stream asks to be polled then."""
    bench = throttled_bench()
    (record,) = bench.put("a")
    bench.poll()
    assert bench.stream.next_wake_ns() == 500 * MS
    bench.poll(500 * MS - 1)
    assert state_of(record) is State.QUEUED
    bench.poll(500 * MS)
    assert state_of(record) is State.EXPIRED
    assert bench.stream.take_settled() == [record]
    assert bench.identity_holds()


def test_a_record_whose_answer_would_come_too_late_is_not_sent() -> None:
    """Its caller would be told that it failed, and send it again, although it was written."""
    bench = Bench(unlimited(delivery_timeout_ns=SECOND))
    bench.put("hot", "hot", "hot")
    first = bench.poll_one()
    bench.now_ns = 80 * MS
    bench.answer(first)
    second = bench.poll_one()
    bench.now_ns = 900 * MS - 1
    (young,) = bench.put("young")
    bench.poll()
    bench.answer(second)
    assert all(record.state is State.ACKNOWLEDGED for record in bench.stream.take_settled())
    bench.now_ns = SECOND - bench.stream._gate.answer_ns
    bench.poll()
    (late,) = [record for record in bench.stream.take_settled() if record.state is State.EXPIRED]
    assert (late.partition_key, late.attempts, late.error_code) == ("hot", 0, THROTTLED)
    assert young.attempts == 1
    assert bench.identity_holds()


def test_a_stream_whose_queue_is_as_old_as_its_records_may_be_still_delivers() -> None:
    """It used to send each record just before its deadline, and so none in time, for ever."""
    bench = Bench(unlimited(shard_records_per_second=100, delivery_timeout_ns=500 * MS, admission_wait_ns=500 * MS))
    bench.learn(1)
    flying: list[tuple[int, Batch]] = []
    acknowledged: Counter[int] = Counter()
    for now_ns in range(0, 10 * SECOND, 5 * MS):
        bench.now_ns = now_ns
        while flying and flying[0][0] <= now_ns:
            bench.answer(flying.pop(0)[1])
        bench.append(record_of(f"key-{now_ns}", received_at_ns=now_ns))
        flying += [(now_ns + 20 * MS, batch) for batch in bench.poll()]
        acknowledged[now_ns // SECOND] += sum(r.state is State.ACKNOWLEDGED for r in bench.stream.take_settled())
    assert min(acknowledged[second] for second in range(2, 10)) >= 95
    assert bench.stream.counters.late_acknowledgements == 0


def test_a_part_of_a_refused_request_that_was_not_sent_again_expires_as_what_held_it_up() -> None:
    """The service has refused it: nothing of it may have been written."""
    bench = Bench(unlimited(in_flight_max=1, delivery_timeout_ns=SECOND))
    records = bench.put("a", "b", "c", "d")
    bench.fail(bench.poll_one(), "ValidationException")
    half = bench.poll_one()
    bench.poll(SECOND)
    texts = {record.partition_key: record.error_message for record in records}
    assert texts["a"] == texts["b"] == "No answer came within 1000 ms; the record may have been written."
    assert texts["c"] == texts["d"] == "Rate exceeded for stream orders: no turn within 1000 ms."
    bench.answer(half)
    assert bench.identity_holds()


def test_a_record_that_never_had_a_turn_expires_as_throttled() -> None:
    """The error says for how long it waited, and every SDK retries it."""
    bench = throttled_bench()
    (record,) = bench.put("a")
    bench.poll(500 * MS)
    assert record.error_code == THROTTLED
    assert record.error_message == "Rate exceeded for stream orders: no turn within 500 ms."


def test_a_record_expires_as_what_held_it_up_last() -> None:
    """With the service's own words."""
    bench = Bench(unlimited(backoff_base_ns=10 * SECOND, backoff_max_ns=10 * SECOND))
    throttled, ill = bench.put("a", "b")
    bench.answer(
        bench.poll_one(),
        failed(THROTTLED, "Rate exceeded for shard shardId-000000000000"),
        failed("InternalFailure", "Internal Service Failure"),
    )
    bench.poll(TIMEOUT)
    assert (throttled.error_code, throttled.error_message) == (
        THROTTLED,
        "Rate exceeded for shard shardId-000000000000",
    )
    assert (ill.error_code, ill.error_message) == ("InternalFailure", "Internal Service Failure")


def test_a_record_that_could_never_be_sent_expires_as_an_internal_failure() -> None:
    """A refused connection is no fault of the shard."""
    bench = Bench(unlimited(backoff_base_ns=10 * SECOND, backoff_max_ns=10 * SECOND))
    (record,) = bench.put("a")
    bench.fail(bench.poll_one(), "ConnectFailed")
    bench.poll(TIMEOUT)
    assert (record.state, record.error_code) == (State.EXPIRED, "InternalFailure")


def test_a_record_held_back_by_a_failing_stream_expires_as_an_internal_failure() -> None:
    """It had no turn because nothing could be sent, not because of a rate."""
    bench = Bench(unlimited(backoff_base_ns=10 * SECOND, backoff_max_ns=10 * SECOND))
    bench.put("a")
    bench.fail(bench.poll_one(), "ConnectFailed")
    (record,) = bench.put("b")
    bench.poll(TIMEOUT)
    assert (record.state, record.error_code) == (State.EXPIRED, "InternalFailure")


def test_a_stream_that_failed_and_is_well_again_is_no_cause() -> None:
    """A record held back by its shard's rate since then is told of the rate."""
    limits = unlimited(
        shard_records_per_second=1,
        shard_burst_ns=SECOND,
        backoff_base_ns=MS,
        backoff_max_ns=MS,
        delivery_timeout_ns=3 * SECOND,
    )
    bench = Bench(limits)
    bench.put("a")
    bench.poll()
    bench.fail(bench.poll_one(SECOND), "ConnectFailed")
    _, *late = bench.put("b", "c", "d", "e")
    bench.answer(bench.poll_one(2 * SECOND))
    bench.answer(bench.poll_one(3 * SECOND))
    bench.poll(4 * SECOND)
    assert [(record.state, record.error_code) for record in late[1:]] == [(State.EXPIRED, THROTTLED)] * 2
    assert {record.error_message for record in late[1:]} == {"Rate exceeded for stream orders: no turn within 3000 ms."}


def test_a_record_is_not_told_of_the_trouble_of_another_shard() -> None:
    """A lone record that failed with its request says nothing about the others of the stream."""
    bench = Bench(unlimited(backoff_base_ns=10 * SECOND, backoff_max_ns=10 * SECOND, in_flight_max=2))
    low, high = shards_of(2)
    bench.learn([low, high])
    bench.put("low", hash_key=0)
    bench.fail(bench.poll_one(), "InternalFailure", status=500)
    bench.put("high", hash_key=high.starting_hash_key)
    bench.poll_one()
    (waiting,) = bench.put("high", hash_key=high.starting_hash_key)
    bench.poll(TIMEOUT)
    assert (waiting.state, waiting.error_code) == (State.EXPIRED, THROTTLED)


def test_expired_head_is_answered_before_a_newer_record_of_its_key_goes() -> None:
    """Its caller learns of it before the newer one can land."""
    bench = Bench(unlimited(backoff_base_ns=4 * SECOND, backoff_max_ns=4 * SECOND))
    (old,) = bench.put("a")
    bench.answer(bench.poll_one(), failed(THROTTLED))
    bench.now_ns = 2 * SECOND
    (new,) = bench.put("a")
    batch = bench.poll_one(TIMEOUT)
    assert batch.records == [new]
    assert bench.stream.take_settled() == [old]
    assert old.state is State.EXPIRED


def test_a_record_in_flight_expires_at_its_deadline_like_any_other() -> None:
    """Its caller has waited long enough, and is told that it may have been written."""
    bench = Bench()
    (record,) = bench.put("a")
    bench.poll_one()
    bench.poll(SECOND)
    assert bench.stream.next_wake_ns() == TIMEOUT
    bench.poll(TIMEOUT - 1)
    assert state_of(record) is State.IN_FLIGHT
    bench.poll(TIMEOUT)
    assert (state_of(record), record.error_code, record.error_message) == (
        State.EXPIRED,
        "InternalFailure",
        "No answer came within 2500 ms; the record may have been written.",
    )
    assert bench.stream.take_settled() == [record]


def test_nothing_of_a_key_goes_while_the_request_of_its_expired_record_is_out() -> None:
    """The old record may still be written: what is younger must not pass it."""
    bench = Bench()
    (old,) = bench.put("a")
    batch = bench.poll_one()
    bench.poll(TIMEOUT)
    (new,) = bench.put("a")
    assert bench.poll(TIMEOUT + SECOND) == []
    bench.answer(batch)
    assert bench.poll_one().records == [new]
    assert (old.state, old.sequence_number) == (State.EXPIRED, None)


@pytest.mark.parametrize("code", ["InternalFailure", "ConnectionReset", "ValidationException", "AccessDeniedException"])
def test_an_expired_record_is_not_sent_again_whatever_its_request_brings(code: str) -> None:
    """And its caller's answer stays what it was."""
    bench = Bench()
    (record,) = bench.put("a")
    batch = bench.poll_one()
    bench.poll(TIMEOUT)
    message = record.error_message
    bench.fail(batch, code)
    assert (state_of(record), record.error_code, record.error_message) == (State.EXPIRED, "InternalFailure", message)
    assert bench.poll(10 * SECOND) == []
    assert bench.stream.key_count == 0
    assert bench.identity_holds()


def test_an_expired_record_that_turns_out_to_be_written_is_counted() -> None:
    """Its caller may send it again, and then it is there twice."""
    bench = Bench()
    bench.put("a", "b")
    batch = bench.poll_one()
    bench.poll(TIMEOUT)
    bench.answer(batch, taken(1), failed())
    assert bench.stream.counters.late_acknowledgements == 1
    assert bench.stream.counters.acknowledged_records == 0
    assert bench.identity_holds()


def test_a_record_that_comes_back_overdue_expires_with_the_cause_that_its_response_gave() -> None:
    """It was not polled in between."""
    bench = Bench()
    (record,) = bench.put("a")
    batch = bench.poll_one()
    bench.now_ns = TIMEOUT
    bench.answer(batch, failed("InternalFailure", "Internal Service Failure"))
    assert bench.poll() == []
    assert (record.state, record.error_code, record.error_message) == (
        State.EXPIRED,
        "InternalFailure",
        "Internal Service Failure",
    )


def test_a_request_may_take_as_long_as_anybody_waits_for_one_of_its_records() -> None:
    """And the grace that an answer is given."""
    bench = Bench(unlimited(response_grace_ns=100 * MS))
    bench.put("a")
    bench.now_ns = 1000 * MS
    bench.put("b")
    batch = bench.poll_one(1500 * MS)
    assert batch.timeout_ns == 1000 * MS + TIMEOUT - 1500 * MS + 100 * MS


def test_a_newer_record_may_expire_while_an_older_one_of_its_key_is_in_flight() -> None:
    """It was never sent, so nothing is out of order."""
    bench = Bench()
    first, second = bench.put("a", "a")
    batch = bench.poll_one()
    bench.poll(TIMEOUT)
    assert (first.state, second.state) == (State.EXPIRED, State.EXPIRED)
    bench.answer(batch)
    assert bench.identity_holds()
    assert bench.stream.key_count == 0


def test_overdue_records_are_settled_oldest_first() -> None:
    """In the order in which they came, over all keys."""
    bench = throttled_bench()
    records = bench.put("a", "b", "a", "c")
    bench.poll(500 * MS)
    assert bench.stream.take_settled() == records


def test_an_overdue_part_of_a_split_batch_expires_although_the_gate_is_shut() -> None:
    """Nothing of it is on its way any more, so nothing is to be waited for."""
    bench = Bench(unlimited(in_flight_max=1))
    records = bench.put("a", "b")
    bench.fail(bench.poll_one(), "ValidationException")
    half = bench.poll_one(SECOND)
    bench.poll(TIMEOUT)
    assert [record.state for record in records] == [State.EXPIRED, State.EXPIRED]
    assert bench.stream.key_count == 1
    bench.answer(half)
    assert bench.stream.key_count == 0
    assert bench.identity_holds()


def test_a_batch_that_is_refused_too_late_is_not_split() -> None:
    """Its records are overdue."""
    bench = Bench()
    records = bench.put("a", "b")
    batch = bench.poll_one()
    bench.poll(TIMEOUT)
    bench.fail(batch, "ValidationException")
    assert [record.state for record in records] == [State.EXPIRED] * 2
    assert bench.poll() == []


def test_a_deadline_counts_from_the_append() -> None:
    """Whatever a frontend says about the arrival."""
    bench = throttled_bench()
    bench.now_ns = 100 * MS
    record = record_of("a", received_at_ns=0)
    assert bench.append(record) == 0
    bench.poll(600 * MS - 1)
    assert state_of(record) is State.QUEUED
    bench.poll(600 * MS)
    assert state_of(record) is State.EXPIRED


def test_prefix_of_a_call_is_accepted_when_the_buffer_fills() -> None:
    """The records up to the limit, in order; the caller learns how many and may retry the rest."""
    bench = Bench(buffer=Buffer(3, 1_000_000))
    records = [record_of(key) for key in "abcde"]
    assert bench.append(*records) == 2
    assert {(record.state, record.error_code, record.error_message) for record in records[3:]} == {
        (State.REJECTED, THROTTLED, "The proxy's buffer of 3 records is full.")
    }
    assert all(500 <= record.retry_after_ms <= 1000 for record in records[3:])
    assert bench.poll_one().records == records[:3]
    assert bench.identity_holds()


def test_the_buffer_can_be_filled_to_the_last_byte() -> None:
    """And a smaller record may find the room that a larger one did not."""
    bench = Bench(buffer=Buffer(100, 2 * RECORD_OVERHEAD_BYTES + 8))
    assert bench.append(record_of("a", data="YWJj"), record_of("b", data="YWJj")) == 0
    bench = Bench(buffer=Buffer(100, 2 * RECORD_OVERHEAD_BYTES + 7))
    records = [record_of("a", data="YWJj"), record_of("b", data="YWJj"), record_of("c")]
    assert bench.append(*records) == 1
    assert [record.state for record in records] == [State.QUEUED, State.REJECTED, State.QUEUED]
    assert records[1].error_message == f"The proxy's buffer of {2 * RECORD_OVERHEAD_BYTES + 7} bytes is full."


def test_a_full_buffer_takes_again_after_an_outcome() -> None:
    """Room is given back with the outcome, not with the next poll."""
    bench = Bench(buffer=Buffer(1, 1_000_000))
    bench.put("a")
    assert bench.append(record_of("b")) == 1
    bench.answer(bench.poll_one())
    assert bench.append(record_of("b")) == 0


def test_streams_share_one_buffer() -> None:
    """A limit of the proxy, not of a stream."""
    buffer = Buffer(1, 1_000_000)
    one, other = Bench(buffer=buffer), Bench(buffer=buffer)
    one.put("a")
    assert other.append(record_of("b")) == 1
    one.answer(one.poll_one())
    assert other.append(record_of("b")) == 0


def test_the_oldest_open_record_is_known_even_when_its_request_hangs() -> None:
    """That is when an operator asks for its age."""
    bench = Bench()
    bench.now_ns = 7 * MS
    bench.put("a")
    bench.poll_one()
    bench.poll(bench.now_ns + SECOND)
    assert bench.stream.oldest_received_at_ns() == 7 * MS


def test_a_stream_with_a_request_out_is_not_idle_although_all_its_records_have_expired() -> None:
    """Forgotten and made anew, it would send younger records of their keys beside them."""
    bench = Bench(unlimited(delivery_timeout_ns=SECOND))
    (record,) = bench.put("a")
    batch = bench.poll_one()
    bench.poll(SECOND)
    assert state_of(record) is State.EXPIRED
    bench.stream.map_failed(SECOND)
    bench.stream.summary_failed(SECOND)
    assert not bench.stream.idle
    bench.answer(batch, taken())
    assert bench.stream.idle
