"""An upstream that is gone for a while, and what its connections are good for when it is back."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from proxy.core.batch import Answer, Written
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import (
    FaultServer,
    black_hole,
    followed_by,
    full_backlog,
    held,
    late_reader,
    put_results,
    stalled_reader,
    stuck_until,
)
from tests.support.upstreams import SOON_MS, batch_of, failed, opened

STRAY_BODY = b'{"Records":[{"SequenceNumber":"666","ShardId":"shardId-000000000666"}]}'
STRAY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(STRAY_BODY), STRAY_BODY)


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


async def test_server_that_is_silent_for_a_while_is_served_again_at_once() -> None:
    """Each request of the outage ends by its timeout, and the first one after it passes."""
    script = (put_results(), *[black_hole()] * 5, put_results())
    async with FaultServer(*script) as server, opened(server.url, request_timeout_ms=SOON_MS) as upstream:
        assert isinstance(await upstream.put(batch_of()), Answer)
        during = await asyncio.gather(*(upstream.put(batch_of()) for _ in range(5)))
        assert {(failed(reply).code, failed(reply).written) for reply in during} == {
            ("RequestTimeout", Written.UNKNOWN)
        }
        assert isinstance(await upstream.put(batch_of()), Answer)
        await server.until(lambda: server.open_connections == 1)


async def test_host_that_was_gone_is_served_again_at_once() -> None:
    """What was not connected to during the outage leaves nothing behind that stands in the way."""
    with full_backlog() as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with opened(url) as upstream:
            for reply in await asyncio.gather(*(upstream.put(batch_of(timeout_ms=200)) for _ in range(5))):
                assert failed(reply).written is Written.NOT_SENT
            async with FaultServer(put_results(), listener=listener) as server:
                await server.until(lambda: server.connections > 0)  # those that filled the backlog
                assert isinstance(await upstream.put(batch_of()), Answer)


async def test_idle_connections_that_an_outage_swallowed_cost_one_timeout_together() -> None:
    """A firewall that forgot them swallows all that is sent on them, for ever: the first silence ends them all."""
    release = asyncio.Event()
    script = (*[held(release, put_results())] * 4, stuck_until(4, put_results()))
    async with FaultServer(*script) as server, opened(server.url, request_timeout_ms=SOON_MS) as upstream:
        opening = [asyncio.create_task(upstream.put(batch_of())) for _ in range(4)]
        await server.until(lambda: len(server.requests) == 4)
        release.set()
        assert all(isinstance(reply, Answer) for reply in await asyncio.gather(*opening))
        assert failed(await upstream.put(batch_of())).code == "RequestTimeout"
        assert isinstance(await upstream.put(batch_of()), Answer)
        assert server.connections == 5
        await server.until(lambda: server.open_connections == 1)


async def test_request_that_was_given_up_arrives_no_more() -> None:
    """Its records are sent again: bytes that still waited for the network must not reach the stream after that."""
    wake: asyncio.Event = asyncio.Event()
    received: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    # more than the other side takes in unread, and less than we hand over at once
    batch = batch_of(10, "A" * 20_000, timeout_ms=300)
    async with (
        FaultServer(late_reader(wake, received), receive_buffer_bytes=4096) as server,
        opened(server.url) as upstream,
    ):
        failure = failed(await upstream.put(batch))
        assert (failure.code, failure.written) == ("RequestTimeout", Written.UNKNOWN)
        wake.set()
        assert await received is None


async def test_cancelled_put_arrives_no_more() -> None:
    """Nor does one that ends with the proxy."""
    wake: asyncio.Event = asyncio.Event()
    received: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
    async with (
        FaultServer(late_reader(wake, received), receive_buffer_bytes=4096) as server,
        opened(server.url) as upstream,
    ):
        put = asyncio.create_task(upstream.put(batch_of(10, "A" * 20_000)))
        await server.until(lambda: server.connections == 1)
        await asyncio.sleep(0.1)  # until it has sent what the other side takes
        put.cancel()
        await asyncio.gather(put, return_exceptions=True)
        wake.set()
        assert await received is None


async def test_close_does_not_wait_for_a_peer_that_does_not_read() -> None:
    """A shutdown has better things to do."""
    large = batch_of(500, "A" * 20_000)
    async with (
        FaultServer(stalled_reader(), receive_buffer_bytes=4096) as server,
        opened(server.url) as upstream,
    ):
        put = asyncio.create_task(upstream.put(large))
        await server.until(lambda: server.connections == 1)
        await asyncio.sleep(0.1)  # until the other side takes no more
        async with asyncio.timeout(5):
            await upstream.close()
        assert failed(await put).written is Written.NOT_SENT


async def test_bytes_that_nobody_asked_for_are_no_answer() -> None:
    """They came while the connection was idle: the next request takes another one, and its own answer."""
    script = (followed_by(put_results(), STRAY, 0.05), put_results())
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        assert isinstance(await upstream.put(batch_of()), Answer)
        await asyncio.sleep(0.2)  # they cross the loopback
        answer = await upstream.put(batch_of())
        assert isinstance(answer, Answer)
        assert [result.sequence_number for result in answer.results] == ["4960"]
        assert server.connections == 2


async def test_bytes_behind_an_answer_are_no_answer() -> None:
    """They came together with it."""
    script = (followed_by(put_results(), STRAY, 0), put_results())
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        for _ in range(2):
            answer = await upstream.put(batch_of())
            assert isinstance(answer, Answer)
            assert [result.sequence_number for result in answer.results] == ["4960"]


class Names(AbstractResolver):
    """A name service that gives one address for every name, until it is changed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the address."""
        self.asked += 1
        flags = socket.AI_NUMERICHOST
        return [{"hostname": host, "host": self.address, "port": port, "family": family, "proto": 0, "flags": flags}]

    async def close(self) -> None:
        """Close nothing."""


async def test_service_that_moved_is_found_once_its_old_address_fails() -> None:
    """What a name stood for is remembered, but not against the evidence."""
    names = Names("127.0.0.2")  # nobody listens there
    async with FaultServer(put_results()) as server, opened(f"http://kinesis.test:{server.port}") as upstream:
        upstream._started().puts._pool._resolver = names
        assert failed(await upstream.put(batch_of())).written is Written.NOT_SENT
        names.address = "127.0.0.1"
        for _ in range(3):
            assert isinstance(await upstream.put(batch_of()), Answer)
        assert names.asked == 2
