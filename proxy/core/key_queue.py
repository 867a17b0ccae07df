"""The records of one partition key that wait for their turn, oldest first.

Theory of operation: the queue is a linked list through the records themselves, so a key with one record costs one small
object. While anything of the key is in flight the queue is *muted*: it is in no lane and nothing of it is drained. The
last outcome unmutes it; a retried record goes back to the front, before everything younger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.linked_list import Link

if TYPE_CHECKING:
    from proxy.core.lane import Lane
    from proxy.core.record import Record


class KeyQueue(Link):
    """FIFO of one partition key, or of one record that has none.

    `lane` is the lane that lists the key as ready, or, while the key is muted, the lane that it was drained from.
    `records` and `bytes` of so many `calls` wait here, of which `alone` take a request each. `listed_records` and
    `listed_bytes` are what the lane was told, `listed_alone` whether its turn is a request for one of them.
    """

    __slots__ = (
        "alone",
        "bytes",
        "calls",
        "head",
        "in_flight",
        "key",
        "lane",
        "last_place",
        "listed_alone",
        "listed_bytes",
        "listed_records",
        "records",
        "tail",
    )

    def __init__(self, key: object) -> None:
        self.before = None
        self.after = None
        self.key = key
        self.head: Record | None = None
        self.tail: Record | None = None
        self.records = 0
        self.bytes = 0
        self.calls = 0
        self.alone = 0
        self.listed_records = 0
        self.listed_bytes = 0
        self.listed_alone = 0
        self.in_flight = 0
        self.lane: Lane | None = None
        self.last_place: tuple[str, str] | None = None  # shard id and sequence number of the last acknowledgement

    @property
    def muted(self) -> bool:
        """Whether something of the key is in flight, so that nothing else of it may go."""
        return self.in_flight > 0

    @property
    def first(self) -> Record:
        """The oldest waiting record; there must be one, as in every listed key."""
        if self.head is None:
            raise IndexError(f"nothing waits for {self.key!r}")
        return self.head

    def append(self, record: Record) -> None:
        """Add the youngest record."""
        record.key_queue = self
        tail = self.tail
        if tail is None:
            self.head = record
            self.calls = 1
        else:
            tail.next = record
            record.previous = tail
            if tail.call_ordinal != record.call_ordinal:
                self.calls += 1
        self.tail = record
        self.records += 1
        self.bytes += record.size_bytes
        if record.sequence_number_for_ordering is not None:
            self.alone += 1

    def reenqueue(self, record: Record) -> None:
        """Put a record that was drained back to the front."""
        head = self.head
        record.next = head
        self.head = record
        if head is None:
            self.tail = record
            self.calls = 1
        else:
            head.previous = record
            if head.call_ordinal != record.call_ordinal:
                self.calls += 1
        self.records += 1
        self.bytes += record.size_bytes
        if record.sequence_number_for_ordering is not None:
            self.alone += 1

    def popleft(self) -> Record:
        """Remove and return the oldest record; the queue must not be empty."""
        record = self.first
        self.remove(record)
        return record

    def remove(self, record: Record) -> None:
        """Remove a waiting record, wherever it stands."""
        previous, following = record.previous, record.next
        is_alone = True  # of its call
        if previous is None:
            self.head = following
        else:
            previous.next = following
            record.previous = None
            is_alone = previous.call_ordinal != record.call_ordinal
        if following is None:
            self.tail = previous
        else:
            following.previous = previous
            record.next = None
            is_alone = is_alone and following.call_ordinal != record.call_ordinal
        if is_alone:
            self.calls -= 1
        self.records -= 1
        self.bytes -= record.size_bytes
        if record.sequence_number_for_ordering is not None:
            self.alone -= 1
