"""What a put asks and what it is told, record by record; the results are encoded as they are."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Entry(Protocol):
    """One record to put; `proxy.core.record.Record` is one.

    Attributes:
        data: base64 text.
        partition_key: empty where none was given, which is for streams that ignore keys alone.
        size_bytes: decoded data and partition key, as the service counts them.
        hash_key: decides the shard, where keys do.
    """

    @property
    def data(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def partition_key(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def size_bytes(self) -> int: ...  # noqa: D102 - see Attributes

    @property
    def hash_key(self) -> int: ...  # noqa: D102 - see Attributes


class SizedEntry(Struct, gc=False):
    """An `Entry` made from a decoded request."""

    data: str
    partition_key: str
    size_bytes: int
    hash_key: int


class PutResult(Struct, gc=False, omit_defaults=True, rename="pascal"):
    """One element of a PutRecords response: a shard id and sequence number, or an error code and message."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class PutRecordsOutput(Struct, gc=False, omit_defaults=True, rename="pascal"):
    """Body of a PutRecords response."""

    records: list[PutResult]
    failed_record_count: int
    encryption_type: str
