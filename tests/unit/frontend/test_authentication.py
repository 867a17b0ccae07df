"""Whom the frontend serves when callers must sign: which key, which operation, which stream."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cbor2 import dumps, loads
from multidict import CIMultiDict

from proxy.frontend.authentication import Authentication
from proxy.frontend.keys import InboundKey
from proxy.kinesis.http import Reply, Request
from tests.unit.frontend.frontend_fakes import (
    JSON,
    FakeQueue,
    FakeUpstream,
    frontend_of,
    output_of,
    put_record_request,
    put_records_request,
    request_of,
)

CBOR = "application/x-amz-cbor-1.1"
SECRET = "0123456789abcdef"  # noqa: S105 - a test's
ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/"


class Proxy:
    """A frontend that knows one key."""

    def __init__(self, **limits: Any) -> None:  # noqa: ANN401 - members of a key
        self.key = InboundKey("PRODUCER", SECRET, **limits)
        self.queue = FakeQueue()
        self.upstream = FakeUpstream()
        self.now_seconds = int(datetime.now(UTC).timestamp())
        authentication = Authentication({"PRODUCER": self.key}.get, lambda: self.now_seconds)
        self.frontend = frontend_of(self.queue, self.upstream, authentication=authentication)

    async def send(self, request: Request, secret: str = SECRET) -> Reply:
        """Sign a request as botocore does, and send it."""
        return await self.frontend.handle(signed(request, secret, self.key.session_token))


def signed(request: Request, secret: str = SECRET, token: str | None = None) -> Request:
    """Let botocore sign a request."""
    aws_request = AWSRequest("POST", "http://proxy/", data=request.body, headers=dict(request.headers))
    SigV4Auth(Credentials("PRODUCER", secret, token), "kinesis", "us-east-1").add_auth(aws_request)
    headers = {name: str(value) for name, value in aws_request.headers.items()}
    return Request("POST", "/", CIMultiDict({"Host": "proxy", **headers}), request.body)


def denial(operation: str, stream: str) -> dict[str, str]:
    """Return what a denied caller is told."""
    return {
        "__type": "AccessDeniedException",
        "Message": (
            f"User: PRODUCER is not authorized to perform: kinesis:{operation} "
            f"on resource: arn:aws:kinesis:*:*:stream/{stream} "
            f"because no identity-based policy allows the kinesis:{operation} action"
        ),
    }


async def test_signed_requests_are_served() -> None:
    """Puts and what is forwarded."""
    proxy = Proxy()
    assert (await proxy.send(put_record_request())).status == 200
    assert (await proxy.send(put_records_request(3))).status == 200
    assert (await proxy.send(request_of("ListStreams", {}))) is proxy.upstream.reply
    assert len(proxy.queue.queued) == 4


@pytest.mark.parametrize("request_", [put_record_request(), put_records_request(2), request_of("ListStreams", {})])
async def test_unsigned_or_wrongly_signed_requests_are_refused(request_: Request) -> None:
    """Nothing of them is queued, forwarded or read."""
    proxy = Proxy()
    reply = await proxy.frontend.handle(request_)
    assert (reply.status, output_of(reply)) == (
        400,
        {"__type": "MissingAuthenticationTokenException", "message": "Missing Authentication Token"},
    )
    reply = await proxy.send(request_, "another secret")
    assert (reply.status, output_of(reply)["__type"]) == (400, "InvalidSignatureException")
    assert not proxy.queue.queued
    assert not proxy.upstream.forwarded


async def test_refused_puts_are_counted() -> None:
    """As denied, one for each call; what else is refused counts as a request alone."""
    proxy = Proxy(streams=["orders"])
    await proxy.frontend.handle(put_records_request(5))
    await proxy.frontend.handle(request_of("ListStreams", {}))
    await proxy.send(put_record_request(StreamName="clicks"))
    assert proxy.frontend.counters.rejected_records["denied"] == 2
    assert proxy.frontend.counters.requests == {("PutRecords", 400): 1, ("ListStreams", 400): 1, ("PutRecord", 400): 1}


async def test_who_asks_is_told_before_what_is_asked() -> None:
    """But after whether there is such an operation."""
    proxy = Proxy()
    reply = await proxy.frontend.handle(request_of("PutRecord", {"Data": True}))
    assert output_of(reply)["__type"] == "MissingAuthenticationTokenException"
    reply = await proxy.send(request_of("PutRecord", {"Data": True}))
    assert output_of(reply)["__type"] == "SerializationException"
    reply = await proxy.frontend.handle(request_of("Nonsense", {}))
    assert output_of(reply)["__type"] == "UnknownOperationException"


async def test_refusal_is_in_the_format_of_the_request() -> None:
    """A Java client reads no JSON here."""
    reply = await Proxy().frontend.handle(request_of("PutRecord", dumps({}), CBOR))
    assert reply.headers["Content-Type"] == CBOR
    assert loads(reply.body)["__type"] == "MissingAuthenticationTokenException"


async def test_session_token_goes_with_the_key() -> None:
    """One that has it is of no use without."""
    proxy = Proxy(session_token="a-token")  # noqa: S106 - a test's
    assert (await proxy.send(put_record_request())).status == 200
    reply = await proxy.frontend.handle(signed(put_record_request()))
    assert output_of(reply)["__type"] == "UnrecognizedClientException"


async def test_expired_key_is_refused_as_an_expired_token() -> None:
    """SDKs with refreshable credentials then look for new ones."""
    proxy = Proxy(expires_at=datetime.fromtimestamp(2**31, UTC))
    assert (await proxy.send(put_record_request())).status == 200
    proxy = Proxy(expires_at=datetime.fromtimestamp(0, UTC))
    reply = await proxy.send(put_record_request())
    assert output_of(reply) == {
        "__type": "ExpiredTokenException",
        "message": "The security token included in the request is expired",
    }


async def test_key_may_be_limited_to_operations() -> None:
    """Whatever the stream, which the denial names where the request does, as the service's."""
    proxy = Proxy(operations=frozenset({"PutRecord"}))
    assert (await proxy.send(put_record_request())).status == 200
    reply = await proxy.send(put_records_request(1))
    assert (reply.status, output_of(reply)) == (400, denial("PutRecords", "orders"))
    reply = await proxy.send(request_of("ListShards", {"StreamName": "orders"}))
    assert output_of(reply) == denial("ListShards", "orders")
    reply = await proxy.send(request_of("ListStreams", {}))
    assert output_of(reply) == denial("ListStreams", "*")
    reply = await proxy.send(request_of("ListShards", b"{"))
    assert output_of(reply) == denial("ListShards", "*")
    assert len(proxy.queue.queued) == 1
    assert not proxy.upstream.forwarded


