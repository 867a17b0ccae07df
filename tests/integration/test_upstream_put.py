"""Puts over real sockets: what goes out, what comes back, and what every fault of the other side is taken for."""

import asyncio
import gzip
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.record import Record
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.counters import PUT_RECORDS, Outcome
from proxy.upstream.settings import UpstreamSettings
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import (
    TLS_IDENTITY,
    Behaviour,
    FaultServer,
    black_hole,
    close_after_request,
    close_before_reading,
    cut_mid_body,
    delayed,
    early_reply,
    greeting,
    held,
    put_results,
    raw,
    reply,
    reset_after_request,
    reset_before_reading,
    stalled_reader,
    trickle,
)
from tests.support.upstreams import SOON_MS, batch_of, opened

Opener = Callable[..., AbstractAsyncContextManager[AwsUpstream]]

RESULTS = b'{"FailedRecordCount":0,"Records":[{"SequenceNumber":"4960","ShardId":"shardId-000000000000"}]}'


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


async def failure_of(server: FaultServer, batch: Batch | None = None, **settings: Any) -> Failure:  # noqa: ANN401
    """Put one batch and return how it failed."""
    async with opened(server.url, **settings) as upstream:
        result = await upstream.put(batch or batch_of())
    assert isinstance(result, Failure)
    return result


async def test_batch_goes_out_as_one_signed_put_records() -> None:
    """Target, type and body are what every SDK sends."""
    async with FaultServer(put_results()) as server, opened(server.url) as upstream:
        answer = await upstream.put(batch_of(2))
    assert isinstance(answer, Answer)
    assert [(r.shard_id, r.sequence_number) for r in answer.results] == [
        ("shardId-000000000000", "4960"),
        ("shardId-000000000000", "4961"),
    ]
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/")
    assert request.headers["x-amz-target"] == "Kinesis_20131202.PutRecords"
    assert request.headers["content-type"] == "application/x-amz-json-1.1"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("kinesis-proxy/")
    assert "expect" not in request.headers
    assert "transfer-encoding" not in request.headers
    assert json.loads(request.body) == {
        "Records": [{"Data": "aGVsbG8=", "PartitionKey": "key-0"}, {"Data": "aGVsbG8=", "PartitionKey": "key-1"}],
        "StreamName": "orders",
    }


async def test_ordered_batch_goes_out_as_put_record() -> None:
    """PutRecords has no SequenceNumberForOrdering."""
    ordered = Record("k", "aGVsbG8=", 6, 1, 0, sequence_number_for_ordering="4960")
    script = reply(200, b'{"SequenceNumber":"4961","ShardId":"shardId-000000000001","EncryptionType":"KMS"}')
    async with FaultServer(script) as server, opened(server.url) as upstream:
        answer = await upstream.put(Batch("orders", None, [ordered], ordered=True))
    assert isinstance(answer, Answer)
    assert answer.encryption_type == "KMS"
    assert [(r.shard_id, r.sequence_number) for r in answer.results] == [("shardId-000000000001", "4961")]
    assert server.requests[0].headers["x-amz-target"] == "Kinesis_20131202.PutRecord"
    assert json.loads(server.requests[0].body)["SequenceNumberForOrdering"] == "4960"


@pytest.mark.parametrize("extra", [-1, 1])
async def test_wrong_number_of_results_is_passed_on(extra: int) -> None:
    """The core compares: here nothing is cut or filled up."""
    async with FaultServer(put_results(extra)) as server, opened(server.url) as upstream:
        answer = await upstream.put(batch_of(3))
    assert isinstance(answer, Answer)
    assert len(answer.results) == 3 + extra


@pytest.mark.parametrize("behaviour", [close_after_request(), reset_after_request(), cut_mid_body(RESULTS, 20)])
async def test_connection_lost_after_the_request_leaves_the_outcome_unknown(behaviour: Behaviour) -> None:
    """The records may have been written; and nothing below the core sends them again."""
    async with FaultServer(behaviour, put_results()) as server:
        failure = await failure_of(server)
        assert (failure.code, failure.written, failure.status) == ("ConnectionReset", Written.UNKNOWN, 0)
        assert len(server.requests) == 1


