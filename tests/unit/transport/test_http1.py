"""The transport over real sockets, on both event loops: bodies, limits, malformed requests, draining, faults."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from structlog.testing import capture_logs

from proxy.kinesis.http import AbortConnection, Reply, Request
from proxy.transport.http1 import Http1Connection
from proxy.transport.limits import HttpLimits
from proxy.transport.server import HttpServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    Run = Callable[[Coroutine[Any, Any, None]], None]

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
PING = HEAD + b"Content-Length: 4\r\n\r\nping"


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on one of the loops that the proxy may find itself on."""
    loop_factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run_on_loop(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(main, 20))

    return run_on_loop


async def echo(request: Request) -> Reply:
    """Answer with method, target and body."""
    return Reply(200, f"{request.method} {request.target} ".encode() + request.body, {"X-Echo": "yes"})


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)

    async def answer(self, *, bodiless: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Read one answer."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        length = 0 if bodiless else int(headers.get("content-length", 0))
        return int(head[0].split(" ")[1]), headers, await self.reader.readexactly(length)

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request and read its answer."""
        self.send(data)
        return await self.answer()

    async def closed(self) -> bool:
        """Wait for the other side's end; tell whether it came without another byte."""
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True


async def until(condition: Callable[[], bool]) -> None:
    """Wait for the server to have noticed something."""
    while not condition():  # noqa: ASYNC110 - the server tells nobody when it notices
        await asyncio.sleep(0.001)


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Coroutine[Any, Any, Reply]] = echo,
    **limits: Any,  # noqa: ANN401 - of HttpLimits
) -> AsyncIterator[HttpServer]:
    """Run a server for the time of a block."""
    server = HttpServer(handler, HttpLimits(**{"request_bytes_max": 1000, "linger_seconds": 0.05, **limits}))
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close(1)


@asynccontextmanager
async def connected(server: HttpServer) -> AsyncIterator[Client]:
    """Open a connection for the time of a block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


def test_answer_has_the_headers_of_http(run: Run) -> None:
    """Content-Length and Date, what the handler said, and nothing of the server's own."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            status, headers, body = await client.ask(PING)
            assert (status, body) == (200, b"POST / ping")
            assert headers.keys() == {"content-length", "date", "x-echo"}
            assert headers["date"].endswith(" GMT")

    run(main())


def test_connection_stays_open_for_the_next_request(run: Run) -> None:
    """One connection, many requests, also sent ahead of their answers, answered in their order."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            for _ in range(3):
                assert (await client.ask(PING))[0] == 200
            client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(5)))
            assert [(await client.answer())[2] for _ in range(5)] == [b"GET /%d " % n for n in range(5)]
            assert server.connections == 1

    run(main())


def test_body_may_arrive_in_pieces_or_chunks(run: Run) -> None:
    """However the network cuts it."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            client.send(HEAD + b"Content-Length: 10\r\n\r\nhello")
            await asyncio.sleep(0.01)
            client.send(b"world")
            assert (await client.answer())[2] == b"POST / helloworld"
            chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            assert (await client.ask(chunked))[2] == b"POST / hello"

    run(main())


def test_compressed_body_is_left_as_it_is(run: Run) -> None:
    """A signature covers the bytes that were sent."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            assert (await client.ask(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8bxx"))[2][
                -4:
            ] == b"\x1f\x8bxx"

    run(main())


def test_expectation_of_continue_is_met_at_once(run: Run) -> None:
    """The C++ SDK waits a second for it on every request."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            for _ in range(2):
                client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
                assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                assert (await client.ask(b"ping"))[2] == b"POST / ping"

    run(main())


def test_expectation_in_http_1_0_is_passed_over(run: Run) -> None:
    """It has come through an intermediary that takes the first answer for the only one."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            client.send(HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            await until(lambda: server.requests_in_progress == 1)
            assert (await client.ask(b"ping"))[::2] == (200, b"POST / ping")

    run(main())


def test_head_is_answered_without_a_body(run: Run) -> None:
    """But with the body's length."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.answer(bodiless=True))[1]["content-length"] == "7"
            assert (await client.ask(PING))[2] == b"POST / ping"

    run(main())


