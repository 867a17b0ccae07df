"""HTTP/1.1 in front of a handler: aiohttp's low-level server and protocol, and nothing of its framework.

Its parser (llhttp, strict) refuses what could be read in two ways: conflicting lengths, folded headers, bare CR or LF.
What it lets pass and should not is refused here: transfer codings other than chunked alone, any in HTTP/1.0, versions
other than 1.0 and 1.1. After a refusal nothing more is read.

A body over the limit is answered with a 400; its remainder is read and dropped, so that the answer arrives and the
connection lives on. A body of more than twice the limit costs its sender the connection.

Must never know: operations, streams, upstreams.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import structlog
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.hdrs import TRANSFER_ENCODING
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from proxy.kinesis.http import AbortConnection, Reply, Request
from proxy.transport.exchanges import no_room_reply, too_large_reply
from proxy.transport.response import RawResponse, let_go
from proxy.transport.sockets import StuckWatch, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from proxy.transport.exchanges import Exchanges
    from proxy.transport.limits import HttpLimits

log = structlog.get_logger(__name__)

# aiohttp's own limits on the pieces of a request's head.
_LINE_BYTES_MAX = 8190
_HEADERS_MAX = 128
# Found once: aiohttp comes by this way twice for each request.
_receive = RequestHandler.data_received
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Http1Connection(RequestHandler):
    """One connection: aiohttp's protocol, with an eye on requests whose head does not come.

    Args:
        server: its maker.
        retires_at: from this instant of the loop on the client is asked to go.
        settings: of aiohttp's protocol.
    """

    __slots__ = (
        "_header_bytes",
        "_limits",
        "_own_transport",
        "_retires_at",
        "_server",
        "_slow_since",
        "_stuck",
        "_unfinished_after",
        "_unreadable",
        "closing",
        "faulty",
        "held_bytes",
        "request",
        "retiring",
        "served",
        "upgrading",
    )

    _own_transport: asyncio.Transport

    def __init__(self, server: Http1Server, retires_at: float, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(server, **settings)
        self._server = server
        self._limits = server.limits
        self._stuck = StuckWatch(server.limits)
        self.served = 0
        # of a head that is not complete: after how many requests it comes, how much of it came, since when
        self._unfinished_after = 0
        self._header_bytes = 0
        self._slow_since = 0.0
        self._unreadable = False
        self._retires_at = retires_at
        # the next answer is to be the last; the last answer has been made
        self.retiring = False
        self.closing = False
        # of the request in progress
        self.faulty = False
        self.upgrading = False
        self.held_bytes = 0
        # until its answer is written
        self.request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which aiohttp forgets before it is gone."""
        self._own_transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever makes an answer that it will reach nobody."""
        super().connection_lost(exc)
        if self.request is not None:
            self.request.leave()
            self.request = None

    def answered(self) -> None:
        """Note that the whole answer is written."""
        self.request = None

    def data_received(self, data: bytes) -> None:
        """Take bytes, and look at those that leave a head unfinished between two requests."""
        if self._unreadable:
            return  # aiohttp would queue an error for each piece, which repeats what it is about
        _receive(self, data)
        if self._messages and (error := getattr(self._messages[-1][0], "exc", None)) is not None:
            self._unreadable = True
            let_go(error)
        if self._request_count == self.served and not self.closing:
            self._leave_unfinished(len(data))

    def _leave_unfinished(self, size_bytes: int) -> None:
        if self._unfinished_after != self._request_count:
            self._unfinished_after = self._request_count
            self._header_bytes = 0
            self._slow_since = 0.0
        self._header_bytes += size_bytes
        if self._header_bytes > self._limits.header_bytes_max:
            self._server.exchanges.malformed += 1
            if self.transport is not None:
                self.transport.write(_BAD_REQUEST)
            self.closing = True
            self.force_close()

    def examine(self, message: RawRequestMessage) -> None:
        """Take note of what is unusual about a request that is to be served."""
        # what follows is no HTTP/1.1 to a client that hopes for an upgrade
        self.upgrading = message.upgrade
        # A coding without a name llhttp takes for none. What it could not read, aiohttp gives without headers to ask.
        has_coding = TRANSFER_ENCODING in message.headers
        codings = message.headers.getall(TRANSFER_ENCODING) if has_coding else []
        if message.version == HttpVersion11:
            self.faulty = bool(codings) and [coding.lower() for coding in codings] != ["chunked"]
        else:
            self.faulty = bool(codings) or message.version != HttpVersion10

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP, without repeating it and without a word in the log: anybody can send anything."""
        del request, message
        if isinstance(exc, HttpProcessingError):
            self._server.exchanges.malformed += 1
        else:
            log.error("http1_request_failed", exc_info=exc)
        return RawResponse(Reply(status, b""), close=True)

    def sweep(self, now: float) -> None:
        """Cut what takes too long, by the loop's clock."""
        transport = self._own_transport
        if self._stuck.is_stuck(transport, now, writable=not self.writing_paused):
            transport.abort()
        if now >= self._retires_at:
            self.retiring = True
        if self._header_bytes and self._unfinished_after == self._request_count:
            self._slow_since = self._slow_since or now
            if now - self._slow_since > self._limits.header_seconds:
                self.force_close()

    async def end(self, flush_seconds: float) -> None:
        """Close the connection, and give up what is not answered within a time."""
        self.close()
        await self.shutdown(flush_seconds)


