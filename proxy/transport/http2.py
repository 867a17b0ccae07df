"""HTTP/2 in front of a handler: the h2 library between a transport and one task for each request.

What a client can ask for is bounded: `Gate` judges its frames, this module counts its requests. A request that its
client resets counts until its handler is done: that is told, and decides for itself what is still worth doing.

A connection is left in two steps, as RFC 9113 has it: a GOAWAY that forbids nothing yet and, when the client must have
seen it, another that names the last request that will be answered. A PING would tell sooner that it has been read, but
not that the program behind it knows: Node's library answers PINGs at once and asks on for a while.

Must never know: operations, streams of Kinesis, upstreams.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import structlog
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError

from proxy.kinesis.http import AbortConnection, Reply
from proxy.transport.http2_engine import Engine, goaway_frame, settings_frame
from proxy.transport.http2_gate import Allowance, Gate, HostileError
from proxy.transport.http2_request import MalformedRequestError, held_bytes_of, request_of
from proxy.transport.http2_stream import Stream
from proxy.transport.sockets import StuckWatch, reset

if TYPE_CHECKING:
    from collections.abc import Callable

    from h2.events import Event

    from proxy.transport.exchanges import Exchanges
    from proxy.transport.limits import HttpLimits

log = structlog.get_logger(__name__)

# Frames that do no work: a burst, what a second adds, what a request is worth, and each part of a large answer.
_OVERHEAD_BURST = 1_000
_OVERHEAD_PER_SECOND = 50
_OVERHEAD_PER_REQUEST = 16
_OVERHEAD_PER_PART = 4
# Requests refused, or reset by their client: one that gives up resets all it has open, and then comes again.
_RESET_BURSTS = 2
_RESETS_PER_SECOND = 20
# How long a client may take to heed the first GOAWAY.
_NOTICE_SECONDS = 1.0
_HIGHEST_STREAM_ID = 2**31 - 1
_CONTINUE = ((b":status", b"100"),)


class Http2Server:
    """Makes connections.

    Args:
        exchanges: of the server as a whole.
        limits: likewise.
        lost: called when a connection has ended.
    """

    def __init__(self, exchanges: Exchanges, limits: HttpLimits, lost: Callable[[Http2Connection], None]) -> None:
        self.exchanges = exchanges
        self.limits = limits
        self.lost = lost
        self.loop = asyncio.get_running_loop()
        self.settings_frame = settings_frame(limits)

    def connection(self, retires_at: float) -> Http2Connection:
        """Make a connection that asks its client to go from an instant of the loop on."""
        return Http2Connection(self, retires_at)


class Http2Connection(asyncio.Protocol):
    """One connection.

    Args:
        server: its maker.
        retires_at: from this instant of the loop on the client is asked to go.
    """

    def __init__(self, server: Http2Server, retires_at: float) -> None:
        limits = server.limits
        self.engine = Engine(limits)
        self.writable = True
        self._server = server
        self._limits = limits
        self._overhead = Allowance(_OVERHEAD_BURST, _OVERHEAD_PER_SECOND)
        self._resets = Allowance(_RESET_BURSTS * limits.streams_max, _RESETS_PER_SECOND)
        self._gate = Gate(limits.header_bytes_max, self._overhead)
        self._stuck = StuckWatch(limits)
        self._streams: dict[int, Stream] = {}
        self._last_stream_id = 0
        self._over = False  # nothing is read or answered any more
        self._sealed = False  # the client knows which request was the last
        self._used = True
        self._retires_at = retires_at
        self._retiring_since = self._idle_since = self._slow_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell the client our settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._server.settings_frame + self.engine.data_to_send())
        if self._server.exchanges.draining:
            self.retire()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        if self._over:
            return
        try:
            self._take(data)
        except HostileError as error:
            self._fail(error.code)
        except MalformedRequestError:
            self._fail(ErrorCodes.PROTOCOL_ERROR)
        except ProtocolError:
            # the engine has prepared the GOAWAY that says why
            self._fail(None)
        except Exception:
            log.exception("http2_connection_failed")
            self._fail(ErrorCodes.INTERNAL_ERROR)

    def pause_writing(self) -> None:
        """Hold answers back: the client does not take what was written."""
        self.writable = False

    def resume_writing(self) -> None:
        """Let answers go on."""
        self.writable = True
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the answers to the requests that are in progress."""
        del exc
        self._give_up()
        self._server.lost(self)

    def flush(self) -> None:
        """Write what the engine has prepared."""
        data = self.engine.data_to_send()
        if data and not self._over:
            self._transport.write(data)

    def part_sent(self) -> None:
        """Expect the client to make room again for what it was sent."""
        self._overhead.earn(_OVERHEAD_PER_PART)

    def _take(self, data: bytes) -> None:
        for portion in self._gate.pass_on(data):
            for event in self.engine.receive_data(portion):
                self._react(event)
            if not self._gate.in_headers:
                self._slow_since = 0.0
        self.flush()
        self._end_if_done()

    def _react(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._open(event)
        elif isinstance(event, DataReceived):
            self._receive(event)
        elif isinstance(event, StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, WindowUpdated):
            self._make_room(event.stream_id or None)
        elif isinstance(event, RemoteSettingsChanged):
            self._make_room()
        elif isinstance(event, StreamReset):
            self._stream_reset(event.stream_id)

    def _open(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        if self._sealed or len(self._streams) >= self._limits.streams_max:
            self._send_unless_closed(lambda: self.engine.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM))
            self._resets.spend(1)
            return
        self._last_stream_id = stream_id
        self._used = True
        self._overhead.earn(_OVERHEAD_PER_REQUEST)
        request = request_of(event.headers)
        stream = Stream(stream_id, request, self, self._server.exchanges, self._limits.request_bytes_max)
        self._streams[stream_id] = stream
        self._refuse(stream, stream.announce(held_bytes_of(event.headers)))
        if stream.task is None and request.headers.get("expect", "").lower() == "100-continue":
            self._send_unless_closed(lambda: self.engine.send_headers(stream_id, _CONTINUE))

    def _receive(self, event: DataReceived) -> None:
        self.engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is not None and stream.task is None:
            self._refuse(stream, stream.receive(event.data))

    def _complete(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.ended = True
            if stream.task is None:
                self._answer(stream, stream.complete())

    def _stream_reset(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._abandon(stream)
        self._resets.spend(1)

    def _send_unless_closed(self, send: Callable[[], None]) -> None:
        """Have the engine send something on a stream that its client may have closed in the same breath."""
        try:
            send()
        except StreamClosedError:
            return

    def _refuse(self, stream: Stream, refusal: Reply | None) -> None:
        if refusal is not None:
            self._answer(stream, refusal)

    def _answer(self, stream: Stream, refusal: Reply | None) -> None:
        """Begin to answer; a refusal does not need the handler."""
        stream.task = self._server.loop.create_task(self._run(stream, refusal))
        stream.task.add_done_callback(lambda task: self._answered(stream, task))

    async def _run(self, stream: Stream, refusal: Reply | None) -> None:
        try:
            reply = refusal or await self._server.exchanges.handler(stream.request)
        except AbortConnection:
            reset(self._transport)
            return
        except Exception:
            log.exception("handler_failed")
            reply = Reply(500, b"")
        reply = stream.admit(reply)
        await stream.send(reply)
        # before the client can know that it may begin another
        self._forget(stream)
        self.flush()

    def _answered(self, stream: Stream, task: asyncio.Task[None]) -> None:
        """Clear up; called also for a task that was cancelled before it began."""
        if not task.cancelled() and task.exception() is not None:
            log.error("http2_answer_failed", exc_info=task.exception())
        self._forget(stream)
        self._end_if_done()

    def _forget(self, stream: Stream) -> None:
        if self._streams.pop(stream.stream_id, None) is not None:
            stream.close()

    def _abandon(self, stream: Stream) -> None:
        """Give up a stream's answer, and the request if it is not complete."""
        stream.abandon()
        if stream.task is None:
            self._forget(stream)

    def _make_room(self, stream_id: int | None = None) -> None:
        """Let a stream, or all of them, look whether more can be sent."""
        if stream_id is None:
            for stream in self._streams.values():
                stream.make_room()
        elif stream_id in self._streams:
            self._streams[stream_id].make_room()

    def retire(self) -> None:
        """Ask the client to begin no more requests here."""
        if not self._retiring_since and not self._over:
            self._retiring_since = self._server.loop.time()
            self._say_goodbye(_HIGHEST_STREAM_ID)

    def _seal(self) -> None:
        """Tell the client which request was the last."""
        if not self._sealed and not self._over:
            self._sealed = True
            self._say_goodbye(self._last_stream_id)
            self._end_if_done()

    def _say_goodbye(self, last_stream_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        self.flush()
        self._transport.write(goaway_frame(last_stream_id, code))

    def _end_if_done(self) -> None:
        if (self._sealed or self._gate.client_leaves) and not self._streams:
            self._over = True
            self._transport.close()

    def _fail(self, code: ErrorCodes | None) -> None:
        """Leave a client that does not keep to the protocol, or to what can be borne."""
        self._server.exchanges.malformed += 1
        if code is None:
            self.flush()
        else:
            self._say_goodbye(self._last_stream_id, code)
        self._give_up()
        self._transport.close()

    def _give_up(self) -> None:
        """Read and answer nothing more."""
        self._over = True
        for stream in list(self._streams.values()):
            self._abandon(stream)

    async def end(self, flush_seconds: float) -> None:
        """Close the connection, and give up what is not answered within a time."""
        self._seal()
        tasks = [stream.task for stream in self._streams.values() if stream.task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=flush_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._give_up()
        self._transport.close()

    def sweep(self, now: float) -> None:
        """Cut what takes too long, by the loop's clock."""
        self._overhead.refill(now)
        self._resets.refill(now)
        if self._stuck.is_stuck(self._transport, now, writable=self.writable):
            self._transport.abort()
        elif not self._over:
            self._sweep_connection(now)
            self._sweep_streams(now)

    def _sweep_connection(self, now: float) -> None:
        if now >= self._retires_at:
            self.retire()
        if self._retiring_since and now - self._retiring_since > _NOTICE_SECONDS:
            self._seal()
        if self._gate.waits_for_more:
            self._slow_since = self._slow_since or now
            if now - self._slow_since > self._limits.header_seconds:
                self._fail(ErrorCodes.ENHANCE_YOUR_CALM)
        if self._used or self._streams:
            self._used = False
            self._idle_since = now
        elif now - self._idle_since > self._limits.idle_seconds:
            self._seal()

    def _sweep_streams(self, now: float) -> None:
        for stream in list(self._streams.values()):
            if not stream.is_overdue(now, self._limits.body_seconds):
                continue
            if stream.task is None:
                self._answer(stream, Reply(408, b""))
            else:
                self.engine.reset_stream(stream.stream_id, ErrorCodes.CANCEL)
                self.flush()
                stream.abandon()
