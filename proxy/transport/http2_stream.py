"""One request on an HTTP/2 connection: its body as it comes in, its answer as fast as the client takes it.

A stream waits for its client twice: for the rest of the body, and for room to answer in, where the client's windows or
the socket are full. `since` tells from when, so that a client which keeps it waiting can be left.

Must never know: what is answered, other streams.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog
from h2.errors import ErrorCodes

from proxy.kinesis.http import Reply
from proxy.transport.exchanges import no_room_reply, too_large_reply
from proxy.transport.http2_engine import headers_of
from proxy.transport.http2_request import MalformedRequestError
from proxy.transport.reply import pace_of

if TYPE_CHECKING:
    from proxy.kinesis.http import Request
    from proxy.transport.exchanges import Exchanges
    from proxy.transport.http2_engine import Engine

log = structlog.get_logger(__name__)

# A client that makes room in smaller pieces is kept waiting for, not waiting.
_PROGRESS_BYTES = 1024


class Line(Protocol):
    """The connection, as a stream sees it."""

    engine: Engine
    writable: bool

    def flush(self) -> None:
        """Write what the engine has prepared."""

    def part_sent(self) -> None:
        """Expect the client to make room again for what it was sent."""


class Stream:
    """One request and its answer.

    `ended` is set when the client has sent all of the request, `gone` when an answer can no longer be sent, `task` when
    one is being made.
    """

    __slots__ = (
        "_announced_bytes",
        "_answer",
        "_exchanges",
        "_held_bytes",
        "_limit_bytes",
        "_line",
        "_pieces",
        "_received_bytes",
        "_room",
        "_since",
        "ended",
        "gone",
        "request",
        "stream_id",
        "task",
    )

    def __init__(self, stream_id: int, request: Request, line: Line, exchanges: Exchanges, limit_bytes: int) -> None:
        self.stream_id = stream_id
        self.request = request
        self.ended = False
        self.gone = False
        self.task: asyncio.Task[None] | None = None
        self._line = line
        self._exchanges = exchanges
        self._limit_bytes = limit_bytes
        self._pieces: list[bytes] = []
        self._announced_bytes: int | None = None
        self._answer: Reply | None = None
        self._received_bytes = 0
        self._held_bytes = 0
        self._room: asyncio.Future[None] | None = None
        self._since = 0.0
        exchanges.begin()

    def announce(self, fields_bytes: int) -> Reply | None:
        """Count the fields, and look at the length of the body to come; return a refusal if that must not begin."""
        if not self._hold(fields_bytes):
            return no_room_reply(self.request)
        announced = self.request.headers.get("content-length")
        if announced is None:
            return None
        self._announced_bytes = int(announced)
        return self._refuse_far_too_large(self._announced_bytes)

    def receive(self, data: bytes) -> Reply | None:
        """Take a part of the body; return a refusal if no more of it is wanted."""
        self._received_bytes += len(data)
        if self._received_bytes > self._limit_bytes:
            self._pieces.clear()
            return self._refuse_far_too_large(self._received_bytes)
        if not self._hold(len(data)):
            return no_room_reply(self.request)
        self._pieces.append(data)
        return None

    def complete(self) -> Reply | None:
        """Put the request's body together; return a refusal if it was too large.

        Raises:
            MalformedRequestError: it has not the length that was announced.
        """
        # h2 sees to it where a body ends in a frame of its own
        if self._announced_bytes not in (None, self._received_bytes):
            raise MalformedRequestError
        if self._received_bytes > self._limit_bytes:
            return too_large_reply(self.request, self._limit_bytes)
        self.request.body = b"".join(self._pieces)
        self._pieces.clear()
        return None

    def _hold(self, size_bytes: int) -> bool:
        if not self._exchanges.hold(size_bytes):
            return False
        self._held_bytes += size_bytes
        return True

    def _refuse_far_too_large(self, size_bytes: int) -> Reply | None:
        return too_large_reply(self.request, self._limit_bytes) if size_bytes > 2 * self._limit_bytes else None

    def admit(self, reply: Reply) -> Reply:
        """Count the answer and return it, or a refusal to be sent in its place: then it is to be let go of."""
        self._answer = self._exchanges.admit_answer(self.request, reply)
        return self._answer

    async def send(self, reply: Reply) -> None:
        """Send an admitted answer as fast as the client and the answer allow; its end is left to be flushed."""
        if self.gone:
            return
        engine = self._line.engine
        try:
            headers = headers_of(reply)
        except ValueError:
            log.exception("reply_cannot_be_sent")
            reply = Reply(500, b"")
            headers = headers_of(reply)
        body = b"" if self.request.method == "HEAD" else reply.body
        engine.send_headers(self.stream_id, headers, end_stream=not body)
        if len(body) <= self._room_bytes() and not reply.pace_bytes_per_second:
            if body:
                engine.send_data(self.stream_id, body, end_stream=True)
        else:
            await self._send_in_pieces(reply)
        if not self.ended and not self.gone:
            # the client need not send the rest of a body that was refused
            engine.reset_stream(self.stream_id, ErrorCodes.NO_ERROR)

    async def _send_in_pieces(self, reply: Reply) -> None:
        rest = memoryview(reply.body)
        piece_bytes, seconds = pace_of(reply) if reply.pace_bytes_per_second else (len(rest), 0.0)
        while not self.gone:
            room_bytes = min(self._room_bytes(), piece_bytes)
            if room_bytes:
                last = room_bytes >= len(rest)
                self._line.engine.send_data(self.stream_id, rest[:room_bytes], end_stream=last)
                if last:
                    return
                rest = rest[room_bytes:]
                self._line.part_sent()
            self._line.flush()
            if seconds:
                await asyncio.sleep(seconds)
            if room_bytes >= _PROGRESS_BYTES:
                self._since = 0.0
            if not self._room_bytes():
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Wait until it is worth looking again; what nobody takes any more has no room to wait for."""
        if not self.gone:
            self._room = asyncio.get_running_loop().create_future()
            await self._room
            self._room = None

    def _room_bytes(self) -> int:
        """Return how much may be sent now."""
        if self.gone or not self._line.writable:
            return 0
        engine = self._line.engine
        # a client may take room back by its settings
        return max(0, min(engine.local_flow_control_window(self.stream_id), engine.max_outbound_frame_size))

    def make_room(self) -> None:
        """Look again whether more can be sent."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def abandon(self) -> None:
        """Send nothing more, and tell whoever makes the answer that it will reach nobody."""
        self.gone = True
        self.request.leave()
        self.make_room()

    def is_overdue(self, now: float, patience_seconds: float) -> bool:
        """Return whether the client has kept the stream waiting for too long."""
        if self.gone or (self.task is not None and self._room is None):
            self._since = 0.0
            return False
        self._since = self._since or now
        return now - self._since > patience_seconds

    def close(self) -> None:
        """Give back what was taken."""
        self._exchanges.release(self._held_bytes)
        if self._answer is not None:
            self._exchanges.release_answer(self._answer)
        self._exchanges.end()
