"""The lean lane: what it answers itself, what it leaves to aiohttp, and that nobody can tell the difference."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from proxy.kinesis.http import Reply, Request
from proxy.transport.exchanges import Exchanges
from proxy.transport.lean import LeanConnection
from proxy.transport.limits import HttpLimits
from proxy.transport.plain import NO_SHAPE, Headers, Shapes, names_of
from tests.fuzz.http1_bytes import GOOD, STREAMS, Server, SwitchingTransport, answers_to

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = HttpLimits(request_bytes_max=1_000, idle_seconds=30, header_seconds=5, body_seconds=20)
PLAIN = GOOD.replace(b"Host: a", b"host: a\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\nConnection: Keep-Alive")
UNUSUAL = {
    "another-method": GOOD.replace(b"POST", b"GET"),
    "another-target": GOOD.replace(b" / ", b" /x "),
    "another-version": GOOD.replace(b"1.1", b"1.0"),
    "close": GOOD.replace(b"Host", b"Connection: close\r\nHost"),
    "coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "expect": GOOD.replace(b"Host", b"Expect: 100-continue\r\nHost"),
    "upgrade": GOOD.replace(b"Host", b"Upgrade: h2c\r\nHost"),
    "twice": GOOD.replace(b"Host: a", b"X: a\r\nX: b"),
    "twice-in-another-case": GOOD.replace(b"Host: a", b"X: a\r\nx: b"),
    "no-host": GOOD.replace(b"Host: a\r\n", b""),
    "no-length": b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "malformed": b"POST / HTTP/1.1\r\nHo st: a\r\n\r\n",
    "two-at-once": GOOD * 2,
    "too-large": GOOD.replace(b"3\r\n\r\nabc", b"1001\r\n\r\n" + b"x" * 1001),
    "long-head": GOOD.replace(b"Host: a", b"X: " + b"a" * 8_000 + b"\r\nY: " + b"a" * 200),
    "left-to-the-handler": GOOD.replace(b"3\r\n\r\nabc", b"4\r\n\r\nleft"),
}


class Bench:
    """One connection in the lean lane, on a transport that collects, with a handler that answers when it is told to.

    `successor` collects what goes to aiohttp; `read` is what `requests` were when they were handed on.
    """

    def __init__(self, limits: HttpLimits = LIMITS) -> None:
        self.exchanges = Exchanges(self._never, limits)
        self.requests: list[Request] = []
        self.read: list[Request] = []
        self.deliver: list[Callable[[Reply], None]] = []
        self.successor: Successor | None = None
        self.lost_connections = 0
        self.shapes = Shapes()
        self.connection = LeanConnection(self, self._start_put, self.exchanges, limits, retires_at=1_000.0)
        self.transport = WatchedTransport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]  # all of it that is used

    async def _never(self, request: Request) -> Reply:
        raise AssertionError(request)

    def _start_put(self, request: Request, deliver: Callable[[Reply], None]) -> bool:
        if request.body == b"left":
            return False
        self.requests.append(request)
        self.read.append(replace(request))
        self.deliver.append(deliver)
        return True

    def speaks_unusual_http1(self, connection: LeanConnection) -> Successor:
        """Take over."""
        assert connection is self.connection
        self.successor = Successor()
        return self.successor

    def lost(self, connection: object) -> None:
        """Count it."""
        assert connection is self.connection
        self.lost_connections += 1

    def send(self, data: bytes) -> None:
        """Have bytes arrive."""
        self.connection.data_received(data)

    def answer(self, place: int = 0, body: bytes = b"{}") -> None:
        """Answer a request."""
        self.deliver[place](Reply(200, body))


class Successor(asyncio.Protocol):
    """Collects."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Collect."""
        self.pieces.append(data)