@pytest.mark.parametrize("name", [{"StreamName": "orders"}, {"StreamName": None, "StreamARN": f"{ARN}orders"}])
async def test_key_that_is_limited_to_streams_may_put_to_them(name: dict[str, str]) -> None:
    """By name or by ARN."""
    proxy = Proxy(streams=["ord*"])
    assert (await proxy.send(put_record_request(**name))).status == 200


@pytest.mark.parametrize(
    "name",
    [
        {"StreamName": "clicks"},
        {"StreamName": None, "StreamARN": f"{ARN}clicks"},
        {"StreamName": "clicks", "StreamARN": f"{ARN}clicks"},
    ],
)
async def test_key_that_is_limited_to_streams_may_not_put_to_others(name: dict[str, str]) -> None:
    """In the service's words, and nothing is queued, and nothing of a dry run is forwarded."""
    proxy = Proxy(streams=["ord*"])
    for operation, request in (
        ("PutRecord", put_record_request(**name)),
        ("PutRecord", put_record_request(**name, DryRun=True)),
        ("PutRecords", put_records_request(2, **name)),
    ):
        reply = await proxy.send(request)
        assert (reply.status, output_of(reply)) == (400, denial(operation, "clicks"))
    assert not proxy.queue.queued
    assert not proxy.upstream.forwarded


@pytest.mark.parametrize(
    "members",
    [
        {"StreamName": "orders"},
        {"StreamARN": f"{ARN}orders"},
        {"ResourceARN": f"{ARN}orders"},
        {"ConsumerARN": f"{ARN}orders/consumer/c:1"},
        {"StreamName": "orders", "StreamARN": f"{ARN}orders", "StreamId": None},
    ],
)
@pytest.mark.parametrize("content_type", [JSON, CBOR])
async def test_forwarded_request_about_a_stream_of_the_key_goes_on(members: dict[str, Any], content_type: str) -> None:
    """Untouched, whichever way it names the stream."""
    proxy = Proxy(streams=["orders"])
    body = dumps(members) if content_type == CBOR else json.dumps(members).encode()
    assert await proxy.send(request_of("DescribeStream", body, content_type)) is proxy.upstream.reply
    assert proxy.upstream.forwarded == [("DescribeStream", body)]


@pytest.mark.parametrize(
    ("members", "stream"),
    [
        ({"StreamName": "clicks"}, "clicks"),
        ({"StreamName": "orders", "StreamARN": f"{ARN}clicks"}, "clicks"),
        ({"StreamName": "clicks", "StreamARN": f"{ARN}orders"}, "clicks"),
        ({"ConsumerARN": f"{ARN}clicks/consumer/orders"}, "clicks"),
        ({"StreamARN": "orders"}, "*"),
        ({"StreamName": ["orders"]}, "['orders']"),
        ({"StreamName": "x" * 1000}, "x" * 128),
        ({"StreamName": "\ud800x"}, "\\ud800x"),
        ({"StreamName": "orders", "StreamId": "abcdefghijklmnopqrst-abc"}, "*"),
        ({"NextToken": "orders"}, "*"),
        ({}, "*"),
    ],
)
async def test_forwarded_request_about_anything_else_is_denied(members: dict[str, Any], stream: str) -> None:
    """Also one that names several streams, or none."""
    proxy = Proxy(streams=["orders", "?"])
    reply = await proxy.send(request_of("DescribeStream", members))
    assert (reply.status, output_of(reply)) == (400, denial("DescribeStream", stream))
    assert not proxy.upstream.forwarded


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"StreamName":"orders","StreamName":"clicks"}'])
async def test_forwarded_request_that_two_may_read_differently_is_refused(body: bytes) -> None:
    """Upstream must not find another stream in it than was looked at here."""
    proxy = Proxy(streams=["orders"])
    reply = await proxy.send(request_of("DescribeStream", body))
    assert output_of(reply)["__type"] == "SerializationException"
    assert not proxy.upstream.forwarded


async def test_key_for_every_stream_need_not_name_one() -> None:
    """A star is as good as no limit."""
    proxy = Proxy(streams=["*"])
    assert await proxy.send(request_of("ListStreams", {})) is proxy.upstream.reply
