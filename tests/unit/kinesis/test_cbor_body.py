"""Bodies in CBOR: they mean what they mean in JSON, whatever their form, and hostile ones cost only their sender."""

from __future__ import annotations

import json
import tracemalloc
from base64 import b64encode
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.kinesis import cbor_body, operations, puts
from proxy.kinesis.base64_text import blob_bytes
from proxy.kinesis.cbor_body import DEPTH_MAX, ITEMS_MAX
from proxy.kinesis.codecs import CBOR, JSON
from proxy.kinesis.errors import KinesisError, SerializationException
from proxy.kinesis.puts import parse_put_record, parse_put_records

MIB = 1024 * 1024
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"


def as_java(value: Any, chunk: int = 0) -> bytes:  # noqa: ANN401 - any value of CBOR
    """Encode with indefinite lengths: containers, and strings longer than a chunk, where one is given."""
    match value:
        case dict():
            inside = b"".join(as_java(name) + as_java(member, chunk) for name, member in value.items())
            return b"\xbf" + inside + b"\xff"
        case list():
            return b"\x9f" + b"".join(as_java(item, chunk) for item in value) + b"\xff"
        case bytes() if chunk and len(value) > chunk:
            pieces = [value[at : at + chunk] for at in range(0, len(value), chunk)]
            return b"\x5f" + b"".join(map(cbor2.dumps, pieces)) + b"\xff"
        case str() if chunk and len(value) > chunk:
            texts = [value[at : at + chunk] for at in range(0, len(value), chunk)]
            return b"\x7f" + b"".join(map(cbor2.dumps, texts)) + b"\xff"
        case _:
            return cbor2.dumps(value)


def as_json(value: Any) -> Any:  # noqa: ANN401 - any value of CBOR
    """Return the value that says the same in JSON."""
    match value:
        case dict():
            return {name: as_json(member) for name, member in value.items()}
        case list():
            return [as_json(item) for item in value]
        case bytes():
            return b64encode(value).decode()
        case _:
            return value


PUT = {"StreamName": "orders", "PartitionKey": "é😀", "Data": bytes(range(256)), "ExplicitHashKey": "7"}


@pytest.mark.parametrize("body", [cbor2.dumps(PUT), as_java(PUT), as_java(PUT, 1), as_java(PUT, 100)])
def test_put_record_is_read_whatever_form_its_lengths_take(body: bytes) -> None:
    """Definite, indefinite as Java writes them, and strings in pieces."""
    assert cbor_body.decode(body) == PUT
    assert parse_put_record(body, CBOR) == parse_put_record(json.dumps(as_json(PUT)).encode())


@pytest.mark.parametrize("encode", [cbor2.dumps, as_java])
def test_full_put_records_is_read(encode: Any) -> None:  # noqa: ANN401 - either encoder
    """500 records, with every member that there is, are far from the bounds."""
    records = [{"Data": b"x" * n, "PartitionKey": f"k{n}", "ExplicitHashKey": str(n)} for n in range(500)]
    document = {"StreamName": "orders", "StreamARN": ARN, "Records": records}
    assert parse_put_records(encode(document), CBOR) == parse_put_records(json.dumps(as_json(document)).encode())


def test_largest_data_is_read_in_the_pieces_that_an_encoder_may_cut_it_into() -> None:
    """10 MiB in pieces of 1,000 bytes."""
    document = {"StreamName": "orders", "PartitionKey": "a", "Data": bytes(10 * MIB)}
    assert blob_bytes(parse_put_record(as_java(document, 1000), CBOR).data) == 10 * MIB