@pytest.mark.parametrize("behaviour", [close_before_reading(), reset_before_reading()])
async def test_connection_closed_before_reading_is_no_success(behaviour: Behaviour) -> None:
    """Whether the bytes left before the close came is a race; either way the request is sent once at most."""
    async with FaultServer(behaviour) as server:
        failure = await failure_of(server)
        assert (failure.code, failure.written) in {
            ("ConnectionReset", Written.UNKNOWN),
            ("ConnectFailed", Written.NOT_SENT),
        }
        assert server.connections == 1


@pytest.mark.parametrize(
    ("behaviour", "read_timeout_ms", "request_timeout_ms"),
    [(black_hole(), 200, 50_000), (black_hole(), 50_000, SOON_MS), (trickle(RESULTS, 0.05), 50_000, SOON_MS)],
)
async def test_silence_and_slowness_end_in_a_timeout(
    behaviour: Behaviour, read_timeout_ms: int, request_timeout_ms: int
) -> None:
    """A server that never answers, or answers for ever, costs the read timeout or the request's, whichever is less."""
    async with FaultServer(behaviour) as server:
        failure = await failure_of(server, read_timeout_ms=read_timeout_ms, request_timeout_ms=request_timeout_ms)
        assert (failure.code, failure.written) == ("RequestTimeout", Written.UNKNOWN)


async def test_request_that_is_never_read_was_not_sent() -> None:
    """As long as part of the body waits on our side, the service cannot have written it."""
    large = batch_of(500, "A" * 20_000)
    async with FaultServer(stalled_reader(), receive_buffer_bytes=4096) as server:
        failure = await failure_of(server, large, request_timeout_ms=300)
        assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_large_request_arrives_whole() -> None:
    """Ten megabytes go out in pieces, with one Content-Length."""
    large = batch_of(500, "A" * 20_000)
    async with FaultServer(put_results()) as server, opened(server.url) as upstream:
        answer = await upstream.put(large)
    assert isinstance(answer, Answer)
    assert len(answer.results) == 500
    assert len(server.requests[0].body) > 10_000_000


async def test_refused_connection_was_not_sent() -> None:
    """Nobody listens."""
    async with FaultServer(black_hole()) as server:
        pass
    failure = await failure_of(server)
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_unknown_host_was_not_sent() -> None:
    """Name resolution fails, or takes longer than a connect may."""
    async with opened("http://nowhere.invalid:4567", connect_timeout_ms=500) as upstream:
        failure = await upstream.put(batch_of())
    assert isinstance(failure, Failure)
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_server_that_does_not_speak_tls_was_sent_nothing() -> None:
    """The handshake fails."""
    async with FaultServer(greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        async with opened(server.url.replace("http:", "https:")) as upstream:
            failure = await upstream.put(batch_of())
        assert isinstance(failure, Failure)
        assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)
        assert server.requests == []


async def test_certificate_that_is_not_trusted_gets_nothing() -> None:
    """Credentials and records go to no one who cannot show who he is."""
    async with FaultServer(put_results(), tls=True) as server:
        with capture_logs() as logs:
            failure = await failure_of(server)
        assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)
        assert failure.message == "Kinesis cannot be reached: TLS to it fails, or its certificate is not trusted."
        (told,) = [entry for entry in logs if entry["event"] == "upstream_unanswered"]
        assert "CERTIFICATE_VERIFY_FAILED" in told["detail"]
        assert (told["code"], told["endpoint"]) == ("ConnectFailed", f"{server.url}/")
        assert server.requests == []


async def test_certificate_of_a_private_root_is_trusted_where_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_CA_BUNDLE names it, for puts as for the control plane."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(TLS_IDENTITY))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/roots.pem")
    script = (put_results(), reply(200, b'{"Shards":[]}'))
    async with FaultServer(*script, tls=True) as server, opened(server.url) as upstream:
        assert isinstance(await upstream.put(batch_of()), Answer)
        assert await upstream.list_shards("orders", None) == []


