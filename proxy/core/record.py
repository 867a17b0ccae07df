"""The accepted record and the states it can be in.

A record *is* its outcome: whoever appended it reads the result from the same object. These are the only moves; the
ledger makes them, nobody else does.

    QUEUED ──drain──> IN_FLIGHT ──done──> ACKNOWLEDGED
     ^ │ │               │  │
     │ │ └──deadline──┐  │  └──refuse──> REFUSED
     └─┼──reenqueue───┼──┤
       │              └──┴─deadline──> EXPIRED
       └──withdraw──> WITHDRAWN

A record that is not taken at the door is REJECTED: it is in no books, no state leads there, and none away.

Must never know: sockets, tasks, wire formats.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from proxy.core.linked_list import Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.key_queue import KeyQueue


# A queued record with its key queue, dict entries, call and the transport's request: measured with a full buffer of
# 200-byte records, each with a key and a connection of its own share (see ARCHITECTURE.md, "Bounds").
RECORD_OVERHEAD_BYTES: Final = 1024


class State(IntEnum):
    """Where a record is; all but the first two are final."""

    QUEUED = 0
    IN_FLIGHT = 1
    ACKNOWLEDGED = 2
    REFUSED = 3
    EXPIRED = 4
    WITHDRAWN = 5
    REJECTED = 6


# Looked up once: Python 3.11 finds a member of an Enum by way of its metaclass, several times for each record.
_QUEUED: Final = State.QUEUED


class Record(Link):
    """One data record, from its arrival to its outcome.

    Args:
        partition_key: the caller's partition key.
        data: the payload as base64 text, already validated, exactly as it goes on the wire.
        size_bytes: decoded payload plus the key's UTF-8 bytes, as the service counts it.
        hash_key: the resulting 128-bit hash key (MD5 of the key, or the explicit hash key).
        received_at_ns: instant of arrival on the monotonic clock.
        explicit_hash_key: the caller's override, in decimal.
        sequence_number_for_ordering: makes the record travel by PutRecord, in its key's turn.
        on_outcome: called once, by the driver, when the state of an accepted record is final. It must not raise.

    After the outcome, `state` is final and either `shard_id`, `sequence_number` and `encryption_type` are set
    (ACKNOWLEDGED) or `error_code` and `error_message` are (all others). `retry_after_ms` is when there may be room for
    a rejected record, 0 where that cannot be said; `call_ordinal` is the same for all accepted records of one call.
    `held_bytes` is the memory that the record is counted with.
    """

    __slots__ = (
        "attempts",
        "call_ordinal",
        "data",
        "deadline_at_ns",
        "encryption_type",
        "error_code",
        "error_message",
        "explicit_hash_key",
        "hash_key",
        "held_bytes",
        "key_queue",
        "next",
        "on_outcome",
        "partition_key",
        "previous",
        "received_at_ns",
        "retry_after_ms",
        "sequence_number",
        "sequence_number_for_ordering",
        "shard_id",
        "size_bytes",
        "state",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - the members of one entry, set once on the hot path
        self,
        partition_key: str,
        data: str,
        size_bytes: int,
        hash_key: int,
        received_at_ns: int,
        explicit_hash_key: str | None = None,
        sequence_number_for_ordering: str | None = None,
        on_outcome: Callable[[Record], None] | None = None,
    ) -> None:
        self.before = None
        self.after = None
        self.partition_key = partition_key
        self.data = data
        self.size_bytes = size_bytes
        self.hash_key = hash_key
        self.received_at_ns = received_at_ns
        self.explicit_hash_key = explicit_hash_key
        self.sequence_number_for_ordering = sequence_number_for_ordering
        self.on_outcome = on_outcome
        self.held_bytes = len(data) + RECORD_OVERHEAD_BYTES
        self.deadline_at_ns = 0
        self.attempts = 0
        self.call_ordinal = 0
        self.retry_after_ms = 0
        self.state = _QUEUED
        self.key_queue: KeyQueue | None = None
        self.next: Record | None = None  # of its key, as the one below
        self.previous: Record | None = None
        self.shard_id: str | None = None
        self.sequence_number: str | None = None
        self.encryption_type: str | None = None
        self.error_code: str | None = None
        self.error_message: str | None = None

    def reject(self, code: str, message: str | None, retry_after_ms: int = 0) -> None:
        """Refuse a record at the door: it is not queued, and its caller is told why."""
        self.state = State.REJECTED
        self.error_code = code
        self.error_message = message
        self.retry_after_ms = retry_after_ms


def tell_outcomes(records: Sequence[Record], on_error: Callable[[Exception], None]) -> None:
    """Tell callers the outcomes of their records; what one of them raises costs no other its outcome."""
    for record in records:
        if record.on_outcome is not None:
            try:
                record.on_outcome(record)
            except Exception as error:  # noqa: BLE001 - it is reported
                on_error(error)
