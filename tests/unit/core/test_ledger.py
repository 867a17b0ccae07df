from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from proxy.core.buffer import Buffer
from proxy.core.ledger import IllegalMoveError, Ledger
from proxy.core.record import RECORD_OVERHEAD_BYTES, Record, State
from tests.unit.core.builders import MS, SECOND, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 2500 * MS


def ledger_of(records_max: int = 100, bytes_max: int = 1_000_000) -> Ledger:
    """Return books with a buffer of their own."""
    return Ledger(Buffer(records_max, bytes_max))


def books(ledger: Ledger) -> tuple[int, ...]:
    """Return every number in the books, as far as a move could change it."""
    counters = ledger.counters
    return (
        counters.received_records,
        counters.acknowledged_records,
        counters.refused_records,
        counters.expired_records,
        counters.retried_records,
        ledger.queued_records,
        ledger.in_flight_records,
        ledger.queued_bytes,
        ledger.open_records,
    )


def acknowledge(ledger: Ledger, record: Record) -> None:
    """Settle a record as the service would."""
    ledger.acknowledge(record, "shard", "42", "NONE")


def identity_holds(ledger: Ledger) -> bool:
    """Whether received = acknowledged + refused + expired + withdrawn + queued + in flight."""
    counters = ledger.counters
    settled = counters.acknowledged_records + counters.refused_records + counters.expired_records
    settled += counters.withdrawn_records
    return counters.received_records == settled + ledger.queued_records + ledger.in_flight_records


def test_every_record_is_in_exactly_one_place_after_every_move() -> None:
    """Received = acknowledged + refused + expired + queued + in flight."""
    ledger = ledger_of()
    one, two, three, four = records = [record_of() for _ in range(4)]
    moves: list[Callable[[], object]] = [
        *(lambda record=record: ledger.receive(record, DEADLINE) for record in records),
        lambda: ledger.drain(one),
        lambda: ledger.drain(two),
        lambda: ledger.reenqueue(one),
        lambda: ledger.drain(one),
        lambda: acknowledge(ledger, one),
        lambda: ledger.refuse(two, "ValidationException", None),
        lambda: ledger.expire(three, "InternalFailure", None),
        lambda: ledger.drain(four),
        lambda: ledger.expire(four, "InternalFailure", None),
    ]
    for move in moves:
        move()
        assert identity_holds(ledger)
    assert books(ledger) == (4, 1, 1, 2, 1, 0, 0, 0, 0)


@pytest.mark.parametrize("move", ["reenqueue", "acknowledge", "refuse"])
def test_an_illegal_move_of_a_queued_record_raises_and_changes_nothing(move: str) -> None:
    """Only what was sent can come back."""
    ledger = ledger_of()
    record = record_of()
    ledger.receive(record, DEADLINE)
    before = books(ledger)
    arguments = {"reenqueue": (), "acknowledge": ("shard", "42", None), "refuse": ("X", None)}[move]
    with pytest.raises(IllegalMoveError, match="QUEUED to"):
        getattr(ledger, move)(record, *arguments)
    assert books(ledger) == before
    assert (record.state, record.shard_id, record.error_code) == (State.QUEUED, None, None)
    assert ledger.take_settled() == []


@pytest.mark.parametrize("move", ["drain", "reenqueue", "acknowledge", "refuse", "expire"])
def test_an_illegal_move_of_a_settled_record_raises_and_changes_nothing(move: str) -> None:
    """One outcome, whatever comes back later."""
    buffer = Buffer(10, 1_000_000)
    ledger = Ledger(buffer)
    record = record_of()
    ledger.receive(record, DEADLINE)
    ledger.drain(record)
    acknowledge(ledger, record)
    ledger.take_settled()
    before = books(ledger)
    arguments = {"acknowledge": ("other", "43", None), "refuse": ("X", "x"), "expire": ("X", "x")}
    with pytest.raises(IllegalMoveError, match="ACKNOWLEDGED to"):
        getattr(ledger, move)(record, *arguments.get(move, ()))
    assert books(ledger) == before
    assert (record.state, record.shard_id, record.error_code) == (State.ACKNOWLEDGED, "shard", None)
    assert (buffer.records, buffer.bytes) == (0, 0)
    assert ledger.take_settled() == []