async def test_http_proxy_of_the_environment_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """As every client on botocore does; the endpoint's name is the proxy's to resolve."""
    async with FaultServer(put_results()) as server:
        monkeypatch.setenv("HTTP_PROXY", server.url)
        async with opened("http://kinesis.invalid:4567") as upstream:
            for _ in range(2):  # on a new connection, and on the one that is then open
                assert isinstance(await upstream.put(batch_of()), Answer)
        assert server.connections == 1
        targets = [(request.target, request.headers["host"]) for request in server.requests]
    assert targets == [("http://kinesis.invalid:4567/", "kinesis.invalid:4567")] * 2


async def test_connections_are_reused() -> None:
    """Puts in turn share one connection."""
    async with FaultServer(put_results()) as server, opened(server.url) as upstream:
        for _ in range(5):
            assert isinstance(await upstream.put(batch_of()), Answer)
        assert server.connections == 1
        assert server.open_connections == 1


async def test_connections_are_bounded() -> None:
    """A put that finds no free connection in time was not sent."""
    release = asyncio.Event()
    async with (
        FaultServer(held(release, put_results())) as server,
        opened(server.url, connections_max=2, connect_timeout_ms=SOON_MS) as upstream,
    ):
        first = [asyncio.create_task(upstream.put(batch_of())) for _ in range(2)]
        await server.until(lambda: len(server.requests) == 2)
        for reply in await asyncio.gather(*(upstream.put(batch_of()) for _ in range(3))):
            assert isinstance(reply, Failure)
            assert (reply.code, reply.written) == ("ConnectFailed", Written.NOT_SENT)
        release.set()
        assert all(isinstance(reply, Answer) for reply in await asyncio.gather(*first))
        assert len(server.requests) == 2
        assert server.connections == 2


async def test_idle_connection_that_the_server_closed_is_replaced() -> None:
    """Once the close has been seen, the next put opens a connection of its own."""
    script = (reply(200, RESULTS, then_close=True), put_results())
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        assert isinstance(await upstream.put(batch_of()), Answer)
        await server.until(lambda: server.open_connections == 0)
        await asyncio.sleep(0.01)  # the close crosses the loopback
        assert isinstance(await upstream.put(batch_of()), Answer)
        assert server.connections == 2


async def test_idle_connection_that_breaks_as_it_is_used_leaves_the_outcome_unknown() -> None:
    """It cannot be told from one that broke after the service read the request; aiohttp does not try again."""
    script = (put_results(), close_after_request(), put_results())
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        assert isinstance(await upstream.put(batch_of()), Answer)
        failure = await upstream.put(batch_of())
        assert isinstance(failure, Failure)
        assert (failure.code, failure.written) == ("ConnectionReset", Written.UNKNOWN)
        assert [request.connection for request in server.requests] == [0, 0]


async def test_redirects_are_not_followed() -> None:
    """A second server must not get what was signed for the first."""
    async with FaultServer(put_results()) as other:
        script = reply(307, b"", {"Location": other.url + "/"})
        async with FaultServer(script) as server:
            failure = await failure_of(server)
        assert (failure.code, failure.written, failure.status) == ("MalformedResponse", Written.UNKNOWN, 307)
        assert other.requests == []


@pytest.mark.parametrize(
    "behaviour",
    [
        reply(200, b""),
        reply(200, b"<html>"),
        reply(200, b'{"Records":[{"ShardId":7}]}'),
        reply(200, gzip.compress(RESULTS), {"Content-Encoding": "gzip"}),
        raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n" + RESULTS),
        reply(404, b"<html>Not Found</html>"),
    ],
)
async def test_response_that_cannot_be_read_leaves_the_outcome_unknown(behaviour: Behaviour) -> None:
    """We ask for no compression, and an answer that says nothing is no answer."""
    async with FaultServer(behaviour) as server:
        failure = await failure_of(server)
        assert (failure.code, failure.written) == ("MalformedResponse", Written.UNKNOWN)


