"""HTTP/2 over real sockets, on both event loops: requests, both windows, faults of the handler, the ways to an end."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from h2.errors import ErrorCodes
from h2.events import DataReceived, PingAckReceived, ResponseReceived, StreamReset
from hyperframe.frame import ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from structlog.testing import capture_logs

from proxy.kinesis.http import AbortConnection, Reply, Request
from tests.unit.transport.transport_clients import (
    FakeTransport,
    FrameMaker,
    alone,
    connected,
    echo,
    serving,
    speaking_http2,
    until,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hyperframe.frame import Frame

    from proxy.transport.http2 import Http2Connection
    from tests.unit.transport.transport_clients import Run

HIGHEST = 2**31 - 1
WHOLE = ["END_HEADERS", "END_STREAM"]
PUT = [("content-type", "application/x-amz-json-1.1")]


async def goaway(frames: AsyncIterator[Frame]) -> GoAwayFrame:
    """Read up to the next GOAWAY."""
    async for frame in frames:
        if isinstance(frame, GoAwayFrame):
            return frame
    raise EOFError


class Gatekeeper:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.seen: list[bytes] = []

    async def __call__(self, request: Request) -> Reply:
        """Answer, once the gate is open."""
        self.seen.append(request.body)
        await self.opened.wait()
        return await echo(request)


def test_answer_has_the_headers_of_http(run: Run) -> None:
    """Lower-case names, Content-Length and Date, what the handler said, and nothing of a connection."""

    async def answer(request: Request) -> Reply:
        return Reply(200, request.body, {"X-Echo": "yes", "Connection": "close"})

    async def main() -> None:
        async with serving(answer) as server, speaking_http2(server) as client:
            status, headers, body = await client.ask(b"ping")
            assert (status, body) == (200, b"ping")
            assert headers.keys() == {"content-length", "date", "x-echo"}
            assert headers["date"].endswith(" GMT")

    run(main())


def test_requests_of_one_connection_are_answered_as_they_are_done(run: Run) -> None:
    """None waits for another."""

    async def main() -> None:
        first = asyncio.Event()

        async def answer(request: Request) -> Reply:
            if request.body == b"1":
                await first.wait()
            return await echo(request)

        async with serving(answer) as server, speaking_http2(server) as client:
            slow, fast = client.request(b"1"), client.request(b"2")
            assert (await client.answer(fast)).body == b"POST / 2"
            first.set()
            assert (await client.answer(slow)).body == b"POST / 1"
            for number in range(5):
                assert (await client.ask(b"%d" % number)).body == b"POST / %d" % number
            assert (server.connections, server.requests_in_progress) == (1, 0)

    run(main())


def test_request_without_a_body_is_answered(run: Run) -> None:
    """Its headers are all of it."""

    async def main() -> None:
        async with serving() as server, speaking_http2(server) as client:
            assert (await client.ask()).body == b"POST / "

    run(main())


def test_head_is_answered_without_a_body(run: Run) -> None:
    """But with the body's length."""

    async def main() -> None:
        frames = FrameMaker()
        head = frames.headers(
            1,
            [(":method", "HEAD"), (":path", "/"), (":scheme", "http"), (":authority", "a")],
            WHOLE,
        )
        async with serving() as server, connected(server) as client:
            client.send(frames.beginning())
            client.send_frames(head)
            async for frame in client.frames():
                if isinstance(frame, HeadersFrame):
                    assert "END_STREAM" in frame.flags
                    break

    run(main())


def test_trailers_are_passed_over(run: Run) -> None:
    """The body ends with them."""

    async def main() -> None:
        async with serving() as server, speaking_http2(server) as client:
            stream_id = client.request(b"ping", end=False)
            client.engine.send_headers(stream_id, [("x-checksum", "1")], end_stream=True)
            client.flush()
            assert (await client.answer(stream_id)).body == b"POST / ping"

    run(main())


