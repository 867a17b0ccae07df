"""Frames that nobody thought of: whatever comes, a connection ends in order and holds nothing.

A campaign of any length: `python -m tests.unit.transport.test_http2_fuzz CASES [SEED]`.
"""

from __future__ import annotations

import asyncio
import random
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy.kinesis.http import Reply, Request
from proxy.transport.arrival import PREFACE
from proxy.transport.exchanges import Exchanges
from proxy.transport.http2 import Http2Connection, Http2Server
from proxy.transport.limits import HttpLimits
from tests.unit.transport.transport_clients import FIELDS, FakeTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CASES = 200
NAMES = [":method", ":path", ":scheme", ":authority", "host", "te", "content-length", "expect", "x", "connection", ""]
VALUES = ["POST", "HEAD", "CONNECT", "/", "", "http", "a", "trailers", "5", "9999", "100-continue", "a\r\nb", " a"]
STREAMS = [0, 1, 1, 3, 3, 5, 2, 7, 9, 2**31 - 1]


async def answer(request: Request) -> Reply:
    """Answer, now and then later, and with something large."""
    if len(request.body) % 2:
        await asyncio.sleep(0)
    return Reply(200, b"x" * (len(request.body) * 50))


def fields(dice: random.Random) -> bytes:
    """Make a block of header fields, of which some are good."""
    chosen = list(FIELDS) if dice.random() < 0.8 else []
    for _ in range(dice.choice([0, 0, 1, 2])):
        chosen.insert(dice.randint(0, len(chosen)), (dice.choice(NAMES), dice.choice(VALUES)))
    return Encoder().encode(chosen)


def frame(dice: random.Random) -> Frame:
    """Make a frame."""
    stream_id = dice.choice(STREAMS)
    on_stream = stream_id or 1
    flags = [flag for flag in ("END_STREAM", "END_HEADERS") if dice.random() < 0.7]
    makers: list[Callable[[], Frame]] = [
        lambda: HeadersFrame(on_stream, fields(dice), flags=flags),
        lambda: HeadersFrame(on_stream, fields(dice), flags=flags),
        lambda: HeadersFrame(on_stream, fields(dice), flags=[*flags, "PRIORITY"], depends_on=dice.choice(STREAMS)),
        lambda: ContinuationFrame(on_stream, fields(dice), flags=dice.choice([[], ["END_HEADERS"]])),
        lambda: DataFrame(
            on_stream, b"d" * dice.choice([0, 1, 5, 300, 2000]), flags=flags[:1] if len(flags) > 1 else []
        ),
        lambda: DataFrame(on_stream, b"d", flags=["PADDED"], pad_length=dice.choice([0, 200])),
        lambda: RstStreamFrame(on_stream, error_code=dice.choice([0, 8, 99])),
        lambda: WindowUpdateFrame(stream_id, window_increment=dice.choice([1, 1000, 2**31 - 1])),
        lambda: PriorityFrame(on_stream, depends_on=dice.choice(STREAMS)),
        lambda: PingFrame(0, b"12345678", flags=dice.choice([[], ["ACK"]])),
        lambda: SettingsFrame(0, settings={dice.randint(0, 9): dice.choice([0, 1, 100, 20_000, 2**31])}),
        lambda: SettingsFrame(0, flags=["ACK"]),
        lambda: GoAwayFrame(0, last_stream_id=dice.choice(STREAMS), error_code=dice.choice([0, 1])),
        lambda: ExtensionFrame(dice.randint(10, 255), stream_id=stream_id),
        lambda: PushPromiseFrame(on_stream, promised_stream_id=2, data=fields(dice), flags=["END_HEADERS"]),
    ]
    return dice.choice(makers)()


