"""The codec of header fields: hpack's own is the judge of both directions."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKDecodingError, HPACKError, OversizedHeaderListError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport import huffman
from proxy.transport.http2_fields import FieldDecoder, FieldEncoder

encode_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode

TEXTS = st.binary(max_size=40) | st.sampled_from([b"", b":method", b"POST", b"content-length", b"x" * 200])
FIELDS = st.lists(st.tuples(TEXTS, TEXTS), max_size=8)


def outcome_of(decoder: Decoder, data: bytes) -> Any:  # noqa: ANN401 - fields, or that there are none
    """Return what a decoder makes of bytes, and of its table."""
    try:
        fields = [tuple(field) for field in decoder.decode(data, raw=True)]
    except (HPACKError, IndexError):
        return None
    return fields, list(decoder.header_table.dynamic_entries)


@given(st.lists(FIELDS, max_size=4), st.sampled_from([0, 100, 4096]), st.sampled_from([True, False]))
def test_blocks_of_one_connection_are_decoded_as_by_hpack(
    blocks: list[list[tuple[bytes, bytes]]],
    table_bytes: int,
    use_huffman: bool,  # noqa: FBT001 - drawn
) -> None:
    """Table and all."""
    encoder, ours, theirs = Encoder(), FieldDecoder(), Decoder()
    encoder.header_table_size = table_bytes
    for block in blocks:
        data = encoder.encode(block, huffman=use_huffman)
        assert outcome_of(ours, data) == outcome_of(theirs, data)


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_garbage_is_judged_as_by_hpack(blocks: list[bytes]) -> None:
    """What it refuses is refused, with an error that the h2 library knows."""
    ours, theirs = FieldDecoder(), Decoder()
    for block in blocks:
        outcome = outcome_of(theirs, block)
        assert outcome_of(ours, block) == outcome
        if outcome is None:
            return


@given(FIELDS.filter(bool), st.data())
def test_damaged_block_is_judged_as_by_hpack(fields: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    """With a byte changed anywhere, or cut short."""
    block = bytearray(Encoder().encode(fields))
    block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    del block[data.draw(st.integers(0, len(block))) :]
    assert outcome_of(FieldDecoder(), bytes(block)) == outcome_of(Decoder(), bytes(block))


def test_list_of_fields_is_bounded_as_it_is_decoded() -> None:
    """A few bytes can stand for many fields."""
    decoder = FieldDecoder()
    decoder.max_header_list_size = 1000
    bomb = Encoder().encode([(b"x", b"y" * 400)]) + b"\xbe" * 10_000
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(bomb, raw=True)


def test_integer_of_many_bytes_is_refused() -> None:
    """Arithmetic on thousands of digits is work too."""
    with pytest.raises(HPACKDecodingError):
        FieldDecoder().decode(b"\xff" * 10_000, raw=True)


@given(st.binary(max_size=100))
def test_huffman_text_is_decoded(text: bytes) -> None:
    """Whatever its bytes are."""
    assert huffman.decode(encode_huffman(text)) == text


@given(st.binary(max_size=30))
def test_huffman_garbage_is_judged_as_by_hpack(encoded: bytes) -> None:
    """Padding and end-of-string included."""
    try:
        expected = decode_huffman(encoded)
    except HPACKDecodingError:
        with pytest.raises(HPACKDecodingError):
            huffman.decode(encoded)
    else:
        assert huffman.decode(encoded) == expected


@given(st.lists(FIELDS, min_size=1, max_size=4))
def test_what_is_encoded_is_what_hpack_decodes(blocks: list[list[tuple[bytes, bytes]]]) -> None:
    """Block after block, whatever the names."""
    encoder, decoder = FieldEncoder(), Decoder()
    for block in blocks:
        assert [tuple(field) for field in decoder.decode(encoder.encode(block), raw=True)] == block


def test_client_may_have_its_table_made_smaller() -> None:
    """It is told so in the first block, as it must be, and nothing is ever put into the table."""
    encoder, decoder = FieldEncoder(), Decoder()
    encoder.header_table_size = 0
    decoder.max_allowed_table_size = 0
    for _ in range(2):
        fields = [tuple(field) for field in decoder.decode(encoder.encode([(b"name", b"value")]), raw=True)]
        assert fields == [(b"name", b"value")]
        assert not decoder.header_table.dynamic_entries
