"""The bodies of PutRecords and PutRecord on the wire: encoded from a batch, decoded into results.

Decides nothing. The data of a record is base64 text that was validated when it was accepted, and travels as it came.
Must never know: HTTP, signing, what a result means.

Source: AWS JSON 1.1 protocol, API model of Kinesis (2013-12-02).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from proxy.core.batch import Answer
from proxy.upstream.put_bodies import Entry, PutRecord, PutRecordOutput, PutRecords, PutRecordsOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.batch import Batch

CONTENT_TYPE: Final = "application/x-amz-json-1.1"

# Found once: it is called for each record.
_entry: Final[Callable[..., Entry]] = Entry
_encode: Final = msgspec.json.Encoder().encode
_decode_put_records: Final = msgspec.json.Decoder(PutRecordsOutput).decode
_decode_put_record: Final = msgspec.json.Decoder(PutRecordOutput).decode


def encode_put_records(batch: Batch) -> bytes:
    """Return the PutRecords body of a batch; its records keep their order."""
    entries = [_entry(record.data, record.partition_key, record.explicit_hash_key) for record in batch.records]
    name, arn = _addressed(batch)
    return _encode(PutRecords(entries, name, arn))


def encode_put_record(batch: Batch) -> bytes:
    """Return the PutRecord body of an ordered batch.

    Raises:
        ValueError: it holds more or fewer records than one.
    """
    (record,) = batch.records
    name, arn = _addressed(batch)
    return _encode(
        PutRecord(
            record.data, record.partition_key, record.explicit_hash_key, record.sequence_number_for_ordering, name, arn
        )
    )


def decode_put_records(body: bytes) -> Answer | None:
    """Return the results of PutRecords in the order of the response, or None where the body is no such response."""
    try:
        output = _decode_put_records(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return Answer(output.records, output.encryption_type)


def decode_put_record(body: bytes) -> Answer | None:
    """Return the one result of PutRecord, or None where the body is no such response.

    A 200 without shard id or sequence number is none: PutRecord tells its errors by status.
    """
    try:
        output = _decode_put_record(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if output.shard_id is None or output.sequence_number is None:
        return None
    return Answer([output], output.encryption_type)


def any_failed(answer: Answer) -> bool:
    """Return whether any record of an answer failed."""
    for result in answer.results:  # noqa: SIM110 - compiled, a loop costs half of a generator
        if result.error_code is not None:
            return True
    return False


def _addressed(batch: Batch) -> tuple[str | None, str | None]:
    """Return stream name and ARN as they go on the wire: one of them."""
    return (batch.stream_name, None) if batch.stream_arn is None else (None, batch.stream_arn)
