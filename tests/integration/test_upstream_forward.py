"""Forwarded requests over real sockets: what is kept, what is made anew, and what a lost upstream looks like."""

import asyncio
import json
import re

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from proxy.kinesis import cbor_body
from proxy.kinesis.http import Request
from proxy.upstream.counters import FORWARD, Outcome
from proxy.upstream.failures import BROKEN, NOT_ANSWERED
from tests.support.aws_environment import ACCESS_KEY, use_aws_environment, use_static_credentials
from tests.support.fault_server import (
    Behaviour,
    FaultServer,
    black_hole,
    close_after_request,
    reply,
    reset_after_request,
    trickle,
)
from tests.support.upstreams import SOON_MS, batch_of, failed, opened


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


def request(body: bytes = b'{"StreamName":"orders"}', **headers: str) -> Request:
    """Return a request as a client of the proxy sends it."""
    all_headers = {
        "Host": "127.0.0.1:4567",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "Kinesis_20131202.DescribeStream",
        "X-Amz-Date": "20200101T000000Z",
        "X-Amz-Security-Token": "the-clients-own",
        "Authorization": "AWS4-HMAC-SHA256 Credential=AKIACLIENT/20200101/us-east-1/kinesis/aws4_request, …",
        "Cookie": "a=b",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return Request("POST", "/", CIMultiDict(all_headers), body)


async def test_body_type_and_target_are_kept_and_the_signature_is_ours() -> None:
    """Nothing of the client's identity goes upstream, and no byte of its body changes."""
    body = b"\xbf\x6aStreamName\x66orders\xff"
    async with FaultServer(reply(200, b"{}")) as server, opened(server.url) as upstream:
        await upstream.forward("DescribeStream", request(body, Content_Type="application/x-amz-cbor-1.1"))
        (sent,) = server.requests
    assert sent.body == body
    assert sent.headers["content-type"] == "application/x-amz-cbor-1.1"
    assert sent.headers["x-amz-target"] == "Kinesis_20131202.DescribeStream"
    assert f"Credential={ACCESS_KEY}/" in sent.headers["authorization"]
    assert sent.headers["host"] == server.url.removeprefix("http://")
    assert sorted(sent.headers) == [
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-amz-date",
        "x-amz-target",
    ]


async def test_operation_that_goes_upstream_is_the_one_that_was_checked() -> None:
    """A second target in the same request reaches nobody."""
    asked = request()
    asked.headers.add("X-Amz-Target", "Kinesis_20131202.PutRecord")  # type: ignore[attr-defined]  # they can be changed
    async with FaultServer(reply(200, b"{}")) as server, opened(server.url) as upstream:
        await upstream.forward("ListShards", asked)
        (sent,) = server.requests
    assert sent.headers["x-amz-target"] == "Kinesis_20131202.ListShards"


@pytest.mark.parametrize("parameter", ["; charset=UTF-8", ";  a=b", "; \udce9", "; \x0b", "; \t"])
async def test_content_type_that_upstream_could_sign_otherwise_loses_its_parameters(parameter: str) -> None:
    """A caller cannot make upstream refuse the proxy's own signature."""
    content_type = "application/x-amz-cbor-1.1"
    plain = parameter.isascii() and parameter.isprintable()
    async with FaultServer(reply(200, b"{}")) as server, opened(server.url) as upstream:
        await upstream.forward("ListShards", request(b"\xa0", Content_Type=content_type + parameter))
        (sent,) = server.requests
    assert sent.headers["content-type"] == (content_type + parameter if plain else content_type)


async def test_empty_body_is_forwarded_too() -> None:
    """The service knows the error for it."""
    async with (
        FaultServer(reply(400, b'{"__type":"SerializationException"}')) as server,
        opened(server.url) as upstream,
    ):
        answer = await upstream.forward("ListStreams", request(b""))
        assert answer.status == 400
        assert server.requests[0].headers["content-length"] == "0"


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_reply_is_passed_on_without_what_belongs_to_the_connection(status: int) -> None:
    """Status, body, request ids and error type are the service's; length and date are the transport's to add."""
    headers = {
        "Content-Type": "application/x-amz-cbor-1.1",
        "x-amzn-RequestId": "c0ffee",
        "x-amz-id-2": "aWQy",
        "x-amzn-ErrorType": "ResourceNotFoundException",
        "Date": "Mon, 23 Nov 2026 12:00:00 GMT",
        "Connection": "keep-alive",
        "Keep-Alive": "timeout=60",
        "Set-Cookie": "a=b",
        "Server": "upstream",
    }
    async with FaultServer(reply(status, b"\xa0", headers)) as server, opened(server.url) as upstream:
        answer = await upstream.forward("DescribeStream", request())
    assert (answer.status, answer.body) == (status, b"\xa0")
    assert {name.lower(): value for name, value in answer.headers.items()} == {
        "content-type": "application/x-amz-cbor-1.1",
        "x-amzn-requestid": "c0ffee",
        "x-amz-id-2": "aWQy",
        "x-amzn-errortype": "ResourceNotFoundException",
    }


HTML = b"<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>"


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [
        (503, 503, "ServiceUnavailable"),
        (500, 500, "InternalFailure"),
        (429, 429, "TooManyRequests"),
        (403, 403, "Forbidden"),
        (460, 460, "Http460"),
        (302, 500, "InternalFailure"),
    ],
)
async def test_error_that_is_not_in_a_format_of_kinesis_is_written_anew(status: int, answered: int, code: str) -> None:
    """JavaScript v3 dies of a load balancer's HTML; in its own format it knows what to do with the status."""
    headers = {"Content-Type": "text/html; charset=utf-8", "Retry-After": "2", "Location": "/there"}
    with capture_logs() as logs:
        async with FaultServer(reply(status, HTML, headers)) as server, opened(server.url) as upstream:
            answer = await upstream.forward("ListShards", request())
    assert (answer.status, answer.headers["Content-Type"]) == (answered, "application/x-amz-json-1.1")
    assert json.loads(answer.body) == {"__type": code, "message": f"HTTP {status} without an error code"}
    assert (answer.headers["x-amzn-ErrorType"], answer.headers["Retry-After"]) == (code, "2")
    (told,) = [entry for entry in logs if entry["event"] == "forward_failed"]
    assert told["request_id"] == answer.headers["x-amzn-RequestId"]


