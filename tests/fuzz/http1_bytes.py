"""A connection that has shown nothing yet, or speaks HTTP/1.1: no request is handed on that could be read in two ways.

The first byte of a case tells into which pieces the rest is cut. Each case goes through a server with the lean lane and
through one without; what is handed on and what is answered must be the same, byte for byte.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from proxy.kinesis.http import Reply, Request
from proxy.transport.arrival import Arrival
from proxy.transport.exchanges import Exchanges
from proxy.transport.http1 import Http1Connection, Http1Server
from proxy.transport.http2 import Http2Connection, Http2Server
from proxy.transport.lean import LeanConnection
from proxy.transport.limits import HttpLimits
from proxy.transport.plain import Shapes
from tests.fuzz.http2_frames import FakeTransport
from tests.fuzz.surface import Surface

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.transport.arrival import Connection

LIMITS = HttpLimits(request_bytes_max=1_000, bodies_bytes_max=700, header_bytes_max=8_192, linger_seconds=0)
TURNS = 12
GOOD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
# RFC 9110, section 5.6.2
# What differs between two answers that are the same.
_own = re.compile(rb"(?:Date|x-amzn-RequestId|x-amz-id-2): [^\r]*\r\n")
_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch


class SwitchingTransport(FakeTransport):
    """Is told who reads from it, and tells that one when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol | None = None

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Switch."""
        self.protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - any
        """Have none."""
        del name
        return default

    def writelines(self, parts: list[bytes]) -> None:
        """Collect."""
        self.write(b"".join(parts))

    def pause_reading(self) -> None:
        """Do nothing: what comes has come."""

    def resume_reading(self) -> None:
        """Do nothing."""


class Server:
    """A server without sockets, as an arriving connection sees it.

    Args:
        lean: whether connections begin in the lean lane.

    `requests` are what was handed on: method, target, headers, body.
    """

    limits = LIMITS

    def __init__(self, *, lean: bool) -> None:
        self._lean = lean
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.exchanges = Exchanges(self._answer, LIMITS)
        self._http1 = Http1Server(self.exchanges, LIMITS, self.lost)
        self._http2 = Http2Server(self.exchanges, LIMITS, self.lost)
        self.shapes = Shapes()
        self.open = 0
        self._was_asked_to_connect = False

    async def _answer(self, request: Request) -> Reply:
        # what follows a CONNECT belongs to whom it connects to
        assert not self._was_asked_to_connect
        self._was_asked_to_connect = request.method == "CONNECT"
        return self._reply_to(request)

    def _start_put(self, request: Request, deliver: Callable[[Reply], None]) -> bool:
        """Answer at once, or later, or leave it to the handler, as the body says."""
        match len(request.body) % 3:
            case 0:
                deliver(self._reply_to(request))
            case 1:
                asyncio.get_running_loop().call_soon(deliver, self._reply_to(request))
            case _:
                return False
        return True

    def _reply_to(self, request: Request) -> Reply:
        _check_request(request)
        # aiohttp writes the names that it knows in its own way
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.target, headers, request.body))
        return Reply(200, request.body[:3])

    def connect(self) -> SwitchingTransport:
        """Open a connection; the one before has ended."""
        self._was_asked_to_connect = False
        transport = SwitchingTransport()
        transport.protocol = Arrival(self, None)
        transport.protocol.connection_made(transport)  # type: ignore[arg-type]  # all of it that is used
        return transport

    def admit(self, connection: Connection) -> bool:
        """Count a connection."""
        del connection
        self.open += 1
        return True

    def lost(self, connection: object) -> None:
        """Count it no more."""
        del connection
        self.open -= 1

    def refused(self, reason: str, client: str) -> None:
        """Note nothing: what is no HTTP is answered all the same."""

    def speaks_http1(self, arrival: Arrival) -> LeanConnection | Http1Connection:
        """Make the protocol that takes over."""
        del arrival
        if self._lean:
            return LeanConnection(self, self._start_put, self.exchanges, LIMITS, float("inf"))
        return self._http1.connection(float("inf"))

    def speaks_unusual_http1(self, connection: LeanConnection) -> Http1Connection:
        """Make the protocol that takes over from the lean lane."""
        return self._http1.connection(connection.retires_at)

    def speaks_http2(self, arrival: Arrival) -> Http2Connection:
        """Make the protocol that takes over."""
        del arrival
        return self._http2.connection(float("inf"))


async def check(case: bytes) -> None:
    """Check one connection, and another one after it."""
    size = (case[0] if case else 0) * 4 or len(case) or 1
    pieces = [case[at : at + size] for at in range(1, len(case), size)]
    plain, lean = Server(lean=False), Server(lean=True)
    answers = await answers_to(plain, pieces), await answers_to(lean, pieces)
    assert plain.requests == lean.requests
    assert answers[0] == answers[1]
    assert b"HTTP/1.1 500" not in answers[0]


async def answers_to(server: Server, pieces: Iterable[bytes]) -> bytes:
    """Return what a server answers to bytes that arrive in pieces, dates and ids apart; no trace of them remains."""
    transport = server.connect()
    for piece in pieces:
        if transport.closed or transport.protocol is None:
            break
        transport.protocol.data_received(piece)
        assert 0 <= server.exchanges._bodies_bytes <= LIMITS.bodies_bytes_max
        for _ in range(TURNS):
            await asyncio.sleep(0)
    await _end(server, transport)
    requests = list(server.requests)
    await _check_neighbour(server)
    server.requests = requests
    return _own.sub(b"", bytes(transport.written))


async def _check_neighbour(server: Server) -> None:
    """Check that a good request on another connection is answered."""
    neighbour = server.connect()
    assert neighbour.protocol is not None
    neighbour.protocol.data_received(GOOD)
    await _end(server, neighbour)
    assert neighbour.written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert neighbour.written.endswith(b"\r\n\r\nabc")


async def _end(server: Server, transport: SwitchingTransport) -> None:
    """Let what can be answered be answered, and end the connection; nothing of it remains."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert transport.protocol is not None
    transport.protocol.connection_lost(None)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    assert server.exchanges.in_progress == 0
    assert (server.exchanges._bodies_bytes, server.exchanges._answers_bytes) == (0, 0)
    assert server.open == 0


