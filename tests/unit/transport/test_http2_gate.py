"""What is let through to the h2 library, and what ends a connection before it gets there."""

from __future__ import annotations

from itertools import pairwise

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from proxy.transport.arrival import PREFACE
from proxy.transport.http2_gate import FRAME_BYTES_MAX, Allowance, Gate, HostileError

SETTINGS = SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1_000_000}).serialize()
HEADERS = HeadersFrame(1, b"h" * 100, flags=["END_HEADERS"]).serialize()
BODY = DataFrame(1, b"d" * 1000).serialize() + DataFrame(1, b"", flags=["END_STREAM"]).serialize()


def gate_of(burst: float = 10, header_bytes_max: int = 1000) -> Gate:
    """Make a gate."""
    return Gate(header_bytes_max, Allowance(burst, 1))


def opened(burst: float = 10, header_bytes_max: int = 1000) -> Gate:
    """Make a gate that the preface has passed."""
    gate = gate_of(burst, header_bytes_max)
    assert b"".join(gate.pass_on(PREFACE)) == PREFACE
    return gate


def passed(gate: Gate, *frames: Frame) -> bytes:
    """Return what is let through of frames."""
    return b"".join(gate.pass_on(b"".join(frame.serialize() for frame in frames)))


@given(st.lists(st.integers(0, 1500)))
def test_everything_of_a_request_passes_however_it_is_cut(cuts: list[int]) -> None:
    """And nothing but whole frames."""
    data = PREFACE + SETTINGS + HEADERS + BODY
    gate = gate_of()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(edges)]
    portions = [portion for piece in pieces for portion in gate.pass_on(piece)]
    assert b"".join(portions) == data
    ends = [len(data) - len(rest) for rest in (SETTINGS + HEADERS + BODY, HEADERS + BODY, BODY, BODY[-9:], b"")]
    reached = 0
    for portion in portions:
        reached += len(portion)
        assert reached in ends
    assert not gate.waits_for_more


@pytest.mark.parametrize("position", range(len(PREFACE)))
def test_anything_but_the_preface_ends_the_connection(position: int) -> None:
    """At whatever byte it differs, and before the rest is waited for."""
    wrong = PREFACE[:position] + b"?"
    with pytest.raises(HostileError) as caught:
        list(gate_of().pass_on(wrong))
    assert caught.value.code is ErrorCodes.PROTOCOL_ERROR


def test_too_long_a_frame_is_refused_by_its_header() -> None:
    """Nothing of it is waited for, let alone kept."""
    gate = opened()
    assert list(gate.pass_on(DataFrame(1, b"x" * FRAME_BYTES_MAX).serialize()[:9])) == []
    gate = opened()
    with pytest.raises(HostileError) as caught:
        list(gate.pass_on(DataFrame(1, b"x" * (FRAME_BYTES_MAX + 1)).serialize()[:9]))
    assert caught.value.code is ErrorCodes.FRAME_SIZE_ERROR


def test_unfinished_frame_is_waited_for() -> None:
    """The connection knows that its client owes something."""
    gate = opened()
    assert list(gate.pass_on(HEADERS[:50])) == []
    assert (gate.waits_for_more, gate.in_headers) == (True, False)
    assert list(gate.pass_on(HEADERS[50:])) == [HEADERS]
    assert (gate.waits_for_more, gate.in_headers) == (False, False)


def test_block_of_headers_is_open_until_its_last_frame() -> None:
    """Although each of its frames is complete."""
    gate = opened()
    for frame in (HeadersFrame(1, b"h"), ContinuationFrame(1, b"h")):
        passed(gate, frame)
        assert (gate.waits_for_more, gate.in_headers) == (True, True)
    passed(gate, ContinuationFrame(1, b"h", flags=["END_HEADERS"]))
    assert (gate.waits_for_more, gate.in_headers) == (False, False)


def test_block_of_headers_is_bounded_in_sum() -> None:
    """By the header of the frame that would be too much."""
    gate = opened(header_bytes_max=1000)
    passed(gate, HeadersFrame(1, b"h" * 600), ContinuationFrame(1, b"h" * 400))
    with pytest.raises(HostileError) as caught:
        list(gate.pass_on(ContinuationFrame(1, b"h").serialize()[:9]))
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_client_that_leaves_is_noted_and_its_goodbye_kept() -> None:
    """The h2 library would refuse to send the answers that the client still waits for."""
    gate = opened()
    assert passed(gate, PingFrame(0, b"12345678"), GoAwayFrame(0), PingFrame(0, b"12345678")) == 2 * (
        PingFrame(0, b"12345678").serialize()
    )
    assert gate.client_leaves