def test_expectation_of_continue_is_met_at_once(run: Run) -> None:
    """A client that waits for it sends no body before."""

    async def main() -> None:
        async with serving() as server, speaking_http2(server) as client:
            stream_id = client.request(fields=[("expect", "100-continue")], end=False)
            await client.was_told_to_continue()
            client.engine.send_data(stream_id, b"ping", end_stream=True)
            client.flush()
            assert (await client.answer(stream_id)).body == b"POST / ping"

    run(main())


def test_ping_is_answered(run: Run) -> None:
    """Java's client takes a connection for dead otherwise."""

    async def main() -> None:
        async with serving() as server, speaking_http2(server) as client:
            client.engine.ping(b"12345678")
            client.flush()
            await client.wait_for(lambda event: isinstance(event, PingAckReceived) and event.ping_data == b"12345678")

    run(main())


def test_body_larger_than_the_windows_arrives(run: Run) -> None:
    """Room is given again as it is read."""
    body = bytes(range(256)) * 40_000

    async def main() -> None:
        async with serving(request_bytes_max=len(body)) as server, speaking_http2(server) as client:
            stream_id = client.request(end=False)
            sent = 0
            while sent < len(body):
                room = min(client.engine.local_flow_control_window(stream_id), client.engine.max_outbound_frame_size)
                if room:
                    client.engine.send_data(stream_id, body[sent : sent + room])
                    sent += room
                    client.flush()
                else:
                    await client.receive()
            client.engine.end_stream(stream_id)
            client.flush()
            answer = await client.answer(stream_id)
            assert answer.body == b"POST / " + body

    run(main())


@pytest.mark.parametrize("window_bytes", [1, 100, 40_000])
def test_large_answer_waits_for_its_window(run: Run, window_bytes: int) -> None:
    """It comes as fast as the client makes room, and others are answered meanwhile."""
    size_bytes = 3 * window_bytes + 5

    async def answer(request: Request) -> Reply:
        return Reply(200, b"x" * size_bytes if request.body else b"")

    async def main() -> None:
        async with serving(answer) as server, speaking_http2(server, window_bytes=window_bytes) as client:
            stream_id = client.request(b"1")
            received = 0
            while received < size_bytes:
                expected = min(window_bytes, size_bytes - received)
                while (got := sum(len(e.data) for e in client.events if isinstance(e, DataReceived))) < (
                    received + expected
                ):
                    assert await client.receive()
                assert got == received + expected
                received = got
                assert (await client.ask()).status == 200
                client.engine.increment_flow_control_window(expected)
                if received < size_bytes:
                    client.engine.increment_flow_control_window(expected, stream_id)
                client.flush()
            assert len((await client.answer(stream_id)).body) == size_bytes

    run(main())


def test_client_may_widen_its_window_by_its_settings(run: Run) -> None:
    """Also for answers that are on their way."""

    async def answer(request: Request) -> Reply:
        return Reply(200, request.body * 10)

    async def main() -> None:
        async with serving(answer) as server, speaking_http2(server, window_bytes=10) as client:
            stream_id = client.request(b"0123456789")
            await client.wait_for(lambda event: isinstance(event, DataReceived))
            client.engine.update_settings({SettingsFrame.INITIAL_WINDOW_SIZE: 1000})
            client.flush()
            assert len((await client.answer(stream_id)).body) == 100

    run(main())


def test_paced_answer_arrives_slowly_and_whole(run: Run) -> None:
    """In pieces, of which the first is not the last."""

    async def paced(request: Request) -> Reply:
        del request
        return Reply(200, b"x" * 100, {}, pace_bytes_per_second=1000)

    async def main() -> None:
        async with serving(paced) as server, speaking_http2(server) as client:
            assert (await client.ask()).body == b"x" * 100
            assert sum(isinstance(event, DataReceived) for event in client.events) == 2

    run(main())


