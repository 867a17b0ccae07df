"""The quick way for plain puts over HTTP/1.1: complete requests, answered one after the other without a task.

A connection begins here and stays for as long as everything on it is plain: `POST /`, a body of announced length, one
request at a time, nothing asked of the connection itself, an operation that its handler answers by callback. At the
first request that is not plain, what came of it goes to aiohttp's protocol, byte for byte, and with it the connection,
for good. So nothing is decided here that is decided there as well: sizes and times are limited here only while a plain
request arrives, and a refusal is the other's to write.

    IDLE ──all of a request──> ANSWERING ──answer written──> IDLE
     │ └──a part──> COLLECTING ──rest──┘
     └── COLLECTING ── ANSWERING that has not begun ──not plain──> aiohttp

The parser is llhttp, as aiohttp's is. A request counts as plain only if the parser's end of it is the end of what was
received, by its empty line and its announced length: wherever two parsers could disagree, there is one.

Must never know: operations, streams, upstreams.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools
import structlog

from proxy.kinesis.http import Reply, Request
from proxy.transport.exchanges import no_room_reply
from proxy.transport.head import head_of
from proxy.transport.limits import KIB
from proxy.transport.plain import BEGINNING, END_OF_HEAD, HEAD_BYTES_MAX, NO_HEADERS, NO_SHAPE, Headers, names_of
from proxy.transport.sockets import StuckWatch

if TYPE_CHECKING:
    import re

    from proxy.kinesis.http import PutStarter
    from proxy.transport.exchanges import Exchanges
    from proxy.transport.limits import HttpLimits
    from proxy.transport.plain import Shapes

log: Final = structlog.get_logger(__name__)

# A body that trickles in would be held as more objects than bytes.
_PIECES_MAX: Final = 1024
# An answer so small is not counted: there is one for each connection.
_SMALL_ANSWER_BYTES: Final = 64 * KIB
_TIMED_OUT: Final = Reply(408, b"")
# Ends of a head.
_KEEP: Final = b"\r\n"
_CLOSE: Final = b"Connection: close\r\n\r\n"


class Host(Protocol):
    """The server, as a lean connection sees it; `shapes` are those of all of its clients."""

    shapes: Shapes

    def speaks_unusual_http1(self, connection: LeanConnection) -> asyncio.Protocol:
        """Make the protocol that takes over."""

    def lost(self, connection: LeanConnection) -> None:
        """Forget a connection."""


class _Ends:
    """The ends of requests that the parser has told of since the last was taken; it calls what it finds here.

    It is asked for nothing else: to call for each header would cost three times what the reading does.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def on_message_complete(self) -> None:
        """Count one."""
        self.count += 1