@pytest.fixture
def exact_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail where the fast path gives up."""
    monkeypatch.setattr(operations, "parse", lambda *_: pytest.fail("took the exact path"))


@pytest.mark.usefixtures("exact_is_forbidden")
def test_what_java_sends_takes_the_fast_path() -> None:
    """No ordinary record pays for exactness."""
    put = {"StreamName": "orders", "PartitionKey": "a", "Data": b"x", "SequenceNumberForOrdering": "8"}
    assert parse_put_record(as_java(put), CBOR).sequence_number_for_ordering == "8"
    entries = [{"PartitionKey": "a", "Data": b"x", "ExplicitHashKey": "7"}, {"PartitionKey": "a", "Data": b""}]
    assert len(parse_put_records(as_java({"StreamARN": ARN, "Records": entries}), CBOR).entries) == 2


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("Data", True, "class java.lang.Boolean can not be converted to a Blob"),
        ("Data", 1, "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to a Blob"),
        ("Data", [b""], "Start of list found where not expected"),
        ("Data", {}, "Start of structure or map found where not expected."),
        ("Data", "ab=c", "'ab=c' can not be converted to a Blob: Invalid Base64 character: '='"),
        ("PartitionKey", b"a", "class java.nio.HeapByteBuffer can not be converted to an String"),
        (
            "PartitionKey",
            1.5,
            "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String",
        ),
        ("DryRun", b"\x01", "class java.nio.HeapByteBuffer can not be converted to an Boolean"),
    ],
)
def test_member_of_the_wrong_type_is_refused_in_the_words_of_json(member: str, value: object, message: str) -> None:
    """There is one set of rules; bytes where JSON could have none get a text after its fashion."""
    with pytest.raises(SerializationException) as refusal:
        parse_put_record(cbor2.dumps({**PUT, member: value}), CBOR)
    assert refusal.value.message == message


def test_base64_text_is_taken_for_data() -> None:
    """As in JSON, and as kinesalite does."""
    assert parse_put_record(cbor2.dumps({**PUT, "Data": "YWE="}), CBOR).data == "YWE="


def test_timestamp_is_in_milliseconds() -> None:
    """Tag 1 means seconds elsewhere; the Java SDKs count milliseconds, and everything behind counts seconds."""
    body = b"\xa1\x69Timestamp" + cbor2.dumps(cbor2.CBORTag(1, 1_790_000_000_123))
    assert cbor_body.decode(body) == {"Timestamp": 1_790_000_000.123}
    wrong: list[object] = [True, "now", [], cbor2.CBORTag(1, "x")]
    for value in wrong:
        with pytest.raises(SerializationException):
            cbor_body.decode(b"\xa1\x69Timestamp" + cbor2.dumps(cbor2.CBORTag(1, value)))


def test_float_that_is_no_number_is_refused() -> None:
    """JSON has none."""
    for operation, member in (("ListStreams", "Limit"), ("ListShards", "StreamCreationTimestamp")):
        with pytest.raises(SerializationException):
            operations.parse(operation, cbor2.dumps({member: float("nan")}), CBOR)


def test_key_of_a_map_must_be_text() -> None:
    """CBOR would allow bytes."""
    with pytest.raises(SerializationException):
        operations.parse("CreateStream", cbor2.dumps({"StreamName": "a", "Tags": {b"k": "v"}}), CBOR)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b"\xf6",
        b"\x61a",
        b"\xa1\x61a",
        b"\xbf\x61a\xff",
        b"\xa0\xa0",
        b"\xa0\x00",
        b"\xa1\x01\x02",
        b"\xa1\x80\x02",
        b"\xa2\x61a\x01\x61a\x02",
        b"\xa1\x61a\x61\xff",
        b"\xa1\x61a\x63\xed\xa0\x80",
        b"\xa1\x61a\x7f\x61\xc3\x61\xa9\xff",
        b"\xa1\x61a\x5f\x61b\xff",
        b"\xa1\x61a\x5f\x5f\x41b\xff\xff",
        b"\xa1\x61a\x1c",
        b"\xa1\x61a\xfc",
        b"\xa1\x61a\xf7",
        b"\xa1\x61a\xe0",
        b"\xa1\x61a\xf8\x63",
    ],
)
def test_unreadable_body_is_refused_without_a_text(body: bytes) -> None:
    """What is no object of CBOR, or says a thing twice, or has something after its end."""
    with pytest.raises(SerializationException) as refusal:
        cbor_body.decode(body)
    assert refusal.value.message is None


def test_list_is_refused_with_the_services_text() -> None:
    """As in JSON."""
    with pytest.raises(SerializationException, match=r"^Start of list found where not expected$"):
        cbor_body.decode(b"\x80")


def test_every_tag_but_the_timestamps_is_refused() -> None:
    """Whatever tags the library learns, none of them is decoded."""
    heads = [bytes([0xC0 + tag]) for tag in range(24) if tag != 1]
    heads += [b"\xd8" + bytes([tag]) for tag in range(256)]
    heads += [b"\xd9" + tag.to_bytes(2) for tag in range(0, 65_536, 7)]
    heads += [b"\xd9" + tag.to_bytes(2) for tag in (256, 258, 260, 261, 1004, 43_000, 55_799)]
    heads += [b"\xda\xff\xff\xff\xff", b"\xdb" + b"\xff" * 8]
    for head in heads:
        for value in (b"\x00", b"\x41a", b"\x61a", b"\x80", b"\x82\x01\x02"):
            with pytest.raises(SerializationException):
                cbor_body.decode(b"\xa1\x61a" + head + value)


@pytest.mark.parametrize(
    "opening", [b"\x81", b"\x9f", b"\xa1\x61a", b"\xbf\x61a", b"\xc1", b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff"]
)
@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, MIB])
def test_nesting_beyond_reason_is_refused(opening: bytes, depth: int) -> None:
    """A body cannot exhaust the stack."""
    with pytest.raises(SerializationException):
        cbor_body.decode(b"\xa1\x61a" + opening * depth)


@pytest.mark.parametrize(("opening", "closing"), [(b"\x81", b""), (b"\x9f", b"\xff"), (b"\xa1\x61a", b"")])
def test_nesting_is_taken_to_its_bound(opening: bytes, closing: bytes) -> None:
    """The object itself is the first level; one more than the bound is refused."""
    levels = DEPTH_MAX - 1
    assert cbor_body.decode(b"\xa1\x61a" + opening * levels + b"\x00" + closing * levels)
    levels += 1
    with pytest.raises(SerializationException):
        cbor_body.decode(b"\xa1\x61a" + opening * levels + b"\x00" + closing * levels)


@pytest.mark.parametrize("kind", [0x40, 0x60, 0x80, 0xA0])
@pytest.mark.parametrize("length", [b"\x18\xff", b"\x19\xff\xff", b"\x1a\xff\xff\xff\xff", b"\x1b" + b"\xff" * 8])
def test_length_that_promises_more_than_there_is_costs_nothing(kind: int, length: bytes) -> None:
    """Memory is taken for what came, not for what was announced."""
    body = b"\xa1\x61a" + bytes([kind + length[0]]) + length[1:] + b"\x00" * 100
    tracemalloc.start()
    try:
        with pytest.raises(SerializationException):
            cbor_body.decode(body)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("item", [b"\x00", b"\x80", b"\xa0", b"\x81\x00", b"\xf9\x3c\x01", b"\x41a", b"\x61a"])
def test_swarm_of_small_items_is_refused_before_it_is_decoded(item: bytes) -> None:
    """16 MiB of empty lists would become a gigabyte of objects."""
    body = b"\xa1\x61a\x9f" + item * (16 * MIB // len(item)) + b"\xff"
    tracemalloc.start()
    try:
        with pytest.raises(SerializationException):
            cbor_body.decode(body)
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


def test_items_are_counted_to_the_last_one() -> None:
    """As many as the bound are taken, one more is not; what is in a string is no item."""
    document = {"a": [b"\x80" * 40] * (ITEMS_MAX - 3)}
    assert cbor_body.decode(cbor2.dumps(document)) == document
    document["a"].append(b"")
    with pytest.raises(SerializationException):
        cbor_body.decode(cbor2.dumps(document))


def test_output_has_cbors_own_types() -> None:
    """Blobs are bytes and times are tagged milliseconds, at any depth; everything else is as in JSON."""
    output = {"Records": [{"Data": "AP8=", "ApproximateArrivalTimestamp": 1.234, "n": 1}], "Next": None, "Ok": True}
    before = json.dumps(output)
    assert cbor_body.encode(output) == cbor2.dumps(
        {
            "Records": [{"Data": b"\x00\xff", "ApproximateArrivalTimestamp": cbor2.CBORTag(1, 1234), "n": 1}],
            "Next": None,
            "Ok": True,
        }
    )
    assert json.dumps(output) == before


SCALARS = st.one_of(
    st.sampled_from(["", "a", "orders", ARN, "YQ==", "YR==", "0", "01", "7", "a" * 257, "9" * 40, "1" * 130]),
    st.sampled_from([b"", b"a", b"\x00\xff", True, False, None, 1, -1, 1.5, 2**40]),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
ENTRY = {"Data": st.one_of(st.binary(max_size=8), SCALARS), "PartitionKey": SCALARS, "ExplicitHashKey": SCALARS}
OTHERS = dict.fromkeys(("StreamARN", "StreamId", "DryRun", "Unknown", "data_bytes"), SCALARS)
STREAM = {"StreamName": SCALARS, **OTHERS}
GOOD = {"StreamName": st.just("orders"), "PartitionKey": st.just("a"), "Data": st.binary(max_size=8)}
PUT_RECORDS_OF = st.one_of(
    st.fixed_dictionaries(GOOD, optional={**OTHERS, "ExplicitHashKey": SCALARS}),
    st.fixed_dictionaries({}, optional={**ENTRY, **STREAM, "SequenceNumberForOrdering": SCALARS}),
)
ENTRIES = st.one_of(
    st.lists(st.fixed_dictionaries({"Data": st.binary(max_size=8), "PartitionKey": st.text(max_size=4)}), max_size=3),
    st.lists(st.fixed_dictionaries({}, optional={**ENTRY, "Unknown": SCALARS, "data_bytes": SCALARS}), max_size=3),
    VALUES,
)


def outcome(parse: Any, body: bytes, *arguments: object) -> object:  # noqa: ANN401 - any parser
    """Return what becomes of a body: its value, or its error."""
    try:
        return parse(body, *arguments)
    except KinesisError as error:
        return type(error), error.message


def has_bytes_for_text(document: dict[str, Any]) -> bool:
    """Tell whether a byte string stands where JSON's base64 of it would be taken for a text."""
    return any(isinstance(value, bytes) for name, value in document.items() if name != "Data")


