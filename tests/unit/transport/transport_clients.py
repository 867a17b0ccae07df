"""A server for the time of a block, and clients that speak to it in bytes, in HTTP/2 frames, or as HTTP/2 should be."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from proxy.kinesis.http import Reply, Request
from proxy.transport.arrival import PREFACE
from proxy.transport.exchanges import Exchanges
from proxy.transport.http2 import Http2Connection, Http2Server
from proxy.transport.limits import HttpLimits
from proxy.transport.server import HttpServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable

    from proxy.transport.tls import ServerTls

    Run = Callable[[Coroutine[Any, Any, None]], None]

FIELDS = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "localhost:4567")]


async def echo(request: Request) -> Reply:
    """Answer with method, target and body."""
    return Reply(200, f"{request.method} {request.target} ".encode() + request.body, {"X-Echo": "yes"})


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Coroutine[Any, Any, Reply]] = echo,
    tls: ServerTls | None = None,
    **limits: Any,  # noqa: ANN401 - of HttpLimits
) -> AsyncIterator[HttpServer]:
    """Run a server for the time of a block."""
    limits = {"request_bytes_max": 1000, "linger_seconds": 0.05, **limits}
    server = HttpServer(handler, HttpLimits(**limits), tls, lambda: 0.5)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close(1)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the server to have noticed something."""
    while not condition():  # noqa: ASYNC110 - the server tells nobody when it notices
        await asyncio.sleep(0.001)


class RawClient:
    """One connection, in bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._rest = b""

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)

    def send_frames(self, *frames: Frame) -> None:
        """Write frames as they are."""
        self.send(b"".join(frame.serialize() for frame in frames))

    async def read_to_end(self) -> bytes:
        """Read until the other side closes; a reset ends it too."""
        data = b""
        try:
            while piece := await self.reader.read(65_536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    async def frames(self) -> AsyncIterator[Frame]:
        """Read frames until the other side closes."""
        while True:
            try:
                head = await self.reader.readexactly(9)
                frame, length = Frame.parse_frame_header(memoryview(head))
                frame.parse_body(memoryview(await self.reader.readexactly(length)))
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return
            yield frame

    async def goaways(self) -> list[tuple[int, int]]:
        """Read to the end; return the last stream and the code of each GOAWAY."""
        return [(f.last_stream_id, f.error_code) async for f in self.frames() if isinstance(f, GoAwayFrame)]

    async def resets(self, count: int) -> list[tuple[int, int]]:
        """Read until so many streams have been reset; return each with its code."""
        found: list[tuple[int, int]] = []
        async for frame in self.frames():
            if isinstance(frame, RstStreamFrame):
                found.append((frame.stream_id, frame.error_code))
                if len(found) == count:
                    break
        return found


@asynccontextmanager
async def connected(server: HttpServer, context: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    """Open a connection for the time of a block."""
    name = "localhost" if context is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=name)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()


class Answer(NamedTuple):
    """What a stream brought."""

    status: int
    headers: dict[str, str]
    body: bytes


class Http2Client:
    """One connection of a client that keeps to the protocol; its windows are opened only when asked."""

    def __init__(self, raw: RawClient, *, window_bytes: int | None = None) -> None:
        self.raw = raw
        self.engine = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.events: list[Event] = []
        self.opens_windows = window_bytes is None
        if window_bytes is not None:
            self.engine.local_settings.initial_window_size = window_bytes
            self.engine.local_settings.acknowledge()
        self.engine.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Write what the engine has prepared."""
        self.raw.send(self.engine.data_to_send())

    def request(self, body: bytes = b"", fields: Iterable[tuple[str, str]] = (), *, end: bool = True) -> int:
        """Send a request, all of it or its beginning; return its stream."""
        stream_id = self.engine.get_next_available_stream_id()
        self.engine.send_headers(stream_id, [*FIELDS, *fields], end_stream=end and not body)
        if body:
            self.engine.send_data(stream_id, body, end_stream=end)
        self.flush()
        return stream_id

    async def receive(self) -> bool:
        """Take what comes next; False at the end of the connection."""
        try:
            data = await self.raw.reader.read(65_536)
        except ConnectionResetError:
            data = b""
        for event in self.engine.receive_data(data):
            self.events.append(event)
            if isinstance(event, DataReceived) and self.opens_windows:
                self.engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if data:
            self.flush()
        return bool(data)

    async def wait_for(self, found: Callable[[Event], bool]) -> Event:
        """Receive until an event has come."""
        while True:
            for event in self.events:
                if found(event):
                    return event
            if not await self.receive():
                raise EOFError(self.events)

    async def answer(self, stream_id: int) -> Answer:
        """Receive a whole answer."""
        end = await self.wait_for(
            lambda event: isinstance(event, StreamEnded | StreamReset) and event.stream_id == stream_id
        )
        if isinstance(end, StreamReset):
            raise ConnectionAbortedError(end.error_code)
        body, headers = b"", {}
        for event in self.events:
            if isinstance(event, ResponseReceived) and event.stream_id == stream_id:
                headers = {str(name): str(value) for name, value in event.headers}
            elif isinstance(event, DataReceived) and event.stream_id == stream_id:
                body += event.data
        return Answer(int(headers.pop(":status")), headers, body)

    async def ask(self, body: bytes = b"", fields: Iterable[tuple[str, str]] = ()) -> Answer:
        """Send a request and receive its answer."""
        return await self.answer(self.request(body, fields))

    async def goaway(self) -> ConnectionTerminated:
        """Receive until the server says goodbye."""
        event = await self.wait_for(lambda event: isinstance(event, ConnectionTerminated))
        assert isinstance(event, ConnectionTerminated)
        return event

    async def was_told_to_continue(self) -> None:
        """Receive until the server has met an expectation of 100-continue."""
        await self.wait_for(lambda event: isinstance(event, InformationalResponseReceived))


