"""What only an attacker sends over HTTP/2: each costs its sender the connection, soon, and nobody else anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from h2.errors import ErrorCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from structlog.testing import capture_logs

from proxy.transport.arrival import PREFACE
from tests.unit.transport.transport_clients import (
    FIELDS,
    FrameMaker,
    alone,
    connected,
    echo,
    goaway_codes,
    serving,
    speaking_http2,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.kinesis.http import Reply, Request
    from tests.unit.transport.transport_clients import Run

LENGTHS = [("content-length", "1"), ("content-length", "2")]
WHOLE = ["END_HEADERS", "END_STREAM"]


def floods() -> Iterator[tuple[str, list[Frame]]]:
    """Give each flood by its name."""
    maker = FrameMaker()
    yield "ping", [PingFrame(0, b"12345678")] * 1100
    yield "settings", [SettingsFrame(0)] * 101
    yield "settings acknowledged", [SettingsFrame(0, flags=["ACK"])] * 1100
    yield "priority", [PriorityFrame(1, depends_on=3)] * 1100
    yield "window", [WindowUpdateFrame(0, window_increment=1)] * 1100
    yield "reset of nothing", [maker.headers(1), *[RstStreamFrame(1)] * 1100]
    yield "empty data", [maker.headers(1), *[DataFrame(1)] * 1100]
    yield "padded data", [maker.headers(1), *[DataFrame(1, pad_length=255, flags=["PADDED"])] * 1100]
    yield "continuation", [HeadersFrame(1), *[ContinuationFrame(1)] * 70]
    yield "long continuation", [HeadersFrame(1, b"h" * 16_384), *[ContinuationFrame(1, b"h" * 16_384)] * 5]
    yield "field bomb", [HeadersFrame(1, Encoder().encode([("x", "y" * 4000)]) + b"\xbe" * 1000, flags=WHOLE)]
    yield "rapid reset", [frame for n in range(1, 1201, 2) for frame in (maker.headers(n), RstStreamFrame(n))]
    yield "requests", [maker.headers(n, flags=WHOLE) for n in range(1, 2001, 2)]


FLOODS = dict(floods())


@pytest.mark.parametrize("name", FLOODS)
def test_flood_costs_its_connection_alone(run: Run, name: str) -> None:
    """A GOAWAY says why; a neighbour is served before and after."""

    async def main() -> None:
        async with serving(streams_max=100) as server, speaking_http2(server) as neighbour:
            assert (await neighbour.ask()).status == 200
            async with connected(server) as client:
                client.send(PREFACE)
                client.send_frames(SettingsFrame(0), *FLOODS[name])
                codes = {code for _, code in await client.goaways()}
                assert codes in ({ErrorCodes.ENHANCE_YOUR_CALM}, {ErrorCodes.PROTOCOL_ERROR})
            assert server.malformed_requests == 1
            assert (await neighbour.ask()).status == 200
            await until(lambda: server.requests_in_progress == 0)
            assert server._exchanges._bodies_bytes == 0

    with capture_logs() as logs:
        run(main())
    assert not logs


def test_rapid_reset_keeps_few_requests_going(run: Run) -> None:
    """A request counts until it is done, though its client has reset it long ago."""
    most = 0

    async def main() -> None:
        in_progress = 0

        async def slow(request: Request) -> Reply:
            nonlocal in_progress, most
            in_progress += 1
            most = max(most, in_progress)
            try:
                await until(lambda: server.malformed_requests > 0)
            finally:
                in_progress -= 1
            return await echo(request)

        maker = FrameMaker()
        async with serving(slow, streams_max=10) as server, connected(server) as client:
            client.send(maker.beginning())
            for n in range(1, 201, 2):
                client.send_frames(maker.headers(n, flags=WHOLE), RstStreamFrame(n, error_code=8))
            assert {code for _, code in await client.goaways()} == {ErrorCodes.ENHANCE_YOUR_CALM}
            await until(lambda: server.requests_in_progress == 0)

    run(main())
    assert 0 < most <= 10


def test_client_that_only_resets_is_left() -> None:
    """Each request is worth the frames that reset it, so that these alone would never be too many."""

    async def main() -> int:
        connection, transport = alone(streams_max=10)
        maker = FrameMaker()
        count = 0
        while not transport.closing and count < 100:
            stream_id = 2 * count + 1
            connection.data_received(maker.headers(stream_id).serialize() + RstStreamFrame(stream_id).serialize())
            count += 1
        assert goaway_codes(transport) == [ErrorCodes.ENHANCE_YOUR_CALM]
        return count

    assert asyncio.run(main()) == 21


def test_client_that_asks_for_ever_more_at_once_is_left() -> None:
    """Being refused must have taught it."""

    async def main() -> int:
        connection, transport = alone(streams_max=10)
        maker = FrameMaker()
        count = 0
        while not transport.closing and count < 100:
            connection.data_received(maker.headers(2 * count + 1).serialize())
            count += 1
        assert goaway_codes(transport) == [ErrorCodes.ENHANCE_YOUR_CALM]
        connection.connection_lost(None)
        return count

    assert asyncio.run(main()) == 31


def test_time_forgives() -> None:
    """A client that gives up all it has open, now and then, is served on."""

    async def main() -> None:
        connection, transport = alone(streams_max=10)
        maker = FrameMaker()
        for burst in range(20):
            for number in range(10):
                stream_id = 20 * burst + 2 * number + 1
                connection.data_received(maker.headers(stream_id).serialize() + RstStreamFrame(stream_id).serialize())
            connection.sweep(100.0 + burst)
        assert not transport.closing

    asyncio.run(main())


def test_fields_are_bounded_by_the_limit_that_was_set() -> None:
    """A small block may stand for many of them."""

    async def main() -> None:
        for count, within in ((40, True), (60, False)):
            connection, transport = alone(header_bytes_max=2000)
            block = Encoder().encode([*FIELDS, ("x", "y")]) + b"\xbe" * count
            connection.data_received(HeadersFrame(1, block, flags=WHOLE).serialize())
            assert transport.closing is not within
            connection.connection_lost(None)

    asyncio.run(main())


@pytest.mark.parametrize(
    "frames",
    [
        [HeadersFrame(1, Encoder().encode(FIELDS[:2]), flags=WHOLE)],
        [HeadersFrame(1, Encoder().encode([*FIELDS, ("connection", "close")]), flags=WHOLE)],
        [HeadersFrame(1, Encoder().encode([*FIELDS, ("x", "a\r\nb")]), flags=WHOLE)],
        [HeadersFrame(1, Encoder().encode([*FIELDS, ("content-length", "5")]), flags=WHOLE)],
        [HeadersFrame(1, Encoder().encode([*FIELDS, ("content-length", "+5")]), flags=WHOLE)],
        [HeadersFrame(1, Encoder().encode([*FIELDS, ("content-length", "9" * 5000)]), flags=WHOLE)],
        [HeadersFrame(1, Encoder().encode([*FIELDS, *LENGTHS]), flags=["END_HEADERS"])],
        [
            HeadersFrame(1, Encoder().encode([*FIELDS, ("content-length", "5")]), flags=["END_HEADERS"]),
            HeadersFrame(1, Encoder().encode([("x", "y")]), flags=WHOLE),
        ],
        [HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff\xff", flags=WHOLE)],
        [HeadersFrame(2, Encoder().encode(FIELDS), flags=WHOLE)],
        [FrameMaker().headers(3, flags=WHOLE), HeadersFrame(1, b"\xbe", flags=WHOLE)],
        [DataFrame(1, b"x")],
        [WindowUpdateFrame(1, window_increment=1)],
        [ContinuationFrame(1, b"")],
        [PushPromiseFrame(1, promised_stream_id=2, data=b"", flags=["END_HEADERS"])],
        [HeadersFrame(1, b""), PingFrame(0, b"12345678")],
        [SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 2**31})],
        [SettingsFrame(0, settings={SettingsFrame.MAX_FRAME_SIZE: 1})],
        [WindowUpdateFrame(0, window_increment=2**31 - 1)],
    ],
)
def test_violation_of_the_protocol_costs_its_connection_alone(run: Run, frames: list[Frame]) -> None:
    """With a GOAWAY, and no word in the log: anybody can send it."""

    async def main() -> None:
        async with serving() as server:
            async with connected(server) as client:
                client.send(PREFACE)
                client.send_frames(SettingsFrame(0), *frames)
                assert await client.goaways()
            assert server.malformed_requests == 1
            async with speaking_http2(server) as client:
                assert (await client.ask()).status == 200

    with capture_logs() as logs:
        run(main())
    assert not logs