@settings(max_examples=300, deadline=None)
@given(PUT_RECORDS_OF, st.sampled_from([cbor2.dumps, as_java]))
def test_put_record_means_in_cbor_what_it_means_in_json(document: dict[str, Any], encode: Any) -> None:  # noqa: ANN401 - either encoder
    """Same value or same error, on the fast path and on the exact one."""
    body = encode(document)
    result = outcome(parse_put_record, body, CBOR)
    assert result == outcome(puts._parse_put_record_exactly, body, CBOR)
    if not has_bytes_for_text(document):
        assert result == outcome(parse_put_record, json.dumps(as_json(document)).encode(), JSON)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({"Records": ENTRIES}, optional=STREAM), st.sampled_from([cbor2.dumps, as_java]))
@example({"Records": [{"Data": b"", "PartitionKey": "a"}] * 501, "StreamName": "orders"}, as_java)
def test_put_records_means_in_cbor_what_it_means_in_json(document: dict[str, Any], encode: Any) -> None:  # noqa: ANN401 - either encoder
    """Same value or same error, on the fast path and on the exact one."""
    body = encode(document)
    result = outcome(parse_put_records, body, CBOR)
    assert result == outcome(puts._parse_put_records_exactly, body, CBOR)
    records = document["Records"]
    entries = records if isinstance(records, list) else [records]
    if not any(has_bytes_for_text(each) for each in (document, *entries) if isinstance(each, dict)):
        assert result == outcome(parse_put_records, json.dumps(as_json(document)).encode(), JSON)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(sorted(operations.OPERATIONS)))