@pytest.mark.parametrize("announced", [True, False])
def test_body_over_the_limit_is_refused_and_the_connection_lives(run: Run, *, announced: bool) -> None:
    """With a 400 that names the limit; the handler never sees it."""

    async def main() -> None:
        async with serving(request_bytes_max=1000) as server, speaking_http2(server) as client:
            fields = [*PUT, ("content-length", "1001")] if announced else PUT
            status, headers, body = await client.ask(b"x" * 1001, fields)
            assert status == 400
            assert headers["x-amzn-errortype"] == "InvalidArgumentException"
            assert json.loads(body) == {
                "__type": "InvalidArgumentException",
                "message": "The request's body exceeds 1000 bytes, the most that the proxy takes (request_bytes_max).",
            }
            assert (await client.ask(b"x" * 1000)).body == b"POST / " + b"x" * 1000

    run(main())


@pytest.mark.parametrize("announced", [True, False])
def test_body_of_more_than_twice_the_limit_is_not_waited_for(run: Run, *, announced: bool) -> None:
    """It is refused before its end, the client is told to stop, and the connection lives."""

    async def main() -> None:
        async with serving(request_bytes_max=1000) as server, speaking_http2(server) as client:
            fields = [*PUT, ("content-length", "1000000")] if announced else PUT
            stream_id = client.request(b"" if announced else b"x" * 2001, fields, end=False)
            answer = await client.answer(stream_id)
            assert (answer.status, answer.headers["x-amzn-errortype"]) == (400, "InvalidArgumentException")
            reset = await client.wait_for(lambda event: isinstance(event, StreamReset))
            assert isinstance(reset, StreamReset)
            assert (reset.stream_id, reset.error_code) == (stream_id, ErrorCodes.NO_ERROR)
            assert (await client.ask(b"ping")).status == 200
            assert server.requests_in_progress == 0

    run(main())


def test_bodies_are_bounded_in_sum(run: Run) -> None:
    """A body for which there is no room is refused with the error that every SDK tries again."""

    async def main() -> None:
        async with (
            serving(request_bytes_max=10_000, bodies_bytes_max=15_000) as server,
            speaking_http2(server) as one,
            speaking_http2(server) as two,
        ):
            held = one.request(b"x" * 9000, end=False)
            await until(lambda: server.requests_in_progress == 1)
            status, headers, _ = await two.ask(b"x" * 7000, PUT)
            assert (status, headers["x-amzn-errortype"]) == (400, "ProvisionedThroughputExceededException")
            assert (await two.ask(b"x" * 4000)).status == 200
            one.engine.end_stream(held)
            one.flush()
            assert (await one.answer(held)).status == 200
            assert (await two.ask(b"x" * 10_000)).status == 200

    run(main())


def test_fields_count_as_bodies_do(run: Run) -> None:
    """A client repeats one that it has sent in a byte, and here it is as large as before."""
    fields = [(f"x-{number}", "y" * 200) for number in range(10)]

    async def main() -> None:
        async with serving(bodies_bytes_max=10_000) as server, speaking_http2(server) as client:
            held = [client.request(fields=fields, end=False) for _ in range(2)]
            status, headers, _ = await client.ask(fields=[*PUT, *fields])
            assert (status, headers["x-amzn-errortype"]) == (400, "ProvisionedThroughputExceededException")
            assert (await client.ask()).status == 200
            for stream_id in held:
                client.engine.end_stream(stream_id)
            client.flush()
            assert [(await client.answer(stream_id)).status for stream_id in held] == [200, 200]
            assert (await client.ask(fields=fields)).status == 200
        await until(lambda: server._exchanges._bodies_bytes == 0)

    run(main())