def test_http_1_0_is_closed_unless_it_asks_otherwise(run: Run) -> None:
    """Its default is the other way round."""

    async def main() -> None:
        async with serving() as server:
            async with connected(server) as client:
                _, headers, _ = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
                assert headers["connection"] == "close"
                assert await client.closed()
            async with connected(server) as client:
                for _ in range(2):
                    _, headers, _ = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    assert headers["connection"] == "keep-alive"

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1001\r\n\r\n" + b"x" * 1001,
        b"Transfer-Encoding: chunked\r\n\r\n3E9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
    ],
)
def test_body_over_the_limit_is_refused_and_the_connection_lives(run: Run, body: bytes) -> None:
    """With a 400 that names the limit; the handler never sees it."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            status, headers, answer = await client.ask(HEAD + b"Content-Type: application/x-amz-json-1.1\r\n" + body)
            assert status == 400
            assert headers["x-amzn-errortype"] == "InvalidArgumentException"
            assert json.loads(answer) == {
                "__type": "InvalidArgumentException",
                "message": "The request's body exceeds 1000 bytes, the most that the proxy takes (request_bytes_max).",
            }
            assert (await client.ask(PING))[2] == b"POST / ping"

    run(main())


def test_body_at_the_limit_is_taken(run: Run) -> None:
    """The limit itself is within."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            status, _, answer = await client.ask(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)
            assert (status, len(answer)) == (200, 1007)

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1000000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + (b"64\r\n" + b"x" * 100 + b"\r\n") * 21,
    ],
)
def test_body_of_more_than_twice_the_limit_costs_the_connection(run: Run, body: bytes) -> None:
    """It is not read to its end, however much is announced or sent."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            status, headers, _ = await client.ask(HEAD + body)
            assert (status, headers["connection"]) == (400, "close")
            assert await client.closed()

    run(main())


def test_body_that_does_not_arrive_in_time_costs_the_connection(run: Run) -> None:
    """A client that stops sending holds nothing for long."""

    async def main() -> None:
        async with serving(body_seconds=0.05) as server, connected(server) as client:
            status, headers, _ = await client.ask(HEAD + b"Content-Length: 4\r\n\r\npi")
            assert (status, headers["connection"]) == (408, "close")
            assert await client.closed()

    run(main())


def test_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(run: Run) -> None:
    """No request in progress, no connection, no log."""

    async def main() -> None:
        async with serving() as server:
            async with connected(server) as client:
                client.send(HEAD + b"Content-Length: 4\r\n\r\npi")
                await until(lambda: server.requests_in_progress > 0)
            await until(lambda: server.requests_in_progress + server.connections == 0)

    with capture_logs() as logs:
        run(main())
    assert not logs


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nping",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
        HEAD + b"X: " + b"x" * 10_000 + b"\r\n\r\n",
        HEAD + b"X: y\r\n" * 1000 + b"\r\n",
    ],
)
def test_malformed_request_costs_its_connection_alone(run: Run, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It is refused with a 400, counted, and not told as an error, for anybody can send it."""

    async def main() -> None:
        async with serving() as server, connected(server) as neighbour:
            assert (await neighbour.ask(PING))[0] == 200
            async with connected(server) as client:
                client.send(data)
                assert (await client.reader.readline()).split()[1] == b"400"
                await client.reader.read()
            assert server.malformed_requests == 1
            assert (await neighbour.ask(PING))[0] == 200

    with caplog.at_level("INFO"):
        run(main())
    assert not caplog.records


def test_failure_of_the_handler_is_a_bare_500(run: Run) -> None:
    """It is logged, and the client learns nothing of it."""

    async def fail(request: Request) -> Reply:
        raise RuntimeError(request.target)

    async def main() -> None:
        async with serving(fail) as server, connected(server) as client:
            assert (await client.ask(PING))[::2] == (500, b"")

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["handler_failed"]


def test_header_with_a_line_break_is_never_sent(run: Run) -> None:
    """A reply cannot be made to look like two."""

    async def split(request: Request) -> Reply:
        del request
        return Reply(200, b"", {"X": "a\r\nSet-Cookie: b"})

    async def main() -> None:
        async with serving(split) as server, connected(server) as client:
            status, headers, _ = await client.ask(PING)
            assert (status, "set-cookie" in headers) == (500, False)

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["reply_cannot_be_sent"]


def test_status_without_a_name_is_passed_on(run: Run) -> None:
    """An upstream may answer with any."""

    async def odd(request: Request) -> Reply:
        del request
        return Reply(499, b"")

    async def main() -> None:
        async with serving(odd) as server, connected(server) as client:
            assert (await client.ask(PING))[0] == 499

    run(main())


def test_order_to_abort_resets_the_connection(run: Run) -> None:
    """The client sees a reset, not an orderly end."""

    async def abort(request: Request) -> Reply:
        raise AbortConnection(request)

    async def main() -> None:
        async with serving(abort) as server:
            async with connected(server) as client:
                client.send(PING)
                with pytest.raises(ConnectionResetError):
                    await client.reader.read()
            await until(lambda: server.connections == 0)

    run(main())


