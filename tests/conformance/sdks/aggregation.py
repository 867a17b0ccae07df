"""Takes apart what the Kinesis Producer Library aggregates.

Source: the library's aggregation-format.md: a magic number, a protobuf message, its MD5. The message's fields: 1 the
partition keys, 2 the explicit hash keys, 3 the records {1 index into the former, 2 index into the latter, 3 data}.
"""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = bytes.fromhex("f3899ac2")
MD5_BYTES = 16
_VARINT, _BYTES = 0, 2


def user_records(partition_key: str, data: bytes) -> list[tuple[str, bytes]]:
    """Return partition key and data of the records in a record: itself, if it is not aggregated."""
    if not data.startswith(MAGIC):
        return [(partition_key, data)]
    message, digest = data[len(MAGIC) : -MD5_BYTES], data[-MD5_BYTES:]
    assert md5(message, usedforsecurity=False).digest() == digest
    partition_keys, records = [], []
    for field, value in _fields(message):
        assert isinstance(value, bytes)
        if field == 1:
            partition_keys.append(value.decode())
        elif field == 3:
            records.append(dict(_fields(value)))
    return [(partition_keys[_int(record[1])], _data(record[3])) for record in records]


def _int(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _data(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and value of each field of a protobuf message, in the order in which they come."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value, position = _varint(message, position)
        if tag & 7 == _VARINT:
            yield tag >> 3, value
        else:
            assert tag & 7 == _BYTES
            yield tag >> 3, message[position : position + value]
            position += value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
