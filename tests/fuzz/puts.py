"""Bodies of puts and of every other operation, in JSON and in CBOR.

The contracts: nothing but the service's errors comes out, and each can be answered; the fast and the exact reading of
a put agree, in the value as in the error; what is accepted is within its limits; and what was decoded, encoded and
decoded again is the same.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import cbor2
from multidict import CIMultiDict

from proxy.kinesis import operations, puts
from proxy.kinesis.base64_text import blob_bytes
from proxy.kinesis.codecs import CBOR, JSON, Codec
from proxy.kinesis.front_door import error_reply
from proxy.kinesis.http import Request
from proxy.kinesis.limits import DATA_BYTES_MAX, PARTITION_KEY_CHARACTERS_MAX, RECORDS_PER_REQUEST_MAX
from proxy.kinesis.operations import OPERATIONS
from proxy.kinesis.put_inputs import PutEntry, PutRecordInput, PutRecordsInput
from proxy.kinesis.validation import INTEGER_MAX, INTEGER_MIN
from tests.fuzz.surface import Surface, error_of, outcome_of, pure

if TYPE_CHECKING:
    from collections.abc import Callable

# An error may send back ten values of at most 64 KiB each, as text with escapes.
ERROR_BYTES_MAX = 10 * 6 * 65_536 + 65_536

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
INPUTS: tuple[dict[str, Any], ...] = (
    {"StreamName": "orders", "PartitionKey": "a", "Data": "YQ=="},
    {"StreamARN": ARN, "PartitionKey": "é😀", "Data": "", "ExplicitHashKey": "340282366920938463463374607431768211455"},
    {"StreamName": "orders", "PartitionKey": "a", "Data": "YWI=", "SequenceNumberForOrdering": "49545115243490985018"},
    {"StreamName": "orders", "PartitionKey": "a", "Data": "YWJj", "DryRun": True, "StreamId": None},
    {"StreamName": "orders", "StreamARN": ARN, "Records": [{"PartitionKey": "a", "Data": "YQ=="}, {"Data": "YWJj"}]},
    {"StreamName": "orders", "Records": [{"PartitionKey": str(n), "Data": "", "ExplicitHashKey": "0"} for n in "ab"]},
    {"StreamName": "orders", "Records": [], "DryRun": "false"},
    {"StreamName": "orders", "Records": [{"PartitionKey": "a", "Data": ""}], "StreamId": "abcdefghij0123456789-abc"},
    {"StreamName": "orders", "ShardCount": 2, "ScalingType": "UNIFORM_SCALING", "TargetShardCount": 1e3},
    {"StreamName": "orders", "ShardIterator": "AAAA", "Limit": 10, "ShardFilter": {"Type": "AT_TIMESTAMP"}},
    {"StreamName": "orders", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST", "Timestamp": 1.5},
    {"StreamName": "orders", "StreamModeDetails": {"StreamMode": "ON_DEMAND"}, "Tags": {"a": "b"}},
)
NAMES = sorted({name for members in INPUTS for name in members} | {"Type", "StreamMode"})
OPERATION_NAMES = sorted(OPERATIONS)


def with_bytes(members: dict[str, Any]) -> dict[str, Any]:
    """Return an input as it is in CBOR, where data is no text."""
    members = dict(members)
    if "Data" in members:
        members["Data"] = b64decode(members["Data"])
    if "Records" in members:
        members["Records"] = [with_bytes(entry) for entry in members["Records"]]
    return members


def check_json_put(body: bytes) -> None:
    """Check a body as both puts in JSON."""
    _check_document(body, JSON, _json_of, _doubled_json)
    _check_puts(body, JSON)


def check_cbor_put(body: bytes) -> None:
    """Check a body as both puts in CBOR; what is accepted would be the same in JSON."""
    _check_document(body, CBOR, cbor2.dumps, _doubled_cbor)
    _check_puts(body, CBOR)


def check_json_input(case: bytes) -> None:
    """Check a body as one operation's, in JSON."""
    _check_input(case, JSON)


def check_cbor_input(case: bytes) -> None:
    """Check a body as one operation's, in CBOR."""
    _check_input(case, CBOR)


def _check_input(case: bytes, codec: Codec) -> None:
    operation = OPERATION_NAMES[case[0] % len(OPERATION_NAMES)] if case else OPERATION_NAMES[0]
    parsed = _check_answerable(lambda: operations.parse(operation, case[1:], codec), codec)
    if isinstance(parsed, dict):
        _check_members(parsed)


