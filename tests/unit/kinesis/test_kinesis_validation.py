"""Types and constraints, in the service's words; texts as kinesalite recorded them."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kinesis.errors import SerializationException, ValidationException
from proxy.kinesis.validation import ECHO_CHARACTERS_MAX, Kind, Shape, validate

BIG_NUMBER = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to"
NOT_A_BLOB = "can not be converted to a Blob"
LIST = "Start of list found where not expected"
STRUCTURE = "Start of structure or map found where not expected."

REFUSALS: dict[Kind, list[tuple[Any, str]]] = {
    Kind.STRING: [
        (True, "class java.lang.Boolean can not be converted to an String"),
        (23, f"{BIG_NUMBER} an String"),
        (34.56, f"{BIG_NUMBER} an String"),
        ([], LIST),
        ({}, STRUCTURE),
    ],
    Kind.BLOB: [
        (True, "class java.lang.Boolean can not be converted to a Blob"),
        (-2147483648, f"{BIG_NUMBER} a Blob"),
        ([], LIST),
        ({}, STRUCTURE),
        ("23456", f"'23456' {NOT_A_BLOB}: Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
        ("=+/=", "'=+/=' can not be converted to a Blob: Invalid Base64 character: '='"),
        ("+/+=", "'+/+=' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"),
        ("éé==", "'éé==' can not be converted to a Blob: Invalid Base64 character: 'é'"),
    ],
    Kind.BOOLEAN: [
        ("23", "'23' can not be converted to an Boolean"),
        ("hello", "'HELLO' can not be converted to an Boolean"),
        (23, f"{BIG_NUMBER} an Boolean"),
        ([], LIST),
        ({}, STRUCTURE),
    ],
    Kind.INTEGER: [
        ("23", "class java.lang.String can not be converted to an Integer"),
        (True, "class java.lang.Boolean can not be converted to an Integer"),
        ([], LIST),
        ({}, STRUCTURE),
    ],
    Kind.TIMESTAMP: [
        ("23", "class java.lang.String can not be converted to milliseconds since epoch"),
        (True, "class java.lang.Boolean can not be converted to milliseconds since epoch"),
        ([], LIST),
        ({}, STRUCTURE),
    ],
    Kind.LIST: [
        ("23", "Expected list or null"),
        (True, "Expected list or null"),
        (2.5, "Expected list or null"),
        ({}, STRUCTURE),
    ],
    Kind.MAP: [
        ("23", "Expected map or null"),
        (True, "Expected map or null"),
        (2.5, "Expected map or null"),
        ([], LIST),
    ],
    Kind.STRUCTURE: [("23", "Expected null"), (True, "Expected null"), (2.5, "Expected null"), ([], LIST)],
}


def holding(**members: Shape) -> Shape:
    """Return a structure of the members."""
    return Shape(Kind.STRUCTURE, members=members)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [(kind, value, text) for kind, refusals in REFUSALS.items() for value, text in refusals],
)
def test_wrong_type_is_refused_in_the_services_words(kind: Kind, value: object, text: str) -> None:
    """Each type has its texts for each type that it is not."""
    with pytest.raises(SerializationException) as refusal:
        validate(holding(A=Shape(kind)), {"A": value})
    assert refusal.value.message == text


@pytest.mark.parametrize("kind", Kind)
def test_null_is_as_good_as_absent(kind: Kind) -> None:
    """A null has no type."""
    assert validate(holding(A=Shape(kind)), {"A": None}) == {}


def test_unknown_member_is_ignored() -> None:
    """Clients may be newer than the model."""
    assert validate(holding(A=Shape(Kind.STRING)), {"A": "a", "B": object()}) == {"A": "a"}


@pytest.mark.parametrize(
    ("value", "converted"),
    [(2.9, 2), (-2.9, -2), (2**31, 2**31 - 1), (-(2**70), -(2**31)), (float("inf"), 2**31 - 1)],
)
def test_integer_is_cut_to_its_range(value: float, converted: int) -> None:
    """Fractions are dropped and the rest is held within 32 bits, as the service does."""
    assert validate(holding(A=Shape(Kind.INTEGER)), {"A": value}) == {"A": converted}


@pytest.mark.parametrize(
    ("text", "truth"), [("true", True), ("Yes", True), ("1", True), ("FALSE", False), ("no", False)]
)
def test_boolean_may_be_a_text(text: str, truth: bool) -> None:  # noqa: FBT001 - a parameter of the case
    """The service reads some texts as truth."""
    assert validate(holding(A=Shape(Kind.BOOLEAN)), {"A": text}) == {"A": truth}


@pytest.mark.parametrize("kind", [Kind.STRING, Kind.BLOB, Kind.BOOLEAN])
def test_half_a_surrogate_pair_is_no_text(kind: Kind) -> None:
    """It has no UTF-8: neither a hash key nor an answer can be made of it."""
    with pytest.raises(SerializationException) as refusal:
        validate(holding(A=Shape(kind)), {"A": "\ud800aaa"})
    assert refusal.value.message is None


def test_instant_beyond_all_numbers_is_refused() -> None:
    """A float overflows to infinity; no instant is meant by it."""
    with pytest.raises(SerializationException):
        validate(holding(A=Shape(Kind.TIMESTAMP)), {"A": float("inf")})


def violations(shape: Shape, value: object) -> str:
    """Return the text for one member's violations."""
    with pytest.raises(ValidationException) as refusal:
        validate(holding(Member=shape), {"Member": value})
    assert refusal.value.message is not None
    return refusal.value.message


