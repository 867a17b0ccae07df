"""The bodies of puts as typed objects, which are encoded and decoded as they are.

Must never know: what a batch is, what a result means.
"""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, omit_defaults=True, rename="pascal", gc=False):
    """A record of a PutRecords; its data is base64."""

    data: str
    partition_key: str = ""  # streams that ignore keys take records without one
    explicit_hash_key: str | None = None


class PutRecords(msgspec.Struct, omit_defaults=True):
    """A PutRecords."""

    records: list[Entry] = msgspec.field(name="Records")
    stream_name: str | None = msgspec.field(name="StreamName", default=None)
    stream_arn: str | None = msgspec.field(name="StreamARN", default=None)


class PutRecord(msgspec.Struct, omit_defaults=True):
    """A PutRecord."""

    data: str = msgspec.field(name="Data")
    partition_key: str = msgspec.field(name="PartitionKey", default="")
    explicit_hash_key: str | None = msgspec.field(name="ExplicitHashKey", default=None)
    sequence_number_for_ordering: str | None = msgspec.field(name="SequenceNumberForOrdering", default=None)
    stream_name: str | None = msgspec.field(name="StreamName", default=None)
    stream_arn: str | None = msgspec.field(name="StreamARN", default=None)


class PutResult(msgspec.Struct, rename="pascal", gc=False):
    """One entry of a put response; a `proxy.core.batch.Result`."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class PutRecordsOutput(msgspec.Struct, rename="pascal"):
    """The response to PutRecords, as far as it matters."""

    records: list[PutResult]
    encryption_type: str | None = None


class PutRecordOutput(PutResult, rename="pascal"):
    """The response to PutRecord."""

    encryption_type: str | None = None
