from __future__ import annotations

import pytest

from proxy.core.key_queue import KeyQueue
from tests.unit.core.builders import record_of


def test_records_leave_in_the_order_in_which_they_came() -> None:
    """First in, first out."""
    queue = KeyQueue("a")
    records = [record_of("a") for _ in range(3)]
    for record in records:
        queue.append(record)
    assert [queue.popleft() for _ in range(3)] == records


def test_a_reenqueued_record_goes_before_everything_younger() -> None:
    """A retry never loses its place."""
    queue = KeyQueue("a")
    first, second, third = (record_of("a") for _ in range(3))
    queue.append(first)
    queue.append(second)
    assert queue.popleft() is first
    queue.append(third)
    queue.reenqueue(first)
    assert [queue.popleft() for _ in range(3)] == [first, second, third]


def test_a_record_reenqueued_to_an_empty_queue_is_followed_by_what_comes_after() -> None:
    """Front and back are the same place in an empty queue."""
    queue = KeyQueue("a")
    first, second = record_of("a"), record_of("a")
    queue.append(first)
    queue.popleft()
    queue.reenqueue(first)
    queue.append(second)
    assert [queue.popleft(), queue.popleft()] == [first, second]
    assert queue.head is None
    assert queue.tail is None


def test_an_emptied_queue_starts_anew() -> None:
    """The last record taken leaves no tail behind to append to."""
    queue = KeyQueue("a")
    queue.append(record_of("a"))
    queue.popleft()
    record = record_of("a")
    queue.append(record)
    assert queue.first is record
    assert queue.popleft() is record


def test_a_record_that_left_the_queue_no_longer_leads_to_those_behind_it() -> None:
    """A settled record must not keep younger ones in memory."""
    queue = KeyQueue("a")
    first, second = record_of("a"), record_of("a")
    queue.append(first)
    queue.append(second)
    assert queue.popleft().next is None
    assert queue.popleft().previous is None


def test_a_record_leaves_from_anywhere_and_the_calls_that_wait_are_counted() -> None:
    """However long the queue is, it takes the same few steps."""
    queue = KeyQueue("a")
    records = [record_of("a", size_bytes=number) for number in range(1, 7)]
    for record, call in zip(records, (1, 1, 2, 3, 3, 4), strict=True):
        record.call_ordinal = call
        queue.append(record)
    assert (queue.records, queue.bytes, queue.calls) == (6, 21, 4)
    for record, calls in ((records[3], 4), (records[2], 3), (records[5], 2), (records[0], 2)):
        queue.remove(record)
        assert queue.calls == calls
    assert (queue.head, queue.tail) == (records[1], records[4])
    queue.reenqueue(records[0])
    assert (queue.records, queue.bytes, queue.calls) == (3, 8, 2)
    assert [queue.popleft() for _ in range(3)] == [records[0], records[1], records[4]]
    assert (queue.head, queue.tail, queue.records, queue.bytes, queue.calls) == (None, None, 0, 0, 0)


def test_an_empty_queue_has_no_first_record() -> None:
    """To ask for it is a defect, and says whose."""
    queue = KeyQueue("a")
    with pytest.raises(IndexError, match="'a'"):
        queue.popleft()
    with pytest.raises(IndexError):
        _ = queue.first


def test_an_appended_record_knows_its_queue() -> None:
    """The way back from a response to the key needs no look-up."""
    queue, record = KeyQueue("a"), record_of("a")
    queue.append(record)
    assert record.key_queue is queue
