"""The fast path takes exactly what the exact path takes, and reads it the same."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.kinesis import operations, puts
from proxy.kinesis.codecs import JSON
from proxy.kinesis.errors import InvalidArgumentException, KinesisError, SerializationException
from proxy.kinesis.put_inputs import PutEntry, PutRecordInput, PutRecordsInput
from proxy.kinesis.puts import parse_put_record, parse_put_records

if TYPE_CHECKING:
    from proxy.kinesis.codecs import Codec

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"


def body_of(**members: Any) -> bytes:  # noqa: ANN401 - members of a JSON body
    """Return a PutRecord body: a good one, but for the members given."""
    return json.dumps({"StreamName": "orders", "PartitionKey": "a", "Data": "YQ==", **members}).encode()


@pytest.fixture
def exact_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail where the fast path gives up."""

    def forbidden(operation: str, body: bytes, codec: Codec) -> dict[str, Any]:
        del codec
        pytest.fail(f"{operation} took the exact path: {body[:200]!r}")

    monkeypatch.setattr(operations, "parse", forbidden)


@pytest.mark.usefixtures("exact_is_forbidden")
@pytest.mark.parametrize(
    "members",
    [
        {},
        {"Data": ""},
        {"Data": b64encode(bytes(1024 * 1024)).decode()},
        {"StreamARN": ARN},
        {"ExplicitHashKey": "0"},
        {"ExplicitHashKey": "340282366920938463463374607431768211456"},
        {"SequenceNumberForOrdering": "49590338271490256608559692538361571095921575989136588898"},
        {"PartitionKey": "é" * 256},
        {"PartitionKey": "a\\b"},
    ],
)
def test_what_sdks_send_takes_the_fast_path(members: dict[str, Any]) -> None:
    """No ordinary record pays for exactness."""
    put = parse_put_record(body_of(**members))
    assert put.partition_key == members.get("PartitionKey", "a")
    assert put.data == members.get("Data", "YQ==")


@pytest.mark.usefixtures("exact_is_forbidden")
def test_full_put_records_takes_the_fast_path() -> None:
    """500 records, some with an explicit hash key."""
    records = [
        {"Data": "YWE=", "PartitionKey": str(n), **({"ExplicitHashKey": "7"} if n % 3 else {})} for n in range(500)
    ]
    put = parse_put_records(json.dumps({"StreamName": "orders", "Records": records}).encode())
    assert [entry.partition_key for entry in put.entries] == [str(n) for n in range(500)]
    assert {entry.data for entry in put.entries} == {"YWE="}


def test_every_member_arrives() -> None:
    """The input's attributes are the body's members."""
    body = body_of(StreamARN=ARN, ExplicitHashKey="7", SequenceNumberForOrdering="8", DryRun=True)
    assert parse_put_record(body) == PutRecordInput(
        data="YQ==",
        partition_key="a",
        explicit_hash_key="7",
        stream_name="orders",
        stream_arn=ARN,
        sequence_number_for_ordering="8",
        dry_run=True,
    )
    body = json.dumps({"StreamARN": ARN, "Records": [{"Data": "YWE="}], "DryRun": "yes"}).encode()
    assert parse_put_records(body) == PutRecordsInput(
        entries=[PutEntry(data="YWE=", partition_key="")], stream_arn=ARN, dry_run=True
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"StreamName":"a","PartitionKey":"a","Data":"YQ==","Data":"YQ=="}',
        b'{"StreamName":"a","StreamName":"a","PartitionKey":"a","Data":"YQ=="}',
        rb'{"StreamName":"a","PartitionKey":"a","Data":"YQ==","D\u0061ta":"YQ=="}',
        b'{"StreamName":"a","PartitionKey":"a","Data":"YQ==","x":{"y":1,"y":1}}',
        b'{"StreamName":"a","PartitionKey":"a","Data":"YQ==","DryRun":false,"DryRun":false}',
    ],
)
def test_member_given_twice_is_refused_in_a_put(body: bytes) -> None:
    """Whichever member it is, and however it is spelled."""
    with pytest.raises(SerializationException, match=r"^Duplicate member"):
        parse_put_record(body)


def test_member_given_twice_is_refused_in_a_record_of_a_call() -> None:
    """Also inside the list."""
    with pytest.raises(SerializationException, match=r"^Duplicate member 'PartitionKey'"):
        parse_put_records(b'{"StreamName":"a","Records":[{"Data":"","PartitionKey":"a","PartitionKey":"b"}]}')


@pytest.mark.parametrize(
    "data", ["YR==", "YWF=", "YWFhY", "A", "AA", "AAA", "AAAA=", "A===", "====", "YQ==YQ==", "é===", "YQ=a", "YQ\n="]
)
def test_data_that_is_no_base64_is_refused(data: str) -> None:
    """Wrong length, strangers, padding in the wrong place, stray bits: the fast path lets none through."""
    with pytest.raises(SerializationException, match=r"can not be converted to a Blob"):
        parse_put_record(body_of(Data=data))
    with pytest.raises(SerializationException, match=r"can not be converted to a Blob"):
        parse_put_records(json.dumps({"StreamName": "a", "Records": [{"Data": data, "PartitionKey": "a"}]}).encode())


