"""Every failure that the other side can cause, over real sockets: what it is called, and its row in the one table."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.core.batch import Answer, Failure, Written
from proxy.core.verdicts import REQUEST_TIMEOUT, Scope, Verdict, verdict_of
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import (
    Behaviour,
    FaultServer,
    black_hole,
    close_after_request,
    close_before_reading,
    cut_mid_body,
    full_backlog,
    greeting,
    put_results,
    raw,
    reply,
    reset_after_request,
    reset_before_reading,
    silence,
    trickle,
)
from tests.support.upstreams import SOON_MS, batch_of, failed, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

THROUGHPUT = "ProvisionedThroughputExceededException"
RESULTS = b'{"FailedRecordCount":0,"Records":[{"SequenceNumber":"4960","ShardId":"shardId-000000000000"}]}'
HTML = b"<html><body><center><h1>Service Temporarily Unavailable</h1></center></body></html>"
AS_HTML = {"Content-Type": "text/html"}

# What becomes of the records: refused each for itself or with all of the stream, or sent again.
RECORD_REFUSED = Verdict(retry=False, scope=Scope.RECORD)
STREAM_REFUSED = Verdict(retry=False, scope=Scope.STREAM)
STREAM_GONE = Verdict(retry=False, scope=Scope.STREAM, refresh_map=True)
SHARD_ILL = Verdict(retry=True, scope=Scope.SHARD)
SHARD_THROTTLED = Verdict(retry=True, scope=Scope.SHARD, expired_as=THROUGHPUT)
STREAM_ILL = Verdict(retry=True, scope=Scope.STREAM)
STREAM_THROTTLED = Verdict(retry=True, scope=Scope.STREAM, expired_as=THROUGHPUT)

REFUSED, UNKNOWN, NOT_SENT = Written.REFUSED, Written.UNKNOWN, Written.NOT_SENT


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


def error(status: int, code: str) -> Behaviour:
    """Answer with an error of the service."""
    return reply(status, b'{"__type":"%s","message":"why"}' % code.encode())


def codes(status: int, written: Written, verdict: Verdict, *names: str) -> Iterator[object]:
    """Return one row for each error that the service itself can answer with."""
    for name in names:
        yield pytest.param(error(status, name), name, written, verdict, id=f"{status}-{name}")


def row(name: str, behaviour: Behaviour, code: str, written: Written, verdict: Verdict) -> object:
    """Return a row of the table by its name."""
    return pytest.param(behaviour, code, written, verdict, id=name)


ANSWERED = [
    *codes(400, REFUSED, RECORD_REFUSED, "ValidationException", "SerializationException", "InvalidArgumentException"),
    *codes(400, REFUSED, STREAM_GONE, "ResourceNotFoundException"),
    *codes(400, REFUSED, STREAM_REFUSED, "AccessDeniedException", "KMSAccessDeniedException", "KMSDisabledException"),
    *codes(400, REFUSED, STREAM_REFUSED, "KMSInvalidStateException", "KMSNotFoundException", "KMSOptInRequired"),
    *codes(400, REFUSED, SHARD_THROTTLED, THROUGHPUT),
    *codes(400, REFUSED, STREAM_THROTTLED, "ThrottlingException", "LimitExceededException", "KMSThrottlingException"),
    *codes(429, REFUSED, STREAM_THROTTLED, "ThrottlingException", "TooManyRequestsException", "BrandNewException"),
    *codes(400, REFUSED, STREAM_ILL, "ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException"),
    *codes(400, REFUSED, STREAM_ILL, "InvalidSignatureException", "RequestTimeTooSkewed", "BrandNewException"),
    *codes(403, REFUSED, STREAM_ILL, "MissingAuthenticationTokenException", "IncompleteSignatureException"),
    *codes(413, REFUSED, RECORD_REFUSED, "RequestEntityTooLarge"),
    *codes(500, UNKNOWN, SHARD_ILL, "InternalFailure"),
    *codes(500, UNKNOWN, STREAM_ILL, "BrandNewException"),
    *codes(503, UNKNOWN, STREAM_ILL, "ServiceUnavailable", "ServiceUnavailableException"),
    *codes(503, UNKNOWN, STREAM_THROTTLED, "SlowDown"),
    # what stands between knows no codes
    row("413-empty", reply(413, b""), "RequestTooLarge", REFUSED, RECORD_REFUSED),
    row("413-html", reply(413, HTML, AS_HTML), "RequestTooLarge", REFUSED, RECORD_REFUSED),
    row("429-empty", reply(429, b""), "TooManyRequests", REFUSED, STREAM_THROTTLED),
    row("429-html", reply(429, HTML, AS_HTML), "TooManyRequests", REFUSED, STREAM_THROTTLED),
    row("500-empty", reply(500, b""), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row("500-html", reply(500, HTML, AS_HTML), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row("502-html", reply(502, HTML, AS_HTML), "BadGateway", UNKNOWN, STREAM_ILL),
    row("503-empty", reply(503, b""), "ServiceUnavailable", UNKNOWN, STREAM_ILL),
    row("503-html", reply(503, HTML, AS_HTML), "ServiceUnavailable", UNKNOWN, STREAM_ILL),
    row("504-html", reply(504, HTML, AS_HTML), "GatewayTimeout", UNKNOWN, STREAM_ILL),
    row("403-html", reply(403, HTML, AS_HTML), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row("302-empty", reply(302, b"", {"Location": "/login"}), "MalformedResponse", UNKNOWN, STREAM_ILL),
    # answers that are none
    row("200-empty", reply(200, b""), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row("200-html", reply(200, HTML, AS_HTML), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row("200-without-records", reply(200, b'{"FailedRecordCount":0}'), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row("truncated", cut_mid_body(RESULTS, 20), "ConnectionReset", UNKNOWN, STREAM_ILL),
    row("no-http", raw(b"SSH-2.0-OpenSSH_9.6\r\n"), "MalformedResponse", UNKNOWN, STREAM_ILL),
    row(
        "length-too-large",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + RESULTS),
        "ConnectionReset",
        UNKNOWN,
        STREAM_ILL,
    ),
    row(
        "length-too-large-and-open",
        reply(200, RESULTS, {"Content-Length": "500"}),
        REQUEST_TIMEOUT,
        UNKNOWN,
        STREAM_ILL,
    ),
    row("length-too-small", reply(200, RESULTS, {"Content-Length": "20"}), "MalformedResponse", UNKNOWN, STREAM_ILL),
    # connections that fail after the request
    row("closed", close_after_request(), "ConnectionReset", UNKNOWN, STREAM_ILL),
    row("reset", reset_after_request(), "ConnectionReset", UNKNOWN, STREAM_ILL),
    row("black-hole", black_hole(), REQUEST_TIMEOUT, UNKNOWN, STREAM_ILL),
    row("trickle", trickle(RESULTS, 0.05), REQUEST_TIMEOUT, UNKNOWN, STREAM_ILL),
]


@pytest.mark.parametrize("warm", [False, True], ids=["new", "open"])
@pytest.mark.parametrize(("behaviour", "code", "written", "verdict"), ANSWERED)
async def test_every_answer_has_its_code_and_its_verdict(
    behaviour: Behaviour, code: str, written: Written, verdict: Verdict, *, warm: bool
) -> None:
    """On a new connection and on an open one: asked once, nothing repeated, and the next request served as ever."""
    async with (
        FaultServer(*[put_results()] * warm, behaviour, put_results()) as server,
        opened(server.url) as upstream,
    ):
        if warm:
            assert isinstance(await upstream.put(batch_of()), Answer)
        timeout_ms = SOON_MS if code == REQUEST_TIMEOUT else 0
        failure = failed(await upstream.put(batch_of(timeout_ms=timeout_ms)))
        assert (failure.code, failure.written) == (code, written)
        assert verdict_of(failure.code, failure.status) == verdict
        assert len(server.requests) == 1 + warm
        assert server.connections == 1
        assert isinstance(await upstream.put(batch_of()), Answer)


UNREACHED = ("ConnectFailed", NOT_SENT, STREAM_ILL)


def told(failure: Failure) -> tuple[str, Written, Verdict]:
    """Return what a failure is called, and its row in the table."""
    return failure.code, failure.written, verdict_of(failure.code, failure.status)


async def test_connection_that_is_refused() -> None:
    """Nobody listens."""
    async with FaultServer(black_hole()) as server:
        pass
    async with opened(server.url) as upstream:
        assert told(failed(await upstream.put(batch_of()))) == UNREACHED


async def test_name_that_is_not_known() -> None:
    """Or takes longer than a connect may."""
    async with opened("http://nowhere.invalid:4567", connect_timeout_ms=500) as upstream:
        assert told(failed(await upstream.put(batch_of()))) == UNREACHED


async def test_host_that_does_not_answer() -> None:
    """Nobody takes the connection."""
    with full_backlog() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with opened(url, connect_timeout_ms=200) as upstream:
            assert told(failed(await upstream.put(batch_of()))) == UNREACHED


async def test_certificate_that_is_not_trusted() -> None:
    """Nothing is sent to who cannot show who he is."""
    async with FaultServer(put_results(), tls=True) as server, opened(server.url) as upstream:
        assert told(failed(await upstream.put(batch_of()))) == UNREACHED
        assert server.requests == []


@pytest.mark.parametrize(
    "behaviour", [close_before_reading(), reset_before_reading(), silence(), greeting(b"HTTP/1.1 400 \r\n\r\n")]
)
async def test_handshake_that_does_not_come_about(behaviour: Behaviour) -> None:
    """It is cut, or the other side falls silent or speaks no TLS."""
    async with FaultServer(behaviour) as server:
        url = server.url.replace("http:", "https:")
        async with opened(url, connect_timeout_ms=200) as upstream:
            assert told(failed(await upstream.put(batch_of()))) == UNREACHED
        assert server.requests == []


@pytest.mark.parametrize("status", [403, 407, 503])
async def test_tunnel_that_a_proxy_refuses(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Its status is about the tunnel and not about the records; and no message names its password."""
    async with FaultServer(reply(status, HTML, AS_HTML)) as server:
        monkeypatch.setenv("HTTPS_PROXY", server.url.replace("//", "//user:open-sesame@"))
        async with opened("https://kinesis.invalid:4567") as upstream:
            failure = failed(await upstream.put(batch_of()))
        (request,) = server.requests
    assert told(failure) == UNREACHED
    assert request.method == "CONNECT"
    assert str(status) in str(failure.message)
    assert "sesame" not in str(failure)


