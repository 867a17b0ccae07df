"""Checks a decoded body against a declared shape, in the service's two steps and words.

1. Types: the first member that cannot be converted is a SerializationException. Unknown members and nulls are dropped.
2. Constraints: all violations, at most ten, in one ValidationException.

Must never know: which operation it is.

Source: texts and order as kinesalite recorded them from the service.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from proxy.kinesis.base64_text import blob_bytes, is_base64
from proxy.kinesis.errors import SerializationException, ValidationException, blob_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VIOLATIONS_MAX = 10
# An error must not send back a whole body. The service's longest known echo, 501 records, fits.
ECHO_CHARACTERS_MAX = 65_536

INTEGER_MAX = 2**31 - 1
INTEGER_MIN = -(2**31)

_BOOLEAN_TEXTS = {"TRUE": True, "1": True, "YES": True, "FALSE": False, "0": False, "NO": False}
# How the service's texts call what came; only CBOR has bytes, and the word for them is not known [?].
_SOURCES = {bool: "java.lang.Boolean", str: "java.lang.String", bytes: "java.nio.HeapByteBuffer"}
_not_base64 = re.compile(r"[^a-zA-Z0-9+/=]|=[^=]")
_lone_surrogate = re.compile("[\ud800-\udfff]")


class Kind(Enum):
    """The types of the API, with the name that the service's texts give them."""

    STRING = "an String"
    BLOB = "a Blob"
    BOOLEAN = "an Boolean"
    INTEGER = "an Integer"
    TIMESTAMP = "milliseconds since epoch"
    LIST = "list"
    MAP = "map"
    STRUCTURE = "structure"


@dataclass(frozen=True, slots=True)
class Shape:
    """One member's type and constraints; checked in the order of the fields.

    Args:
        kind: its type.
        required: must be present and not null.
        pattern: what the whole text must match.
        matcher: matches the same as the pattern, where that takes more than linear time: texts come in any length.
        choices: the texts that are allowed, in the order in which the service lists them.
        length: smallest and largest number of characters, bytes or elements; None for no limit.
        values: smallest and largest number.
        key_length: smallest and largest length of a map's keys.
        item_length: smallest and largest length of a map's values.
        members: a structure's members, in the service's order of checks.
        item: the shape of a list's elements or a map's values.
        shown_as: how the service shows one element of a list of structures.
    """

    kind: Kind
    required: bool = False
    pattern: str | None = None
    matcher: str | None = None
    choices: tuple[str, ...] = ()
    length: tuple[int | None, int | None] = (None, None)
    values: tuple[int | None, int | None] = (None, None)
    key_length: tuple[int, int] | None = None
    item_length: tuple[int, int] | None = None
    members: Mapping[str, Shape] = field(default_factory=dict)
    item: Shape | None = None
    shown_as: str | None = None