def test_reserved_stream_id_is_refused_in_a_put() -> None:
    """It is valid in the model, and cannot be served."""
    with pytest.raises(InvalidArgumentException, match=r"^StreamId"):
        parse_put_record(body_of(StreamId="abcdefghijklmnopqrst-abc"))
    with pytest.raises(InvalidArgumentException, match=r"^StreamId"):
        parse_put_records(b'{"StreamId":"abcdefghijklmnopqrst-abc","Records":[{"Data":"","PartitionKey":"a"}]}')


@pytest.mark.parametrize("explicit_hash_key", ["0", str(2**128 - 1)])
def test_explicit_hash_key_on_the_ring_is_taken(explicit_hash_key: str) -> None:
    """Both ends of the ring are on it."""
    puts.checked_hash_key(explicit_hash_key)


def test_explicit_hash_key_above_the_ring_is_refused() -> None:
    """2^128 has the right form and no shard."""
    with pytest.raises(InvalidArgumentException) as refusal:
        puts.checked_hash_key(str(2**128))
    assert refusal.value.message == (
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
        "Specified value was 340282366920938463463374607431768211456"
    )


TEXTS = st.one_of(
    st.sampled_from(
        ["", "a", "orders", "YQ==", "YWE=", "YWFh", "YR==", "YQ=", "A===", "====", "0", "01", "7", '"', "\\", "é", "😀"]
    ),
    st.sampled_from(["a" * 256, "a" * 257, "😀" * 256, "9" * 39, "9" * 40, ARN, "1" * 130, "\ud800", "\u0661", "a\n"]),
    st.binary(max_size=8).map(lambda data: b64encode(data).decode()),
    st.text(max_size=8),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.floats()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
ENTRY_NAMES = ["Data", "PartitionKey", "ExplicitHashKey"]
STREAM_NAMES = ["StreamName", "StreamARN", "StreamId", "DryRun", "Unknown", "data_bytes", "stream_name", ""]


def members_of(names: list[str], **good: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[str, Any]]]:
    """Generate members, mostly good ones, in any order and sometimes twice."""
    likely = [st.tuples(st.just(name), values) for name, values in good.items()]
    anything = st.lists(st.tuples(st.sampled_from(names), VALUES), max_size=2)
    kept = st.lists(st.sampled_from(range(len(likely))), unique=True) if likely else st.just([])
    complete = st.tuples(*likely)
    return st.tuples(complete, kept, anything, st.booleans(), st.randoms()).map(_members)


def _members(drawn: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - what `members_of` has drawn
    complete, kept, anything, whole, random = drawn
    members = [*(complete if whole else [complete[index] for index in kept]), *anything]
    random.shuffle(members)
    return members


GOOD_ENTRY = {"Data": TEXTS, "PartitionKey": TEXTS}
PUT_RECORD = members_of([*ENTRY_NAMES, *STREAM_NAMES, "SequenceNumberForOrdering"], StreamName=TEXTS, **GOOD_ENTRY)


class Members(list[tuple[str, Any]]):
    """An object as a list of its members, so that one can be there twice."""


def encoded(value: Any) -> str:  # noqa: ANN401 - JSON in, JSON out
    """Encode JSON in which `Members` are objects."""
    if isinstance(value, Members):
        return "{" + ",".join(f"{json.dumps(name)}:{encoded(member)}" for name, member in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(encoded, value)) + "]"
    return json.dumps(value)


PUT_RECORDS = members_of(
    ["Records", *STREAM_NAMES],
    StreamName=TEXTS,
    Records=st.lists(members_of([*ENTRY_NAMES, "Unknown", "data_bytes"], **GOOD_ENTRY).map(Members), max_size=3),
)


exact_put_record = partial(puts._parse_put_record_exactly, codec=JSON)
exact_put_records = partial(puts._parse_put_records_exactly, codec=JSON)


def outcome(parse: Any, body: bytes) -> object:  # noqa: ANN401 - either path
    """Return what a path makes of a body: its value, or its error."""
    try:
        return parse(body)
    except KinesisError as error:
        return type(error), error.message


@settings(max_examples=200, deadline=None)
@given(PUT_RECORD.map(Members))
@example(Members([("Data", "YQ=="), ("PartitionKey", "a"), ("StreamName", "a"), ("Unknown", "\udc80")]))
def test_fast_and_exact_path_agree_on_put_record(members: Members) -> None:
    """Same value or same error for any body."""
    body = encoded(members).encode()
    assert outcome(parse_put_record, body) == outcome(exact_put_record, body)


@settings(max_examples=200, deadline=None)
@given(PUT_RECORDS.map(Members))
def test_fast_and_exact_path_agree_on_put_records(members: Members) -> None:
    """Same value or same error for any body."""
    body = encoded(members).encode()
    assert outcome(parse_put_records, body) == outcome(exact_put_records, body)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_fast_and_exact_path_agree_on_damaged_bodies(data: st.DataObject) -> None:
    """A byte changed, added or dropped anywhere makes both paths say the same."""
    body = bytearray(
        b'{"StreamName":"orders","PartitionKey":"k\\u00e9\xc3\xa9","Data":"YWE=","ExplicitHashKey":"7","DryRun":true}'
    )
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.one_of(st.binary(max_size=2), st.sampled_from([b'"', b"\\", b",", b"=", b'"":1,', b"null"]))
        )
        body[place : place + data.draw(st.integers(0, 2))] = piece
    assert outcome(parse_put_record, bytes(body)) == outcome(exact_put_record, bytes(body))
