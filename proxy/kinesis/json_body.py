"""Reads a JSON 1.1 body exactly, the slow way: every doubt is decided here.

The service's parser takes one object of standard JSON in UTF-8. What it cannot read is a SerializationException
without a message. A member given twice is refused too: two readers of such a body may see different records.

Must never know: what the members mean.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from proxy.kinesis.errors import SerializationException
from proxy.kinesis.limits import PARTITION_KEY_CHARACTERS_MAX, RECORDS_PER_REQUEST_MAX
from proxy.kinesis.validation import require_object

# A body of small items becomes eighty times its size, so the characters that separate items are counted, wherever they
# stand: beyond those that 500 partition keys can be made of, there is no sense in more.
_SEPARATORS = (b",", b"{", b"[")
SEPARATORS_MAX = RECORDS_PER_REQUEST_MAX * PARTITION_KEY_CHARACTERS_MAX + 16_384

# Above this many digits no integer of the API is meant; as a float it costs nothing and is refused or cut later.
_INTEGER_DIGITS_MAX = 40
_ECHO_CHARACTERS_MAX = 64


def decode(body: bytes) -> dict[str, Any]:
    """Decode a body into its one object.

    Raises:
        SerializationException: not UTF-8, not JSON, too many items, nested beyond reason, no object, or a member given
            twice.
    """
    if len(body) > SEPARATORS_MAX and sum(map(body.count, _SEPARATORS)) > SEPARATORS_MAX:
        raise SerializationException
    try:
        document = _decoder.decode(body.decode())
    except (ValueError, RecursionError):
        raise SerializationException from None
    return require_object(document)


def _object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for name, value in members:
        if name in decoded:
            # escaped and cut: the name is the sender's, and need not even be text
            raise SerializationException(f"Duplicate member {name[:_ECHO_CHARACTERS_MAX]!a}")
        decoded[name] = value
    return decoded


def _integer_of(digits: str) -> float:
    return int(digits) if len(digits) <= _INTEGER_DIGITS_MAX else float(digits)


def _refuse_constant(name: str) -> NoReturn:
    # the decoder of the standard library takes NaN and Infinity, which are no JSON
    raise ValueError(name)


_decoder = json.JSONDecoder(object_pairs_hook=_object_of, parse_int=_integer_of, parse_constant=_refuse_constant)
