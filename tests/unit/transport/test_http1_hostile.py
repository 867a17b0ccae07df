"""What HTTP/1.1 must not let pass, over raw sockets on both event loops: smuggled, slow, endless and untaken bytes."""

from __future__ import annotations

import asyncio
import gc
import http.client
import io
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs

from proxy.kinesis.http import Reply, Request
from proxy.transport.exchanges import Exchanges
from proxy.transport.http1 import Http1Server
from proxy.transport.limits import HttpLimits
from tests.fuzz.http1_bytes import SwitchingTransport
from tests.unit.transport.transport_clients import connected, echo, serving, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.transport.server import HttpServer
    from tests.unit.transport.transport_clients import Run

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PING = HEAD + b"Content-Length: 4\r\n\r\nping"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

AMBIGUOUS = {
    "line ends in LF": b"POST / HTTP/1.1\nHost: x\nContent-Length: 4\n\nping",
    "one line ends in LF": b"POST / HTTP/1.1\r\nHost: x\nContent-Length: 4\r\n\r\nping",
    "head ends in LF": HEAD + b"Content-Length: 4\r\n\nping",
    "CR in a value": HEAD + b"X: a\rb\r\nContent-Length: 4\r\n\r\nping",
    "CR before a header": HEAD + b"X: a\rContent-Length: 4\r\n\r\nping",
    "folded header": HEAD + b"X: a\r\n b\r\nContent-Length: 4\r\n\r\nping",
    "folded length": HEAD + b"Content-Length:\r\n 4\r\n\r\nping",
    "folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "folded first header": b"POST / HTTP/1.1\r\n Host: x\r\nContent-Length: 4\r\n\r\nping",
    "space before the colon": HEAD + b"Content-Length : 4\r\n\r\nping",
    "tab before the colon": HEAD + b"Content-Length\t: 4\r\n\r\nping",
    "length twice": HEAD + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nping",
    "two lengths": HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nping",
    "list of lengths": HEAD + b"Content-Length: 4, 4\r\n\r\nping",
    "signed length": HEAD + b"Content-Length: +4\r\n\r\nping",
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "hexadecimal length": HEAD + b"Content-Length: 0x4\r\n\r\nping",
    "endless length": HEAD + b"Content-Length: 18446744073709551620\r\n\r\nping",
    "no length": HEAD + b"Content-Length:\r\n\r\nping",
    "length and coding": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "no coding": HEAD + b"Transfer-Encoding:\r\n\r\n",
    "no coding and a length": HEAD + b"Transfer-Encoding:\r\nContent-Length: 4\r\n\r\nping",
    "identity": HEAD + b"Transfer-Encoding: identity\r\n\r\nping",
    "identity and length": HEAD + b"Transfer-Encoding: identity\r\nContent-Length: 4\r\n\r\nping",
    "identity, chunked": HEAD + b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "gzip and chunked": HEAD + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "nearly chunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked after a tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no coding in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n",
    "chunk's size ends in LF": CHUNKED + b"4\nping\r\n0\r\n\r\n",
    "chunk ends in LF": CHUNKED + b"4\r\nping\n0\r\n\r\n",
    "chunk's extension ends in LF": CHUNKED + b"4;a\nping\r\n0\r\n\r\n",
    "CR in a chunk's extension": CHUNKED + b"4;a\rx\r\nping\r\n0\r\n\r\n",
    "space after a chunk's size": CHUNKED + b"4 \r\nping\r\n0\r\n\r\n",
    "signed chunk": CHUNKED + b"+4\r\nping\r\n0\r\n\r\n",
    "hexadecimal prefix": CHUNKED + b"0x4\r\nping\r\n0\r\n\r\n",
    "endless chunk": CHUNKED + b"10000000000000004\r\nping\r\n0\r\n\r\n",
    "chunk too long": CHUNKED + b"4\r\npingX\r\n0\r\n\r\n",
    "length in a trailer": CHUNKED + b"4\r\nping\r\n0\r\nContent-Length: 50\r\n\r\n",
    "no host": b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nping",
    "two hosts": HEAD + b"Host: y\r\nContent-Length: 4\r\n\r\nping",
    "no name": HEAD + b": y\r\nContent-Length: 4\r\n\r\nping",
    "no colon": HEAD + b"garbage\r\nContent-Length: 4\r\n\r\nping",
    "space in a name": HEAD + b"X Y: a\r\nContent-Length: 4\r\n\r\nping",
    "NUL in a name": HEAD + b"X\x00Y: a\r\nContent-Length: 4\r\n\r\nping",
    "NUL in a value": HEAD + b"X: \x00\r\nContent-Length: 4\r\n\r\nping",
    "space in the target": b"POST /a b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nping",
    "CR in the target": b"POST /\rx HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nping",
    "HTTP/0.9": b"GET /\r\n",
    "HTTP/1.2": b"POST / HTTP/1.2\r\nHost: x\r\nContent-Length: 4\r\n\r\nping",
    "HTTP/2.0": b"POST / HTTP/2.0\r\nHost: x\r\nContent-Length: 4\r\n\r\nping",
    "part of a preface": b"PRI * HTTP/2.0\r\n\r\n",
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_could_be_read_in_two_ways_is_closed(run: Run, name: str) -> None:
    """With a 400, and nothing that comes after it is read as a request, in whatever pieces it comes."""
    seen: list[Request] = []

    async def note(request: Request) -> Reply:
        seen.append(request)
        return await echo(request)

    async def main() -> None:
        data = AMBIGUOUS[name]
        async with serving(note) as server:
            for pieces in ([data + LAST], [data, LAST], [data[:1], data[1:-1], data[-1:] + LAST]):
                async with connected(server) as client:
                    for piece in pieces:
                        if not client.writer.is_closing():
                            client.send(piece)
                            await asyncio.sleep(0.001)
                    answer = await client.read_to_end()
                    # bytes sent to a connection that is closed already may cost its sender the answer
                    assert answer.startswith(b"HTTP/1.1 400 ") or (not answer and len(pieces) > 1)
                    assert answer.count(b"HTTP/1.1") <= 1
            assert server.malformed_requests == 3
        assert not seen

    with capture_logs() as logs:
        run(main())
    assert not logs


@pytest.mark.parametrize(
    "request_bytes",
    [
        HEAD + b"Content-Length: 4 \r\n\r\nping",
        HEAD + b"Content-Length: 0004\r\n\r\nping",
        HEAD + b"X: a\xffb\r\nContent-Length: 4\r\n\r\nping",
        b"\r\n" + PING,
        HEAD + b"Transfer-Encoding: CHUNKED\r\n\r\n4;a=b\r\nping\r\n0\r\nX: y\r\n\r\n",
    ],
)
def test_what_is_only_unusual_is_served(run: Run, request_bytes: bytes) -> None:
    """RFC 9112 allows it, and it can be read in one way."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            client.send(request_bytes + LAST)
            answer = await client.read_to_end()
            assert b"POST / ping" in answer
            assert b"GET /last " in answer

    run(main())


def test_pipelined_requests_are_answered_in_order_however_they_are_cut(run: Run) -> None:
    """At every byte, over real sockets."""
    data = PING + CHUNKED + b"4\r\npong\r\n0\r\n\r\n" + PING + LAST

    async def main() -> None:
        async with serving() as server:
            for position in range(1, len(data)):
                async with connected(server) as client:
                    client.send(data[:position])
                    await asyncio.sleep(0.0005)
                    client.send(data[position:])
                    answers = bodies_of(await client.read_to_end(), 4)
                    assert answers == [b"POST / ping", b"POST / pong", b"POST / ping", b"GET /last "]

    run(main())


def bodies_of(data: bytes, count: int) -> list[bytes]:
    """Return the bodies of answers that came one after the other."""

    class Socket:
        def makefile(self, *_: object) -> io.BytesIO:
            return stream

    stream = io.BytesIO(data)
    stream.close = lambda: None  # type: ignore[method-assign]
    bodies = []
    for _ in range(count):
        response = http.client.HTTPResponse(cast("Any", Socket()))
        response.begin()
        bodies.append(response.read())
    return bodies


@pytest.mark.parametrize("beginning", [b"POST / HT", HEAD, PING + HEAD])
def test_head_that_does_not_come_costs_its_connection(run: Run, beginning: bytes) -> None:
    """After the time that headers may take, which is less than the time of an idle connection."""

    async def main() -> None:
        async with serving(header_seconds=0.2, idle_seconds=30) as server, connected(server) as client:
            client.send(beginning)
            await until(lambda: server.connections == 1)
            for _ in range(3):
                # a byte now and then does not help
                await asyncio.sleep(0.02)
                client.send(b"a")
            await client.read_to_end()
            await until(lambda: server.connections == 0)

    run(main())


def test_head_has_its_time_for_each_request(run: Run) -> None:
    """A connection whose requests are all slow, but not too slow, lives."""

    async def main() -> None:
        async with serving(header_seconds=0.3) as server, connected(server) as client:
            for _ in range(5):
                client.send(HEAD)
                await asyncio.sleep(0.1)
                client.send(b"Content-Length: 4\r\n\r\nping")
                await client.reader.readuntil(b"POST / ping")

    run(main())


def test_headers_are_bounded_in_sum(run: Run) -> None:
    """Each may be within its own limit."""

    async def main() -> None:
        async with serving(header_bytes_max=10_000) as server:
            for size, status in ((9_000, b"200"), (11_000, b"400")):
                async with connected(server) as client:
                    client.send(HEAD)
                    for _ in range(size // 1000):
                        client.send(b"X: " + b"x" * 995 + b"\r\n")
                        await asyncio.sleep(0.001)
                    client.send(b"Connection: close\r\n\r\n")
                    assert (await client.read_to_end())[9:12] == status
            assert server.malformed_requests == 1

    run(main())


def test_body_does_not_count_as_headers(run: Run) -> None:
    """However large it is, and however it is cut."""
    body = b"x" * 300_000

    async def main() -> None:
        async with serving(request_bytes_max=len(body), header_bytes_max=1000) as server, connected(server) as client:
            for _ in range(2):
                client.send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await client.reader.readuntil(b"POST / ")
                assert await client.reader.readexactly(len(body)) == body

    run(main())


def test_rest_of_a_refused_body_does_not_count_as_headers(run: Run) -> None:
    """The client is still to read the answer."""

    async def main() -> None:
        async with serving(header_bytes_max=1000) as server, connected(server) as client:
            client.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
            for _ in range(20):
                client.send(b"x" * 1000)
                await asyncio.sleep(0.001)
            answer = await client.read_to_end()
            assert answer.count(b"HTTP/1.1") == 1
            assert b"InvalidArgumentException" in answer or b"Records size exceeds" in answer
            assert server.malformed_requests == 0

    run(main())


def test_bodies_are_bounded_in_sum(run: Run) -> None:
    """A body for which there is no room is refused with the error that every SDK tries again."""

    async def main() -> None:
        async with serving(bodies_bytes_max=1500) as server, connected(server) as one, connected(server) as two:
            one.send(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 900)
            await until(lambda: server._exchanges._bodies_bytes == 900)
            two.send(HEAD + b"Content-Type: application/x-amz-json-1.1\r\nContent-Length: 1000\r\n\r\n" + b"x" * 900)
            answer = await two.read_to_end()
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert b"ProvisionedThroughputExceededException" in answer
            one.send(b"x" * 100)
            await one.reader.readuntil(b"POST / " + b"x" * 1000)
            await until(lambda: server._exchanges._bodies_bytes == 0)

    run(main())


def test_large_answers_that_wait_to_be_taken_are_bounded_in_sum(run: Run) -> None:
    """Those that do not read hold no more of them than there may be; small ones, as a put's, are always given."""
    large = b"x" * 16 * 2**20  # more than the kernel's buffers take

    async def answer(request: Request) -> Reply:
        return Reply(200, large if request.body == b"ping" else b"small")

    async def main() -> None:
        async with serving(answer, bodies_bytes_max=len(large)) as server:
            async with connected(server) as idle:
                idle.send(PING)
                await until(lambda: server._exchanges._answers_bytes == len(large))
                async with connected(server) as other:
                    other.send(PING + LAST)
                    answers = await other.read_to_end()
                    assert answers.startswith(b"HTTP/1.1 400 ")
                    assert b"ProvisionedThroughputExceededException" in answers
                    assert answers.endswith(b"small")
            await until(lambda: server._exchanges._answers_bytes == 0)
            async with connected(server) as other:
                other.send(PING + LAST)
                assert large in await other.read_to_end()
            await until(lambda: server._exchanges._answers_bytes == 0)

    run(main())


@contextmanager
def no_more_is_held(than_bytes: int) -> Iterator[None]:
    """Check what a block leaves in memory before the garbage collector has looked for cycles."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[0] < than_bytes
    finally:
        tracemalloc.stop()
        gc.enable()


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 5000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n4c4b40\r\n"]
)
def test_body_of_a_client_that_left_is_not_kept(run: Run, framing: bytes) -> None:
    """Neither by the error that tells of its end, nor by what is told."""
    arrived = 4 * 2**20

    async def main() -> None:
        async with serving(request_bytes_max=2 * arrived) as server:
            await leave_in_the_middle(server)
            with no_more_is_held(arrived // 2):
                await leave_in_the_middle(server)

    async def leave_in_the_middle(server: HttpServer) -> None:
        async with connected(server) as client:
            client.send(HEAD + framing + b"x" * arrived)
            await until(lambda: server._exchanges._bodies_bytes == arrived)
        await until(lambda: server.requests_in_progress + server.connections == 0)

    run(main())


def test_answer_that_its_client_does_not_wait_for_is_not_kept(run: Run) -> None:
    """Nor what it was made of."""
    size_bytes = 16 * 2**20  # more than the kernel's buffers take

    async def answer(request: Request) -> Reply:
        del request
        return Reply(200, bytes(size_bytes))

    async def main() -> None:
        async with serving(answer) as server:
            await leave_in_the_middle(server)
            with no_more_is_held(size_bytes // 2):
                await leave_in_the_middle(server)

    async def leave_in_the_middle(server: HttpServer) -> None:
        async with connected(server) as client:
            client.send(PING)
            await until(lambda: server._exchanges._answers_bytes == size_bytes)
        await until(lambda: server._exchanges._answers_bytes + server.connections == 0)

    run(main())


@pytest.mark.parametrize("beginning", [b"", PING])
def test_what_follows_a_refusal_is_not_kept(beginning: bytes) -> None:
    """Neither at once nor while the refusal waits for other answers."""
    piece_bytes = 2**20

    async def main() -> None:
        limits = HttpLimits(request_bytes_max=1000)
        connection = Http1Server(Exchanges(echo, limits), limits, lambda _: None).connection(float("inf"))
        connection.connection_made(SwitchingTransport())  # type: ignore[arg-type]  # all of it that is used
        with no_more_is_held(2 * piece_bytes):
            connection.data_received(beginning + b"garbage\r\n\r\n")
            for _ in range(8):
                connection.data_received(bytes(piece_bytes))
            connection.connection_lost(None)

    asyncio.run(main())


def test_connection_in_its_old_age_is_asked_to_go(run: Run) -> None:
    """With its next answer, less a share of jitter before its time; a younger one is not."""

    async def main() -> None:
        async with serving(age_seconds=0.3) as server, connected(server) as client:
            client.send(PING)
            assert b"Connection: close" not in await client.reader.readuntil(b"POST / ping")
            await asyncio.sleep(0.4)
            client.send(PING)
            assert b"Connection: close" in await client.read_to_end()

    run(main())


def test_upgrade_is_declined_and_the_connection_closed(run: Run) -> None:
    """What its client sends next is no HTTP/1.1."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            client.send(HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nping" + LAST)
            answer = await client.read_to_end()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close" in answer
            assert answer.count(b"HTTP/1.1") == 1

    run(main())


