"""Reads and writes bodies in CBOR, as the Java SDKs speak it, in terms of the values that JSON bodies have.

What is read is the document that the same request has in JSON, but that blobs are `bytes`: whoever checks types makes
base64 of them. What cannot be read is, as in JSON, a SerializationException without a message; how the service words
it in CBOR is not known [?].

What hostile bytes may cost is bounded before cbor2 sees them. An item of one byte becomes an object of up to 80, so the
items are counted. And of all tags only the timestamp's is let through, because cbor2 knows others that make cycles,
regular expressions and numbers without end; and of the simple values only those that JSON has. Depth, and lengths that
promise more than there is, are cbor2's to refuse.

Must never know: what the members mean, but for those whose type a document in JSON does not show.

Source: RFC 8949; AWS SDK for Java v2: timestamps are tag 1 with whole milliseconds, where the RFC has seconds.
"""

from __future__ import annotations

from base64 import b64decode
from io import BytesIO
from typing import Any

import msgspec
from cbor2 import CBORDecodeError, CBORDecoder, CBORTag, dumps

from proxy.kinesis.errors import SerializationException
from proxy.kinesis.validation import require_object

# A full PutRecords has 4,000 items; a large text comes in pieces of some kilobytes, each an item.
ITEMS_MAX = 16_384
DEPTH_MAX = 16

_TIMESTAMP_TAG = 1
_MS_PER_SECOND = 1000

# Members of outputs that are more than JSON shows: base64 text, and seconds with a fraction.
_BLOBS = frozenset({"Data"})
_TIMESTAMPS = frozenset({"ApproximateArrivalTimestamp", "ConsumerCreationTimestamp", "StreamCreationTimestamp"})
_TYPED = _BLOBS | _TIMESTAMPS

# RFC 8949, section 3: major types, and what the first byte says of an item's length.
_BYTES, _TEXT, _TAG, _SIMPLE = 2, 3, 6, 7
# false, true, null, the three lengths of a float, and the end of an item without a length
_SIMPLE_VALUES = frozenset({20, 21, 22, 25, 26, 27, 31})
_LENGTH_FOLLOWS, _RESERVED = 24, 28
_REFUSED = 0


def _step_of(initial: int) -> int:
    """Return how many bytes an item's head takes, by its first byte.

    A string short enough has its length in the head and is counted in; where the length follows in 1, 2, 4 or 8 bytes,
    their negated number is returned instead.
    """
    kind, information = initial >> 5, initial & 0x1F
    if kind == _TAG:
        return 1 if information == _TIMESTAMP_TAG else _REFUSED
    if kind == _SIMPLE and information not in _SIMPLE_VALUES:
        return _REFUSED
    following = 1 << information - _LENGTH_FOLLOWS if _LENGTH_FOLLOWS <= information < _RESERVED else 0
    if kind not in {_BYTES, _TEXT}:
        return 1 + following
    if following:
        return -following
    return 1 + information if information < _LENGTH_FOLLOWS else 1


_STEPS = tuple(_step_of(initial) for initial in range(256))


def decode(body: bytes) -> dict[str, Any]:
    """Decode a body into its one object.

    Returns:
        Members as in JSON, but `bytes` for byte strings; timestamps are in seconds.

    Raises:
        SerializationException: not CBOR, too many items, nested beyond reason, a tag that no SDK sends, no object, or a
            member given twice.
    """
    _refuse_hostile(body)
    stream = BytesIO(body)
    try:
        document = CBORDecoder(
            stream,
            read_size=len(body),
            max_depth=DEPTH_MAX,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders={_TIMESTAMP_TAG: _seconds_of},
        ).decode()
    except CBORDecodeError:
        raise SerializationException from None
    if stream.tell() != len(body):
        raise SerializationException
    return require_object(document)


def encode(output: object) -> bytes:
    """Encode an operation's output, given as for JSON."""
    document = msgspec.to_builtins(output)  # a copy, to its depth
    _give_types(document)
    return dumps(document)


def _refuse_hostile(body: bytes) -> None:
    """Walk over the heads of all items, strings skipped, without a look at how they nest."""
    steps = _STEPS
    at = 0
    try:
        for _ in range(ITEMS_MAX):
            step = steps[body[at]]
            if step > 0:
                at += step
            elif step < 0:
                at += 1 - step + int.from_bytes(body[at + 1 : at + 1 - step])
            else:
                break
    except IndexError:
        return
    if at != len(body):
        raise SerializationException


def _seconds_of(value: object, _immutable: bool) -> float:  # noqa: FBT001 - the signature that cbor2 calls
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SerializationException
    return value / _MS_PER_SECOND


def _give_types(value: dict[str, Any] | list[Any]) -> None:
    """Give the values in a document, in place, the types that CBOR tells apart."""
    if isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                _give_types(item)
        return
    for member in value.values():
        if isinstance(member, (dict, list)):
            _give_types(member)
    if _TYPED.isdisjoint(value):
        return
    for name in _TYPED & value.keys():
        if name in _BLOBS:
            value[name] = b64decode(value[name])
        else:
            value[name] = CBORTag(_TIMESTAMP_TAG, round(value[name] * _MS_PER_SECOND))
