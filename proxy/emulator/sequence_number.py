"""Sequence numbers in the service's layout: composed for each record, taken apart when a caller hands one back.

A number of version 2 is 47 hex digits:

    2 | created 9 | shard 1 | ordinal 16 | 00 | put 9 | shard index 8 | version 2

`created` is the second in which the shard was made, `shard` the lowest digit of its index, `ordinal` a counter within
the shard and `put` the second of the put. The ordinal outranks everything that changes within a shard, so numbers
grow with it alone; a child shard is created in a later second than its parents, so its numbers are above theirs.

Source: decoded from the examples of the API references and from the layout recorded by kinesalite, which also knows
versions 0 and 1 (years 2013 and 2014). They can still be handed in, so they are recognised.
"""

from __future__ import annotations

from typing import NamedTuple

VERSION = 2
# Digits below a field, times four: what it has to be shifted by.
_VERSION_BITS = 4
_SHARD_INDEX_SHIFT = _VERSION_BITS
_PUT_SECONDS_SHIFT = _SHARD_INDEX_SHIFT + 32
_ORDINAL_SHIFT = _PUT_SECONDS_SHIFT + 36 + 8
_SHARD_NIBBLE_SHIFT = _ORDINAL_SHIFT + 64
_CREATED_SECONDS_SHIFT = _SHARD_NIBBLE_SHIFT + 4
_MARK_SHIFT = _CREATED_SECONDS_SHIFT + 36

_MARK = 2
# Version 0: 32 hex digits of which the first is 1; smaller numbers are read as if that digit were left out.
_LOWEST_VERSION_0 = 1 << 124
_BEYOND_VERSION_0 = 1 << 129

ORDINAL_MAX = 0x7FFF_FFFF_FFFF_FFFF
SHARD_INDEX_MAX = 0x7FFF_FFFF
# The service takes no shard to have been created in or after this second (year 2477).
_CREATED_SECONDS_BEYOND = 16_025_175_000


class SequenceNumber(NamedTuple):
    """What a sequence number tells.

    Args:
        version: of the layout: 0, 1 or 2.
        shard_created_seconds: epoch second in which the shard was made.
        shard_index: the number in the shard's id.
        ordinal: position within the shard; 0 for versions that do not tell.
        put_seconds: epoch second of the put; 0 for versions that do not tell.
    """

    version: int
    shard_created_seconds: int
    shard_index: int
    ordinal: int
    put_seconds: int


def base_of(shard_created_seconds: int, shard_index: int) -> int:
    """Return what all sequence numbers of a shard have in common."""
    return (
        _MARK << _MARK_SHIFT
        | shard_created_seconds << _CREATED_SECONDS_SHIFT
        | (shard_index & 0xF) << _SHARD_NIBBLE_SHIFT
        | shard_index << _SHARD_INDEX_SHIFT
        | VERSION
    )


def compose(base: int, ordinal: int, put_seconds: int) -> str:
    """Return the sequence number, in decimal, of a shard's record with this ordinal."""
    return str(base + (ordinal << _ORDINAL_SHIFT) + (put_seconds << _PUT_SECONDS_SHIFT))


def parse(text: str) -> SequenceNumber | None:
    """Take a decimal sequence number apart; None where the service would call it invalid."""
    number = int(text)
    if number < _LOWEST_VERSION_0:
        number += _LOWEST_VERSION_0
    parsed = _parse_version_0(number) if number < _BEYOND_VERSION_0 else _parse_marked(number)
    if parsed is None or parsed.shard_created_seconds >= _CREATED_SECONDS_BEYOND:
        return None
    return parsed


def _parse_version_0(number: int) -> SequenceNumber:
    digits = f"{number:x}"
    return SequenceNumber(0, int(digits[1:10], 16), int(digits[28:32], 16), 0, 0)


def _parse_marked(number: int) -> SequenceNumber | None:
    if number >> _MARK_SHIFT != _MARK:
        return None
    created_seconds = _field(number, _CREATED_SECONDS_SHIFT, 36)
    shard_index = _field(number, _SHARD_INDEX_SHIFT, 32)
    version = number & 0xF
    if version == VERSION:
        ordinal = _field(number, _ORDINAL_SHIFT, 64)
        if ordinal > ORDINAL_MAX:
            return None
        return SequenceNumber(VERSION, created_seconds, shard_index, ordinal, _field(number, _PUT_SECONDS_SHIFT, 36))
    if version == 1:
        # 2 | created 9 | shard 1 | 00 | put 9 | random 14 | count 2 | shard index 8 | version 1
        return SequenceNumber(1, created_seconds, shard_index, 0, _field(number, 100, 36))
    return None


def _field(number: int, shift: int, bits: int) -> int:
    return number >> shift & (1 << bits) - 1
