"""The books of one stream: every accepted record, its state and its one outcome.

All moves of `proxy.core.record.State` are made here, so this file alone answers for

    received = acknowledged + refused + expired + withdrawn + queued + in flight

An illegal move raises and changes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from proxy.core.counters import StreamCounters
from proxy.core.limits import SECOND_NS
from proxy.core.record import MOVES, Record, State
from proxy.core.verdicts import INTERNAL_FAILURE

if TYPE_CHECKING:
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
        "_settled",
        "_unsettled",
        "counters",
        "held_bytes",
        "in_flight_records",
        "queued_bytes",
        "queued_records",
    )

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._unsettled: OrderedDict[Record, None] = OrderedDict()  # in order of arrival, hence of deadlines
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
        return next(iter(self._unsettled), None)

    def waiting(self) -> list[Record]:
        """Return the queued records, oldest first."""
        return [record for record in self._unsettled if record.state is _QUEUED]

    def take_settled(self) -> list[Record]:
        """Return, once, the records whose outcome became final since the last call, in the order of their outcomes."""
        settled, self._settled = self._settled, []
        return settled

    def receive(self, record: Record, deadline_at_ns: int) -> None:
        """Open a record's account; the caller has asked whether there is room."""
        self._buffer.take(record)
        self.held_bytes += record.held_bytes
        record.deadline_at_ns = deadline_at_ns
        self._unsettled[record] = None
        size_bytes, counters = record.size_bytes, self.counters
        self.queued_records += 1
        self.queued_bytes += size_bytes
        counters.received_records += 1
        counters.received_bytes += size_bytes

    def drain(self, record: Record, now_ns: int) -> None:
        """Move a record into flight."""
        self._move(record, _IN_FLIGHT)
        self.queued_records -= 1
        self.queued_bytes -= record.size_bytes
        self.in_flight_records += 1
        if not record.attempts:
            self.counters.buffer_time_seconds.observe((now_ns - record.received_at_ns) / SECOND_NS)
        record.attempts += 1

    def reenqueue(self, record: Record) -> None:
        """Move a record back from flight."""
        self._move(record, _QUEUED)
        self.in_flight_records -= 1
        self.queued_records += 1
        self.queued_bytes += record.size_bytes
        self.counters.retried_records += 1

    def acknowledge(self, record: Record, shard_id: str, sequence_number: str, encryption_type: str | None) -> None:
        """Settle a record that the service took."""
        self._settle(record, _ACKNOWLEDGED)
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
        self._settle(record, State.REFUSED)
        record.error_code = error_code
        record.error_message = error_message
        self.counters.refused_records += 1

    def expire(self, record: Record, error_code: str, error_message: str | None) -> None:
        """Settle a record whose time is over."""
        self._settle(record, State.EXPIRED)
        record.error_code = error_code
        record.error_message = error_message
        self.counters.expired_records += 1

    def withdraw(self, record: Record) -> None:
        """Settle a waiting record that nobody waits for any more."""
        self._settle(record, State.WITHDRAWN)
        record.error_code = INTERNAL_FAILURE
        record.error_message = "The client left before the record was sent."
        self.counters.withdrawn_records += 1

    def _move(self, record: Record, state: State) -> None:
        if state not in MOVES[record.state]:
            raise IllegalMoveError(f"{record.state.name} to {state.name}")
        record.state = state

    def _settle(self, record: Record, state: State) -> None:
        was_queued = record.state is _QUEUED
        self._move(record, state)
        if was_queued:
            self.queued_records -= 1
            self.queued_bytes -= record.size_bytes
        else:
            self.in_flight_records -= 1
        del self._unsettled[record]
        self._buffer.give(record)
        self.held_bytes -= record.held_bytes
        self._settled.append(record)
