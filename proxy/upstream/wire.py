"""The bodies of PutRecords and PutRecord on the wire: encoded from a batch, decoded into results.

Decides nothing. The data of a record is base64 text that was validated when it was accepted, and travels as it came.
Must never know: HTTP, signing, what a result means.

Source: AWS JSON 1.1 protocol, API model of Kinesis (2013-12-02).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from proxy.core.batch import Answer

if TYPE_CHECKING:
    from proxy.core.batch import Batch

CONTENT_TYPE = "application/x-amz-json-1.1"


class _Entry(msgspec.Struct, omit_defaults=True, rename="pascal", gc=False):
    data: str
    partition_key: str = ""  # streams that ignore keys take records without one
    explicit_hash_key: str | None = None


class _PutRecords(msgspec.Struct, omit_defaults=True):
    records: list[_Entry] = msgspec.field(name="Records")
    stream_name: str | None = msgspec.field(name="StreamName", default=None)
    stream_arn: str | None = msgspec.field(name="StreamARN", default=None)


class _PutRecord(msgspec.Struct, omit_defaults=True):
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


class _PutRecordsOutput(msgspec.Struct, rename="pascal"):
    records: list[PutResult]
    encryption_type: str | None = None


class _PutRecordOutput(PutResult, rename="pascal"):
    encryption_type: str | None = None


_encoder = msgspec.json.Encoder()
_put_records_decoder = msgspec.json.Decoder(_PutRecordsOutput)
_put_record_decoder = msgspec.json.Decoder(_PutRecordOutput)


def encode_put_records(batch: Batch) -> bytes:
    """Return the PutRecords body of a batch; its records keep their order."""
    entries = [_Entry(record.data, record.partition_key, record.explicit_hash_key) for record in batch.records]
    name, arn = _addressed(batch)
    return _encoder.encode(_PutRecords(entries, name, arn))


def encode_put_record(batch: Batch) -> bytes:
    """Return the PutRecord body of an ordered batch.

    Raises:
        ValueError: it holds more or fewer records than one.
    """
    (record,) = batch.records
    name, arn = _addressed(batch)
    return _encoder.encode(
        _PutRecord(
            record.data, record.partition_key, record.explicit_hash_key, record.sequence_number_for_ordering, name, arn
        )
    )


def decode_put_records(body: bytes) -> Answer | None:
    """Return the results of PutRecords in the order of the response, or None where the body is no such response."""
    try:
        output = _put_records_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Answer(output.records, output.encryption_type)


def decode_put_record(body: bytes) -> Answer | None:
    """Return the one result of PutRecord, or None where the body is no such response.

    A 200 without shard id or sequence number is none: PutRecord tells its errors by status.
    """
    try:
        output = _put_record_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if output.shard_id is None or output.sequence_number is None:
        return None
    return Answer([output], output.encryption_type)


def _addressed(batch: Batch) -> tuple[str | None, str | None]:
    """Return stream name and ARN as they go on the wire: one of them."""
    return (batch.stream_name, None) if batch.stream_arn is None else (None, batch.stream_arn)