def test_unknown_frame_is_dropped() -> None:
    """As RFC 9113 has it."""
    gate = opened()
    assert passed(gate, ExtensionFrame(0xAB, stream_id=1)) == b""
    assert not gate.client_leaves


@pytest.mark.parametrize("frame", [ExtensionFrame(0xAB, stream_id=1), GoAwayFrame(0)])
def test_nothing_is_dropped_within_a_block_of_headers(frame: Frame) -> None:
    """There it is an error, which is the library's to find."""
    gate = opened()
    passed(gate, HeadersFrame(1, b"h"))
    assert passed(gate, frame) == frame.serialize()


@pytest.mark.parametrize(
    "frame",
    [
        PingFrame(0, b"12345678"),
        SettingsFrame(0),
        PriorityFrame(1, depends_on=3),
        RstStreamFrame(1),
        WindowUpdateFrame(0, window_increment=1),
        ExtensionFrame(0xAB, stream_id=1),
        GoAwayFrame(0),
        DataFrame(1),
        DataFrame(1, b"x" * 255),
        DataFrame(1, b"x" * 300, pad_length=200, flags=["PADDED"]),
    ],
)
def test_frames_that_do_no_work_use_up_an_allowance(frame: Frame) -> None:
    """However they come, together or alone."""
    gate = opened(burst=10)
    assert passed(gate, *[frame] * 4) in (frame.serialize() * 4, b"")
    for _ in range(6):
        passed(gate, frame)
    with pytest.raises(HostileError) as caught:
        passed(gate, frame)
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_continuations_use_up_the_allowance() -> None:
    """Empty ones are bounded by nothing else."""
    gate = opened(burst=10)
    passed(gate, HeadersFrame(1, b""), *[ContinuationFrame(1, b"")] * 10)
    with pytest.raises(HostileError):
        passed(gate, ContinuationFrame(1, b""))


@pytest.mark.parametrize(
    "frame",
    [
        HeadersFrame(1, b"h", flags=["END_HEADERS"]),
        DataFrame(1, b"x" * 256),
        DataFrame(1, b"x", flags=["END_STREAM"]),
    ],
)
def test_frames_of_requests_are_free(frame: Frame) -> None:
    """Requests are bounded in number elsewhere, and bodies in size."""
    gate = opened(burst=0)
    for _ in range(100):
        passed(gate, frame)


def test_settings_are_few() -> None:
    """The library keeps each one it does not know, for as long as the connection lives."""
    gate = opened(burst=1000)
    passed(gate, SettingsFrame(0, settings=dict.fromkeys(range(100, 116), 1)))
    with pytest.raises(HostileError):
        passed(gate, SettingsFrame(0, settings=dict.fromkeys(range(100, 117), 1)))
    gate = opened(burst=1000)
    passed(gate, *[SettingsFrame(0)] * 100, *[SettingsFrame(0, flags=["ACK"])] * 10)
    with pytest.raises(HostileError):
        passed(gate, SettingsFrame(0))


def test_what_came_before_a_hostile_frame_is_let_through() -> None:
    """A request that was complete is not lost by what follows, unless all of it came at once."""
    gate = opened(burst=0)
    large = DataFrame(1, b"x" * FRAME_BYTES_MAX)
    portions = gate.pass_on(b"".join(frame.serialize() for frame in (large, large, PingFrame(0, b"12345678"))))
    assert next(portions) == large.serialize() * 2
    with pytest.raises(HostileError):
        next(portions)


def test_allowance_is_refilled_by_time_and_by_worth() -> None:
    """Up to its burst, which it begins with."""
    allowance = Allowance(10, per_second=2)
    allowance.refill(100.0)
    allowance.spend(10)
    with pytest.raises(HostileError):
        allowance.spend(1)
    allowance.refill(101.0)
    allowance.spend(2)
    with pytest.raises(HostileError):
        allowance.spend(1)
    allowance.earn(3)
    allowance.spend(3)
    allowance.refill(1000.0)
    allowance.earn(5)
    allowance.spend(10)
    with pytest.raises(HostileError):
        allowance.spend(1)