@pytest.mark.parametrize(
    "behaviour",
    [
        reply(200, b" " * 5000 + RESULTS),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + b" " * 5000 + b"\r\n0\r\n\r\n"),
    ],
)
async def test_response_is_read_within_a_bound(behaviour: Behaviour) -> None:
    """Whether it announces its length or not."""
    async with FaultServer(behaviour) as server:
        failure = await failure_of(server, response_bytes_max=4096)
        assert (failure.code, failure.written) == ("MalformedResponse", Written.UNKNOWN)
        assert failure.message == "the response is larger than 4096 bytes"


@pytest.mark.parametrize(
    ("status", "written"),
    [(400, Written.REFUSED), (403, Written.REFUSED), (500, Written.UNKNOWN), (503, Written.UNKNOWN)],
)
async def test_error_of_the_service_is_passed_on(status: int, written: Written) -> None:
    """With its code, message and status; the connection stays."""
    error = reply(status, b'{"__type":"SomeException","message":"why"}')
    async with FaultServer(error, put_results()) as server, opened(server.url) as upstream:
        assert await upstream.put(batch_of()) == Failure("SomeException", "why", written, status)
        assert isinstance(await upstream.put(batch_of()), Answer)
        assert server.connections == 1


async def test_error_that_comes_while_we_still_send_is_heard() -> None:
    """A server may refuse a large request by its head."""
    large = batch_of(500, "A" * 20_000)
    refusal = early_reply(413, b'{"__type":"RequestEntityTooLarge"}')
    async with FaultServer(refusal, receive_buffer_bytes=4096) as server:
        failure = await failure_of(server, large)
        assert failure == Failure("RequestEntityTooLarge", None, Written.REFUSED, 413)


async def test_cancelled_put_leaves_nothing_behind() -> None:
    """Its connection is closed, for its response could be taken for another's; no task stays."""
    async with FaultServer(black_hole()) as server:
        before = asyncio.all_tasks()
        async with opened(server.url) as upstream:
            put = asyncio.create_task(upstream.put(batch_of()))
            await server.until(lambda: len(server.requests) == 1)
            assert upstream.counters.in_flight == 1
            put.cancel()
            with pytest.raises(asyncio.CancelledError):
                await put
            assert upstream.counters.in_flight == 0
            await server.until(lambda: server.open_connections == 0)
        assert {task for task in asyncio.all_tasks() - before if not task.done()} == set()


async def test_close_ends_what_is_under_way() -> None:
    """A put that waits for its answer fails, and the upstream takes no more."""
    async with FaultServer(black_hole()) as server:
        upstream = AwsUpstream(UpstreamSettings(endpoint_url=server.url))
        await upstream.start()
        put = asyncio.create_task(upstream.put(batch_of()))
        await server.until(lambda: len(server.requests) == 1)
        await upstream.close()
        failure = await put
        assert isinstance(failure, Failure)
        assert failure.written is Written.UNKNOWN
        assert not upstream.ready()


async def test_every_put_is_counted_by_outcome() -> None:
    """What the metrics show is what happened."""
    partial = b'{"FailedRecordCount":1,"Records":[{"ErrorCode":"InternalFailure","ErrorMessage":"x"}]}'
    throttled = b'{"__type":"ProvisionedThroughputExceededException"}'
    script = (
        put_results(),
        reply(200, partial),
        reply(400, throttled),
        reply(400, b'{"__type":"ResourceNotFoundException"}'),
        reply(500, b'{"__type":"InternalFailure"}'),
        delayed(0.01, reset_after_request()),
        put_results(),
    )
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        for _ in script:
            await upstream.put(batch_of())
        counters = upstream.counters
    async with opened("http://127.0.0.1:1") as nowhere:
        await nowhere.put(batch_of())
    counted = {outcome: counters.requests[PUT_RECORDS, outcome] for outcome in Outcome}
    assert counted == {
        Outcome.OK: 2,
        Outcome.PARTIAL: 1,
        Outcome.THROTTLED: 1,
        Outcome.REFUSED: 1,
        Outcome.ERROR: 1,
        Outcome.UNKNOWN: 1,
        Outcome.NOT_SENT: 0,
    }
    assert sum(counters.put_duration_seconds.counts) == 7
    assert counters.in_flight == 0
    assert nowhere.counters.requests[PUT_RECORDS, Outcome.NOT_SENT] == 1
