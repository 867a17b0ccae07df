"""The inputs of PutRecord and PutRecords as typed objects: what the fast path decodes into, and all paths give.

Must never know: what is valid.
"""

from __future__ import annotations

import msgspec


class PutEntry(msgspec.Struct, gc=False):
    """One record as its sender wrote it, validated.

    Args:
        data: the payload as base64.
        partition_key: empty where the sender gave none; the service allows that for AUTO streams.
        explicit_hash_key: decimal, at most 39 digits; its range is `checked_hash_key`'s to tell.
    """

    data: str = msgspec.field(name="Data")
    partition_key: str = msgspec.field(name="PartitionKey", default="")
    explicit_hash_key: str | None = msgspec.field(name="ExplicitHashKey", default=None)


class PutRecordInput(PutEntry, gc=False):
    """The input of PutRecord."""

    stream_name: str | None = msgspec.field(name="StreamName", default=None)
    stream_arn: str | None = msgspec.field(name="StreamARN", default=None)
    sequence_number_for_ordering: str | None = msgspec.field(name="SequenceNumberForOrdering", default=None)
    dry_run: bool = msgspec.field(name="DryRun", default=False)


class PutRecordsInput(msgspec.Struct, gc=False):
    """The input of PutRecords."""

    entries: list[PutEntry] = msgspec.field(name="Records")
    stream_name: str | None = msgspec.field(name="StreamName", default=None)
    stream_arn: str | None = msgspec.field(name="StreamARN", default=None)
    dry_run: bool = msgspec.field(name="DryRun", default=False)
