"""Decodes PutRecord and PutRecords: fast where the body is plain, exact where it is not.

The fast path decodes into typed objects and takes the result only if every constraint holds and the body contains
nothing else. That it contains nothing else is shown by counting members; in JSON, by counting quotation marks. Each
expected member accounts for exactly four: two for its name, two for its text. Anything more (a member given twice, a
null, a boolean, a member not expected, an escaped quotation mark) adds at least one and takes none away. So equal
counts mean: these, each once.

Whatever is not plain goes to `operations.parse`, which decides it exactly and raises the service's error.

Must never know: streams, queues, who asks.
"""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import astuple

from proxy.core.hashing import HASH_KEY_MAX
from proxy.kinesis import operations
from proxy.kinesis.base64_text import are_base64, blob_bytes, is_base64
from proxy.kinesis.codecs import CBOR, JSON
from proxy.kinesis.errors import explicit_hash_key_out_of_range, stream_id_not_supported
from proxy.kinesis.limits import DATA_BYTES_MAX, PARTITION_KEY_CHARACTERS_MAX, RECORDS_PER_REQUEST_MAX
from proxy.kinesis.operations import HASH_KEY_PATTERN, SEQUENCE_NUMBER_PATTERN
from proxy.kinesis.put_inputs import PutEntry, PutRecordInput, PutRecordsInput
from proxy.kinesis.stream_names import is_stream_arn, is_stream_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.kinesis.codecs import Codec

_QUOTES_PER_MEMBER: Final = 4
_QUOTES_PER_NAME: Final = 2
# Text of data that cannot be too long.
_SHORT_CHARACTERS: Final = 1024 * 1024
# What the fast path meets in a body that is not plain.
_NOT_PLAIN: Final = (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError)

_is_hash_key: Final = re.compile(HASH_KEY_PATTERN, re.ASCII).fullmatch
_is_sequence_number: Final = re.compile(SEQUENCE_NUMBER_PATTERN, re.ASCII).fullmatch


# Found once: they are called for each record.
_astuple: Final[Callable[[PutEntry], Any]] = astuple
_decode_put_record: Final = msgspec.json.Decoder(PutRecordInput).decode
_decode_put_records: Final = msgspec.json.Decoder(PutRecordsInput).decode


def parse_put_record(body: bytes, codec: Codec = JSON) -> PutRecordInput:
    """Decode and validate a PutRecord body.

    Raises:
        SerializationException, ValidationException: as `operations.parse`.
        InvalidArgumentException: the reserved member StreamId is given.
    """
    try:
        put, members = _typed_put_record(body, codec)
        if not is_base64(put.data):
            return _parse_put_record_exactly(body, codec)
        expected = _members_of_entry(put.data, put.partition_key, put.explicit_hash_key) + _members_of_stream(put)
    except _NOT_PLAIN:
        return _parse_put_record_exactly(body, codec)
    if put.sequence_number_for_ordering is not None:
        if not _is_sequence_number(put.sequence_number_for_ordering):
            return _parse_put_record_exactly(body, codec)
        expected += 1
    return put if members == expected else _parse_put_record_exactly(body, codec)


def parse_put_records(body: bytes, codec: Codec = JSON) -> PutRecordsInput:
    """Decode and validate a PutRecords body.

    Raises:
        SerializationException, ValidationException: as `operations.parse`.
        InvalidArgumentException: the reserved member StreamId is given.
    """
    try:
        put, members = _typed_put_records(body, codec)
        if not 1 <= len(put.entries) <= RECORDS_PER_REQUEST_MAX:
            return _parse_put_records_exactly(body, codec)
        expected, texts = _members_of_stream(put), []
        for entry in put.entries:
            # one call, where each attribute would be one
            members_of_entry: tuple[str, str, str | None] = _astuple(entry)
            data, partition_key, explicit_hash_key = members_of_entry
            texts.append(data)
            expected += _members_of_entry(data, partition_key, explicit_hash_key)
        if not are_base64(texts):
            return _parse_put_records_exactly(body, codec)
    except _NOT_PLAIN:
        return _parse_put_records_exactly(body, codec)
    return put if members == expected else _parse_put_records_exactly(body, codec)