class Http1Server(web.Server):
    """Makes connections and serves their requests.

    Args:
        exchanges: of the server as a whole.
        limits: likewise.
        lost: called when a connection has ended.
    """

    def __init__(self, exchanges: Exchanges, limits: HttpLimits, lost: Callable[[Http1Connection], None]) -> None:
        super().__init__(self._serve, request_factory=self._request)
        self.exchanges = exchanges
        self.limits = limits
        self._lost = lost
        self._settings = {
            "access_log": None,
            "logger": _logger,
            "keepalive_timeout": limits.idle_seconds,
            "lingering_time": limits.linger_seconds,
            "max_line_size": _LINE_BYTES_MAX,
            "max_field_size": _LINE_BYTES_MAX,
            "max_headers": _HEADERS_MAX,
            # a signature covers the body as it was sent
            "auto_decompress": False,
        }

    def connection(self, retires_at: float) -> Http1Connection:
        """Make a connection that asks its client to go from an instant of the loop on."""
        return Http1Connection(self, retires_at, loop=self._loop, **self._settings)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Forget a connection."""
        super().connection_lost(handler, exc)
        self._lost(cast("Http1Connection", handler))

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        if message.upgrade or message.version is not HttpVersion11 or TRANSFER_ENCODING in message.headers:
            cast("Http1Connection", protocol).examine(message)
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop)

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        connection: Http1Connection = http.protocol  # type: ignore[assignment]  # `connection` made it
        self.exchanges.begin()
        try:
            return await self._answer(http, connection)
        finally:
            self.exchanges.end()
            connection.served += 1
            if connection.held_bytes:
                self.exchanges.release(connection.held_bytes)
                connection.held_bytes = 0

    async def _answer(self, http: web.BaseRequest, connection: Http1Connection) -> web.StreamResponse:
        connection.request = request = Request(http.method, http.raw_path, http.headers, b"")
        close = connection.upgrading
        try:
            request.body = await self._body_of(http, connection)
            reply = await self.exchanges.handler(request)
        except _BodyRefusedError as error:
            reply = error.reply_to(request)
            close = close or not error.read
        except AbortConnection:
            reset(http.transport)
            reply, close = Reply(500, b""), True
        except TimeoutError:
            reply, close = Reply(408, b""), True
        except (_MalformedError, web.RequestPayloadError) as error:
            let_go(error)
            self.exchanges.malformed += 1
            reply, close = Reply(400, b""), True
        except (ConnectionError, ssl.SSLError) as error:
            # its sender left, or its TLS is broken
            let_go(error)
            reply, close = Reply(400, b""), True
        except Exception:
            log.exception("handler_failed")
            reply = Reply(500, b"")
        connection.closing = close = close or connection.retiring or self.exchanges.draining
        reply = self.exchanges.admit_answer(request, reply)
        left = partial(self.exchanges.release_answer, reply)
        try:
            return RawResponse(reply, close=close, written=connection.answered, left=left)
        except ValueError:
            log.exception("reply_cannot_be_sent")
            left()
            return RawResponse(Reply(500, b""), close=close, written=connection.answered)

    async def _body_of(self, http: web.BaseRequest, connection: Http1Connection) -> bytes:
        """Read the whole body, within the limits of size and time.

        Raises:
            _MalformedError: it is not certain where it ends.
            _BodyRefusedError: it is larger than the limit, or there is no room for it.
            TimeoutError: it did not arrive in time.
        """
        if connection.faulty:
            raise _MalformedError
        content = http.content
        limit_bytes = self.limits.request_bytes_max
        if content.is_eof() and content.total_bytes <= limit_bytes:
            return content.read_nowait()
        if (http.content_length or 0) > 2 * limit_bytes:
            raise _BodyRefusedError(partial(too_large_reply, limit_bytes=limit_bytes), read=False)
        # whoever speaks 1.0 would take it for the answer
        if http.version == HttpVersion11 and http.headers.get("Expect", "").lower() == "100-continue":
            await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        received_bytes = 0
        pieces = []
        async with asyncio.timeout(self.limits.body_seconds):
            while not content.at_eof():
                piece = await content.readany()
                received_bytes += len(piece)
                if received_bytes <= limit_bytes:
                    if not self.exchanges.hold(len(piece)):
                        raise _BodyRefusedError(no_room_reply, read=False)
                    connection.held_bytes += len(piece)
                    pieces.append(piece)
                elif received_bytes <= 2 * limit_bytes:
                    pieces.clear()
                else:
                    raise _BodyRefusedError(partial(too_large_reply, limit_bytes=limit_bytes), read=False)
        if received_bytes > limit_bytes:
            raise _BodyRefusedError(partial(too_large_reply, limit_bytes=limit_bytes), read=True)
        return b"".join(pieces)


class _MalformedError(Exception):
    """The request could be read in two ways."""


class _BodyRefusedError(Exception):
    """The body is not taken; `read` tells whether all of it was read and dropped."""

    def __init__(self, reply_to: Callable[[Request], Reply], *, read: bool) -> None:
        super().__init__()
        self.reply_to = reply_to
        self.read = read


# aiohttp writes here what it did not expect; `handle_error` takes what anybody can provoke.
_logger = logging.getLogger(__name__)
