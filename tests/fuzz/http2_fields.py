"""Blocks of header fields: our decoder takes what hpack's takes and refuses what it refuses, on one table over blocks.

A case is blocks, each after its length in one byte; a first byte bounds the size of the decoded fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError

from proxy.transport.http2_fields import FieldDecoder, FieldEncoder
from tests.fuzz.surface import Surface, pure

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = [
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":scheme", b"http"),
    (b":authority", b"127.0.0.1:4567"),
    (b"x-amz-target", b"Kinesis_20131202.PutRecord"),
    (b"content-type", b"application/x-amz-json-1.1"),
    (b"authorization", b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/kinesis/aws4_request"),
    (b"x-long", b"v" * 200),
]


def blocks_of(case: bytes) -> Iterator[bytes]:
    """Cut a case into blocks."""
    at = 1
    while at < len(case):
        length = case[at]
        yield case[at + 1 : at + 1 + length]
        at += 1 + length


def check(case: bytes) -> None:
    """Check blocks, one after another."""
    ours, theirs = FieldDecoder(), Decoder()
    ours.max_header_list_size = theirs.max_header_list_size = 64 * (case[0] if case else 1)
    encoder = FieldEncoder()
    reader = Decoder()
    for block in blocks_of(case):
        decoded = _decoded(ours, block)
        assert decoded == _decoded(theirs, block)
        if decoded is None:
            return
        assert ours.header_table_size == theirs.header_table_size
        assert list(ours.header_table.dynamic_entries) == list(theirs.header_table.dynamic_entries)
        reader.max_header_list_size = 1 << 20
        assert [(bytes(n), bytes(v)) for n, v in reader.decode(encoder.encode(decoded), raw=True)] == decoded


def _decoded(decoder: Decoder, block: bytes) -> list[tuple[bytes, bytes]] | None:
    """Return a block's fields; None where it is refused, which any other error is not."""
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except HPACKError:
        return None


def _case(*blocks: bytes) -> bytes:
    return b"\xff" + b"".join(bytes((len(block),)) + block for block in blocks)


def _encoded(*, huffman: bool) -> tuple[bytes, ...]:
    encoder = Encoder()
    return tuple(encoder.encode([field], huffman=huffman) for field in [*FIELDS, *FIELDS])


HTTP2_FIELDS = Surface(
    (_case(*_encoded(huffman=True)), _case(*_encoded(huffman=False)), _case(b"\x20", b"\x3f\xe1\x1f", b"\x82\x84\x86")),
    (
        *_encoded(huffman=True),
        *(
            b"\x80",
            b"\xff\xff\xff\xff\x7f",
            b"\x3f\xe1\x1f",
            b"\x20",
            b"\x40\x01a\x01b",
            b"\x10\x01a\x01b",
            b"\x00\x00\x00",
        ),
        *(b"\x0f\x10\x01b", b"\x7f\x80\x80\x80\x80\x01", b"\xbe", b"\xbf", b"\xc0", b"\x41\x84\xff\xff\xff\xff"),
    ),
    pure(check),
)
