"""Which operation a request means, and the headers and bodies of answers."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from proxy.kinesis import codecs
from proxy.kinesis.errors import InternalFailure, SerializationException, UnknownOperationException, ValidationException
from proxy.kinesis.front_door import NotKinesis, code_reply, codec_of, error_reply, ok_reply, operation_of
from proxy.kinesis.http import Request
from proxy.kinesis.operations import KNOWN_OPERATIONS

if TYPE_CHECKING:
    from proxy.kinesis.errors import KinesisError

JSON = "application/x-amz-json-1.1"
CBOR = "application/x-amz-cbor-1.1"


def request_of(
    target: str | None = "Kinesis_20131202.PutRecord",
    content_type: str | None = JSON,
    body: bytes = b"{}",
    method: str = "POST",
) -> Request:
    """Build a request."""
    headers = CIMultiDict[str]()
    if target is not None:
        headers["x-amz-target"] = target
    if content_type is not None:
        headers["content-type"] = content_type
    return Request(method, "/", headers, body)


@pytest.mark.parametrize("operation", sorted(KNOWN_OPERATIONS))
def test_every_operation_of_the_api_is_recognised(operation: str) -> None:
    """By its target."""
    assert operation_of(request_of(f"Kinesis_20131202.{operation}")) == operation


@pytest.mark.parametrize("content_type", [f"{JSON}; charset=utf-8", f"  {JSON} ;x", CBOR])
def test_content_type_may_carry_parameters_or_be_cbor(content_type: str) -> None:
    """Parameters are no part of the type; CBOR is the other type that the service speaks."""
    assert operation_of(request_of(content_type=content_type)) == "PutRecord"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "post"])
def test_method_is_checked_first(method: str) -> None:
    """A request that is no POST is none of the service's, whatever else it says."""
    with pytest.raises(NotKinesis) as finding:
        operation_of(request_of(method=method))
    assert finding.value.reply.status == 403
    assert b"AccessDeniedException" in finding.value.reply.body


def test_empty_body_is_checked_before_the_content_type() -> None:
    """Without a body the target alone decides."""
    for content_type in (JSON, "text/plain", None):
        with pytest.raises(SerializationException):
            operation_of(request_of(content_type=content_type, body=b""))
        with pytest.raises(UnknownOperationException):
            operation_of(request_of("Kinesis_20131202.What", content_type=content_type, body=b""))


def test_body_is_checked_before_the_operation() -> None:
    """An unreadable body is told even where no operation is meant; a readable list is the operation's to refuse."""
    with pytest.raises(SerializationException):
        operation_of(request_of("Kinesis_20131202.What", body=b"{"))
    with pytest.raises(UnknownOperationException):
        operation_of(request_of("Kinesis_20131202.What", body=b"[]"))


@pytest.mark.parametrize(
    ("target", "content_type", "body", "status"),
    [
        (None, "text/plain", b"{}", 403),
        ("Kinesis_20131202.", "text/plain", b"{}", 403),
        ("Kinesis_20131202.PutRecord", "text/plain", b"{}", 404),
        ("Kinesis_20131202.PutRecord", "application/json", b"{}", 404),
        ("Kinesis_20131202.PutRecord", "application/json", b"{", 400),
    ],
)
def test_request_in_no_format_of_the_service_is_turned_away(
    target: str | None, content_type: str, body: bytes, status: int
) -> None:
    """In XML, or in the plain JSON that it came in."""
    with pytest.raises(NotKinesis) as finding:
        operation_of(request_of(target, content_type, body))
    reply = finding.value.reply
    assert reply.status == status
    assert reply.headers.get("Content-Type") == (content_type if content_type == "application/json" else None)


def test_every_answer_has_its_ids() -> None:
    """A request id in the form of a UUID, and an extended id of 64 to 80 bytes, never the same twice."""
    replies = [ok_reply(request_of(), {}) for _ in range(1000)]
    for reply in replies[:10]:
        assert re.fullmatch(
            "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}", reply.headers["x-amzn-RequestId"]
        )
        assert 64 <= len(b64decode(reply.headers["x-amz-id-2"], validate=True)) <= 80
    assert len({reply.headers["x-amzn-RequestId"] for reply in replies}) == 1000
    assert len({reply.headers["x-amz-id-2"] for reply in replies}) == 1000


def test_success_is_answered_in_the_format_of_the_request() -> None:
    """An operation without output is answered with nothing."""
    reply = ok_reply(request_of(), {"ShardId": "x"})
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b'{"ShardId":"x"}', JSON)
    reply = ok_reply(request_of(content_type=CBOR), {"ShardId": "x"})
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (200, b"\xa1\x67ShardId\x61x", CBOR)
    assert ok_reply(request_of(), None).body == ok_reply(request_of(content_type=CBOR), None).body == b""


def test_error_is_in_body_and_header() -> None:
    """The first is what botocore reads, the second what Java reads."""
    reply = error_reply(request_of(), ValidationException("no é"))
    assert reply.status == 400
    assert reply.headers["x-amzn-ErrorType"] == "ValidationException"
    assert reply.headers["Content-Type"] == JSON
    assert json.loads(reply.body) == {"__type": "ValidationException", "message": "no é"}


def test_error_without_a_text_has_no_member_for_it() -> None:
    """Neither null nor empty: absent."""
    assert json.loads(error_reply(request_of(), SerializationException()).body) == {"__type": "SerializationException"}
    assert error_reply(request_of(), InternalFailure()).status == 500


def test_error_spells_its_member_as_the_service_does() -> None:
    """SerializationException says Message."""
    reply = error_reply(request_of(), SerializationException("why"))
    assert json.loads(reply.body) == {"__type": "SerializationException", "Message": "why"}


def test_code_without_a_class_can_be_answered() -> None:
    """Upstream may know more codes than we do."""
    reply = code_reply(request_of(), 400, "Strange", "text")
    assert json.loads(reply.body) == {"__type": "Strange", "message": "text"}
    assert reply.headers["x-amzn-ErrorType"] == "Strange"


def test_error_of_a_cbor_request_is_cbor() -> None:
    """A map of texts."""
    reply = error_reply(request_of(content_type=CBOR), ValidationException("é"))
    assert reply.headers["Content-Type"] == CBOR
    assert reply.body == b"\xa2\x66__type\x73ValidationException\x67message\x62\xc3\xa9"


def test_bodiless_request_that_does_not_say_json_is_answered_in_cbor() -> None:
    """As the service does."""
    for content_type in (None, "text/plain", "application/json"):
        request = request_of(content_type=content_type, body=b"")
        assert error_reply(request, UnknownOperationException()).headers["Content-Type"] == CBOR


def test_format_is_told_by_the_content_type() -> None:
    """What does not say CBOR is JSON."""
    assert codec_of(request_of(content_type=f"{JSON};charset=utf-8")) is codecs.JSON
    assert codec_of(request_of(content_type=f" {CBOR} ;x")) is codecs.CBOR


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        (JSON, b"{", SerializationException),
        (CBOR, b"{", SerializationException),
        (JSON, b"{}", UnknownOperationException),
        (CBOR, b"\xbf\xff", UnknownOperationException),
    ],
)
def test_unreadable_body_is_told_before_the_unknown_operation(
    content_type: str, body: bytes, error: type[KinesisError]
) -> None:
    """The service reads the body first, in either format."""
    with pytest.raises(error):
        operation_of(request_of("Kinesis_20131202.Nothing", content_type, body))
