"""Closing, giving up, and being forgotten."""

from __future__ import annotations

import pytest

from proxy.core.batch import Written
from proxy.core.record import State
from tests.unit.core.builders import SECOND, THROTTLED, Bench, failed, keys_of, record_of, state_of, unlimited


def test_a_closed_stream_takes_no_more_records() -> None:
    """The caller is told at once, in an error that its SDK retries."""
    bench = Bench()
    bench.stream.close()
    record = record_of("a")
    assert bench.append(record) == 1
    assert (record.error_code, record.error_message) == ("InternalFailure", "The proxy is shutting down.")
    assert bench.stream.open_records == 0


def test_a_closed_stream_delivers_what_it_accepted() -> None:
    """Retries included."""
    bench = Bench()
    records = bench.put("a", "a")
    bench.stream.close()
    bench.answer(bench.poll_one(), failed(THROTTLED))
    for _ in records:
        bench.answer(bench.poll_one(bench.now_ns + SECOND))
    assert [record.state for record in records] == [State.ACKNOWLEDGED] * 2


def test_what_waits_expires_when_a_stream_is_abandoned() -> None:
    """Oldest first, with the reason, and nothing goes any more."""
    bench = Bench(unlimited(in_flight_max=1))
    bench.put("a")
    bench.poll_one()
    waiting = bench.put("a", "b", "a")
    bench.stream.abandon("The proxy shut down.")
    assert bench.stream.take_settled() == waiting
    assert {(record.state, record.error_code, record.error_message) for record in waiting} == {
        (State.EXPIRED, "InternalFailure", "The proxy shut down.")
    }
    assert bench.poll(SECOND) == []
    assert bench.stream.queued_records == 0
    assert bench.identity_holds()


def test_an_abandoned_stream_takes_no_more_records() -> None:
    """They could not go anywhere."""
    bench = Bench()
    bench.stream.abandon("The proxy shut down.")
    assert bench.append(record_of("a")) == 1


def test_a_late_success_after_the_abandonment_is_still_a_success() -> None:
    """The record is in the stream, and its caller may still be there."""
    bench = Bench()
    (record,) = bench.put("a")
    batch = bench.poll_one()
    bench.stream.abandon("The proxy shut down.")
    assert state_of(record) is State.IN_FLIGHT
    bench.answer(batch)
    assert state_of(record) is State.ACKNOWLEDGED


@pytest.mark.parametrize("code", ["RequestTimeout", "ValidationException"])
def test_nothing_goes_back_to_waiting_after_the_abandonment(code: str) -> None:
    """Neither for a retry nor for a split."""
    bench = Bench()
    records = bench.put("a", "b")
    batch = bench.poll_one()
    bench.stream.abandon("The proxy shut down.")
    bench.fail(batch, code, written=Written.UNKNOWN)
    assert {(record.state, record.error_code, record.error_message) for record in records} == {
        (State.EXPIRED, "InternalFailure", "The proxy shut down.")
    }
    assert bench.stream.open_records == 0
    assert bench.stream.next_wake_ns() is None


def test_parts_of_a_split_batch_expire_with_the_abandonment() -> None:
    """They are in flight by name only: no response will come for them."""
    bench = Bench()
    records = bench.put("a", "b")
    bench.fail(bench.poll_one(), "ValidationException")
    bench.stream.abandon("The proxy shut down.")
    assert [record.state for record in records] == [State.EXPIRED] * 2
    assert bench.poll(SECOND) == []
    assert bench.stream.open_records == 0
    assert bench.stream.key_count == 0


def test_a_record_throttled_after_the_abandonment_expires() -> None:
    """Its next turn would never come."""
    bench = Bench()
    good, throttled = bench.put("a", "b")
    batch = bench.poll_one()
    bench.stream.abandon("The proxy shut down.")
    bench.answer(batch, *bench.all_taken(batch)[:1], failed(THROTTLED))
    assert (good.state, throttled.state) == (State.ACKNOWLEDGED, State.EXPIRED)
    assert throttled.error_message == "The proxy shut down."


def test_a_stream_is_idle_when_nothing_of_it_is_open_or_being_fetched() -> None:
    """Then it can be forgotten without anyone noticing."""
    bench = Bench()
    idle = [bench.stream.idle]
    bench.put("a")
    idle.append(bench.stream.idle)
    batch = bench.poll_one()
    idle.append(bench.stream.idle)
    bench.answer(batch)
    idle.append(bench.stream.idle)
    bench.learn(1)
    idle.append(bench.stream.idle)
    assert idle == [True, False, False, False, True]


def test_a_delivered_stream_holds_nothing() -> None:
    """No key, no record, no byte, no instant to wake up at."""
    bench = Bench()
    bench.put("a", "b", "a", data="YWJj")
    while bench.stream.open_records:
        for batch in bench.poll(bench.now_ns + SECOND):
            bench.answer(batch)
    stream = bench.stream
    assert (stream.key_count, stream.queued_bytes, stream.in_flight_requests) == (0, 0, 0)
    assert (bench.buffer.records, bench.buffer.bytes) == (0, 0)
    assert stream.next_wake_ns() is None
    assert stream.oldest_received_at_ns() is None


def test_what_is_told_is_told_in_the_order_of_the_outcomes() -> None:
    """Over several responses."""
    bench = Bench(unlimited(batch_records_max=1))
    first, second = bench.put("a", "b")
    one, two = bench.poll()
    assert keys_of(one) == ["a"]
    bench.answer(two)
    bench.answer(one)
    assert bench.stream.take_settled() == [second, first]
