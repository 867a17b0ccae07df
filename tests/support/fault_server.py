"""A small HTTP/1.1 server that does to each request what its script says, faults of the connection above all.

Each request takes the next behaviour of the script, in the order in which requests arrive over all connections; the
last behaviour repeats. What was received is kept for the test to look at.

    async with FaultServer(reset_after_request(), reply(200, b"{}")) as server:
        ...  # use server.url; look at server.requests and server.connections
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

JSON = "application/x-amz-json-1.1"
HEAD_BYTES_MAX = 64 * 1024
# Certificate for localhost and 127.0.0.1, its own root, and its key; good for tests alone, until 2120.
TLS_IDENTITY = Path(__file__).parent / "tls" / "localhost.pem"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it arrived; `connection` counts connections from 0; header names are in lower case."""

    connection: int
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the connection that it came on; `request` is None for behaviours that do not read it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    request: ReceivedRequest | None


class Reads(Enum):
    """How much of a request a behaviour lets in before it acts."""

    NOTHING = "nothing"
    HEAD = "head"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What to do with one request; `act` returns whether the connection stays open."""

    act: Callable[[Exchange], Awaitable[bool]]
    reads: Reads = Reads.ALL


def reply(status: int, body: bytes, headers: dict[str, str] | None = None, *, then_close: bool = False) -> Behaviour:
    """Answer with a complete response; `then_close` closes the connection without having said so."""

    async def act(exchange: Exchange) -> bool:
        exchange.writer.write(_head(status, len(body), headers) + body)
        await exchange.writer.drain()
        return not then_close

    return Behaviour(act)


def early_reply(status: int, body: bytes) -> Behaviour:
    """Answer after the head of the request, and read nothing more."""

    async def act(exchange: Exchange) -> bool:
        exchange.writer.write(_head(status, len(body), None) + body)
        await exchange.writer.drain()
        return await _wait_for_the_end(exchange)

    return Behaviour(act, Reads.HEAD)


def greeting(content: bytes) -> Behaviour:
    """Send these bytes as soon as a connection is there, as a server of another protocol does, and close."""
    return Behaviour(raw(content).act, Reads.NOTHING)


def put_results(extra: int = 0) -> Behaviour:
    """Answer PutRecords with one success for each record, and `extra` more, or fewer, than there were."""

    async def act(exchange: Exchange) -> bool:
        assert exchange.request is not None
        count = len(json.loads(exchange.request.body)["Records"]) + extra
        results = [{"ShardId": "shardId-000000000000", "SequenceNumber": str(4960 + n)} for n in range(count)]
        body = json.dumps({"FailedRecordCount": 0, "Records": results}).encode()
        exchange.writer.write(_head(200, len(body), None) + body)
        await exchange.writer.drain()
        return True

    return Behaviour(act)


def raw(content: bytes) -> Behaviour:
    """Answer with these bytes, whatever they are, and close."""

    async def act(exchange: Exchange) -> bool:
        exchange.writer.write(content)
        await exchange.writer.drain()
        return False

    return Behaviour(act)


def close_before_reading() -> Behaviour:
    """Close a connection as soon as it is there."""
    return Behaviour(_close, Reads.NOTHING)


def reset_before_reading() -> Behaviour:
    """Reset a connection as soon as it is there."""
    return Behaviour(_reset, Reads.NOTHING)


def close_after_request() -> Behaviour:
    """Read the request, then close without an answer."""
    return Behaviour(_close)


def reset_after_request() -> Behaviour:
    """Read the request, then reset the connection without an answer."""
    return Behaviour(_reset)


def cut_mid_body(body: bytes, sent_bytes: int) -> Behaviour:
    """Announce the whole body, send its beginning and close."""

    async def act(exchange: Exchange) -> bool:
        exchange.writer.write(_head(200, len(body), None) + body[:sent_bytes])
        await exchange.writer.drain()
        return False

    return Behaviour(act)


def black_hole() -> Behaviour:
    """Read the request and never answer."""
    return Behaviour(_wait_for_the_end)


def stalled_reader() -> Behaviour:
    """Read the head of the request and nothing of its body, and never answer."""
    return Behaviour(_wait_for_the_end, Reads.HEAD)


def silence() -> Behaviour:
    """Read nothing and say nothing, as soon as a connection is there."""
    return Behaviour(_wait_for_the_end, Reads.NOTHING)


def late_reader(wake: asyncio.Event, received: asyncio.Future[bytes | None]) -> Behaviour:
    """Read the head of the request and, once woken, all that still comes: the rest, or None for a reset."""

    async def act(exchange: Exchange) -> bool:
        await wake.wait()
        try:
            received.set_result(await exchange.reader.read())
        except ConnectionError:
            received.set_result(None)
        return False

    return Behaviour(act, Reads.HEAD)


def stuck_until(connection: int, behaviour: Behaviour) -> Behaviour:
    """Do as the behaviour does on connections from this one on; never answer on those before it."""

    async def act(exchange: Exchange) -> bool:
        assert exchange.request is not None
        old = exchange.request.connection < connection
        return await (_wait_for_the_end(exchange) if old else behaviour.act(exchange))

    return Behaviour(act, behaviour.reads)


def trickle(body: bytes, pause_seconds: float) -> Behaviour:
    """Answer one byte at a time."""

    async def act(exchange: Exchange) -> bool:
        exchange.writer.write(_head(200, len(body), None))
        for position in range(len(body)):
            exchange.writer.write(body[position : position + 1])
            await exchange.writer.drain()
            await asyncio.sleep(pause_seconds)
        return True

    return Behaviour(act)


def delayed(pause_seconds: float, behaviour: Behaviour) -> Behaviour:
    """Read as the behaviour does, wait, then do it."""

    async def act(exchange: Exchange) -> bool:
        await asyncio.sleep(pause_seconds)
        return await behaviour.act(exchange)

    return Behaviour(act, behaviour.reads)


def held(release: asyncio.Event, behaviour: Behaviour) -> Behaviour:
    """Read as the behaviour does, wait for the event, then do it."""

    async def act(exchange: Exchange) -> bool:
        await release.wait()
        return await behaviour.act(exchange)

    return Behaviour(act, behaviour.reads)


def followed_by(behaviour: Behaviour, stray: bytes, pause_seconds: float) -> Behaviour:
    """Do as the behaviour does, and send these bytes on the same connection a little later, asked by nobody."""

    async def act(exchange: Exchange) -> bool:
        stays = await behaviour.act(exchange)
        await asyncio.sleep(pause_seconds)
        exchange.writer.write(stray)
        await exchange.writer.drain()
        return stays

    return Behaviour(act, behaviour.reads)


@contextlib.contextmanager
def full_backlog() -> Iterator[socket.socket]:
    """Give a listener that takes no connection: who connects to it gets no answer, as from a host that is gone."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # the kernel takes one more than it was told
            connection = waiting.enter_context(socket.socket())
            connection.setblocking(False)  # noqa: FBT003 - the socket's own
            connection.connect_ex(listener.getsockname())
        yield listener


