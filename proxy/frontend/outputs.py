"""The answers to put calls as typed objects, which are encoded as they are.

Must never know: how an answer comes about.
"""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """An error as the answer of a whole call.

    Args:
        code: of the service's, or upstream's own.
        message: None where there is none.
        retry_after_ms: when to come again; 0 says nothing.
    """

    code: str
    message: str | None = None
    retry_after_ms: int = 0


class PutRecordOutput(msgspec.Struct, omit_defaults=True, gc=False):
    """What a PutRecord is answered, in the wire's names."""

    ShardId: str | None
    SequenceNumber: str | None
    EncryptionType: str | None = None


class Result(msgspec.Struct, omit_defaults=True, gc=False):
    """What a record of a PutRecords is answered, in the wire's names."""

    SequenceNumber: str | None = None
    ShardId: str | None = None
    ErrorCode: str | None = None
    ErrorMessage: str | None = None


class PutRecordsOutput(msgspec.Struct, omit_defaults=True, gc=False):
    """What a PutRecords is answered, in the wire's names."""

    FailedRecordCount: int
    Records: list[Result]
    EncryptionType: str | None = None


Answer = PutRecordOutput | PutRecordsOutput | Refusal
