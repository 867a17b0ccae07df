"""What can be read as a body, and what cannot."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from proxy.kinesis import json_body
from proxy.kinesis.errors import SerializationException
from proxy.kinesis.limits import MIB


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"hello",
        b"null",
        b"true",
        b"23",
        b'"text"',
        b"{",
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1}x',
        b'{"a":1}\x00',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":01}',
        b'{"a":"\x01"}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":1}'.encode("utf-16"),
        '{"a":1}'.encode("utf-32-le"),
    ],
)
def test_unreadable_body_is_refused_without_a_text(body: bytes) -> None:
    """What is no object of standard JSON in UTF-8 gets the service's wordless refusal."""
    with pytest.raises(SerializationException) as refusal:
        json_body.decode(body)
    assert refusal.value.message is None


def test_list_is_refused_with_the_services_text() -> None:
    """A list where the object should be is readable, and named."""
    with pytest.raises(SerializationException, match=r"^Start of list found where not expected$"):
        json_body.decode(b"[]")


@pytest.mark.parametrize("item", [b"[]", b"{}", b"0", b"1.5", b'""'])
def test_swarm_of_small_items_is_refused_before_it_is_decoded(item: bytes) -> None:
    """16 MiB of empty objects would become more than a gigabyte."""
    body = b'{"a":[' + (item + b",") * (16 * MIB // (len(item) + 1)) + item + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(SerializationException):
            json_body.decode(body)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_partition_keys_may_be_made_of_separators() -> None:
    """500 of the longest are no swarm."""
    entry = {"Data": "", "PartitionKey": "{" * 256, "ExplicitHashKey": "7", "Unknown": [[], {}]}
    assert len(json_body.decode(json.dumps({"Records": [entry] * 500, "StreamName": "a"}).encode())["Records"]) == 500


@pytest.mark.parametrize("depth", [2_000, 1_000_000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"a":['])
def test_nesting_beyond_reason_is_refused(opening: bytes, depth: int) -> None:
    """A body cannot exhaust the stack."""
    with pytest.raises(SerializationException):
        json_body.decode(b'{"a":' + opening * depth)


@pytest.mark.parametrize(
    "body",
    [b'{"a":1,"a":1}', b'{"b":[{"a":null,"a":null}]}', rb'{"Data":"","D\u0061ta":""}', b'{"x":{"y":{"":1,"":2}}}'],
)
def test_member_given_twice_is_refused(body: bytes) -> None:
    """At any depth, however its name is spelled, and even with equal values."""
    with pytest.raises(SerializationException, match=r"^Duplicate member '"):
        json_body.decode(body)


def test_doubled_name_is_told_escaped_and_cut() -> None:
    """The name is the sender's: it may be no text, and long."""
    name = rb"\ud800" + b"x" * 1000
    with pytest.raises(SerializationException) as refusal:
        json_body.decode(b'{"' + name + b'":1,"' + name + b'":2}')
    assert refusal.value.message == f"Duplicate member '\\ud800{'x' * 63}'"


def test_integer_of_many_digits_costs_nothing() -> None:
    """A number of a million digits is read as a float, not multiplied out."""
    assert json_body.decode(b'{"a":' + b"9" * 1_000_000 + b"}") == {"a": float("inf")}
    assert json_body.decode(b'{"a":-340282366920938463463374607431768211455}') == {"a": -(2**128 - 1)}


def test_members_keep_their_values() -> None:
    """Texts, escapes, numbers, lists and objects arrive as they were written."""
    body = rb' {"a":"\u00e9\ud83d\ude00\/","b":[1,2.5,true,null],"c":{}} '
    assert json_body.decode(body) == {"a": "é😀/", "b": [1, 2.5, True, None], "c": {}}
