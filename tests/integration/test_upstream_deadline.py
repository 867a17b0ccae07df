"""How long a put may take in all: the less of the configured timeout and its batch's own, whatever it waits for.

The configured timeouts are longer here than a test may take: a put that does not keep to its batch's fails the test.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from proxy.core.batch import Answer, Written
from tests.support.aws_environment import use_aws_environment, use_static_credentials
from tests.support.fault_server import (
    Behaviour,
    FaultServer,
    black_hole,
    full_backlog,
    held,
    put_results,
    reply,
    silence,
    stalled_reader,
    trickle,
)
from tests.support.upstreams import SOON_MS, batch_of, failed, opened

RESULTS = b'{"FailedRecordCount":0,"Records":[{"SequenceNumber":"4960","ShardId":"shardId-000000000000"}]}'
TIMEOUT_MS = 150  # where nothing is sent before it


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


@pytest.mark.parametrize("behaviour", [black_hole(), trickle(RESULTS, 0.1)])
async def test_silent_server_takes_no_longer_than_the_batch_may(behaviour: Behaviour) -> None:
    """Its records' deadline is near, and somebody waits for them."""
    async with FaultServer(behaviour) as server, opened(server.url) as upstream:
        failure = failed(await upstream.put(batch_of(timeout_ms=SOON_MS)))
        assert len(server.requests) == 1
    assert (failure.code, failure.written) == ("RequestTimeout", Written.UNKNOWN)


async def test_body_that_is_not_read_takes_no_longer_than_the_batch_may() -> None:
    """As long as a part of it waits on our side it was not sent."""
    large = batch_of(500, "A" * 20_000, timeout_ms=TIMEOUT_MS)
    async with (
        FaultServer(stalled_reader(), receive_buffer_bytes=4096) as server,
        opened(server.url) as upstream,
    ):
        failure = failed(await upstream.put(large))
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_connecting_takes_no_longer_than_the_batch_may() -> None:
    """Nobody takes the connection."""
    with full_backlog() as listener:
        async with opened(f"http://127.0.0.1:{listener.getsockname()[1]}") as upstream:
            failure = failed(await upstream.put(batch_of(timeout_ms=TIMEOUT_MS)))
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_handshake_takes_no_longer_than_the_batch_may() -> None:
    """The other side takes the connection and does not greet."""
    async with (
        FaultServer(silence()) as server,
        opened(server.url.replace("http:", "https:")) as upstream,
    ):
        failure = failed(await upstream.put(batch_of(timeout_ms=TIMEOUT_MS)))
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_waiting_for_a_free_connection_takes_no_longer_than_the_batch_may() -> None:
    """Another request has the only one, and goes on undisturbed."""
    release = asyncio.Event()
    async with FaultServer(held(release, put_results())) as server:
        async with opened(server.url, connections_max=1) as upstream:
            first = asyncio.create_task(upstream.put(batch_of()))
            await server.until(lambda: len(server.requests) == 1)
            failure = failed(await upstream.put(batch_of(timeout_ms=TIMEOUT_MS)))
            release.set()
            assert isinstance(await first, Answer)
        assert len(server.requests) == 1
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)


async def test_waiting_for_credentials_takes_no_longer_than_the_batch_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are being fetched; when they come, the next put is signed with them."""
    use_aws_environment(monkeypatch)
    expiration = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    session = {"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": expiration}
    release = asyncio.Event()
    found = held(release, reply(200, json.dumps(session).encode(), {"Content-Type": "application/json"}))
    async with FaultServer(found) as container, FaultServer(put_results()) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.url + "/session")
        async with opened(server.url, credentials_wait_ms=300) as upstream:
            assert not upstream.ready()
            upstream._started().keeper._wait_seconds = 50.0  # the start is over, and need not wait so long
            failure = failed(await upstream.put(batch_of(timeout_ms=TIMEOUT_MS)))
            assert server.requests == []
            release.set()
            assert isinstance(await upstream.put(batch_of()), Answer)
    assert (failure.code, failure.written) == ("CredentialsUnavailable", Written.NOT_SENT)


async def test_configured_timeout_bounds_a_batch_that_may_take_longer() -> None:
    """The less of the two counts."""
    async with (
        FaultServer(black_hole()) as server,
        opened(server.url, request_timeout_ms=SOON_MS) as upstream,
    ):
        failure = failed(await upstream.put(batch_of(timeout_ms=50_000)))
    assert (failure.code, failure.written) == ("RequestTimeout", Written.UNKNOWN)


async def test_batch_whose_time_is_over_is_not_sent() -> None:
    """Nor is its connection opened."""
    late = batch_of()
    late.timeout_ns = -1
    async with FaultServer(put_results()) as server, opened(server.url) as upstream:
        failure = failed(await upstream.put(late))
        assert server.connections == 0
    assert failure.written is Written.NOT_SENT


async def test_batch_in_time_is_answered() -> None:
    """Its bound costs it nothing, and its connection is kept."""
    async with FaultServer(put_results()) as server, opened(server.url) as upstream:
        for _ in range(3):
            assert isinstance(await upstream.put(batch_of(timeout_ms=20_000)), Answer)
        assert server.connections == 1


async def test_batch_that_is_cut_short_costs_its_neighbours_nothing() -> None:
    """Only a long silence makes the idle connections suspect: under load, deadlines cut many requests short."""
    release = asyncio.Event()
    script = (held(release, put_results()), held(release, put_results()), black_hole(), put_results())
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        pair = [asyncio.create_task(upstream.put(batch_of())) for _ in range(2)]
        await server.until(lambda: len(server.requests) == 2)
        release.set()
        await asyncio.gather(*pair)
        failed(await upstream.put(batch_of(timeout_ms=TIMEOUT_MS)))
        assert isinstance(await upstream.put(batch_of()), Answer)
        assert server.connections == 2