def _check_members(value: object) -> None:
    """Check that all texts are texts and all numbers are numbers, as whoever takes them relies on."""
    if isinstance(value, dict):
        for member in value.values():
            _check_members(member)
    elif isinstance(value, list):
        for item in value:
            _check_members(item)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, float):
        assert math.isfinite(value)
    elif isinstance(value, int):
        assert INTEGER_MIN <= value <= INTEGER_MAX
    else:
        assert value is None


def _check_document(
    body: bytes, codec: Codec, encode: Callable[[Any], bytes], doubled: Callable[[list[tuple[bytes, bytes]]], bytes]
) -> None:
    if error_of(lambda: codec.decode(body)) is not None:
        return
    # one document and no more, and no less
    assert error_of(lambda: codec.decode(body + b"\0")) is not None
    assert error_of(lambda: codec.decode(body.rstrip()[:-1])) is not None
    document = codec.decode(body)
    _check_values(document)
    try:
        encoded = encode(document)
    except ValueError:  # a number that only overflows
        return
    # not by value: a NaN, which CBOR has, equals nothing
    assert encode(codec.decode(encoded)) == encoded
    if document:
        members = [(encode(name), encode(member)) for name, member in document.items()]
        assert error_of(lambda: codec.decode(doubled(members))) is not None


def _json_of(value: object) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _doubled_json(members: list[tuple[bytes, bytes]]) -> bytes:
    """Write an object in which the first member stands twice."""
    return b"{" + b",".join(name + b":" + member for name, member in [*members, members[0]]) + b"}"


def _doubled_cbor(members: list[tuple[bytes, bytes]]) -> bytes:
    return b"\xbf" + b"".join(name + member for name, member in [*members, members[0]]) + b"\xff"


def _check_values(value: object) -> None:
    """Check that there is nothing but what JSON has, and bytes."""
    if isinstance(value, dict):
        for name, member in value.items():
            _check_values(name)
            _check_values(member)
    elif isinstance(value, list):
        for item in value:
            _check_values(item)
    else:
        assert value is None or isinstance(value, str | bytes | bool | int | float)


def _check_puts(body: bytes, codec: Codec) -> None:
    put = _check_answerable(lambda: puts.parse_put_record(body, codec), codec)
    assert put == outcome_of(lambda: puts._parse_put_record_exactly(body, codec))
    if isinstance(put, PutRecordInput):
        _check_entry(put)
        members = _members_of_entry(put) | _members_of_stream(put)
        if put.sequence_number_for_ordering is not None:
            members["SequenceNumberForOrdering"] = put.sequence_number_for_ordering
        assert puts.parse_put_record(json.dumps(members).encode()) == put
        assert puts.parse_put_record(cbor2.dumps(with_bytes(members)), CBOR) == put
    call = _check_answerable(lambda: puts.parse_put_records(body, codec), codec)
    assert call == outcome_of(lambda: puts._parse_put_records_exactly(body, codec))
    if isinstance(call, PutRecordsInput):
        assert 1 <= len(call.entries) <= RECORDS_PER_REQUEST_MAX
        for entry in call.entries:
            _check_entry(entry)
        members = {"Records": [_members_of_entry(entry) for entry in call.entries]} | _members_of_stream(call)
        assert puts.parse_put_records(json.dumps(members).encode()) == call
        assert puts.parse_put_records(cbor2.dumps(with_bytes(members)), CBOR) == call


def _check_answerable(call: Callable[[], object], codec: Codec) -> object:
    """Return the outcome of a call; its error can be sent, is within bounds and can be read."""
    error = error_of(call)
    if error is not None:
        request = Request("POST", "/", CIMultiDict({"Content-Type": codec.content_type}), b"x")
        reply = error_reply(request, error)
        assert len(reply.body) <= ERROR_BYTES_MAX
        assert codec.decode(reply.body)["__type"] == error.code
    return outcome_of(call)


def _check_entry(entry: PutEntry) -> None:
    data = b64decode(entry.data, validate=True)
    assert b64encode(data).decode() == entry.data
    assert len(data) == blob_bytes(entry.data) <= DATA_BYTES_MAX
    entry.partition_key.encode()
    assert len(entry.partition_key) <= PARTITION_KEY_CHARACTERS_MAX
    if entry.explicit_hash_key is not None:
        assert str(int(entry.explicit_hash_key)) == entry.explicit_hash_key


def _members_of_entry(entry: PutEntry) -> dict[str, Any]:
    members = {
        "Data": entry.data,
        "PartitionKey": entry.partition_key or None,
        "ExplicitHashKey": entry.explicit_hash_key,
    }
    return {name: value for name, value in members.items() if value is not None}