class LeanConnection(asyncio.Protocol):
    """One connection whose requests are plain so far.

    Args:
        host: the server.
        start_put: answers a request, or leaves it to the handler.
        exchanges: of the server as a whole.
        limits: likewise.
        retires_at: from this instant of the loop on the client is asked to go.
    """

    __slots__ = (
        "_announced_bytes",
        "_arriving",
        "_early",
        "_ends",
        "_exchanges",
        "_held_bytes",
        "_host",
        "_large_answer",
        "_limits",
        "_lost",
        "_parser",
        "_pieces",
        "_replied",
        "_request",
        "_shape",
        "_since",
        "_start_put",
        "_stuck",
        "_transport",
        "_writing_paused",
        "retires_at",
        "retiring",
        "served",
    )

    def __init__(
        self, host: Host, start_put: PutStarter, exchanges: Exchanges, limits: HttpLimits, retires_at: float
    ) -> None:
        self.retires_at = retires_at
        self.retiring = False
        self.served = 0
        self._host = host
        self._start_put = start_put
        self._exchanges = exchanges
        self._limits = limits
        self._transport: asyncio.Transport | None = None
        self._ends = _Ends()
        self._parser = httptools.HttpRequestParser(self._ends)
        self._shape = NO_SHAPE
        # of a request that is arriving
        self._pieces: list[bytes] = []
        self._announced_bytes = 0  # by its head, when that is complete
        self._held_bytes = 0
        # of the one in progress: itself, its answer if that is large, whether it is made, and what came after it
        self._request: Request | None = None
        self._large_answer: Reply | None = None
        self._replied = False
        self._early = b""
        self._writing_paused = False
        # what the last sweep saw of it, and since when that has not changed
        self._arriving = (-1, False, False)
        self._since = 0.0
        self._stuck = StuckWatch(limits)
        self._lost: asyncio.Future[None] | None = None

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell whoever makes an answer that it will reach nobody."""
        del exc
        self._transport = None
        self._release()
        request, replied = self._request, self._replied
        if request is not None:
            request.leave()
            if replied:
                self._ended()
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._host.lost(self)

    def pause_writing(self) -> None:
        """Note that the client does not take its answer."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """Note that it has."""
        self._writing_paused = False
        if self._replied:
            self._ended()

    def data_received(self, data: bytes) -> None:
        """Take bytes: all of a request, as a rule."""
        if self._request is not None:
            self._keep_for_later(data)
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._pieces.append(data)
            self._hand_over()
            return
        ends = self._ends
        if not ends.count:
            self._collect(data)
            return
        self._pieces.append(data)
        if len(self._pieces) > 1:
            data = b"".join(self._pieces)
        head = self._plain_head(data)
        if head is None:
            self._hand_over()
            return
        body = data[head.end() :]
        if self._announced_bytes and not self._hold(self._announced_bytes - self._held_bytes):
            self._refuse(no_room_reply(self._request_of(head, b"")))
            return
        if ends.count > 1 or len(body) != self._shape.announced_by(head):
            self._hand_over()
            return
        ends.count = 0
        self._answer(self._request_of(head, body))

    # The way of a request

    def _plain_head(self, data: bytes) -> re.Match[bytes] | None:
        """Return the head of a request if it asks for nothing but the request's answer."""
        head = self._shape.match(data)
        if head is None:
            shape = self._host.shapes.find(names_of(data))
            if shape is None:
                return None
            self._shape = shape
            head = shape.match(data)
        return head if head is not None and head.end() <= HEAD_BYTES_MAX else None

    def _collect(self, data: bytes) -> None:
        """Keep a part of a request, if it is plain so far and there is room for it."""
        self._pieces.append(data)
        fits = self._hold(len(data)) if self._announced_bytes else self._begins_well()
        if not fits or len(self._pieces) > _PIECES_MAX:
            self._hand_over()

    def _begins_well(self) -> bool:
        """Tell whether a request whose body is not complete can be one for here."""
        data = b"".join(self._pieces)
        if END_OF_HEAD not in data:
            return len(data) <= HEAD_BYTES_MAX and data.startswith(BEGINNING[: len(data)])
        head = self._plain_head(data)
        if head is None:
            return False
        self._announced_bytes = max(0, self._shape.announced_by(head))
        fits = 0 < self._announced_bytes <= self._limits.request_bytes_max
        return fits and self._hold(len(data) - head.end())

    def _request_of(self, head: re.Match[bytes], body: bytes) -> Request:
        return Request("POST", "/", Headers(head, self._shape.index), body)

    def _refuse(self, reply: Reply) -> None:
        """Answer what arrived in vain, and close the connection."""
        self._release()
        if self._transport is not None:
            self._transport.write(head_of(reply) + _CLOSE + reply.body)
            self._transport.close()

    def _hold(self, size_bytes: int) -> bool:
        if not self._exchanges.hold(size_bytes):
            return False
        self._held_bytes += size_bytes
        return True

    def _answer(self, request: Request) -> None:
        """Have a request answered, here or, where that needs more, by the protocol that can."""
        exchanges = self._exchanges
        if exchanges.draining or self.retiring or len(request.body) > self._limits.request_bytes_max:
            self._hand_over()
            return
        self._request = request
        exchanges.begin()
        if not self._start_put(request, self._reply):
            exchanges.end()
            self._request = None
            self._hand_over()
        elif self._is_in_progress(request):
            # it has been read, and may be in memory for long
            self._pieces.clear()
            request.body, request.headers = b"", NO_HEADERS

    def _is_in_progress(self, request: Request) -> bool:
        """Tell whether a request still waits: its answer may have come from inside the call that asked for it."""
        return self._request is request

    def _reply(self, reply: Reply) -> None:
        """Write the answer to the request in progress."""
        transport = self._transport
        if transport is None:
            self._ended()
            return
        self._replied = True
        if len(reply.body) > _SMALL_ANSWER_BYTES and self._request is not None:
            reply = self._large_answer = self._exchanges.admit_answer(self._request, reply)
        try:
            head = head_of(reply)
        except ValueError:
            log.exception("reply_cannot_be_sent")
            reply = Reply(500, b"")
            head = head_of(reply)
        if self._exchanges.draining or self.retiring:
            transport.write(head + _CLOSE + reply.body)
            transport.close()
        else:
            transport.write(head + _KEEP + reply.body)
        if not self._writing_paused:
            self._ended()

    def _ended(self) -> None:
        """Go on to the next request: the answer to this one is written, or there is nobody to take it."""
        self._request = None
        self._replied = False
        self.served += 1
        self._exchanges.end()
        self._release()
        if self._large_answer is not None:
            self._exchanges.release_answer(self._large_answer)
            self._large_answer = None
        transport = self._transport
        if self._early and transport is not None and not transport.is_closing():
            early, self._early = self._early, b""
            transport.resume_reading()
            self.data_received(early)

    def _release(self) -> None:
        """Give back what was held of a request that has arrived, or will not."""
        self._pieces.clear()
        self._announced_bytes = 0
        if self._held_bytes:
            self._exchanges.release(self._held_bytes)
            self._held_bytes = 0

    def _keep_for_later(self, data: bytes) -> None:
        """Keep what comes before the last request is answered, and take no more: it is one read of the socket."""
        self._early += data
        if self._transport is not None:
            self._transport.pause_reading()

    def _hand_over(self) -> None:
        """Leave the connection to aiohttp's protocol, and with it all that came of a request, as it came."""
        pieces = self._pieces.copy()
        self._release()
        transport, self._transport = self._transport, None
        if transport is None:
            return
        successor = self._host.speaks_unusual_http1(self)
        transport.set_protocol(successor)
        successor.connection_made(transport)
        for piece in pieces:
            successor.data_received(piece)

    # What the server calls

    def sweep(self, now: float) -> None:
        """Cut what takes too long, by the loop's clock."""
        transport = self._transport
        if transport is None:
            return
        if self._stuck.is_stuck(transport, now, writable=not self._writing_paused):
            transport.abort()
            return
        self.retiring = self.retiring or now >= self.retires_at
        arriving = (self.served, bool(self._pieces), self._announced_bytes > 0)
        if self._request is not None or arriving != self._arriving:
            self._arriving = arriving
            self._since = now
            return
        lasts = now - self._since
        if not self._pieces:
            if lasts > self._limits.idle_seconds:
                transport.close()
        elif not self._announced_bytes:
            if lasts > self._limits.header_seconds:
                transport.abort()
        elif lasts > self._limits.body_seconds:
            self._refuse(_TIMED_OUT)

    async def end(self, flush_seconds: float) -> None:
        """Close the connection, and give up what does not leave within a time."""
        transport = self._transport
        if transport is None:
            return
        self._lost = asyncio.get_running_loop().create_future()
        if self._request is not None and not self._replied:
            transport.abort()
        else:
            transport.close()
        try:
            async with asyncio.timeout(flush_seconds):
                await self._lost
        except TimeoutError:
            transport.abort()