def test_client_that_reads_nothing_is_cut_off(run: Run) -> None:
    """Once the kernel's buffers are full of what it was sent."""

    async def answer(request: Request) -> Reply:
        del request
        return Reply(200, b"x" * 30_000_000)

    async def main() -> None:
        async with serving(answer, body_seconds=0.2) as server, connected(server) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(PING)
            await until(lambda: server.connections == 1)
            await until(lambda: server.connections == 0)

    run(main())


def test_client_that_does_not_take_the_last_answer_is_cut_off(run: Run) -> None:
    """Although its connection is closed already."""

    async def answer(request: Request) -> Reply:
        del request
        return Reply(200, b"x" * 30_000_000)

    async def main() -> None:
        limits: dict[str, Any] = {"header_seconds": 0.1, "body_seconds": 0.1}
        async with serving(answer, **limits) as server, connected(server) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.send(LAST)
            await until(lambda: server.connections == 1)
            await until(lambda: server.connections == 0)

    run(main())


def test_half_sent_requests_disturb_nobody(run: Run) -> None:
    """A hundred slow senders, and one that is served at once."""

    async def main() -> None:
        async with serving(header_seconds=0.3, body_seconds=0.3) as server, connected(server) as good:
            slow = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(100)]
            for number, (_, writer) in enumerate(slow):
                writer.write(HEAD + (b"Content-Length: 4\r\n\r\npi" if number % 2 else b"X: "))
            await until(lambda: server.connections == 101)
            for _ in range(20):
                good.send(PING)
                await good.reader.readuntil(b"POST / ping")
            await until(lambda: server.connections == 1)
            for _, writer in slow:
                writer.transport.abort()

    run(main())
