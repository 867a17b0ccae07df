"""The text of Data: taken if and only if it is the one way in which some bytes are written in base64."""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, b64encode

from proxy.kinesis.base64_text import blob_bytes, is_base64
from proxy.kinesis.put_inputs import PutRecordInput
from proxy.kinesis.puts import parse_put_record
from tests.fuzz.surface import Surface, outcome_of, pure


def check(case: bytes) -> None:
    """Check one text, in a body whose other members are good."""
    text = case.decode("utf-8", "surrogateescape")
    good = _is_the_one_form(text)
    assert is_base64(text) == good
    if good:
        assert blob_bytes(text) == len(b64decode(text))
    # the same text as plain as it can be written, and with every character escaped
    escaped = "".join(f"\\u{unit:04x}" for unit in _units(text))
    for written in (json.dumps(text), f'"{escaped}"'):
        put = outcome_of(lambda written=written: _parsed(written))  # type: ignore[misc]  # its default is a str
        assert isinstance(put, PutRecordInput) == good
        if isinstance(put, PutRecordInput):
            assert put.data == text


def _parsed(written: str) -> PutRecordInput:
    body = f'{{"StreamName":"orders","PartitionKey":"a","Data":{written}}}'
    return parse_put_record(body.encode())


def _is_the_one_form(text: str) -> bool:
    """Tell by the definition, without regard to cost."""
    try:
        return b64encode(b64decode(text, validate=True)).decode() == text
    except (binascii.Error, ValueError):
        return False


def _units(text: str) -> list[int]:
    """Return a text's units of UTF-16."""
    encoded = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(encoded[at : at + 2]) for at in range(0, len(encoded), 2)]


DATA = Surface(
    (
        *(b64encode(bytes(range(size))) for size in (0, 1, 2, 3, 4, 57, 200)),
        b"YR==",
        b"YWJ=",
        b"Y===",
        b"YQ",
        b"YQ=\n=",
    ),
    (
        b"=",
        b"==",
        b"===",
        b"AAAA",
        b"A",
        b"-",
        b"_",
        b"\n",
        b" ",
        b"\x00",
        b"\xff",
        b"\xc3\xa9",
        b"\xf0\x9f\x98\x80",
        b'"',
    ),
    pure(check),
)