def test_a_record_in_flight_is_not_sent_twice() -> None:
    """To drain it again is illegal and counts nothing."""
    ledger = ledger_of()
    record = record_of()
    ledger.receive(record, DEADLINE)
    ledger.drain(record)
    with pytest.raises(IllegalMoveError):
        ledger.drain(record)
    assert (record.attempts, ledger.in_flight_records) == (1, 1)


def test_queued_bytes_are_those_that_wait() -> None:
    """What is in flight does not count, what comes back does."""
    ledger = ledger_of()
    small, large = record_of(size_bytes=10), record_of(size_bytes=700)
    ledger.receive(small, DEADLINE)
    ledger.receive(large, DEADLINE)
    assert ledger.queued_bytes == 710
    ledger.drain(large)
    assert ledger.queued_bytes == 10
    ledger.reenqueue(large)
    ledger.expire(small, "InternalFailure", None)
    assert ledger.queued_bytes == 700


def test_an_acknowledged_record_says_where_it_is() -> None:
    """Shard id, sequence number and encryption, and no trace of the errors on the way."""
    ledger = ledger_of()
    record = record_of(size_bytes=70)
    ledger.receive(record, DEADLINE)
    ledger.drain(record)
    record.error_code = "InternalFailure"
    record.error_message = "a first try failed"
    ledger.acknowledge(record, "shard", "42", "KMS")
    assert (record.shard_id, record.sequence_number, record.encryption_type) == ("shard", "42", "KMS")
    assert [record.error_code, record.error_message] == [None, None]
    assert ledger.counters.acknowledged_bytes == 70


def test_a_record_that_did_not_make_it_says_why() -> None:
    """With the error for its caller."""
    ledger = ledger_of()
    refused, expired = record_of(), record_of()
    for record in (refused, expired):
        ledger.receive(record, DEADLINE)
        ledger.drain(record)
    ledger.refuse(refused, "ValidationException", "1 validation error detected")
    ledger.expire(expired, "InternalFailure", None)
    assert (refused.error_code, refused.error_message) == ("ValidationException", "1 validation error detected")
    assert (expired.error_code, expired.error_message) == ("InternalFailure", None)


def test_each_settled_record_is_told_once_in_the_order_of_the_outcomes() -> None:
    """The second call has nothing new to tell."""
    ledger = ledger_of()
    records = [record_of() for _ in range(3)]
    for record in records:
        ledger.receive(record, DEADLINE)
        ledger.drain(record)
    for record in reversed(records):
        acknowledge(ledger, record)
    assert ledger.take_settled() == records[::-1]
    assert ledger.take_settled() == []


def test_the_oldest_record_is_the_one_that_came_first() -> None:
    """An attempt does not make it younger; an outcome makes room for the next."""
    ledger = ledger_of()
    first, second = record_of(), record_of()
    ledger.receive(first, 1)
    ledger.receive(second, 2)
    ledger.drain(first)
    ledger.reenqueue(first)
    assert ledger.oldest is first
    ledger.drain(first)
    acknowledge(ledger, first)
    assert ledger.oldest is second
    assert ledger.waiting() == [second]


def test_a_withdrawn_record_has_an_outcome_like_any_other() -> None:
    """And only one that waits can be withdrawn."""
    ledger = ledger_of()
    waiting, flying = record_of(), record_of()
    ledger.receive(waiting, DEADLINE)
    ledger.receive(flying, DEADLINE)
    ledger.drain(flying)
    ledger.withdraw(waiting)
    assert waiting.state is State.WITHDRAWN
    assert ledger.take_settled() == [waiting]
    assert ledger.counters.withdrawn_records == 1
    assert identity_holds(ledger)
    with pytest.raises(IllegalMoveError):
        ledger.withdraw(flying)