def test_violations_are_listed_in_the_order_of_the_constraints() -> None:
    """Pattern before length, in one message with their number."""
    assert violations(Shape(Kind.STRING, pattern="[ab]+", length=(2, 3)), "") == (
        "2 validation errors detected: "
        "Value '' at 'member' failed to satisfy constraint: Member must satisfy regular expression pattern: [ab]+; "
        "Value '' at 'member' failed to satisfy constraint: Member must have length greater than or equal to 2"
    )


def bounds(least: int, most: int) -> str:
    """Return how the service tells the lengths of a map's keys or values."""
    return (
        f"[Member must have length less than or equal to {most}, "
        f"Member must have length greater than or equal to {least}]"
    )


@pytest.mark.parametrize(
    ("shape", "value", "shown", "constraint"),
    [
        (Shape(Kind.STRING, required=True), None, "null", "Member must not be null"),
        (Shape(Kind.STRING, length=(1, 2)), "aaa", "'aaa'", "Member must have length less than or equal to 2"),
        (Shape(Kind.STRING, length=(1, 2)), "😀😀😀", "'😀😀😀'", "Member must have length less than or equal to 2"),
        (Shape(Kind.STRING, choices=("A", "B")), "C", "'C'", "Member must satisfy enum value set: [A, B]"),
        (Shape(Kind.INTEGER, values=(1, 9)), 0, "'0'", "Member must have value greater than or equal to 1"),
        (Shape(Kind.INTEGER, values=(1, 9)), 10, "'10'", "Member must have value less than or equal to 9"),
        (
            Shape(Kind.BLOB, length=(None, 1)),
            "YWE=",
            "'java.nio.HeapByteBuffer[pos=0 lim=2 cap=2]'",
            "Member must have length less than or equal to 1",
        ),
        (
            Shape(Kind.LIST, length=(3, None), item=Shape(Kind.STRING)),
            ["a", "b"],
            "'[a, b]'",
            "Member must have length greater than or equal to 3",
        ),
        (
            Shape(Kind.MAP, length=(1, 1), item=Shape(Kind.STRING)),
            {"a": "b", "c": "d"},
            "'{a=b, c=d}'",
            "Member must have length less than or equal to 1",
        ),
        (
            Shape(Kind.MAP, key_length=(1, 2), item=Shape(Kind.STRING)),
            {"": "b"},
            "'{=b}'",
            f"Map keys must satisfy constraint: {bounds(1, 2)}",
        ),
        (
            Shape(Kind.MAP, item_length=(0, 2), item=Shape(Kind.STRING)),
            {"a": "bbb"},
            "'{a=bbb}'",
            f"Map value must satisfy constraint: {bounds(0, 2)}",
        ),
    ],
)
def test_violation_shows_value_path_and_constraint(shape: Shape, value: object, shown: str, constraint: str) -> None:
    """Each constraint has its words, each type its way to be shown."""
    expected = f"1 validation error detected: Value {shown} at 'member' failed to satisfy constraint: {constraint}"
    assert violations(shape, value) == expected


def test_path_leads_through_lists_and_structures() -> None:
    """Elements count from one; names start small."""
    inner = holding(Deep=Shape(Kind.STRING, required=True))
    assert "at 'member.2.member.deep'" in violations(Shape(Kind.LIST, item=inner), [{"Deep": "a"}, {}])


def test_at_most_ten_violations_are_listed() -> None:
    """The eleventh is not told."""
    text = violations(Shape(Kind.LIST, item=Shape(Kind.STRING, length=(1, None))), [""] * 11)
    assert text.startswith("10 validation errors detected: ")
    assert text.count("Value ''") == 10


def test_echo_of_a_value_is_bounded() -> None:
    """An error must not send a whole body back."""
    assert len(violations(Shape(Kind.STRING, length=(None, 1)), "a" * 1_000_000)) < ECHO_CHARACTERS_MAX + 200
    with pytest.raises(SerializationException) as refusal:
        validate(holding(A=Shape(Kind.BLOB)), {"A": "a" * 999_997})
    assert refusal.value.message is not None
    assert len(refusal.value.message) < ECHO_CHARACTERS_MAX + 200