class WatchedTransport(SwitchingTransport):
    """Tells whether it is read from, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.paused: list[bool] = []
        self.aborted = False

    def pause_reading(self) -> None:
        """Note it."""
        self.paused.append(True)

    def resume_reading(self) -> None:
        """Note it."""
        self.paused.append(False)

    def is_closing(self) -> bool:
        """Tell."""
        return self.closed or self.aborted

    def abort(self) -> None:
        """Note it."""
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        """Hold nothing."""
        return 0


@pytest.mark.parametrize("stream", [*STREAMS, PLAIN, PLAIN + GOOD], ids=lambda stream: repr(stream[:40]))
async def test_requests_split_anywhere_are_answered_as_aiohttp_answers_them(stream: bytes) -> None:
    """At every byte, and what is handed on is the same as well."""
    places = range(1, len(stream)) if len(stream) < 200 else range(1, len(stream), len(stream) // 60)
    for place in places:
        plain, lean = Server(lean=False), Server(lean=True)
        pieces = [stream[:place], stream[place:]]
        answers = await answers_to(plain, pieces), await answers_to(lean, pieces)
        assert plain.requests == lean.requests, place
        assert answers[0] == answers[1], place


def test_plain_requests_are_answered_one_after_the_other() -> None:
    """On the same connection, with the answer's length and the date."""
    bench = Bench()
    for place in range(3):
        bench.send(PLAIN)
        assert bench.exchanges.in_progress == 1
        bench.answer(place, b'{"a":1}')
        assert bench.exchanges.in_progress == 0
    head, _, body = bytes(bench.transport.written).rpartition(b"\r\n\r\n")
    assert body == b'{"a":1}'
    assert head.count(b"HTTP/1.1 200 OK\r\nDate: ") == 3
    assert b"Content-Length: 7" in head
    assert b"Connection" not in head
    assert bench.successor is None
    assert [(request.method, request.target, request.body) for request in bench.read] == [("POST", "/", b"abc")] * 3


def test_request_that_was_read_is_let_go_of() -> None:
    """A thousand callers that wait must not hold every body and header twice."""
    bench = Bench()
    bench.send(PLAIN)
    assert bench.read[0].body == b"abc"
    assert (bench.requests[0].body, len(bench.requests[0].headers)) == (b"", 0)


def test_headers_are_found_in_any_case() -> None:
    """As a case-insensitive mapping of text, without outer blanks; a byte that is no UTF-8 is kept."""
    bench = Bench()
    bench.send(PLAIN.replace(b"host: a", b"host: a\r\nx-odd: \xc3\xa9\xff \t"))
    headers = bench.read[0].headers
    assert headers.get("X-Amz-Target") == headers["x-amz-target"] == "Kinesis_20131202.PutRecord"
    assert headers["X-ODD"] == "é\udcff"
    assert headers.get("Authorization") is None
    assert headers.get("Authorization", "") == ""
    assert len(headers) == 5
    assert dict(headers.items())["x-odd"] == "é\udcff"
    with pytest.raises(KeyError):
        headers["nothing"]