def _check_request(request: Request) -> None:
    """Check that a request's end is where its headers say, in the one way in which they can be read."""
    headers = CIMultiDict(request.headers)
    if ":method" in headers:
        return
    assert _is_token(request.method)
    for name, value in headers.items():
        assert _is_token(name)
        assert not {"\r", "\n", "\0"} & set(value)
    lengths = headers.getall("Content-Length", [])
    codings = headers.getall("Transfer-Encoding", [])
    assert len(lengths) + len(codings) <= 1
    assert len(request.body) <= LIMITS.request_bytes_max
    if lengths:
        assert lengths[0].isascii()
        assert lengths[0].isdigit()
        assert int(lengths[0]) == len(request.body) or request.method == "CONNECT"
    elif codings:
        assert codings[0].lower() == "chunked"
    else:
        assert not request.body


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Give the check of one connection, on one loop for all of them."""
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        yield lambda case: loop.run_until_complete(check(case))


_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
STREAMS = (
    GOOD,
    GOOD * 3,
    _CHUNKED,
    _CHUNKED + GOOD,
    GOOD.replace(b"Content-Length", b"Expect: 100-continue\r\nContent-Length"),
    GOOD.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    GOOD.replace(b"\r\n\r\n", b"\r\nContent-Length: 4\r\n\r\n"),
    GOOD.replace(b"\r\n\r\n", b"\r\n\tfolded\r\n\r\n"),
    GOOD.replace(b"Content-Length", b"Transfer-Encoding:\r\nContent-Length"),
    GOOD.replace(b"Content-Length: 3", b"Transfer-Encoding:").replace(b"HTTP/1.1", b"HTTP/1.0"),
    _CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0"),
    GOOD.replace(b"\r\n", b"\n"),
    GOOD.replace(b"3", b"+3"),
    GOOD.replace(b"3", b"999999"),
    GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
    _CHUNKED.replace(b"3\r\n", b"0x3\r\n"),
    _CHUNKED.replace(b"3\r\n", b"3;a=b\r\n").replace(b"0\r\n\r\n", b"0\r\nTrailer: 1\r\n\r\n"),
    _CHUNKED.replace(b"chunked", b"gzip, chunked"),
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + GOOD,
    GOOD.replace(b"POST /", b"CONNECT a:1") + GOOD,
    *(GOOD.replace(b"3\r\n\r\nabc", b"%d\r\n\r\n%b" % (size, b"x" * size)) + GOOD for size in (690, 1_000, 1_500)),
    *(_CHUNKED.replace(b"3\r\nabc", b"%x\r\n%b" % (size, b"x" * size)) + GOOD for size in (690, 1_000, 1_500)),
    _CHUNKED.replace(b"0\r\n", b"zz\r\n"),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    b"PRI * HTTP/1.1\r\n\r\n" + GOOD,
    b"\x16\x03\x01\x02\x00\x01\x00",
)

HTTP1_BYTES = Surface(
    tuple(bytes((size,)) + stream for stream in STREAMS for size in (0, 1, 5)),
    (
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b"\t",
            b" ",
            b"\x00",
            b"\x0b",
            b"\xff",
            b":",
            b" :",
            b";",
            b",",
            b"\r\n ",
        ),
        *(
            b"Content-Length: 3\r\n",
            b"Content-Length:0\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding:\tx\r\n",
        ),
        *(
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding: chunked, chunked\r\n",
            b"Content-Encoding: gzip\r\n",
        ),
        *(
            b"Expect: 100-continue\r\n",
            b"Connection: close\r\n",
            b"Upgrade: websocket\r\n",
            b"0\r\n\r\n",
            b"ffffffff\r\n",
        ),
        *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"GET ", b"POST ", b"a" * 300, GOOD, _CHUNKED),
    ),
    opened,
)