def checked_hash_key(explicit_hash_key: str) -> int:
    """Return the hash key that an explicit one of the right form stands for.

    Raises:
        InvalidArgumentException: above 2^128-1.
    """
    hash_key = int(explicit_hash_key)
    if hash_key > HASH_KEY_MAX:
        raise explicit_hash_key_out_of_range(explicit_hash_key)
    return hash_key


def _typed_put_record(body: bytes, codec: Codec) -> tuple[PutRecordInput, float]:
    """Decode without validating, and count the members: in CBOR all, in JSON a fourth of the quotation marks.

    Raises:
        SerializationException: the body is no object of CBOR.
        One of _NOT_PLAIN: it is not plain.
    """
    if codec is not CBOR:
        return _decode_put_record(body), body.count(b'"') / _QUOTES_PER_MEMBER
    members = codec.decode(body)
    members["Data"] = b64encode(members["Data"]).decode()
    return msgspec.convert(members, PutRecordInput), len(members)


def _typed_put_records(body: bytes, codec: Codec) -> tuple[PutRecordsInput, float]:
    """Decode without validating, and count the members of the call and of its records; otherwise as above."""
    if codec is not CBOR:
        return _decode_put_records(body), (body.count(b'"') - _QUOTES_PER_NAME) / _QUOTES_PER_MEMBER
    members = codec.decode(body)
    entries = members["Records"]
    for entry in entries:
        entry["Data"] = b64encode(entry["Data"]).decode()
    return msgspec.convert(members, PutRecordsInput), len(members) - 1 + sum(map(len, entries))


def _members_of_entry(data: str, partition_key: str, explicit_hash_key: str | None) -> int:
    """Return how many members a plain entry has, if its data is base64.

    Raises:
        ValueError: the entry is not plain.
    """
    if len(data) > _SHORT_CHARACTERS and blob_bytes(data) > DATA_BYTES_MAX:
        raise ValueError
    if not 1 <= len(partition_key) <= PARTITION_KEY_CHARACTERS_MAX:
        raise ValueError
    if explicit_hash_key is None:
        return 2
    if not _is_hash_key(explicit_hash_key):
        raise ValueError
    return 3


def _members_of_stream(put: PutRecordInput | PutRecordsInput) -> int:
    """Return how many members name the stream.

    Raises:
        ValueError: a member is not plain.
    """
    if put.stream_name is not None and not is_stream_name(put.stream_name):
        raise ValueError
    if put.stream_arn is not None and not is_stream_arn(put.stream_arn):
        raise ValueError
    return (put.stream_name is not None) + (put.stream_arn is not None)


def _parse_put_record_exactly(body: bytes, codec: Codec) -> PutRecordInput:
    members = _members_of("PutRecord", body, codec)
    return PutRecordInput(
        data=members["Data"],
        partition_key=members.get("PartitionKey", ""),
        explicit_hash_key=members.get("ExplicitHashKey"),
        stream_name=members.get("StreamName"),
        stream_arn=members.get("StreamARN"),
        sequence_number_for_ordering=members.get("SequenceNumberForOrdering"),
        dry_run=members.get("DryRun", False),
    )


def _parse_put_records_exactly(body: bytes, codec: Codec) -> PutRecordsInput:
    members = _members_of("PutRecords", body, codec)
    return PutRecordsInput(
        entries=[
            PutEntry(
                data=entry["Data"],
                partition_key=entry.get("PartitionKey", ""),
                explicit_hash_key=entry.get("ExplicitHashKey"),
            )
            for entry in members["Records"]
        ],
        stream_name=members.get("StreamName"),
        stream_arn=members.get("StreamARN"),
        dry_run=members.get("DryRun", False),
    )


def _members_of(operation: str, body: bytes, codec: Codec) -> dict[str, Any]:
    members = operations.parse(operation, body, codec)
    if "StreamId" in members:
        raise stream_id_not_supported()
    return members