@pytest.mark.parametrize("request_bytes", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_not_plain_goes_to_aiohttp_for_good(request_bytes: bytes) -> None:
    """Byte for byte, with the connection, and without a request being in progress here."""
    bench = Bench()
    bench.send(PLAIN)
    bench.answer()
    bench.send(request_bytes)
    assert bench.successor is not None
    assert b"".join(bench.successor.pieces) == request_bytes
    assert len(bench.requests) == 1
    assert bench.exchanges.in_progress == 0
    assert bench.transport.protocol is bench.successor


def test_pieces_go_to_aiohttp_as_they_came() -> None:
    """An error in the second must not hide the request in the first."""
    bench = Bench()
    unusual = UNUSUAL["close"]
    bench.send(unusual[:30])
    bench.send(unusual[30:])
    assert bench.successor is not None
    assert bench.successor.pieces == [unusual[:30], unusual[30:]]


def test_body_that_arrives_in_pieces_counts_against_the_bound() -> None:
    """Until its answer is written; where there is no room, it is for aiohttp's side to say so."""
    limits = HttpLimits(request_bytes_max=1_000, bodies_bytes_max=600)
    bench = Bench(limits)
    large = GOOD.replace(b"3\r\n\r\nabc", b"500\r\n\r\n" + b"x" * 500)
    bench.send(large[:300])
    bench.send(large[300:])
    assert not bench.exchanges.hold(600 - 500 + 1)
    bench.answer()
    assert bench.exchanges.hold(600)
    bench.send(large[:300])
    assert bench.successor is not None


def test_body_that_trickles_in_goes_to_aiohttp() -> None:
    """A byte at a time it would cost forty times its size here; nothing of it stays held."""
    limits = HttpLimits(request_bytes_max=10_000, bodies_bytes_max=10_000)
    bench = Bench(limits)
    bench.send(GOOD.replace(b"3\r\n\r\nabc", b"5000\r\n\r\n"))
    for _ in range(1023):
        bench.send(b"x")
    assert not isinstance(bench.transport.protocol, Successor)
    bench.send(b"x")
    assert bench.successor is not None
    assert b"".join(bench.successor.pieces).endswith(b"\r\n\r\n" + b"x" * 1024)
    assert bench.exchanges.hold(10_000)


def test_next_request_waits_for_the_answer_to_the_one_before() -> None:
    """And nothing more is read from the client meanwhile."""
    bench = Bench()
    bench.send(PLAIN)
    bench.send(PLAIN[:20])
    assert bench.transport.paused == [True]
    assert len(bench.requests) == 1
    bench.answer()
    bench.send(PLAIN[20:])
    assert bench.transport.paused == [True, False]
    assert len(bench.requests) == 2


def test_client_that_leaves_is_told_of() -> None:
    """Its handler answers, into nothing, and the request is over."""
    bench = Bench()
    bench.send(PLAIN)
    bench.requests[0].on_gone = bench.answer
    bench.connection.connection_lost(None)
    assert bench.requests[0].gone
    assert (bench.exchanges.in_progress, bench.lost_connections) == (0, 1)
    assert bench.transport.written == b""


def test_client_that_leaves_without_taking_its_answer_is_told_of() -> None:
    """An answer in the transport's buffer has reached nobody; one that was taken has."""
    bench = Bench()
    bench.send(PLAIN)
    bench.connection.pause_writing()
    bench.answer()
    assert bench.exchanges.in_progress == 1
    bench.connection.connection_lost(None)
    assert bench.requests[0].gone
    assert bench.exchanges.in_progress == 0
    bench = Bench()
    bench.send(PLAIN)
    bench.connection.pause_writing()
    bench.answer()
    bench.connection.resume_writing()
    bench.connection.connection_lost(None)
    assert not bench.requests[0].gone
    assert bench.exchanges.in_progress == 0


def test_large_answer_counts_until_it_is_taken() -> None:
    """An error that repeats what was wrong can be large; where too much waits to be taken, it is another."""
    large = Reply(400, b"x" * 300_000)
    for others, given in ((0, large.body), (1_000, b"ProvisionedThroughputExceededException")):
        bench = Bench(replace(LIMITS, bodies_bytes_max=1_000))
        bench.exchanges.admit_answer(Request("POST", "/", {}, b""), Reply(200, b"x" * others))
        bench.send(PLAIN)
        bench.connection.pause_writing()
        bench.deliver[0](large)
        assert given in bench.transport.written
        assert bench.exchanges._answers_bytes > others
        bench.connection.resume_writing()
        assert bench.exchanges._answers_bytes == others


@pytest.mark.parametrize("by", ["drain", "age"])
def test_last_answer_closes_the_connection(by: str) -> None:
    """While draining, and when the connection has had its time; the next request is for aiohttp's side."""
    for in_progress in (True, False):
        bench = Bench()
        if in_progress:
            bench.send(PLAIN)
        if by == "drain":
            bench.exchanges.draining = True
        else:
            bench.connection.sweep(1_000.0)
        if in_progress:
            bench.answer()
            assert b"\r\nConnection: close\r\n\r\n" in bench.transport.written
            assert bench.transport.closed
        else:
            bench.send(PLAIN)
            assert bench.successor is not None
            assert bench.connection.retiring == (by == "age")


def test_reply_that_cannot_be_sent_costs_its_caller_an_error() -> None:
    """A line break in a header would be a second answer."""
    bench = Bench()
    bench.send(PLAIN)
    bench.deliver[0](Reply(200, b"", {"x": "a\r\nb: c"}))
    assert bench.transport.written.startswith(b"HTTP/1.1 500 ")
    assert b"b: c" not in bench.transport.written


@pytest.mark.parametrize(
    ("arrived", "after", "ends"),
    [
        (b"", 30, "closed"),
        (PLAIN, 30, "closed"),
        (PLAIN[:20], 5, "aborted"),
        (PLAIN[:-1], 20, "timed out"),
    ],
    ids=["nothing", "answered", "head", "body"],
)
def test_connection_that_takes_too_long_is_cut(arrived: bytes, after: int, ends: str) -> None:
    """By what it is at: idle, in a head, in a body; not before its time."""
    bench = Bench()
    if arrived:
        bench.send(arrived)
    if arrived == PLAIN:
        bench.connection.sweep(50.0)
        bench.answer()
        bench.transport.written.clear()
    bench.connection.sweep(100.0)
    bench.connection.sweep(100.0 + after)
    assert not bench.transport.is_closing()
    bench.connection.sweep(100.0 + after + 1)
    assert (bench.transport.closed, bench.transport.aborted) == (ends != "aborted", ends == "aborted")
    assert bench.transport.written.startswith(b"HTTP/1.1 408 ") == (ends == "timed out")


def test_request_in_progress_may_take_its_time() -> None:
    """How long is its handler's to say."""
    bench = Bench()
    bench.send(PLAIN)
    for now in (100.0, 200.0, 900.0):
        bench.connection.sweep(now)
    assert not bench.transport.is_closing()


async def test_end_lets_the_last_answer_leave_and_gives_up_what_has_none() -> None:
    """Within the time that there is."""
    bench = Bench()
    await bench.connection.end(0.01)
    assert bench.transport.closed
    bench = Bench()
    bench.send(PLAIN)
    await bench.connection.end(0.01)
    assert bench.transport.aborted


def test_headers_are_a_mapping() -> None:
    """Of what was sent."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nX-AMZ-target:  b \r\ncontent-Length:3\r\n\r\n"
    shape = Shapes().find(names_of(head))
    assert shape is not None
    match = shape.match(head)
    assert match is not None
    headers = Headers(match, shape.index)
    assert dict(headers) == {"host": "a", "x-amz-target": "b", "content-length": "3"}
    assert len(headers) == 3
    assert [headers.get(name) for name in ("X-Amz-Target", "x-Amz-Target", "HOST", "c")] == ["b", "b", "a", None]
    assert "B" not in headers


def test_a_shape_is_that_of_the_whole_head() -> None:
    """Not of one with a line more, a line less, other names or another order; and none is that of no head."""
    lines = [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 3", b"Connection: Keep-Alive", b"", b""]
    head = b"\r\n".join(lines)
    shape = Shapes().find(names_of(head))
    assert shape is not None
    assert shape.match(head + b"abc") is not None
    others = [lines[:2] + lines[3:], [*lines[:2], b"X: y", *lines[2:]], [lines[0], lines[2], lines[1], *lines[3:]]]
    others += [[*lines[:3], b"Connection: close", b"", b""], [b"POST /a HTTP/1.1", *lines[1:]], [lines[0], b"", b""]]
    others += [[line.lower() for line in lines], [lines[0], b"Host: a\nX: y", *lines[2:]]]
    for other in others:
        assert shape.match(b"\r\n".join(other)) is None, other
    assert NO_SHAPE.match(head) is None


@pytest.mark.parametrize(
    "names",
    [
        (b"Host",),
        (b"Content-Length",),
        (b"Host", b"host", b"Content-Length"),
        (b"Host", b"Content-Length", b"Transfer-Encoding"),
        (b"Host", b"Content-Length", b"expect"),
        (b"Host", b"Content-Length", b"caf\xc3\xa9"),
        (b"Host", b"Content-Length", b"x" * 1024),
        (b"Host", b"Content-Length", *(b"x%d" % number for number in range(63))),
    ],
)
def test_names_that_are_not_plain_make_no_shape(names: tuple[bytes, ...]) -> None:
    """What is missing, twice, unusual, or too much."""
    assert Shapes().find(names) is None


def test_shapes_are_bounded_and_those_that_are_known_stay() -> None:
    """Whoever sends other names in each request neither makes the proxy work for long nor takes from anybody else."""
    shapes = Shapes()
    known = shapes.find(names_of(PLAIN))
    found = [shapes.find((b"Host", b"Content-Length", b"x-%d" % number)) for number in range(300)]
    assert sum(shape is not None for shape in found) == 255
    assert found[-1] is None
    assert known is not None
    assert shapes.find(names_of(PLAIN)) is known


def test_client_of_a_kind_for_which_there_is_no_room_goes_to_aiohttp() -> None:
    """It is served there; one of a known kind is served here as before."""
    bench = Bench()
    bench.send(PLAIN)
    bench.answer()
    for number in range(300):
        bench.shapes.find((b"Host", b"Content-Length", b"x-%d" % number))
    bench.send(PLAIN)
    bench.answer(-1)
    assert len(bench.requests) == 2
    stranger = PLAIN.replace(b"host: ", b"X-Other: y\r\nhost: ")
    bench.send(stranger)
    assert bench.successor is not None
    assert b"".join(bench.successor.pieces) == stranger


def test_what_the_parser_ends_elsewhere_than_the_announced_length_goes_to_aiohttp() -> None:
    """Two readings of one request: there is only one that may serve it."""
    bench = Bench()
    bench.connection._ends.on_message_complete()
    bench.send(PLAIN)
    assert bench.successor is not None
    assert b"".join(bench.successor.pieces) == PLAIN
    assert not bench.requests
