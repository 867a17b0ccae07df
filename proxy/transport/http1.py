"""HTTP/1.1 in front of a handler: aiohttp's low-level server, and nothing of its framework.

Decides what concerns the connection alone: how large a body may be, when a connection is closed, how many there are.
A body over the limit is answered with a 400 in the service's words: every SDK reads that as the refusal it is, while a
413 means nothing to them. Its remainder is read and dropped, so that the answer arrives and the connection lives on;
a body of more than twice the limit costs its sender the connection.

Must never know: operations, streams, upstreams.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from proxy.kinesis.errors import records_too_large
from proxy.kinesis.front_door import error_reply
from proxy.kinesis.http import AbortConnection, Reply, Request
from proxy.kinesis.limits import REQUEST_BYTES_MAX
from proxy.transport.response import RawResponse

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

    from proxy.kinesis.http import Handler

log = structlog.get_logger(__name__)

# With SO_LINGER on and zero seconds, closing sends a reset instead of an orderly end.
_LINGER_ZERO = struct.pack("ii", 1, 0)
# How long the last answers may take to leave once their handlers are done or given up.
_FLUSH_SECONDS = 0.5
_BACKLOG = 1024


class HttpServer:
    """Serves one handler on one address.

    Args:
        handler: answers each request.
        request_bytes_max: largest body that is read.
        connections_max: a connection beyond this number is closed at once.
        keepalive_seconds: an idle connection is closed after this time.
        body_seconds: a body must arrive within this time.
        linger_seconds: so long a connection that is to be closed still reads what its client sends, so that the client
            comes to read the answer.

    Call `start`, and at the end `stop_listening` (answers then ask the client to close) and `close`.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        request_bytes_max: int,
        connections_max: int = 10_000,
        keepalive_seconds: float = 75,
        body_seconds: float = 60,
        linger_seconds: float = 1,
    ) -> None:
        self._handler = handler
        self._request_bytes_max = request_bytes_max
        self._connections_max = connections_max
        self._body_seconds = body_seconds
        self._protocol_log = _ProtocolLog()
        self._server = _Server(
            self._serve,
            access_log=None,
            logger=self._protocol_log,
            keepalive_timeout=keepalive_seconds,
            lingering_time=linger_seconds,
            # a signature covers the body as it was sent
            auto_decompress=False,
        )
        self._listener: asyncio.Server | None = None
        self._port = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.requests_in_progress = 0
        self.connections_refused = 0

    @property
    def port(self) -> int:
        """The port that is or was listened on; the system's choice where 0 was asked for."""
        return self._port

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._server.open_connections

    @property
    def malformed_requests(self) -> int:
        """How many requests were no HTTP; each cost its connection."""
        return self._protocol_log.malformed_requests

    async def start(self, host: str, port: int) -> None:
        """Listen on the address; port 0 lets the system choose."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._protocol, host, port, backlog=_BACKLOG)
        self._port = self._listener.sockets[0].getsockname()[1]

    async def stop_listening(self) -> None:
        """Take no new connections; every answer from now on asks its client to close.

        Idle connections stay open until `close`: a request that is on its way when the drain begins gets an answer.
        """
        self._draining = True
        if self._listener is not None:
            self._listener.close()

    async def close(self, timeout_seconds: float) -> None:
        """Wait for requests in progress, at most that long, and close every connection."""
        await self.stop_listening()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("requests_abandoned", requests=self.requests_in_progress)
        self._server.pre_shutdown()
        await self._server.shutdown(_FLUSH_SECONDS)

    def _protocol(self) -> asyncio.Protocol:
        if self._server.open_connections >= self._connections_max:
            self.connections_refused += 1
            return _Refusal()
        return self._server()

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        self.requests_in_progress += 1
        self._idle.clear()
        try:
            return await self._answer(http)
        finally:
            self.requests_in_progress -= 1
            if not self.requests_in_progress:
                self._idle.set()

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        request = Request(http.method, http.raw_path, http.headers, b"")
        try:
            request.body = await self._body_of(http)
            return RawResponse(await self._handler(request), close=self._draining)
        except _BodyTooLargeError as error:
            reply = error_reply(request, records_too_large(REQUEST_BYTES_MAX))
            return RawResponse(reply, close=self._draining or not error.read)
        except AbortConnection:
            _reset(http)
            return RawResponse(Reply(500, b""), close=True)
        except TimeoutError:
            return RawResponse(Reply(408, b""), close=True)
        except (web.RequestPayloadError, ConnectionError):
            return RawResponse(Reply(400, b""), close=True)
        except Exception:
            log.exception("handler_failed")
            return RawResponse(Reply(500, b""), close=True)

    async def _body_of(self, http: web.BaseRequest) -> bytes:
        """Read the whole body, within the limits of size and time.

        Raises:
            _BodyTooLargeError: it is larger than the limit.
            TimeoutError: it did not arrive in time.
        """
        content = http.content
        if content.is_eof() and content.total_bytes <= self._request_bytes_max:
            return content.read_nowait()
        if (http.content_length or 0) > 2 * self._request_bytes_max:
            raise _BodyTooLargeError(read=False)
        if http.headers.get("Expect", "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        received_bytes = 0
        pieces = []
        async with asyncio.timeout(self._body_seconds):
            while not content.at_eof():
                piece = await content.readany()
                received_bytes += len(piece)
                if received_bytes <= self._request_bytes_max:
                    pieces.append(piece)
                elif received_bytes <= 2 * self._request_bytes_max:
                    pieces.clear()
                else:
                    raise _BodyTooLargeError(read=False)
        if received_bytes > self._request_bytes_max:
            raise _BodyTooLargeError(read=True)
        return b"".join(pieces)


class _BodyTooLargeError(Exception):
    """The body is larger than the limit; `read` tells whether all of it was read and dropped."""

    def __init__(self, *, read: bool) -> None:
        super().__init__()
        self.read = read


class _Server(web.Server):
    """aiohttp's server, knowing how many connections it has without listing them."""

    open_connections = 0

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        self.open_connections += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self.open_connections -= 1
        super().connection_lost(handler, exc)


class _Refusal(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _ProtocolLog(logging.LoggerAdapter[logging.Logger]):
    """Keeps aiohttp from writing a traceback for each malformed request, which anybody can send."""

    def __init__(self) -> None:
        super().__init__(logging.getLogger(__name__), {})
        self.malformed_requests = 0

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - the signature that it overrides
        error = kwargs.get("exc_info")
        if isinstance(error, HttpProcessingError):
            self.malformed_requests += 1
            # its text quotes what was sent, which may be anything
            super().log(logging.DEBUG, "malformed request: %s", type(error).__name__)
        else:
            super().log(level, msg, *args, **kwargs)


def _reset(http: web.BaseRequest) -> None:
    """Cut the connection without an orderly end."""
    transport = http.transport
    if transport is not None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()