async def test_success_that_is_not_kinesiss_is_an_internal_failure() -> None:
    """Of a login page boto3 makes an output without members: a stream made, a record put."""
    with capture_logs() as logs:
        async with (
            FaultServer(reply(200, HTML, {"Content-Type": "text/html"})) as server,
            opened(server.url) as upstream,
        ):
            answer = await upstream.forward("PutRecord", request())
            assert upstream.counters.requests[FORWARD, Outcome.UNKNOWN] == 1
    assert answer.status == 500
    assert json.loads(answer.body) == {"__type": "InternalFailure", "message": "not a response of PutRecord"}
    assert [entry["code"] for entry in logs if entry["event"] == "forward_failed"] == ["MalformedResponse"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"", {"Content-Type": "text/html"}),
        (b' {"StreamNames":[]}', {"Content-Type": "text/html; charset=utf-8"}),
        (b"{}", {}),
        (b"\xa0", {"Content-Type": "application/x-amz-cbor-1.1"}),
    ],
)
async def test_success_is_passed_on_whatever_it_is_called(body: bytes, headers: dict[str, str]) -> None:
    """Not all servers in Kinesis's place name JSON so, or write an output that has no members."""
    async with FaultServer(reply(200, body, headers)) as server, opened(server.url) as upstream:
        answer = await upstream.forward("ListStreams", request())
    assert (answer.status, answer.body) == (200, body)


async def test_error_is_written_anew_in_the_callers_own_format() -> None:
    """Who speaks CBOR reads CBOR."""
    async with (
        FaultServer(reply(502, HTML, {"Content-Type": "text/html"})) as server,
        opened(server.url) as upstream,
    ):
        asked = request(b"\xa0", Content_Type="application/x-amz-cbor-1.1")
        answer = await upstream.forward("ListShards", asked)
    assert answer.headers["Content-Type"] == "application/x-amz-cbor-1.1"
    assert cbor_body.decode(answer.body)["__type"] == "BadGateway"