@asynccontextmanager
async def speaking_http2(server: HttpServer, **settings: Any) -> AsyncIterator[Http2Client]:  # noqa: ANN401 - of Http2Client
    """Open a connection with prior knowledge for the time of a block."""
    async with connected(server) as raw:
        yield Http2Client(raw, **settings)


class FrameMaker:
    """Makes the frames of a client that keeps to nothing."""

    def __init__(self) -> None:
        self._encoder = Encoder()

    def beginning(self) -> bytes:
        """Return the preface and settings."""
        return PREFACE + SettingsFrame(0).serialize()

    def headers(
        self, stream_id: int, fields: Iterable[tuple[str, str]] = FIELDS, flags: Iterable[str] = ("END_HEADERS",)
    ) -> HeadersFrame:
        """Return a frame of headers."""
        return HeadersFrame(stream_id, self._encoder.encode(list(fields)), flags=list(flags))


class FakeTransport(asyncio.Transport):
    """Takes what is written, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        """Take bytes."""
        assert data
        assert not self.closing
        self.written += data

    def close(self) -> None:
        """Close."""
        self.closing = True

    def abort(self) -> None:
        """Close."""
        self.closing = True

    def is_closing(self) -> bool:
        """Tell."""
        return self.closing


def alone(
    handler: Callable[[Request], Coroutine[Any, Any, Reply]] = echo,
    transport: FakeTransport | None = None,
    **limits: Any,  # noqa: ANN401 - of HttpLimits
) -> tuple[Http2Connection, FakeTransport]:
    """Make a connection without sockets that has had its client's beginning; needs a running loop."""
    bounds = HttpLimits(**{"request_bytes_max": 1000, **limits})
    connection = Http2Server(Exchanges(handler, bounds), bounds, lambda _: None).connection(float("inf"))
    transport = transport or FakeTransport()
    connection.connection_made(transport)
    connection.data_received(FrameMaker().beginning())
    return connection, transport


def goaway_codes(transport: FakeTransport) -> list[int]:
    """Return the codes of the GOAWAY frames that were written."""
    codes = []
    rest = memoryview(bytes(transport.written))
    while rest:
        frame, length = Frame.parse_frame_header(rest[:9])
        frame.parse_body(rest[9 : 9 + length])
        if isinstance(frame, GoAwayFrame):
            codes.append(frame.error_code)
        rest = rest[9 + length :]
    return codes