def test_failure_of_the_handler_is_a_bare_500(run: Run) -> None:
    """It is logged, and the client learns nothing of it."""

    async def fail(request: Request) -> Reply:
        raise RuntimeError(request.target)

    async def main() -> None:
        async with serving(fail) as server, speaking_http2(server) as client:
            answer = await client.ask(b"ping")
            assert (answer.status, answer.body) == (500, b"")

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["handler_failed"]


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: b", "a\0", "\u20ac"])
def test_header_that_cannot_be_sent_is_not(run: Run, value: str) -> None:
    """The client gets a 500 in its place, and the connection lives."""

    async def split(request: Request) -> Reply:
        return Reply(200, b"", {"X": value} if request.body else {})

    async def main() -> None:
        async with serving(split) as server, speaking_http2(server) as client:
            answer = await client.ask(b"ping")
            assert (answer.status, sorted(answer.headers)) == (500, ["content-length", "date"])
            assert (await client.ask()).status == 200

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["reply_cannot_be_sent"]


def test_order_to_abort_resets_the_connection(run: Run) -> None:
    """The client sees a reset, not an orderly end."""

    async def abort(request: Request) -> Reply:
        raise AbortConnection(request)

    async def main() -> None:
        async with serving(abort) as server, connected(server) as client:
            frames = FrameMaker()
            client.send(frames.beginning())
            client.send_frames(frames.headers(1, flags=WHOLE))
            await anext(client.frames())
            with pytest.raises(ConnectionResetError):
                await client.reader.readuntil(b"never sent")
            await until(lambda: server.connections + server.requests_in_progress == 0)

    run(main())


def test_request_that_its_client_resets_counts_until_its_handler_is_done(run: Run) -> None:
    """The handler decides what is still worth doing; the answer goes nowhere."""

    async def main() -> None:
        gate = Gatekeeper()
        async with serving(gate, streams_max=2) as server, speaking_http2(server) as client:
            stream_id = client.request(b"lost")
            await until(lambda: gate.seen == [b"lost"])
            client.engine.reset_stream(stream_id, ErrorCodes.CANCEL)
            kept, refused = client.request(b"kept"), client.request(b"refused")
            with pytest.raises(ConnectionAbortedError):
                await client.answer(refused)
            gate.opened.set()
            assert (await client.answer(kept)).body == b"POST / kept"
            await until(lambda: server.requests_in_progress == 0)
            assert not [event for event in client.events if getattr(event, "stream_id", 0) == stream_id]

    run(main())


def test_request_that_is_reset_before_its_end_is_forgotten(run: Run) -> None:
    """There is nothing to carry out."""

    async def main() -> None:
        gate = Gatekeeper()
        async with serving(gate) as server, speaking_http2(server) as client:
            stream_id = client.request(b"half", end=False)
            await until(lambda: server.requests_in_progress == 1)
            client.engine.reset_stream(stream_id)
            client.flush()
            await until(lambda: server.requests_in_progress == 0)
            assert not gate.seen

    run(main())


def test_client_that_leaves_leaves_nothing(run: Run) -> None:
    """What it asked for in full is its handler's to end; no connection, no body, no log stays."""

    async def main() -> None:
        gate = Gatekeeper()
        async with serving(gate) as server:
            async with speaking_http2(server) as client:
                client.request(b"whole")
                client.request(b"half", end=False)
                await until(lambda: server.requests_in_progress == 2 and gate.seen == [b"whole"])
            await until(lambda: server.connections == 0)
            assert server.requests_in_progress == 1
            gate.opened.set()
            await until(lambda: server.requests_in_progress == 0)
            assert server._exchanges._bodies_bytes == 0

    with capture_logs() as logs:
        run(main())
    assert not logs


def test_request_beyond_the_number_at_once_is_refused_alone(run: Run) -> None:
    """REFUSED_STREAM tells a client that it was not carried out; the others go on."""

    async def main() -> None:
        gate = Gatekeeper()
        frames = FrameMaker()
        async with serving(gate, streams_max=2) as server, connected(server) as client:
            client.send(frames.beginning())
            client.send_frames(*[frames.headers(n, flags=WHOLE) for n in (1, 3, 5, 7)])
            assert await client.resets(2) == [(5, ErrorCodes.REFUSED_STREAM), (7, ErrorCodes.REFUSED_STREAM)]
            assert len(gate.seen) == 2
            gate.opened.set()
            await until(lambda: server.requests_in_progress == 0)

    run(main())