def exchange(dice: random.Random, stream_id: int, encoder: Encoder) -> list[Frame]:
    """Make the frames of a good request, which may be reset, and room for its answer."""
    body = [DataFrame(stream_id, b"d" * dice.choice([1, 299, 300, 700])) for _ in range(dice.choice([0, 1, 1, 2, 8]))]
    extra = dice.choice([[], [("expect", "100-continue")], [("content-length", "3000")]])
    frames: list[Frame] = [HeadersFrame(stream_id, encoder.encode([*FIELDS, *extra]), flags=["END_HEADERS"]), *body]
    if extra[:1] != [("content-length", "3000")] or dice.random() < 0.1:
        frames[-1].flags.add("END_STREAM")
    frames.append(WindowUpdateFrame(dice.choice([0, stream_id]), window_increment=dice.choice([1, 5000, 100_000])))
    return frames


def bytes_of(dice: random.Random) -> bytes:
    """Make what a client sends: requests, and among their frames others that nobody expects."""
    window = {SettingsFrame.INITIAL_WINDOW_SIZE: dice.choice([0, 10, 65_535])}
    encoder = Encoder()
    frames: list[Frame] = [SettingsFrame(0, settings=window)]
    for number in range(dice.choice([0, 1, 3, 6])):
        frames += exchange(dice, 2 * number + 1, encoder)
    for _ in range(dice.choice([0, 1, 1, 3, 10])):
        frames.insert(dice.randint(1, len(frames)), frame(dice))
    data = bytearray(PREFACE + b"".join(frame.serialize() for frame in frames))
    for _ in range(dice.choice([0, 0, 0, 1, 3])):
        data[dice.randrange(len(PREFACE), len(data))] = dice.randrange(256)
    return bytes(data)


async def play(pieces: Sequence[bytes], dice: random.Random) -> None:
    """Let a connection live through what it is sent."""
    limits = HttpLimits(request_bytes_max=1000, streams_max=3, bodies_bytes_max=2500, header_bytes_max=2000)
    exchanges = Exchanges(answer, limits)
    lost: list[Http2Connection] = []
    connection = Http2Server(exchanges, limits, lost.append).connection(float("inf"))
    transport = FakeTransport()
    connection.connection_made(transport)
    now = 1.0
    for piece in pieces:
        connection.data_received(piece)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
        chance = dice.random()
        if chance < 0.05:
            connection.pause_writing()
            await asyncio.sleep(0)
            connection.resume_writing()
        elif chance < 0.1:
            connection.retire()
        elif chance < 0.2:
            now += dice.choice([0.5, 50])
            connection.sweep(now)
        if transport.closing:
            break
    connection.connection_lost(None)
    for _ in range(20):
        await asyncio.sleep(0)
    assert lost == [connection]
    assert (exchanges.in_progress, exchanges._bodies_bytes, exchanges._answers_bytes) == (0, 0, 0)


def cut(data: bytes, dice: random.Random) -> list[bytes]:
    """Cut bytes as a network might."""
    edges = sorted({0, len(data), *(dice.randint(0, len(data)) for _ in range(dice.choice([0, 3, 10])))})
    return [data[start:end] for start, end in pairwise(edges)]


async def campaign(cases: int, seed: int) -> None:
    """Play so many cases; an exception names the case's own seed."""
    for number in range(cases):
        dice = random.Random(f"{seed}/{number}")  # noqa: S311 - a test's dice
        data = bytes_of(dice)
        with capture_logs() as logs:
            try:
                await play(cut(data, dice), dice)
            except Exception as error:
                raise AssertionError(f"case {seed}/{number}: {data.hex()}") from error
        assert not logs, (f"case {seed}/{number}", logs)


def test_any_frames_leave_nothing_behind() -> None:
    """No request, no body, no line in the log."""
    asyncio.run(campaign(CASES, seed=1))


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_bytes_leave_nothing_behind(pieces: list[bytes]) -> None:
    """After a good beginning."""
    asyncio.run(play([PREFACE, *pieces], random.Random(1)))  # noqa: S311 - a test's dice


if __name__ == "__main__":
    asyncio.run(campaign(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0))
