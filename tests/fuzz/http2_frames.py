"""A connection of HTTP/2: whatever it is sent, it stays within its bounds, ends in order, and harms no other.

A case whose first byte is even is what follows, sent as it is. Otherwise it is frames, each in six bytes of its type,
its flags, its stream, what stands in for a block of headers, and its length, and then that many bytes of payload: so
that frames are whole however the bytes are changed. A length beyond 511 repeats the payload, for frames larger than a
case may be. The second byte tells into which pieces it is cut.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager
from struct import Struct
from typing import TYPE_CHECKING, Any

from hpack import Encoder
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from proxy.kinesis.http import Reply, Request
from proxy.transport.arrival import PREFACE
from proxy.transport.exchanges import Exchanges
from proxy.transport.http2 import Http2Connection, Http2Server
from proxy.transport.http2_gate import FRAME_BYTES_MAX
from proxy.transport.limits import HttpLimits
from tests.fuzz.surface import Surface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INTERNAL_ERROR = 2
FIELDS = [
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":scheme", b"http"),
    (b":authority", b"127.0.0.1:4567"),
    (b"x-amz-target", b"Kinesis_20131202.PutRecord"),
    (b"content-type", b"application/x-amz-json-1.1"),
]
LIMITS = HttpLimits(request_bytes_max=2_000, bodies_bytes_max=8_000, header_bytes_max=2_048, streams_max=4)
_HEAD = Struct(">BBBBH")
# More than what is asked for at once is never written: answers repeat what the client sent.
_WRITTEN_BYTES_MAX = 1 << 20


class FakeTransport:
    """Collects what is written."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        """Collect."""
        assert not self.closed
        self.written += data

    def close(self) -> None:
        """Be closed."""
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        """Tell whether it is."""
        return self.closed

    def get_extra_info(self, name: str) -> Any:  # noqa: ANN401 - any
        """Have none."""
        raise KeyError(name)


async def echo(request: Request) -> Reply:
    """Answer with what was asked."""
    await asyncio.sleep(0)
    return Reply(200, json.dumps([request.method, len(request.body)]).encode())


class Server:
    """A server without sockets."""

    def __init__(self) -> None:
        self.exchanges = Exchanges(echo, LIMITS)
        self.lost: list[Http2Connection] = []
        self.maker = Http2Server(self.exchanges, LIMITS, self.lost.append)

    def connect(self) -> tuple[Http2Connection, FakeTransport]:
        """Open a connection."""
        connection, transport = self.maker.connection(float("inf")), FakeTransport()
        connection.connection_made(transport)  # type: ignore[arg-type]  # all of it that is used
        return connection, transport


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Give the check of one connection, on one loop for all of them."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield lambda case: loop.run_until_complete(check(case))


async def check(case: bytes) -> None:
    """Check one connection, and another one after it."""
    server = Server()
    connection, transport = server.connect()
    for piece in _pieces_of(case):
        if transport.closed:
            break
        connection.data_received(piece)
        _check_bounds(connection, server)
        if len(piece) % 3 == 0:
            await asyncio.sleep(0)
    for _ in range(4):
        await asyncio.sleep(0)
    assert len(transport.written) <= _WRITTEN_BYTES_MAX
    assert INTERNAL_ERROR not in _goaway_codes(bytes(transport.written))
    connection.sweep(1.0)
    connection.connection_lost(None)
    async with asyncio.timeout(5):
        await server.exchanges.ended()
    assert server.lost == [connection]
    assert not connection._streams
    assert (server.exchanges._bodies_bytes, server.exchanges._answers_bytes) == (0, 0)
    await _check_neighbour(server)


def _check_bounds(connection: Http2Connection, server: Server) -> None:
    assert len(connection._streams) <= LIMITS.streams_max
    assert server.exchanges.in_progress == len(connection._streams)
    assert 0 <= server.exchanges._bodies_bytes <= LIMITS.bodies_bytes_max
    assert len(connection._gate._rest) <= FRAME_BYTES_MAX + 9
    assert connection._gate._block_bytes <= LIMITS.header_bytes_max
    assert len(connection.engine.streams) <= 4 * LIMITS.streams_max


async def _check_neighbour(server: Server) -> None:
    """Check that a good request on another connection is answered."""
    connection, transport = server.connect()
    connection.data_received(_GOOD)
    for _ in range(4):
        await asyncio.sleep(0)
    assert b'["POST", 3]' in transport.written
    connection.connection_lost(None)
    await server.exchanges.ended()


def _goaway_codes(written: bytes) -> list[int]:
    codes = []
    at = 0
    while at < len(written):
        length = int.from_bytes(written[at : at + 3])
        if written[at + 3] == GoAwayFrame.type:
            codes.append(int.from_bytes(written[at + 13 : at + 17]))
        at += 9 + length
    return codes


def _pieces_of(case: bytes) -> Iterator[bytes]:
    if len(case) < 2:
        return
    data = case[2:] if case[0] % 2 == 0 else PREFACE + b"".join(_frames_of(case[2:]))
    size = case[1] * 16 or len(data) or 1
    for at in range(0, len(data), size):
        yield data[at : at + size]


def _frames_of(case: bytes) -> Iterator[bytes]:
    at = 0
    while at + _HEAD.size <= len(case):
        kind, flags, stream_id, block, length = _HEAD.unpack_from(case, at)
        at += _HEAD.size
        payload = case[at : at + length % 512]
        at += len(payload)
        payload *= 1 + (length >> 9)
        if kind % 16 in {HeadersFrame.type, 9} and block:
            payload = _BLOCKS[block % len(_BLOCKS)] + payload
        yield b"%b%c%c%b%b" % (
            len(payload).to_bytes(3),
            kind % 16,
            flags,
            stream_id.to_bytes(4),
            payload,
        )


def _headers(*fields: tuple[bytes, bytes]) -> bytes:
    return bytes(Encoder().encode([*FIELDS, *fields], huffman=False))


_BLOCKS = (
    _headers(),
    _headers((b"content-length", b"3")),
    _headers((b"expect", b"100-continue")),
    _headers((b"content-length", b"99999")),
    _headers((b"connection", b"close")),
    bytes(Encoder().encode([(b":method", b"CONNECT"), (b":authority", b"a:1")])),
    bytes(Encoder().encode([(b":method", b"HEAD"), (b":path", b"*"), (b":scheme", b"http"), (b"host", b"\xff")])),
    bytes(Encoder().encode([(b"trailer", b"1")])),
)
_GOOD = (
    PREFACE
    + SettingsFrame(0).serialize()
    + HeadersFrame(1, _headers(), flags=["END_HEADERS"]).serialize()
    + DataFrame(1, b"abc", flags=["END_STREAM"]).serialize()
)


def _frame(kind: int, flags: int, stream_id: int, payload: bytes = b"", block: int = 0) -> bytes:
    return _HEAD.pack(kind, flags, stream_id, block, len(payload)) + payload


_SETTINGS_SEED = _frame(SettingsFrame.type, 0, 0, b"\x00\x04\x00\x00\x00\x05")
_HEADERS_SEED = _frame(HeadersFrame.type, 4, 1, block=1)
_ENDED_SEED = _frame(HeadersFrame.type, 5, 1, block=8)
_DATA_SEED = _frame(DataFrame.type, 1, 1, b"abc")
_WINDOW_SEED = _frame(8, 0, 1, b"\x00\x00\x40\x00")
_FRAME_SEEDS = (
    _SETTINGS_SEED + _HEADERS_SEED + _DATA_SEED,
    _SETTINGS_SEED + _ENDED_SEED + _WINDOW_SEED,
    _HEADERS_SEED + _frame(RstStreamFrame.type, 0, 1, bytes(4)) + _frame(HeadersFrame.type, 5, 3, block=2),
    _frame(HeadersFrame.type, 0, 1, block=1) + _frame(9, 4, 1, b"") + _DATA_SEED,
    _frame(PingFrame.type, 0, 0, bytes(8)) + _ENDED_SEED + _frame(PingFrame.type, 1, 0, b"retiring"),
    _frame(GoAwayFrame.type, 0, 0, bytes(8)) + _ENDED_SEED,
    b"".join(_frame(HeadersFrame.type, 5, stream_id, block=8) for stream_id in range(1, 21, 2)),
    b"".join(_frame(HeadersFrame.type, 4, n, block=2) + _frame(0, 0, n, b"x" * 400) for n in range(1, 13, 2)),
    _HEADERS_SEED + _HEAD.pack(0, 0, 1, 0, 100 + (60 << 9)) + bytes(100),
    _HEAD.pack(77, 0, 1, 0, 511 + (127 << 9)) + bytes(511),
    _frame(HeadersFrame.type, 0, 1, block=1) + (_HEAD.pack(9, 0, 1, 0, 300 + (2 << 9)) + b"\x00" * 300) * 3,
    _ENDED_SEED + _frame(HeadersFrame.type, 5, 1, block=7) + _frame(2, 0, 1, bytes(5)) + _frame(5, 4, 1, bytes(8)),
)

HTTP2_FRAMES = Surface(
    (
        *(bytes((1, size)) + seed for seed in _FRAME_SEEDS for size in (0, 1, 2)),
        *(bytes((0, size)) + _GOOD for size in (0, 1)),
    ),
    (
        *(_SETTINGS_SEED, _HEADERS_SEED, _ENDED_SEED, _DATA_SEED, _WINDOW_SEED, PREFACE),
        *(_frame(kind, flags, stream_id) for kind in range(11) for flags in (0, 1, 4) for stream_id in (0, 1)),
        *(
            b"\x00\x01",
            b"\x00\x02",
            b"\x00\x03",
            b"\x00\x04",
            b"\x00\x05",
            b"\x00\x06",
            b"\x7f\xff\xff\xff",
            b"\x00\x00\x00\x00",
        ),
    ),
    opened,
)
