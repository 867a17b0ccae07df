from __future__ import annotations

from proxy.core.record import MOVES, State
from tests.unit.core.builders import record_of

FINAL = (State.ACKNOWLEDGED, State.REFUSED, State.EXPIRED)


def test_a_final_state_is_left_by_no_move() -> None:
    """One outcome, for good."""
    assert [MOVES[state] for state in FINAL] == [frozenset()] * 3


def test_every_state_has_its_row_in_the_table() -> None:
    """No state can be forgotten there."""
    assert set(MOVES) == set(State)


def test_a_record_that_was_never_sent_can_only_be_sent_or_expire() -> None:
    """Nobody but the service acknowledges or refuses."""
    assert MOVES[State.QUEUED] == {State.IN_FLIGHT, State.EXPIRED}


def test_a_new_record_is_queued_without_an_attempt_or_an_outcome() -> None:
    """Nothing is answered before it is known."""
    record = record_of()
    assert (record.state, record.attempts) == (State.QUEUED, 0)
    assert [record.shard_id, record.sequence_number, record.encryption_type] == [None] * 3
    assert [record.error_code, record.error_message] == [None] * 2
