from __future__ import annotations

import binascii
from base64 import b64encode
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kinesis.base64_text import are_base64, blob_bytes, is_base64

GOOD = st.binary(max_size=20).map(lambda data: b64encode(data).decode())
DOUBTFUL = st.text("AQgw/=\n-é\ud800", max_size=12)


def is_the_one_spelling(text: str) -> bool:
    """Tell, by decoding and encoding again, whether a text is how some bytes are written."""
    try:
        return b64encode(binascii.a2b_base64(text, strict_mode=True)).decode() == text
    except ValueError:
        return False


def test_base64_is_taken_only_in_its_one_spelling() -> None:
    """Of all short texts, exactly those that encode back to themselves."""
    alphabet = "AQgw/=\n-"
    for text in ("".join(letters) for size in (0, 4) for letters in product(alphabet, repeat=size)):
        body = text.rstrip("=")
        canonical = (
            len(text) - len(body) <= 2
            and not set(body) & set("=\n-")
            and (len(body) % 4 != 2 or body[-1] in "AQgw")
            and (len(body) % 4 != 3 or body[-1] in "AEIMQUYcgkosw048")
            and len(body) % 4 != 1
        )
        assert is_base64(text) is canonical, text
    assert not is_base64("AAAAA===")
    assert is_base64("AAAAAA==")


@pytest.mark.parametrize(("text", "size"), [("", 0), ("YQ==", 1), ("YWE=", 2), ("YWFh", 3), ("YWFhYQ==", 4)])
def test_blob_is_as_large_as_what_it_decodes_to(text: str, size: int) -> None:
    """Padding carries no bytes."""
    assert blob_bytes(text) == size


@given(st.lists(GOOD | DOUBTFUL, max_size=5), st.integers(0, 130))
def test_many_texts_are_base64_if_each_of_them_is(texts: list[str], fill: int) -> None:
    """What one lacks no other makes up for, and however many there are before it."""
    texts = ["YQ=="] * fill + texts
    assert are_base64(texts) == all(map(is_the_one_spelling, texts))
    for text in texts[fill:]:
        assert is_base64(text) == is_the_one_spelling(text)


def test_padding_of_one_text_does_not_stand_for_another_s() -> None:
    """As many pads as there should be, in the wrong place."""
    assert not are_base64(["YQ==", "=AAA"])
    assert not are_base64(["AA=A", "YWE="])
    assert are_base64([])