class FaultServer:
    """The server, on a loopback port of its own; an asynchronous context manager.

    Args:
        script: what to do, request by request.
        receive_buffer_bytes: of the listening socket; small ones make a sender feel a stalled reader soon.
        tls: speak TLS, with the certificate in TLS_IDENTITY.
        listener: to accept from, instead of a socket of its own.
    """

    def __init__(
        self,
        *script: Behaviour,
        receive_buffer_bytes: int | None = None,
        tls: bool = False,
        listener: socket.socket | None = None,
    ) -> None:
        self._script = list(script)
        self._listener = listener
        self._receive_buffer_bytes = receive_buffer_bytes
        self._tls = tls
        self._changed = asyncio.Event()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.requests: list[ReceivedRequest] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """Connections that neither side has ended."""
        return len(self._handlers)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition on what was received or on the connections; one waiter at a time."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()

    async def __aenter__(self) -> Self:
        listener = self._listener or socket.socket()
        if self._receive_buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        if self._listener is None:
            listener.bind(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        # The stream's limit bounds what is read ahead while a behaviour does not read.
        context = None
        if self._tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(TLS_IDENTITY)
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=HEAD_BYTES_MAX, ssl=context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        handlers = list(self._handlers)
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self.connections
        self.connections += 1
        handler = asyncio.create_task(self._serve(connection, reader, writer))
        self._handlers.add(handler)
        self._changed.set()
        handler.add_done_callback(self._ended)

    def _ended(self, handler: asyncio.Task[None]) -> None:
        self._handlers.discard(handler)
        self._changed.set()

    async def _serve(self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._exchange(connection, reader, writer):
                    pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self._script[0].reads is Reads.NOTHING:
            return await self._take().act(Exchange(reader, writer, None))
        head = await reader.readuntil(b"\r\n\r\n")
        behaviour = self._take()
        if behaviour.reads is Reads.HEAD:
            return await behaviour.act(Exchange(reader, writer, None))
        request = _parsed(connection, head)
        body = await reader.readexactly(int(request.headers.get("content-length", "0")))
        request = ReceivedRequest(connection, request.method, request.target, request.headers, body)
        self.requests.append(request)
        self._changed.set()
        return await behaviour.act(Exchange(reader, writer, request))

    def _take(self) -> Behaviour:
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]


async def _close(_exchange: Exchange) -> bool:
    return False


async def _reset(exchange: Exchange) -> bool:
    connection = exchange.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()
    return False


async def _wait_for_the_end(exchange: Exchange) -> bool:
    if exchange.request is None:
        await asyncio.Event().wait()
    await exchange.reader.read()
    return False


def _head(status: int, content_length: int, headers: dict[str, str] | None) -> bytes:
    """Return status line and headers; given headers win over those that every answer has."""
    all_headers = {"Content-Type": JSON, "Content-Length": str(content_length), **(headers or {})}
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in all_headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _parsed(connection: int, head: bytes) -> ReceivedRequest:
    first, *rest = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return ReceivedRequest(connection, method, target, headers, b"")
