"""How a request is told that its client has left, over every transport and on both event loops."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes

from proxy.kinesis.http import Reply, Request
from tests.unit.transport.test_tls import client_context, server_tls
from tests.unit.transport.transport_clients import Http2Client, connected, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.transport.transport_clients import RawClient, Run

PING = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nping"
# More than the sockets of both sides hold.
LARGE = 32 * 1024 * 1024
TRANSPORTS = ["http/1.1", "http/1.1 in TLS", "http/2", "http/2 in TLS"]


class Waiting:
    """A handler that answers when it is told to, or when its client has left."""

    def __init__(self, *, body: bytes = b"pong", pace_bytes_per_second: int = 0) -> None:
        self.requests: list[Request] = []
        self.left: list[Request] = []
        self.answer = asyncio.Event()
        self.body = body
        self.pace = pace_bytes_per_second

    async def __call__(self, request: Request) -> Reply:
        """Wait, and answer."""
        self.requests.append(request)
        gone = asyncio.Event()

        def leave() -> None:
            self.left.append(request)
            gone.set()

        request.on_gone = leave
        waits = [asyncio.ensure_future(event.wait()) for event in (self.answer, gone)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return Reply(200, self.body, pace_bytes_per_second=self.pace)


class Visit:
    """One client with a request on a server whose handler waits."""

    def __init__(self, raw: RawClient, *, http2: bool) -> None:
        self.raw = raw
        self.http2 = Http2Client(raw) if http2 else None
        self.stream_id = 0
        if self.http2 is None:
            raw.send(PING)
        else:
            self.stream_id = self.http2.request(b"ping")

    async def answered(self) -> None:
        """Read the answer."""
        if self.http2 is None:
            await self.raw.reader.readuntil(b"pong")
        else:
            await self.http2.answer(self.stream_id)

    def reset_connection(self) -> None:
        """End the connection with a reset."""
        raw_socket = self.raw.writer.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.raw.writer.transport.abort()


@asynccontextmanager
async def visit(transport: str, handler: Waiting) -> AsyncIterator[Visit]:
    """Bring a request to a waiting handler, over a transport, for the time of a block."""
    secure, http2 = transport.endswith("TLS"), transport.startswith("http/2")
    async with serving(handler, server_tls() if secure else None) as server:
        async with connected(server, client_context("h2" if http2 else "http/1.1") if secure else None) as raw:
            client = Visit(raw, http2=http2)
            await until(lambda: bool(handler.requests))
            yield client
        await until(lambda: server.connections == 0 and server.requests_in_progress == 0)


@pytest.mark.parametrize("end", ["closes", "resets"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_request_is_told_when_its_connection_ends(run: Run, transport: str, end: str) -> None:
    """Once, however the connection ends."""

    async def main() -> None:
        handler = Waiting()
        async with visit(transport, handler) as client:
            if end == "closes":
                client.raw.writer.close()
            else:
                client.reset_connection()
            await until(lambda: bool(handler.left))
        assert handler.left == handler.requests
        assert [request.gone for request in handler.requests] == [True]

    run(main())


@pytest.mark.parametrize("transport", ["http/2", "http/2 in TLS"])
def test_request_is_told_when_its_stream_is_reset(run: Run, transport: str) -> None:
    """It alone: the connection lives on, and so do its other requests."""

    async def main() -> None:
        handler = Waiting()
        async with visit(transport, handler) as client:
            assert client.http2 is not None
            other = client.http2.request(b"other")
            await until(lambda: len(handler.requests) == 2)
            client.http2.engine.reset_stream(client.stream_id, ErrorCodes.CANCEL)
            client.http2.flush()
            await until(lambda: bool(handler.left))
            assert [request.body for request in handler.left] == [b"ping"]
            handler.answer.set()
            assert (await client.http2.answer(other)).body == b"pong"
        assert len(handler.left) == 1

    run(main())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_request_whose_answer_is_written_is_told_nothing(run: Run, transport: str) -> None:
    """What becomes of the connection afterwards is not its concern."""

    async def main() -> None:
        handler = Waiting()
        async with visit(transport, handler) as client:
            handler.answer.set()
            await client.answered()
            client.reset_connection()
        assert not handler.left
        assert not handler.requests[0].gone

    run(main())


@pytest.mark.parametrize(
    ("transport", "pace_bytes_per_second"),
    # TLS takes a whole answer at once, and HTTP/1.1 has no windows of its own: there it is written
    [(transport, 0) for transport in TRANSPORTS if transport != "http/1.1 in TLS"]
    + [(transport, LARGE // 10) for transport in TRANSPORTS],
)
def test_request_is_told_when_its_client_leaves_amid_the_answer(
    run: Run, transport: str, pace_bytes_per_second: int
) -> None:
    """It has not reached anybody."""

    async def main() -> None:
        handler = Waiting(body=bytes(LARGE), pace_bytes_per_second=pace_bytes_per_second)
        async with visit(transport, handler) as client:
            handler.answer.set()
            assert await client.raw.reader.read(1000)
            assert not handler.left
            client.reset_connection()
            await until(lambda: bool(handler.left))
        assert handler.left == handler.requests

    run(main())


def test_request_on_a_kept_connection_is_told_of_itself_alone(run: Run) -> None:
    """The one before has its answer."""

    async def main() -> None:
        handler = Waiting()
        async with visit("http/1.1", handler) as client:
            handler.answer.set()
            await client.answered()
            handler.answer.clear()
            client.raw.send(PING)
            await until(lambda: len(handler.requests) == 2)
            client.raw.writer.close()
            await until(lambda: bool(handler.left))
        assert [request.gone for request in handler.requests] == [False, True]

    run(main())


def test_request_that_nobody_asks_to_be_told_about_is_marked_all_the_same() -> None:
    """A handler that comes later can see it."""
    request = Request("POST", "/", {}, b"")
    request.leave()
    assert request.gone


def test_departure_is_told_once() -> None:
    """A stream can be reset, and its connection end."""
    told = []
    request = Request("POST", "/", {}, b"", on_gone=lambda: told.append(True))
    request.leave()
    request.leave()
    assert told == [True]
