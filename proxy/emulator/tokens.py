"""Shard iterators and pagination tokens: opaque to callers, complete in themselves, so that none need be remembered.

A token that was not issued here, or was changed, reads as None. Tokens carry no secret and open nothing that their
reader could not ask for plainly.

Source: the service's iterators start with eight bytes that count 1 (recorded by kinesalite); the rest is our own.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TypeVar

import msgspec

_PREFIX = (1).to_bytes(8)


class ShardIterator(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A place in a shard.

    Args:
        stream_name: the shard's stream.
        created_at_ms: when that stream was made; a stream made anew under its name is another one.
        shard_index: the number in the shard's id.
        ordinal: of the next record to read.
        issued_at_ms: when the iterator was given out.
    """

    stream_name: str
    created_at_ms: int
    shard_index: int
    ordinal: int
    issued_at_ms: int


class ShardsPage(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """Where a listing of shards goes on.

    Args:
        stream_name: the shards' stream.
        created_at_ms: when that stream was made.
        after_index: number of the last shard listed.
        filter_type: the ShardFilter's Type, or None.
        filter_ms: the ShardFilter's Timestamp, or 0.
        issued_at_ms: when the token was given out.
    """

    stream_name: str
    created_at_ms: int
    after_index: int
    filter_type: str | None
    filter_ms: int
    issued_at_ms: int


class StreamsPage(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """Where a listing of streams goes on.

    Args:
        after_name: name of the last stream listed.
        issued_at_ms: when the token was given out.
    """

    after_name: str
    issued_at_ms: int


Token = TypeVar("Token", ShardIterator, ShardsPage, StreamsPage)


def encode(token: ShardIterator | ShardsPage | StreamsPage) -> str:
    """Return the token as the text that a caller gets."""
    return b64encode(_PREFIX + msgspec.json.encode(token)).decode()


def decode(text: str, kind: type[Token]) -> Token | None:
    """Return what a caller's token says, or None where it is no token of that kind."""
    try:
        packed = b64decode(text, validate=True)
        if not packed.startswith(_PREFIX):
            return None
        return msgspec.json.decode(packed[len(_PREFIX) :], type=kind)
    except ValueError:  # not base64, not UTF-8, not JSON, or of another shape
        return None
