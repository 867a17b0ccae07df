"""The load generator's connections over HTTP/2 with prior knowledge: many requests out at once.

The h2 library would cost the generator more than the proxy spends, and then it would be the generator that is measured.
The frames are few: the headers of all requests are the same, so hpack encodes them twice, once as a connection's first
request has them and once as all others do; windows are kept as RFC 9113 has them. An answer counts as good by its body,
because its headers stay unread. For PutRecord alone.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from typing import TYPE_CHECKING, cast

from hpack import Encoder

if TYPE_CHECKING:
    from tests.benchmarks.load import Run

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD_BYTES = 9
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
INITIAL_WINDOW_BYTES = 65_535
# What a body of PutRecord's answer has, and an error's has not.
SIGN_OF_SUCCESS = b'"SequenceNumber"'


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """Return one frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream_id) + payload


# The server may send as much as it likes.
OPENING = (
    PREFACE
    + frame(SETTINGS, 0, 0, b"")
    + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1 - INITIAL_WINDOW_BYTES))
)
PARTING = frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0))


def header_blocks(headers: dict[str, str]) -> tuple[bytes, bytes]:
    """Return the headers as a connection's first request has them, and as all later ones do."""
    encoder = Encoder()
    pseudo = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", headers["Host"]),
        (":path", "/"),
    ]
    fields = pseudo + [(name.lower(), value) for name, value in headers.items() if name != "Host"]
    return encoder.encode(fields), encoder.encode(fields)


class Http2Sender(asyncio.Protocol):
    """One connection.

    Args:
        run: whose requests it sends; it gives bodies.
        blocks: the headers, of the first request and of the others.
    """

    def __init__(self, run: Run, blocks: tuple[bytes, bytes]) -> None:
        self._run = run
        self._block, self._later_block = blocks
        self._buffer = b""
        self._window_bytes = INITIAL_WINDOW_BYTES
        self._stream_id = 1
        self._open: dict[int, tuple[float, list[bytes]]] = {}
        self._without_room: deque[tuple[float, bytes]] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the connection."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(OPENING)

    def send(self, due_at: float) -> None:
        """Send the next request, or once the window has room for it; its latency counts from `due_at`."""
        self._run.out += 1
        self._without_room.append((due_at, self._run.requests.next()))
        self._flush()

    def close(self) -> None:
        """Take leave and close the connection."""
        assert self._transport is not None
        self._transport.write(PARTING)
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Take whole frames."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= FRAME_HEAD_BYTES:
            end = at + FRAME_HEAD_BYTES + int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) < end:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream_id = int.from_bytes(buffer[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            self._take(kind, flags, stream_id, buffer[at + FRAME_HEAD_BYTES : end])
            at = end
        self._buffer = buffer[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """End the run with an error if an answer was still to come."""
        if self._open or self._without_room:
            self._run.broken(f"connection lost: {exc!r}")

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        assert self._transport is not None
        if kind == DATA:
            self._open[stream_id][1].append(payload)
        if kind in {DATA, HEADERS}:
            if flags & END_STREAM:
                sent_at, pieces = self._open.pop(stream_id)
                body = b"".join(pieces)
                self._run.answered(self, SIGN_OF_SUCCESS in body, body, time.perf_counter() - sent_at)
        elif kind == WINDOW_UPDATE and not stream_id:
            self._window_bytes += int.from_bytes(payload, "big")
            self._flush()
        elif kind in {SETTINGS, PING} and not flags & ACK:
            self._transport.write(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind in {RST_STREAM, GOAWAY} and self._open:
            self._run.broken(f"frame {kind} on stream {stream_id}: {payload!r}")

    def _flush(self) -> None:
        assert self._transport is not None
        waiting = self._without_room
        while waiting and len(waiting[0][1]) <= self._window_bytes:
            due_at, body = waiting.popleft()
            self._window_bytes -= len(body)
            self._open[self._stream_id] = (due_at, [])
            head = frame(HEADERS, END_HEADERS, self._stream_id, self._block)
            self._transport.write(head + frame(DATA, END_STREAM, self._stream_id, body))
            self._block = self._later_block
            self._stream_id += 2
