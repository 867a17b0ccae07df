"""Writes a reply on HTTP/1.1 in one piece, or slowly where the reply asks for it.

aiohttp's own Response costs a fifth of a request, and adds headers that the service does not send.

Must never know: what the reply says.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, web

from proxy.transport.head import head_of
from proxy.transport.limits import KIB
from proxy.transport.reply import pace_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

    from proxy.kinesis.http import Reply


# A larger body is not copied to leave in one piece with its head.
_JOINED_BYTES_MAX = 64 * KIB


def let_go(error: BaseException) -> None:
    """Make an error forget where it was raised.

    aiohttp keeps errors in what they were raised from. By their tracebacks they would keep what stood there, a whole
    body or what was read of it, until the garbage collector looks for cycles, and that may be long.
    """
    error.__traceback__ = None


class RawResponse(web.StreamResponse):
    """A complete answer, in the form that aiohttp's protocol drives: `prepare`, then `write_eof`.

    Args:
        reply: what to answer.
        close: ask the client to close the connection, and close it.
        written: called when all of it is written.
        left: called when it is no more to be held in memory, whether its client has taken it or not; a paced one, when
            it begins.

    Raises:
        ValueError: a header cannot be sent.
    """

    def __init__(
        self,
        reply: Reply,
        *,
        close: bool,
        written: Callable[[], None] | None = None,
        left: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(status=reply.status)
        self._head = head_of(reply)
        self._reply = reply
        self._written = written
        self._left = left
        self._paced_body: memoryview | None = None
        if close:
            self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write the answer; of a paced one, the head."""
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive
        connection = b""
        if not self._keep_alive:
            connection = b"Connection: close\r\n"
        elif request.version < HttpVersion11:
            connection = b"Connection: keep-alive\r\n"
        body = b"" if request.method == "HEAD" else self._reply.body
        writer = request.writer
        if self._reply.pace_bytes_per_second and body:
            self._paced_body = memoryview(body)
            body = b""
        try:
            if len(body) > _JOINED_BYTES_MAX:
                await writer.write(b"".join((self._head, connection, b"\r\n")))
                await writer.write(body)
            else:
                await writer.write(b"".join((self._head, connection, b"\r\n", body)))
            # many small answers to a client that does not read must not pile up
            await writer.drain()
        except ConnectionError as error:
            let_go(error)
            raise
        finally:
            if self._left is not None:
                self._left()
        if self._written is not None and self._paced_body is None:
            self._written()
        self._writer = writer
        return writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the paced body; an answer at full speed has left already."""
        del data
        rest = self._paced_body
        if rest is None:
            return
        piece_bytes, seconds = pace_of(self._reply)
        while rest:
            await asyncio.sleep(seconds)
            await self._writer.write(bytes(rest[:piece_bytes]))
            rest = rest[piece_bytes:]
        if self._written is not None:
            self._written()