def _members_of_stream(put: PutRecordInput | PutRecordsInput) -> dict[str, Any]:
    members = {"StreamName": put.stream_name, "StreamARN": put.stream_arn, "DryRun": put.dry_run or None}
    return {name: value for name, value in members.items() if value is not None}


_BEGINNING = b'{"StreamName":"orders","PartitionKey":"a","Data":'
_JSON_SEEDS = (
    *(json.dumps(members, separators=(",", ":")).encode() for members in INPUTS),
    *(
        _BEGINNING + data + b"}"
        for data in (b'"YR=="', b'"YWJ="', b'"YQ="', b'"\\u0059Q=="', b'"\\ud800"', b"1", b"null")
    ),
    *(_BEGINNING + b'"","' + name + b'":1}' for name in (b"Data", b"data", b"data_bytes", b"DryRun", b"StreamId")),
    b'{"\\ud800":1,"\\ud800":2}',
    b'{"StreamName":"orders","ShardCount":1e999,"Limit":-1e999,"Timestamp":1e999,"TargetShardCount":1e400}',
    b'{"StreamName":"orders","ShardId":"shardId-000000000000","ShardIteratorType":"LATEST","Timestamp":1e999}',
    b'{"a":' + b"[" * 1_500,
)
_JSON_WORDS = (
    *(f'"{name}":'.encode() for name in NAMES),
    *(b"null", b"true", b"false", b"[]", b"{}", b'""', b"NaN", b"-Infinity", b"1e999", b"-0", b"\\ud800", b'\\"'),
    *(b"[" * 64, b'{"a":' * 64, b"9" * 64, b"\xef\xbb\xbf", b"\xff", b"\x00", b"=", b"==", b"/", b"-", b"_", b"\n"),
)
_CBOR_SEEDS = (
    *(cbor2.dumps(with_bytes(members)) for members in INPUTS),
    cbor2.dumps({"StreamName": "orders", "Limit": math.nan, "Timestamp": math.inf, "ShardCount": -math.inf}),
    cbor2.dumps({"StreamName": "orders", "Timestamp": cbor2.CBORTag(1, 1_500), "Tags": {b"a": "b"}}),
    cbor2.dumps({"StreamName": "orders", "PartitionKey": cbor2.undefined, "Data": cbor2.CBORSimpleValue(99)}),
    cbor2.dumps({"StreamName": "orders", "ShardCount": 2**64, "Limit": cbor2.CBORTag(2, b"\xff" * 40)}),
    b"\xa2\x61a\x01\x61a\x02",
    b"\xa1\x61a" + b"\x81" * 1_500,
    # indefinite lengths, as some SDKs write them
    b"\xbf\x6aStreamName\x66orders\x6cPartitionKey\x61a\x64Data\x5f\x41a\x41b\xff\xff",
    b"\xbf\x67Records\x9f\xbf\x64Data\x41a\x6cPartitionKey\x61a\xff\xff\x6aStreamName\x66orders\xff",
)
_CBOR_WORDS = (
    *(cbor2.dumps(name) for name in NAMES),
    *(b"\xf6", b"\xf5", b"\xf4", b"\xf7", b"\x80", b"\xa0", b"\x9f", b"\xbf", b"\x5f", b"\x7f", b"\xff", b"\x40"),
    *(
        b"\xc0",
        b"\xc1",
        b"\xc2",
        b"\xc4",
        b"\xd9\x01\x02",
        b"\xd8\x23",
        b"\xd8\x1c",
        b"\xd8\x1d",
        b"\xf9\x7e\x00",
        b"\xfb\x7f\xf0" + bytes(6),
        b"\x1b" + b"\xff" * 8,
    ),
    *(b"\x81" * 64, b"\xa1\x61a" * 64, b"\x5b" + b"\xff" * 8, b"\x9a\x7f\xff\xff\xff", b"\xba\x7f\xff\xff\xff"),
)


def _of_operations(seeds: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(bytes((number,)) + seed for number in range(len(OPERATION_NAMES)) for seed in seeds)


JSON_PUTS = Surface(_JSON_SEEDS, _JSON_WORDS, pure(check_json_put))
CBOR_PUTS = Surface(_CBOR_SEEDS, _CBOR_WORDS, pure(check_cbor_put))
JSON_INPUTS = Surface(_of_operations(_JSON_SEEDS), _JSON_WORDS, pure(check_json_input))
CBOR_INPUTS = Surface(_of_operations(_CBOR_SEEDS), _CBOR_WORDS, pure(check_cbor_input))