def test_limits_are_told_to_the_client(run: Run) -> None:
    """In the first frame."""

    async def main() -> None:
        async with serving(streams_max=7, header_bytes_max=9000) as server, connected(server) as client:
            client.send(FrameMaker().beginning())
            settings = await anext(client.frames())
            assert isinstance(settings, SettingsFrame)
            assert settings.settings == {
                SettingsFrame.MAX_CONCURRENT_STREAMS: 7,
                SettingsFrame.INITIAL_WINDOW_SIZE: 1024 * 1024,
                SettingsFrame.MAX_FRAME_SIZE: 16_384,
                SettingsFrame.MAX_HEADER_LIST_SIZE: 9000,
            }

    run(main())


def test_goodbye_of_the_client_does_not_cost_it_its_answers(run: Run) -> None:
    """What it has asked is answered, and then the connection ends."""

    async def main() -> None:
        gate = Gatekeeper()
        frames = FrameMaker()
        async with serving(gate) as server, connected(server) as client:
            client.send(frames.beginning())
            client.send_frames(frames.headers(1, flags=WHOLE), GoAwayFrame(0))
            await until(lambda: len(gate.seen) == 1)
            gate.opened.set()
            body = b"".join([frame.data async for frame in client.frames() if isinstance(frame, DataFrame)])
            assert body == b"POST / "
            await until(lambda: server.connections == 0)

    run(main())


def test_drain_lets_clients_go_in_two_steps(run: Run) -> None:
    """A request that was on its way when the drain began is answered; the last GOAWAY names it."""

    async def main() -> None:
        gate = Gatekeeper()
        frames = FrameMaker()
        async with serving(gate) as server, connected(server) as client:
            client.send(frames.beginning())
            client.send_frames(frames.headers(1, flags=WHOLE))
            await until(lambda: len(gate.seen) == 1)
            await server.stop_listening()
            received = client.frames()
            assert (await goaway(received)).last_stream_id == HIGHEST
            client.send_frames(frames.headers(3, flags=WHOLE))
            last = await goaway(received)
            assert (last.last_stream_id, last.error_code) == (3, ErrorCodes.NO_ERROR)
            client.send_frames(frames.headers(5, flags=WHOLE))
            reset = await anext(received)
            assert isinstance(reset, RstStreamFrame)
            assert (reset.stream_id, reset.error_code) == (5, ErrorCodes.REFUSED_STREAM)
            gate.opened.set()
            ended = [frame.stream_id async for frame in received if isinstance(frame, DataFrame)]
            assert sorted(ended) == [1, 3]
            assert len(gate.seen) == 2
            await until(lambda: server.connections == 0)

    run(main())


def test_close_waits_for_requests_in_progress(run: Run) -> None:
    """Their answers arrive before the connection ends."""

    async def main() -> None:
        gate = Gatekeeper()
        frames = FrameMaker()
        async with serving(gate) as server, connected(server) as client:
            client.send(frames.beginning())
            client.send_frames(frames.headers(1, flags=WHOLE))
            await until(lambda: len(gate.seen) == 1)
            closing = asyncio.ensure_future(server.close(10))
            await asyncio.sleep(0.01)
            assert not closing.done()
            gate.opened.set()
            body = b"".join([frame.data async for frame in client.frames() if isinstance(frame, DataFrame)])
            assert body == b"POST / "
            await closing
            await until(lambda: server.connections == 0)

    run(main())


def test_close_does_not_wait_for_ever(run: Run) -> None:
    """A request that is not answered in time is given up, and told in the log."""

    async def main() -> None:
        gate = Gatekeeper()
        async with serving(gate) as server, speaking_http2(server) as client:
            client.request(b"ping")
            client.request(b"half", end=False)
            await until(lambda: len(gate.seen) == 1)
            await server.close(0.01)
            await client.goaway()
            await until(lambda: server.connections + server.requests_in_progress == 0)

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["requests_abandoned"]


