"""The books of one stream: every accepted record, its state and its one outcome.

All moves of `proxy.core.record.State` are made here, so this file alone answers for

    received = acknowledged + refused + expired + withdrawn + queued + in flight

An illegal move raises and changes nothing. What a move may begin with is asked by identity: a table of moves, looked up
by members of an Enum, took a tenth of a record's way.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Final

from proxy.core.counters import StreamCounters
from proxy.core.limits import SECOND_NS
from proxy.core.linked_list import LinkedList
from proxy.core.record import Record, State
from proxy.core.verdicts import INTERNAL_FAILURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.buffer import Buffer

# Looked up once: Python 3.11 finds a member of an Enum by way of its metaclass, several times for each record.
_QUEUED: Final = State.QUEUED
_IN_FLIGHT: Final = State.IN_FLIGHT
_ACKNOWLEDGED: Final = State.ACKNOWLEDGED


class IllegalMoveError(Exception):
    """A record was asked to make a move that its state does not allow: a defect in the core."""


class Ledger:
    """Accepted records of one stream.

    Args:
        buffer: the bound that all streams share.

    `queued_records`, `queued_bytes`, `in_flight_records` and `held_bytes` are gauges; `counters` only grow.
    """

    __slots__ = (
        "_buffer",
        "_open",
        "_settled",
        "counters",
        "held_bytes",
        "in_flight_records",
        "queued_bytes",
        "queued_records",
    )

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._open: LinkedList[Record] = LinkedList()  # in order of arrival, hence of deadlines
        self._settled: list[Record] = []
        self.counters = StreamCounters()
        self.queued_records = 0
        self.queued_bytes = 0
        self.in_flight_records = 0
        self.held_bytes = 0

    @property
    def open_records(self) -> int:
        """Accepted records without an outcome."""
        return self.queued_records + self.in_flight_records

    @property
    def oldest(self) -> Record | None:
        """The open record that arrived first, whose deadline is therefore the next."""
        return self._open.first

    def due_by(self, instant_ns: int) -> list[Record]:
        """Return the open records whose deadlines are over by then, oldest first."""
        first = self._open.first
        if first is None or first.deadline_at_ns > instant_ns:
            return []
        return list(takewhile(lambda record: record.deadline_at_ns <= instant_ns, self._open))

    def waiting(self) -> list[Record]:
        """Return the queued records, oldest first."""
        return [record for record in self._open if record.state is _QUEUED]

    def take_settled(self) -> list[Record]:
        """Return, once, the records whose outcome became final since the last call, in the order of their outcomes."""
        settled, self._settled = self._settled, []
        return settled

    def receive(self, record: Record, deadline_at_ns: int) -> None:
        """Open a record's account; the caller has asked whether there is room."""
        self._buffer.take(record)
        self.held_bytes += record.held_bytes
        record.deadline_at_ns = deadline_at_ns
        self._open.append(record)
        size_bytes, counters = record.size_bytes, self.counters
        self.queued_records += 1
        self.queued_bytes += size_bytes
        counters.received_records += 1
        counters.received_bytes += size_bytes

    def drain(self, record: Record) -> None:
        """Move a record into flight."""
        self._leave_queue(record, _IN_FLIGHT)
        self.in_flight_records += 1
        record.attempts += 1

    def count_waits(self, records: Sequence[Record], now_ns: int) -> None:
        """Count how long records of a batch have waited that go for the first time; those of a call as long."""
        observe = self.counters.buffer_time_seconds.observe
        received_at_ns, times = 0, 0
        for record in records:
            if record.attempts > 1:
                continue
            if times and record.received_at_ns != received_at_ns:
                observe((now_ns - received_at_ns) / SECOND_NS, times)
                times = 0
            received_at_ns = record.received_at_ns
            times += 1
        if times:
            observe((now_ns - received_at_ns) / SECOND_NS, times)

    def reenqueue(self, record: Record) -> None:
        """Move a record back from flight."""
        self._leave_flight(record, _QUEUED)
        self.queued_records += 1
        self.queued_bytes += record.size_bytes
        self.counters.retried_records += 1

    def acknowledge(self, record: Record, shard_id: str, sequence_number: str, encryption_type: str | None) -> None:
        """Settle a record that the service took."""
        self._leave_flight(record, _ACKNOWLEDGED)
        self._close(record)
        record.shard_id = shard_id
        record.sequence_number = sequence_number
        record.encryption_type = encryption_type
        if record.error_code is not None:
            record.error_code = record.error_message = None
        counters = self.counters
        counters.acknowledged_records += 1
        counters.acknowledged_bytes += record.size_bytes

    def refuse(self, record: Record, error_code: str, error_message: str | None) -> None:
        """Settle a record that the service refused."""
        self._leave_flight(record, State.REFUSED)
        self._close(record)
        record.error_code = error_code
        record.error_message = error_message
        self.counters.refused_records += 1

    def expire(self, record: Record, error_code: str, error_message: str | None) -> None:
        """Settle a record whose time is over."""
        if record.state is _QUEUED:
            self._leave_queue(record, State.EXPIRED)
        else:
            self._leave_flight(record, State.EXPIRED)
        self._close(record)
        record.error_code = error_code
        record.error_message = error_message
        self.counters.expired_records += 1

    def withdraw(self, record: Record) -> None:
        """Settle a waiting record that nobody waits for any more."""
        self._leave_queue(record, State.WITHDRAWN)
        self._close(record)
        record.error_code = INTERNAL_FAILURE
        record.error_message = "The client left before the record was sent."
        self.counters.withdrawn_records += 1

    def _leave_queue(self, record: Record, state: State) -> None:
        if record.state is not _QUEUED:
            raise _illegal(record, state)
        record.state = state
        self.queued_records -= 1
        self.queued_bytes -= record.size_bytes

    def _leave_flight(self, record: Record, state: State) -> None:
        if record.state is not _IN_FLIGHT:
            raise _illegal(record, state)
        record.state = state
        self.in_flight_records -= 1

    def _close(self, record: Record) -> None:
        """Take a record out of the open ones: its outcome is final."""
        self._open.remove(record)
        self._buffer.give(record)
        self.held_bytes -= record.held_bytes
        self._settled.append(record)


def _illegal(record: Record, state: State) -> IllegalMoveError:
    return IllegalMoveError(f"{record.state.name} to {state.name}")
