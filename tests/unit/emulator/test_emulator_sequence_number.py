from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.emulator.sequence_number import ORDINAL_MAX, SequenceNumber, base_of, compose, parse

# Issued by the service: from the API references and bug reports.
PUT_RECORDS_EXAMPLE = "49543463076548007577105092703039560359975228518395019266"
SECOND_SHARD_EXAMPLE = "49543463076570308322303623326179887152428262250726293522"
SEVENTH_SHARD_EXAMPLE = "49590338271490256608559692538361571095921575989136588898"
VERSION_1_EXAMPLE = "49545115243490985018280067714973144582180062593244200961"
VERSION_0_EXAMPLE = "21269319989653637946712965403778482177"


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (PUT_RECORDS_EXAMPLE, SequenceNumber(2, 0x5420_50CD, 0, 0x157D, 0x5420_BB34)),
        (SECOND_SHARD_EXAMPLE, SequenceNumber(2, 0x5420_50CD, 1, 0x157C, 0x5420_BB34)),
        (SEVENTH_SHARD_EXAMPLE, SequenceNumber(2, 0x5BF4_E5C2, 6, 0x6764_8A17, 0x5C18_1EEA)),
    ],
)
def test_numbers_issued_by_the_service_are_taken_apart_and_composed_alike(text: str, parsed: SequenceNumber) -> None:
    """The layout is the service's own: its examples decode to plausible times and encode back to themselves."""
    assert parse(text) == parsed
    assert compose(base_of(parsed.shard_created_seconds, parsed.shard_index), parsed.ordinal, parsed.put_seconds) == (
        text
    )


def test_a_number_has_47_hexadecimal_digits_in_the_documented_fields() -> None:
    """Each field lies where the layout says."""
    number = int(compose(base_of(0x1_2345_6789, 0xAB), 0xCDEF, 0x9_8765_4321))
    assert f"{number:x}" == "2" + "123456789" + "b" + "000000000000cdef" + "00" + "987654321" + "000000ab" + "2"


@pytest.mark.parametrize(("text", "version"), [(VERSION_1_EXAMPLE, 1), (VERSION_0_EXAMPLE, 0), ("0", 0), ("1", 0)])
def test_old_versions_are_recognised(text: str, version: int) -> None:
    """Numbers of 2013 and 2014, and small ones that read as such, are valid."""
    parsed = parse(text)
    assert parsed is not None
    assert parsed.version == version


@pytest.mark.parametrize(
    "number",
    [
        2**129,  # between the versions
        2**185 - 1,
        3 << 184,
        int(PUT_RECORDS_EXAMPLE) + 1,  # version 3
        int(compose(base_of(16_025_175_000, 0), 1, 1)),  # made in the year 2477
        int(compose(base_of(1, 0), ORDINAL_MAX, 1)) + (1 << 80),  # ordinal beyond 63 bits
        10**128,
    ],
)
def test_numbers_that_the_service_cannot_have_issued_are_invalid(number: int) -> None:
    """Outside of every version's range, of an unknown version, or with a field out of range."""
    assert parse(str(number)) is None


@given(
    st.integers(0, 2**32),
    st.integers(0, 2**31 - 1),
    st.integers(0, ORDINAL_MAX),
    st.integers(0, 2**32),
)
def test_what_is_composed_is_parsed_alike(created: int, index: int, ordinal: int, put: int) -> None:
    """Composing loses nothing."""
    assert parse(compose(base_of(created, index), ordinal, put)) == SequenceNumber(2, created, index, ordinal, put)


@given(st.integers(0, ORDINAL_MAX - 1), st.integers(0, 2**32), st.integers(0, 2**32))
def test_a_later_ordinal_outranks_every_put_second(ordinal: int, put: int, later_put: int) -> None:
    """Numbers of a shard grow with the ordinal even where the clock stepped back."""
    base = base_of(1_700_000_000, 3)
    assert int(compose(base, ordinal, put)) < int(compose(base, ordinal + 1, later_put))


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, ORDINAL_MAX))
def test_a_shard_created_later_has_higher_numbers(parent: int, child: int, ordinal: int) -> None:
    """A child's lowest number is above its parent's highest, whatever their indexes."""
    created = 1_700_000_000
    highest = int(compose(base_of(created, parent), ordinal, 2**32))
    assert highest < int(compose(base_of(created + 1, child), 0, 0))