def test_what_a_stream_holds_is_counted_like_the_buffer() -> None:
    """Until the outcome."""
    ledger = ledger_of()
    record = record_of(data="YWJj")
    ledger.receive(record, DEADLINE)
    assert ledger.held_bytes == 4 + RECORD_OVERHEAD_BYTES
    ledger.expire(record, "InternalFailure", None)
    assert ledger.held_bytes == 0


@pytest.mark.parametrize("outcome", ["acknowledge", "refuse", "expire"])
def test_every_outcome_gives_the_buffer_its_room_back(outcome: str) -> None:
    """Or the proxy would fill up for good."""
    buffer = Buffer(10, 1_000_000)
    ledger = Ledger(buffer)
    record = record_of(data="YWJj")
    ledger.receive(record, DEADLINE)
    ledger.drain(record)
    arguments = {"acknowledge": ("shard", "42", None)}.get(outcome, ("X", None))
    getattr(ledger, outcome)(record, *arguments)
    assert (buffer.records, buffer.bytes) == (0, 0)


def test_buffer_time_ends_with_the_first_attempt() -> None:
    """Retries are no time in the buffer; thirty milliseconds belong to the bound of 50 ms."""
    ledger = ledger_of()
    record = record_of(received_at_ns=10 * MS)
    ledger.receive(record, DEADLINE)
    ledger.drain(record)
    ledger.count_waits([record], 40 * MS)
    ledger.reenqueue(record)
    ledger.drain(record)
    ledger.count_waits([record], 2 * SECOND)
    histogram = ledger.counters.buffer_time_seconds
    assert sum(histogram.counts) == 1
    assert histogram.counts[histogram.bounds.index(0.05)] == 1
    assert record.attempts == 2


def test_a_record_makes_the_moves_of_the_drawing_and_no_others() -> None:
    """From every state, every move: those that are drawn in `proxy.core.record`."""
    drawn = {
        State.QUEUED: {State.IN_FLIGHT, State.EXPIRED, State.WITHDRAWN},
        State.IN_FLIGHT: {State.QUEUED, State.ACKNOWLEDGED, State.REFUSED, State.EXPIRED},
    }
    ways: dict[State, list[str]] = {
        State.QUEUED: [],
        State.IN_FLIGHT: ["drain"],
        State.ACKNOWLEDGED: ["drain", "acknowledge"],
        State.REFUSED: ["drain", "refuse"],
        State.EXPIRED: ["expire"],
        State.WITHDRAWN: ["withdraw"],
    }
    moves: dict[str, tuple[State, tuple[object, ...]]] = {
        "drain": (State.IN_FLIGHT, ()),
        "reenqueue": (State.QUEUED, ()),
        "acknowledge": (State.ACKNOWLEDGED, ("shard", "42", None)),
        "refuse": (State.REFUSED, ("X", None)),
        "expire": (State.EXPIRED, ("X", None)),
        "withdraw": (State.WITHDRAWN, ()),
    }
    for state, way in ways.items():
        made = set()
        for move, (_, arguments) in moves.items():
            ledger, record = ledger_of(), record_of()
            ledger.receive(record, DEADLINE)
            for step in way:
                getattr(ledger, step)(record, *moves[step][1])
            assert record.state is state
            with contextlib.suppress(IllegalMoveError):
                getattr(ledger, move)(record, *arguments)
                made.add(record.state)
        assert made == drawn.get(state, set()), state


def test_every_record_of_a_batch_has_its_own_time_in_the_buffer() -> None:
    """Those of a call are counted at once, and none for another's time; none is left out at the end."""
    ledger = ledger_of(records_max=10)
    records = [record_of(received_at_ns=instant * MS) for instant in (0, 0, 30, 30, 30, 0, 39)]
    for record in records:
        ledger.receive(record, DEADLINE)
        ledger.drain(record)
    ledger.count_waits(records, 40 * MS)
    histogram = ledger.counters.buffer_time_seconds
    bounds = histogram.bounds
    assert [histogram.counts[bounds.index(bound)] for bound in (0.05, 0.01, 0.001)] == [3, 3, 1]
    assert histogram.sum == pytest.approx(0.04 * 3 + 0.01 * 3 + 0.001)