def validate(structure: Shape, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document's known members, converted and within their constraints.

    Raises:
        SerializationException: a member has the wrong type.
        ValidationException: constraints are violated.
    """
    members = _converted_members(structure, document)
    violations = []
    for violation in _violations_of_members(structure, members, ""):
        violations.append(violation)
        if len(violations) == VIOLATIONS_MAX:
            break
    if violations:
        plural = "s" if len(violations) > 1 else ""
        raise ValidationException(f"{len(violations)} validation error{plural} detected: {'; '.join(violations)}")
    return members


def require_object(document: object) -> dict[str, Any]:
    """Return a decoded body that is the one object which an input must be.

    Raises:
        SerializationException: it is anything else.
    """
    if isinstance(document, list):
        raise SerializationException("Start of list found where not expected")
    if not isinstance(document, dict):
        raise SerializationException
    return document


# -- types --------------------------------------------------------------------------------------------------------


def _converted_members(structure: Shape, document: Mapping[str, Any]) -> dict[str, Any]:
    converted = {}
    for name, shape in structure.members.items():
        value = document.get(name)
        if value is not None:
            converted[name] = _converted(shape, value)
    return converted


def _converted(shape: Shape, value: Any) -> Any:  # noqa: ANN401 - JSON in, JSON out
    match shape.kind:
        case Kind.STRUCTURE:
            _refuse_unless(dict, value, "Expected null")
            return _converted_members(shape, value)
        case Kind.MAP:
            _refuse_unless(dict, value, "Expected map or null")
            return {_key(key): _converted_item(shape, item) for key, item in value.items()}
        case Kind.LIST:
            _refuse_unless(list, value, "Expected list or null")
            return [_converted_item(shape, item) for item in value]
        case Kind.BLOB if isinstance(value, bytes):
            return b64encode(value).decode()
        case _:
            return _converted_scalar(shape.kind, value)


def _converted_item(shape: Shape, item: Any) -> Any:  # noqa: ANN401 - as `_converted`
    return None if item is None or shape.item is None else _converted(shape.item, item)


def _refuse_unless(wanted: type, value: Any, scalar_text: str) -> None:  # noqa: ANN401 - as `_converted`
    if isinstance(value, wanted):
        return
    _refuse_containers(value)
    raise SerializationException(scalar_text)


def _refuse_containers(value: Any) -> None:  # noqa: ANN401 - as `_converted`
    if isinstance(value, list):
        raise SerializationException("Start of list found where not expected")
    if isinstance(value, dict):
        raise SerializationException("Start of structure or map found where not expected.")


def _converted_scalar(kind: Kind, value: Any) -> str | bool | float:  # noqa: ANN401 - as `_converted`
    _refuse_containers(value)
    match kind, value:
        case Kind.STRING, str():
            return _text(value)
        case Kind.BLOB, str():
            return _base64(value)
        case Kind.BOOLEAN, str():
            return _boolean(value)
        case Kind.BOOLEAN, bool():
            return value
        case _, bool():
            pass
        case Kind.INTEGER, int() | float():
            return _integer(value)
        case Kind.TIMESTAMP, int() | float():
            return _instant(value)
    source = _SOURCES.get(type(value), "com.amazon.coral.value.json.numbers.TruncatingBigNumber")
    raise SerializationException(f"class {source} can not be converted to {kind.value}")


def _key(value: str | bytes) -> str:
    # a map's key in CBOR may be a byte string
    if isinstance(value, bytes):
        raise SerializationException
    return _text(value)


def _text(value: str) -> str:
    # half a surrogate pair is legal JSON, but no text: it has no UTF-8 and so no hash key
    if _lone_surrogate.search(value):
        raise SerializationException
    return value


def _boolean(value: str) -> bool:
    upper = _text(value).upper()
    if upper not in _BOOLEAN_TEXTS:
        raise SerializationException(f"'{_echo(upper)}' can not be converted to an Boolean")
    return _BOOLEAN_TEXTS[upper]


def _integer(value: float) -> int:
    # CBOR has a float that is no number
    if math.isnan(value):
        raise SerializationException
    return int(min(max(value, INTEGER_MIN), INTEGER_MAX))


def _instant(value: float) -> float:
    if not math.isfinite(value):
        raise SerializationException
    return value


def _base64(value: str) -> str:
    if is_base64(value):
        return value
    if len(value) % 4:
        reason = f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}"
    elif stranger := _not_base64.search(_text(value)):
        reason = f"Invalid Base64 character: '{stranger[0][0]}'"
    else:
        reason = "Invalid last non-pad Base64 character dectected"  # the service's spelling
    raise SerializationException(f"'{_echo(_text(value))}' can not be converted to a Blob: {reason}")


# -- constraints --------------------------------------------------------------------------------------------------


def _violations_of_members(structure: Shape, members: Mapping[str, Any], parent: str) -> Iterator[str]:
    for name, shape in structure.members.items():
        yield from _violations(shape, members.get(name), f"{parent}{name[0].lower()}{name[1:]}")


def _violations(shape: Shape, value: Any, path: str) -> Iterator[str]:  # noqa: ANN401 - as `_converted`
    if value is None:
        if shape.required:
            yield f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
        return
    for constraint in _violated(shape, value):
        yield f"Value '{_echo(_shown(shape, value))}' at '{path}' failed to satisfy constraint: {constraint}"
    if shape.kind is Kind.STRUCTURE:
        yield from _violations_of_members(shape, value, f"{path}.")
    elif shape.kind is Kind.LIST and shape.item is not None:
        for position, item in enumerate(value, 1):
            yield from _violations(shape.item, item, f"{path}.{position}.member")


def _violated(shape: Shape, value: Any) -> Iterator[str]:  # noqa: ANN401 - as `_converted`
    if shape.pattern is not None and not re.fullmatch(shape.matcher or shape.pattern, value, re.ASCII):
        yield f"Member must satisfy regular expression pattern: {shape.pattern}"
    if shape.choices and value not in shape.choices:
        yield f"Member must satisfy enum value set: [{', '.join(shape.choices)}]"
    size = value
    if shape.kind is Kind.BLOB:
        size = blob_bytes(value)
    elif shape.kind is not Kind.INTEGER and shape.length != (None, None):
        size = len(value)
    for what, (least, most) in (("length", shape.length), ("value", shape.values)):
        if least is not None and size < least:
            yield f"Member must have {what} greater than or equal to {least}"
        if most is not None and size > most:
            yield f"Member must have {what} less than or equal to {most}"
    if shape.key_length and not all(shape.key_length[0] <= len(key) <= shape.key_length[1] for key in value):
        yield f"Map keys must satisfy constraint: {_length_constraint(shape.key_length)}"
    if shape.item_length and not all(
        shape.item_length[0] <= len(item or "") <= shape.item_length[1] for item in value.values()
    ):
        yield f"Map value must satisfy constraint: {_length_constraint(shape.item_length)}"


def _length_constraint(length: tuple[int, int]) -> str:
    return (
        f"[Member must have length less than or equal to {length[1]}, "
        f"Member must have length greater than or equal to {length[0]}]"
    )


def _shown(shape: Shape, value: Any) -> str:  # noqa: ANN401 - as `_converted`
    match shape.kind:
        case Kind.BLOB:
            return blob_text(blob_bytes(value))
        case Kind.LIST:
            return f"[{', '.join(shape.shown_as or str(item) for item in value)}]"
        case Kind.MAP:
            return f"{{{', '.join(f'{key}={item}' for key, item in value.items())}}}"
        case _:
            return str(value)


def _echo(text: str) -> str:
    return text if len(text) <= ECHO_CHARACTERS_MAX else f"{text[:ECHO_CHARACTERS_MAX]}..."