def test_any_bytes_are_read_or_refused(body: bytes, operation: str) -> None:
    """Nothing but a KinesisError leaves."""
    outcome(parse_put_record, body, CBOR)
    outcome(parse_put_records, body, CBOR)
    outcome(lambda body: operations.parse(operation, body, CBOR), body)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bodies_are_read_or_refused(data: st.DataObject) -> None:
    """A byte changed, added or dropped anywhere costs at most an error, and both paths say the same."""
    document = {"Records": [PUT, PUT], **PUT, "DryRun": True, "Limit": 1, "Timestamp": cbor2.CBORTag(1, 5)}
    body = bytearray(as_java(document))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    raw = bytes(body)
    assert outcome(parse_put_record, raw, CBOR) == outcome(puts._parse_put_record_exactly, raw, CBOR)
    assert outcome(parse_put_records, raw, CBOR) == outcome(puts._parse_put_records_exactly, raw, CBOR)
    for operation in operations.OPERATIONS:
        outcome(lambda body: operations.parse(operation, body, CBOR), raw)  # noqa: B023 - called at once


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.integers(0, 3))
def test_whatever_is_encoded_is_read_back(document: dict[str, Any], chunk: int) -> None:
    """The bounds let through all that an SDK could mean."""
    assert cbor_body.decode(as_java(document, chunk)) == document