async def test_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message names its password."""
    async with FaultServer(black_hole()) as server:
        pass
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:open-sesame@"))
    async with opened("http://kinesis.invalid:4567") as upstream:
        failure = failed(await upstream.put(batch_of()))
    assert told(failure) == UNREACHED
    assert "sesame" not in str(failure)


@pytest.mark.parametrize(
    ("behaviour", "retry_after_ms"),
    [
        (reply(429, b"", {"Retry-After": "2"}), 2_000),
        (reply(503, HTML, {**AS_HTML, "Retry-After": "3600"}), 10_000),
        (reply(400, b'{"__type":"ThrottlingException"}', {"x-amz-retry-after": "350"}), 350),
        (reply(400, b'{"__type":"ThrottlingException"}'), 0),
    ],
)
async def test_wait_that_the_service_asks_for_is_told(behaviour: Behaviour, retry_after_ms: int) -> None:
    """Within a bound; the core keeps to it."""
    async with FaultServer(behaviour) as server, opened(server.url) as upstream:
        failure = failed(await upstream.put(batch_of()))
    assert failure.retry_after_ns == retry_after_ms * 1_000_000


async def test_failures_at_once_are_each_their_own() -> None:
    """Many requests meet different ends over one pool, and none takes another's."""
    behaviours = [error(400, "ThrottlingException"), reset_after_request(), put_results(), reply(503, b"")] * 5
    async with FaultServer(*behaviours) as server, opened(server.url) as upstream:
        results = await asyncio.gather(*(upstream.put(batch_of()) for _ in behaviours))
    names = sorted(result.code if isinstance(result, Failure) else "taken" for result in results)
    assert names == sorted(["ThrottlingException", "ConnectionReset", "taken", "ServiceUnavailable"] * 5)
