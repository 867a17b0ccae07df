from __future__ import annotations

from proxy.core.record import State
from tests.unit.core.builders import record_of


def test_a_rejected_record_says_why_and_when_there_may_be_room() -> None:
    """It is in no books: its caller reads it off the record."""
    record = record_of()
    record.reject("ProvisionedThroughputExceededException", "full", 40)
    assert record.state is State.REJECTED
    assert (record.error_code, record.error_message) == ("ProvisionedThroughputExceededException", "full")
    assert record.retry_after_ms == 40


def test_a_new_record_is_queued_without_an_attempt_or_an_outcome() -> None:
    """Nothing is answered before it is known."""
    record = record_of()
    assert (record.state, record.attempts) == (State.QUEUED, 0)
    assert [record.shard_id, record.sequence_number, record.encryption_type] == [None] * 3
    assert [record.error_code, record.error_message] == [None] * 2