def test_connection_in_its_old_age_is_asked_to_go(run: Run) -> None:
    """As by a drain, and no other connection is."""

    async def main() -> None:
        async with serving(age_seconds=0.1) as server, connected(server) as client:
            client.send(FrameMaker().beginning())
            assert await client.goaways() == [(HIGHEST, 0), (0, 0)]

    run(main())


def test_idle_connection_is_closed_after_its_time(run: Run) -> None:
    """PINGs are no reason to keep it."""

    async def main() -> None:
        async with serving(idle_seconds=0.2) as server, speaking_http2(server) as client:
            assert (await client.ask()).status == 200
            client.engine.ping(b"12345678")
            client.flush()
            assert (await client.goaway()).error_code == 0
            await until(lambda: server.connections == 0)

    run(main())


class EagerTransport(FakeTransport):
    """A client that begins another request in the moment in which it has an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.connection: Http2Connection | None = None
        self.answered = 0
        self.frames = FrameMaker()

    def write(self, data: Any) -> None:  # noqa: ANN401 - bytes of any kind
        """Take an answer, ask again."""
        super().write(data)
        if b"POST / " in data and self.connection is not None:
            self.answered += 1
            next_one = self.frames.headers(2 * self.answered + 1, flags=WHOLE)
            self.connection.data_received(next_one.serialize())


def test_answered_request_makes_room_before_its_client_can_know() -> None:
    """Nobody is refused who has only just been answered."""

    async def main() -> int:
        transport = EagerTransport()
        transport.connection, _ = alone(transport=transport, streams_max=1)
        transport.connection.data_received(transport.frames.headers(1, flags=WHOLE).serialize())
        for _ in range(50):
            await asyncio.sleep(0)
        transport.connection.connection_lost(None)
        return transport.answered

    assert asyncio.run(main()) > 10


def test_nothing_is_read_after_the_end() -> None:
    """What is still on its way then has no effect."""

    async def main() -> None:
        gate = Gatekeeper()
        connection, transport = alone(gate)
        connection.data_received(b"\xff" * 9)
        assert transport.closing
        connection.data_received(FrameMaker().headers(1, flags=WHOLE).serialize())
        await asyncio.sleep(0)
        assert not gate.seen

    asyncio.run(main())


def test_long_connection_does_not_grow() -> None:
    """Of the requests that are over, few are remembered."""

    async def main() -> None:
        connection, _ = alone()
        frames = FrameMaker()
        for number in range(1000):
            connection.data_received(frames.headers(2 * number + 1, flags=WHOLE).serialize())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(connection.engine.streams) + len(connection.engine._closed_streams) < 300

    asyncio.run(main())


def test_connection_that_comes_during_a_drain_is_asked_to_go(run: Run) -> None:
    """It was open, but had not shown yet what it speaks."""

    async def main() -> None:
        async with serving() as server, connected(server) as client:
            await until(lambda: server.connections == 1)
            await server.stop_listening()
            client.send(FrameMaker().beginning())
            assert (await goaway(client.frames())).last_stream_id == HIGHEST

    run(main())


def test_request_in_progress_keeps_its_connection(run: Run) -> None:
    """For as long as the handler takes."""

    async def main() -> None:
        gate = Gatekeeper()
        limits: dict[str, Any] = {"idle_seconds": 0.05, "body_seconds": 0.05, "header_seconds": 0.05}
        async with serving(gate, **limits) as server, speaking_http2(server) as client:
            stream_id = client.request(b"ping")
            await asyncio.sleep(0.3)
            gate.opened.set()
            assert (await client.answer(stream_id)).status == 200

    run(main())


def test_body_that_does_not_arrive_in_time_costs_its_request(run: Run) -> None:
    """The rest of the connection goes on."""

    async def main() -> None:
        async with serving(body_seconds=0.1) as server, speaking_http2(server) as client:
            slow = client.request(b"half", end=False)
            assert (await client.answer(slow)).status == 408
            assert (await client.ask(b"ping")).status == 200
            assert server._exchanges._bodies_bytes == 0

    run(main())


def test_frame_that_does_not_arrive_in_time_costs_the_connection(run: Run) -> None:
    """A client that stops in the middle of headers holds nothing for long."""

    async def main() -> None:
        frames = FrameMaker()
        async with serving(header_seconds=0.1) as server, connected(server) as client:
            client.send(frames.beginning() + frames.headers(1).serialize()[:-1])
            assert await client.goaways() == [(0, ErrorCodes.ENHANCE_YOUR_CALM)]
            assert server.malformed_requests == 1

    run(main())


def test_headers_that_do_not_end_in_time_cost_the_connection(run: Run) -> None:
    """Although a frame of them comes now and then."""

    async def main() -> None:
        frames = FrameMaker()
        async with serving(header_seconds=0.2) as server, connected(server) as client:
            client.send(frames.beginning())
            client.send_frames(HeadersFrame(1, b""))

            async def trickle() -> None:
                while not client.writer.is_closing():
                    client.send_frames(ContinuationFrame(1, b""))
                    await asyncio.sleep(0.01)

            sending = asyncio.create_task(trickle())
            assert await client.goaways() == [(0, ErrorCodes.ENHANCE_YOUR_CALM)]
            sending.cancel()

    run(main())


def test_answer_that_is_not_taken_in_time_is_given_up(run: Run) -> None:
    """A client that gives no room gets a reset, and others of its requests are answered."""

    async def answer(request: Request) -> Reply:
        return Reply(200, b"x" * 1000 if request.body else b"")

    async def main() -> None:
        async with serving(answer, body_seconds=0.2) as server, speaking_http2(server, window_bytes=10) as client:
            stream_id = client.request(b"ping")
            with pytest.raises(ConnectionAbortedError):
                await client.answer(stream_id)
            assert (await client.ask()).status == 200
            assert server.requests_in_progress == 0

    run(main())


def test_large_answers_that_wait_to_be_taken_are_bounded_in_sum(run: Run) -> None:
    """A client that gives no room holds no more of them than there may be; small ones, as a put's, are always given."""
    size_bytes = 300_000

    async def answer(request: Request) -> Reply:
        return Reply(200, bytes(size_bytes if request.body == b"large" else 1000))

    async def main() -> None:
        async with serving(answer, bodies_bytes_max=size_bytes) as server:
            async with speaking_http2(server, window_bytes=10) as client:

                async def status_of(body: bytes) -> int:
                    stream_id = client.request(body)
                    event = await client.wait_for(
                        lambda event: isinstance(event, ResponseReceived) and event.stream_id == stream_id
                    )
                    assert isinstance(event, ResponseReceived)
                    return int({str(name): value for name, value in event.headers}[":status"])

                tracemalloc.start()
                assert [await status_of(b"large") for _ in range(5)] == [200, 400, 400, 400, 400]
                assert await status_of(b"small") == 200
                assert tracemalloc.get_traced_memory()[0] < 3 * size_bytes
                tracemalloc.stop()
            await until(lambda: server._exchanges._answers_bytes == 0)
            async with speaking_http2(server) as client:
                assert len((await client.ask(b"large")).body) == size_bytes
            await until(lambda: server._exchanges._answers_bytes == 0)

    run(main())


def test_client_that_reads_nothing_is_cut_off(run: Run) -> None:
    """Once the kernel's buffers are full of what it was sent."""

    async def answer(request: Request) -> Reply:
        del request
        return Reply(200, b"x" * 30_000_000)

    async def main() -> None:
        async with serving(answer, body_seconds=0.2) as server, speaking_http2(server) as client:
            client.engine.increment_flow_control_window(2**30)
            client.engine.update_settings({SettingsFrame.INITIAL_WINDOW_SIZE: 2**30})
            client.request()
            client.raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: server.requests_in_progress == 1)
            await until(lambda: server.connections + server.requests_in_progress == 0)

    run(main())