@pytest.mark.parametrize("status", [200, 400])
async def test_every_forwarded_answer_bears_a_request_id(status: int) -> None:
    """Some servers in Kinesis's place give none; whoever asks about an error has one to name."""
    headers = {"Content-Type": "application/x-amz-json-1.1"}
    async with FaultServer(reply(status, b"{}", headers)) as server, opened(server.url) as upstream:
        ids = {(await upstream.forward("ListShards", request())).headers["x-amzn-RequestId"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", each) for each in ids)


@pytest.mark.parametrize(
    ("behaviour", "timeouts", "message"),
    [
        (close_after_request(), {}, BROKEN),
        (reset_after_request(), {}, BROKEN),
        (black_hole(), {"forward_timeout_ms": SOON_MS}, NOT_ANSWERED),
        (trickle(b"{}" * 100, 0.1), {"forward_timeout_ms": SOON_MS}, NOT_ANSWERED),
        (reply(200, b"x" * 5000), {}, "the response is larger than 4096 bytes"),
    ],
)
async def test_lost_upstream_is_an_internal_failure(
    behaviour: Behaviour, timeouts: dict[str, int], message: str
) -> None:
    """In the client's own format, in bounded time and memory; every SDK tries again, and its user can read why."""
    settings = {"forward_response_bytes_max": 4096, **timeouts}
    async with FaultServer(behaviour) as server, opened(server.url, **settings) as upstream:
        answer = await upstream.forward("DescribeStream", request())
        assert len(server.requests) == 1
        assert upstream.counters.requests[FORWARD, Outcome.UNKNOWN] == 1
    assert answer.status == 500
    assert json.loads(answer.body) == {"__type": "InternalFailure", "message": message}
    assert answer.headers["x-amzn-ErrorType"] == "InternalFailure"


async def test_forward_without_credentials_says_what_a_put_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """One trouble, one text."""
    use_aws_environment(monkeypatch)
    async with opened("http://kinesis.invalid:4567") as upstream:
        put = failed(await upstream.put(batch_of()))
        answer = await upstream.forward("ListStreams", request())
    assert put.message is not None
    assert put.message.startswith("no credentials found")
    assert json.loads(answer.body) == {"__type": "InternalFailure", "message": put.message}


async def test_forwards_are_bounded_in_number() -> None:
    """Beyond the bound the client is told at once, in the error that its SDK tries again."""
    async with (
        FaultServer(black_hole()) as server,
        opened(server.url, forwards_in_flight_max=2, forward_timeout_ms=SOON_MS) as upstream,
    ):
        answers = await asyncio.gather(*(upstream.forward("DescribeStream", request()) for _ in range(3)))
        assert len(server.requests) == 2
        assert sorted(answer.status for answer in answers) == [400, 500, 500]
        (refused,) = [answer for answer in answers if answer.status == 400]
        assert refused.headers["x-amzn-ErrorType"] == "LimitExceededException"
        again = await upstream.forward("DescribeStream", request())
        assert again.status == 500


async def test_forwards_do_not_take_the_connections_of_puts() -> None:
    """Slow reads never hold up records."""
    async with FaultServer(black_hole()) as server:
        settings = {"connections_max": 1, "forward_timeout_ms": SOON_MS, "request_timeout_ms": SOON_MS}
        async with opened(server.url, **settings) as upstream:
            parts = upstream._started()
            assert parts.puts is not parts.forwards
            forwards = [asyncio.create_task(upstream.forward("GetRecords", request())) for _ in range(4)]
            await server.until(lambda: len(server.requests) == 4)
            shards = asyncio.create_task(parts.puts.post(parts.endpoints.regional, "t", "c", b"{}"))
            await server.until(lambda: len(server.requests) == 5)
            await asyncio.gather(*forwards, shards)


async def test_failing_forwards_do_not_flood_the_log() -> None:
    """Clients repeat what failed, and so would the log: one line a kind, and how many were held back."""
    with capture_logs() as logs:
        async with FaultServer(reset_after_request()) as server, opened(server.url) as upstream:
            replies = [await upstream.forward("DescribeStream", request()) for _ in range(20)]
    told = [entry for entry in logs if entry["event"] == "forward_failed"]
    assert [(entry["code"], entry["held_back"]) for entry in told] == [("ConnectionReset", 0)]
    assert told[0]["request_id"] == replies[0].headers["x-amzn-RequestId"]
