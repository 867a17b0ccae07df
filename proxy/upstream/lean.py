"""The quick way for a request on a connection that is open: written in one piece, its response read where it arrives.

Connections are aiohttp's: it resolves names, shakes hands, counts, and keeps what is idle.
While a request of ours is out, its protocol is put aside and ours is told of what comes; then it is put back. A request
through aiohttp's client costs twice as much, most of it for what a signed POST has no use for.

Must never know: what request and response say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping  # noqa: TC003 - a compiled tuple looks at its fields' types
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import httptools
from multidict import CIMultiDict

from proxy.upstream.failures import MalformedResponseError, ResponseTooLargeError
from proxy.upstream.pool import cut_off

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

    from proxy.upstream.sending import Sending

# aiohttp allows 8 KiB for a line, and a hundred lines; nothing that answers for Kinesis sends a hundredth of it.
HEAD_BYTES_MAX = 64 * 1024
# Below it stand the responses that another one follows.
_FINAL_STATUS = 200
# What tells where a body ends.
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class Response(NamedTuple):
    """A complete response.

    Args:
        status: HTTP status.
        headers: case-insensitive.
        content: the whole body, as it was sent.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class LeanExchange(asyncio.Protocol):
    """One request and its response.

    Args:
        connection: an idle one, taken from the pool.
        content_bytes_max: largest body of a response.
        silence_seconds: longest silence while the response is awaited.
    """

    __slots__ = (
        "_complete",
        "_connection",
        "_content",
        "_content_bytes",
        "_content_bytes_max",
        "_handler",
        "_head_bytes",
        "_heard_at",
        "_in_body",
        "_loop",
        "_parser",
        "_received",
        "_response",
        "_silence_seconds",
        "_spoiled",
        "_timer",
        "_transport",
    )

    def __init__(self, connection: Connection, content_bytes_max: int, silence_seconds: float) -> None:
        if connection.protocol is None or connection.transport is None:
            raise AssertionError("an idle connection has both")
        self._connection = connection
        self._handler: ResponseHandler = connection.protocol
        self._transport: asyncio.Transport = connection.transport
        self._content_bytes_max = content_bytes_max
        self._silence_seconds = silence_seconds
        self._loop = asyncio.get_running_loop()
        self._response: asyncio.Future[Response] = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._received: list[tuple[bytes, bytes]] = []
        self._content: list[bytes] = []
        self._content_bytes = 0
        self._head_bytes = 0
        self._in_body = False
        self._complete = False
        self._spoiled = False  # for another request
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def post(self, head: bytes, sending: Sending) -> Response:
        """Send a request and return the whole response. The connection goes back to the pool, or is reset.

        Args:
            head: all of it.
            sending: the body: no more than may be written at once.

        Raises:
            aiohttp.ClientError, OSError: the network did not carry it through.
        """
        transport = self._transport
        transport.set_protocol(self)
        sending.transport = transport
        try:
            transport.write(head + sending.content)
            sending.handed_over = True
            self._heard_at = self._loop.time()
            self._timer = self._loop.call_later(self._silence_seconds, self._listen)
            response = await self._response
        except BaseException:
            self._end(reusable=False)
            raise
        self._end(reusable=not self._spoiled)
        return response

    def _end(self, *, reusable: bool) -> None:
        """Give the connection back."""
        transport = self._transport
        if self._timer is not None:
            self._timer.cancel()
        transport.set_protocol(self._handler)
        # answered before it was read, what is left of a request would wait for a reader
        if reusable and not transport.is_closing() and not transport.get_write_buffer_size():
            self._connection.release()
        else:
            cut_off(transport)
            self._connection.close()

    def _listen(self) -> None:
        """Give up when the silence lasts too long."""
        rest_seconds = self._heard_at + self._silence_seconds - self._loop.time()
        if rest_seconds > 0:
            self._timer = self._loop.call_later(rest_seconds, self._listen)
        else:
            self._fail(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))

    def _fail(self, error: Exception) -> None:
        if not self._response.done():
            self._response.set_exception(error)

    def _succeed(self) -> None:
        if not self._response.done():
            headers = CIMultiDict([(_text(name), _text(value)) for name, value in self._received])
            self._response.set_result(Response(self._parser.get_status_code(), headers, b"".join(self._content)))

    # What the transport calls

    def data_received(self, data: bytes) -> None:
        """Read a part of the response."""
        if self._complete:
            self._spoiled = True
            return
        self._heard_at = self._loop.time()
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._spoiled = True
            self._fail(MalformedResponseError(f"{type(error).__name__}: {error}"))
        if not self._in_body and self._head_bytes > HEAD_BYTES_MAX:
            self._fail(MalformedResponseError(f"the response's head is larger than {HEAD_BYTES_MAX} bytes"))

    def eof_received(self) -> None:
        """Take the end of the connection for the response's, if that has no other."""
        self._spoiled = True
        if self._in_body and _FRAMING.isdisjoint(name.lower() for name, _ in self._received):
            self._succeed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell aiohttp's protocol, and whoever waits."""
        self._spoiled = True
        self._handler.connection_lost(exc)
        if isinstance(exc, OSError):
            self._fail(aiohttp.ClientOSError(*exc.args))
        else:
            self._fail(aiohttp.ServerDisconnectedError())

    # What the parser calls

    def on_message_begin(self) -> None:
        """Note what comes behind the response."""
        self._spoiled = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._received.append((name, value))

    def on_headers_complete(self) -> None:
        """Note that the head is over."""
        self._in_body = True

    def on_body(self, content: bytes) -> None:
        """Take a part of the body, within the bound."""
        self._content_bytes += len(content)
        if self._content_bytes > self._content_bytes_max:
            self._fail(ResponseTooLargeError(f"the response is larger than {self._content_bytes_max} bytes"))
        else:
            self._content.append(content)

    def on_message_complete(self) -> None:
        """Take the response, if it is the final one."""
        if self._parser.get_status_code() < _FINAL_STATUS:
            self._received.clear()
            self._in_body = False
        elif not self._complete:
            self._complete = True
            self._spoiled = not self._parser.should_keep_alive()
            self._succeed()


def _text(text: bytes) -> str:
    """Return what stands in a head as aiohttp returns it."""
    return text.decode("utf-8", "surrogateescape")
