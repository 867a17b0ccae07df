"""Takes records apart that a producer has packed in the KPL's aggregation format.

Source: "KPL Aggregated Record Format" of amazon-kinesis-producer: 4 bytes of magic, a protobuf AggregatedRecord
{1 partition keys, 2 explicit hash keys, 3 records {1 index of the partition key, 2 index of the explicit hash key,
3 data, 4 tags}}, the MD5 of the protobuf.

Must never know: who packed them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.readback import StoredRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.readback import StoredShard

MAGIC = b"\xf3\x89\x9a\xc2"
DIGEST_BYTES = 16
PARTITION_KEY, RECORD = 1, 3
KEY_INDEX, DATA = 1, 3
VARINT, DELIMITED = 0, 2


def unpack(shards: list[StoredShard]) -> list[StoredShard]:
    """Return the shards with every aggregate replaced by its records, in their order, under its sequence number."""
    return [replace(shard, records=[one for record in shard.records for one in _parts(record)]) for shard in shards]


def _parts(record: StoredRecord) -> Iterator[StoredRecord]:
    body, digest = record.data[len(MAGIC) : -DIGEST_BYTES], record.data[-DIGEST_BYTES:]
    is_aggregate = record.data.startswith(MAGIC) and hashlib.md5(body, usedforsecurity=False).digest() == digest
    if not is_aggregate:
        yield record
        return
    keys: list[str] = []
    for number, value in _fields(body):
        if number == PARTITION_KEY:
            assert isinstance(value, bytes)
            keys.append(value.decode())
        elif number == RECORD:
            assert isinstance(value, bytes)
            members = dict(_fields(value))
            index, data = members[KEY_INDEX], members[DATA]
            assert isinstance(index, int)
            assert isinstance(data, bytes)
            yield StoredRecord(record.sequence_number, keys[index], data)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protobuf message; the format has integers and byte strings alone."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value, position = _varint(message, position)
        if tag & 7 == VARINT:
            yield tag >> 3, value
            continue
        assert tag & 7 == DELIMITED, f"wire type {tag & 7}"
        yield tag >> 3, message[position : position + value]
        position += value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
