"""What goes upstream in one request, and what can come back: values only.

Must never know: how a request is encoded, signed or sent.
"""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - a compiled dataclass looks at its fields' types
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.core.record import Record


class Batch:
    """Records that travel together in one request.

    Args:
        stream_name: the stream; used on the wire unless `stream_arn` is set.
        stream_arn: the stream's ARN, or None.
        records: in the order of the request; no partition key twice unless the ordering mode allows it.
        ordered: True for the one record that carries SequenceNumberForOrdering: it travels by PutRecord, all others
            by PutRecords.

    `timeout_ns` is how long the request may take, since nobody waits longer for any of its records; 0 leaves it to the
    upstream.
    """

    __slots__ = ("ordered", "records", "sent_at_ns", "size_bytes", "stream_arn", "stream_name", "timeout_ns")

    def __init__(
        self, stream_name: str, stream_arn: str | None, records: list[Record], *, ordered: bool = False
    ) -> None:
        self.stream_name = stream_name
        self.stream_arn = stream_arn
        self.records = records
        self.ordered = ordered
        self.size_bytes = sum([record.size_bytes for record in records])
        self.sent_at_ns = 0
        self.timeout_ns = 0


class Result(Protocol):
    """One entry of a put response: a shard id and sequence number, or an error code and message."""

    shard_id: str | None
    sequence_number: str | None
    error_code: str | None
    error_message: str | None


class Written(Enum):
    """Whether a failed request may have written its records."""

    NOT_SENT = "not_sent"  # the request never left: name resolution, connect, signing failed
    REFUSED = "refused"  # the service answered that it did not take it
    UNKNOWN = "unknown"  # timeout or reset after the request left: it may have been written


@dataclass(frozen=True, slots=True)
class Answer:
    """The service took the request; `results` are in request order (their number is not to be trusted)."""

    results: Sequence[Result]
    encryption_type: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """The request as a whole failed.

    Args:
        code: the service's error code, or one of the local codes of `proxy.core.verdicts` (`ConnectFailed`, …).
        message: the service's text, or what went wrong.
        written: whether the records may be in the stream all the same.
        status: HTTP status, 0 where there was none.
        retry_after_ns: how long the service asks to wait before the next request; 0 where it does not.
    """

    code: str
    message: str | None
    written: Written
    status: int = 0
    retry_after_ns: int = 0


Reply = Answer | Failure