def test_paced_answer_arrives_slowly_and_whole(run: Run) -> None:
    """In pieces, of which the first is not the last."""

    async def paced(request: Request) -> Reply:
        del request
        return Reply(200, b"x" * 100, {}, pace_bytes_per_second=1000)

    async def main() -> None:
        async with serving(paced) as server, connected(server) as client:
            client.send(PING)
            await client.reader.readuntil(b"\r\n\r\n")
            pieces: list[bytes] = []
            while len(b"".join(pieces)) < 100:
                pieces.append(await client.reader.read(100))
            assert b"".join(pieces) == b"x" * 100
            assert len(pieces) > 1
            assert (await client.ask(PING))[0] == 200

    run(main())


def test_client_that_does_not_read_is_not_served_ahead(run: Run) -> None:
    """Answers wait in the kernel's buffers, and requests in the client's, not in our memory."""
    answered = 0

    async def large(request: Request) -> Reply:
        nonlocal answered
        answered += 1
        return Reply(200, request.target.encode() + b"x" * 8192)

    async def main() -> None:
        async with serving(large) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.setblocking(False)  # noqa: FBT003 - the standard library's signature
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, ("127.0.0.1", server.port))
                sending = asyncio.ensure_future(loop.sock_sendall(client, PING * 4000))
                before = -1
                while before != answered or not answered:
                    before = answered
                    await asyncio.sleep(0.1)
                assert answered < 4000
                sending.cancel()

    run(main())


def test_connection_beyond_the_bound_is_closed_at_once(run: Run) -> None:
    """The others are not disturbed, and a place that becomes free is given away again."""

    async def main() -> None:
        async with serving(connections_max=1) as server:
            async with connected(server) as first:
                assert (await first.ask(PING))[0] == 200
                async with connected(server) as second:
                    assert await second.closed()
                assert (await first.ask(PING))[0] == 200
                assert server.connections_refused == 1
            await until(lambda: server.connections == 0)
            async with connected(server) as third:
                assert (await third.ask(PING))[0] == 200

    run(main())


def test_drain_answers_what_comes_and_asks_to_close(run: Run) -> None:
    """No new connections; a request on an open one is answered, and its connection closed."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            assert "connection" not in (await client.ask(PING))[1]
            await server.stop_listening()
            with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the loop has it
                await asyncio.open_connection("127.0.0.1", server.port)
            status, headers, _ = await client.ask(PING)
            assert (status, headers["connection"]) == (200, "close")
            assert await client.closed()

    run(main())


def test_close_waits_for_requests_in_progress(run: Run) -> None:
    """Their answers arrive before the connection ends."""

    async def main() -> None:
        release = asyncio.Event()

        async def wait(request: Request) -> Reply:
            await release.wait()
            return await echo(request)

        async with serving(wait) as server, connected(server) as client:
            client.send(PING)
            await until(lambda: server.requests_in_progress > 0)
            closing = asyncio.ensure_future(server.close(10))
            await asyncio.sleep(0.01)
            assert not closing.done()
            release.set()
            status, headers, body = await client.answer()
            assert (status, headers["connection"], body) == (200, "close", b"POST / ping")
            assert await client.closed()
            await closing
            assert (server.requests_in_progress, server.connections) == (0, 0)

    run(main())


def test_close_does_not_wait_for_ever(run: Run) -> None:
    """A request that is not answered in time is given up, and told in the log."""

    async def main() -> None:
        async def hang(request: Request) -> Reply:
            await asyncio.Event().wait()
            return await echo(request)

        async with serving(hang) as server, connected(server) as client:
            client.send(PING)
            await until(lambda: server.requests_in_progress > 0)
            await server.close(0.01)
            assert await client.closed()

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["requests_abandoned"]


def test_close_ends_idle_connections(run: Run) -> None:
    """Whether they ever asked something or not."""

    async def main() -> None:
        async with serving() as server, connected(server) as used, connected(server) as fresh:
            await used.ask(PING)
            await until(lambda: server.connections == 2)
            await server.close(1)
            assert await used.closed()
            assert await fresh.closed()

    run(main())


def test_idle_connection_is_closed_after_its_time(run: Run) -> None:
    """A connection is not kept for ever."""

    async def main() -> None:
        async with serving(idle_seconds=0.05) as server, connected(server) as client:
            await client.ask(PING)
            assert await client.closed()

    run(main())


def test_answers_are_not_held_back_by_the_kernel(run: Run) -> None:
    """TCP_NODELAY is on."""
    options = []

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            await client.ask(PING)
            (protocol,) = server._connections
            assert isinstance(protocol, Http1Connection)
            assert protocol.transport is not None
            accepted = protocol.transport.get_extra_info("socket")
            options.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    run(main())
    assert options == [1]
