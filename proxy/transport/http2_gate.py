"""What an HTTP/2 client sends, cut into frames and judged before the h2 library sees them.

h2 keeps to the protocol but not within bounds. It buffers a frame up to its announced length, 16 MiB, before it looks
at that length; it keeps every unknown setting; it counts no frames; and a client's GOAWAY, which may be sent while
answers are awaited, forbids it to send them. So a frame is refused by its header, an unknown frame and a GOAWAY stay
here, and frames that do no work draw on an allowance that requests and time refill.

Must never know: the loop, headers, requests.

Source: RFC 9113; CVE-2019-9511 to 9518, CVE-2023-44487 (rapid reset), CVE-2024-27316 (CONTINUATION).
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes
from hyperframe.frame import ContinuationFrame, DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame

from proxy.transport.arrival import PREFACE

if TYPE_CHECKING:
    from collections.abc import Iterator

# A frame's header: its length (24 bits, here in two parts), type, flags and stream.
_FRAME_HEADER = Struct(">HBBBL")
FRAME_BYTES_MAX = 16_384

_END_STREAM = 0x1
_ACK = 0x1
_END_HEADERS = 0x4
_PADDED = 0x8
_DATA, _HEADERS, _SETTINGS = DataFrame.type, HeadersFrame.type, SettingsFrame.type
_GOAWAY, _CONTINUATION = GoAwayFrame.type, ContinuationFrame.type
_HIGHEST_KNOWN = _CONTINUATION

# Handed to h2 at once: enough for one large frame, and little enough to be stopped in time.
_PORTION_BYTES = 2 * FRAME_BYTES_MAX
# A body in pieces smaller than this costs more to take apart than it carries.
_SMALL_DATA_BYTES = 256
# Clients send fewer than ten settings, once.
_SETTING_BYTES = 6
_SETTINGS_PER_FRAME_MAX = 16
_SETTINGS_FRAMES_MAX = 100


class HostileError(Exception):
    """The client does what no client needs; `code` tells it why it is left."""

    def __init__(self, code: ErrorCodes) -> None:
        super().__init__(code.name)
        self.code = code


class Allowance:
    """How much of something a client may do: a burst, refilled by time and by what it is worth.

    Args:
        burst: most that can be saved up; it starts full.
        per_second: what time adds.
    """

    __slots__ = ("_burst", "_level", "_per_second", "_refilled_at")

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = burst
        self._level = burst
        self._per_second = per_second
        self._refilled_at = 0.0

    def earn(self, amount: float) -> None:
        """Add to it, up to the burst."""
        self._level = min(self._burst, self._level + amount)

    def spend(self, amount: float) -> None:
        """Take from it.

        Raises:
            HostileError: there is not so much.
        """
        if self._level < amount:
            raise HostileError(ErrorCodes.ENHANCE_YOUR_CALM)
        self._level -= amount

    def refill(self, now: float) -> None:
        """Add what time has brought since the last call, which was the beginning if there was none."""
        self.earn((now - (self._refilled_at or now)) * self._per_second)
        self._refilled_at = now


class Gate:
    """What one connection received.

    Args:
        header_bytes_max: largest block of headers, as encoded.
        overhead: frames that do no work draw on it.
    """

    __slots__ = (
        "_block_bytes",
        "_header_bytes_max",
        "_overhead",
        "_preface_awaited",
        "_rest",
        "_settings_frames",
        "client_leaves",
    )

    def __init__(self, header_bytes_max: int, overhead: Allowance) -> None:
        self._header_bytes_max = header_bytes_max
        self._overhead = overhead
        self._preface_awaited = True
        self._rest = b""
        # of the block of headers that is not complete; 0 is none
        self._block_bytes = 0
        self._settings_frames = 0
        self.client_leaves = False

    @property
    def in_headers(self) -> bool:
        """Whether a block of headers has begun and not ended."""
        return bool(self._block_bytes)

    @property
    def waits_for_more(self) -> bool:
        """Whether a frame, or a block of headers, has begun and not ended."""
        return bool(self._rest) or self.in_headers

    def pass_on(self, data: bytes) -> Iterator[bytes]:
        """Give what h2 is to see of the bytes received, in portions of whole frames.

        Raises:
            HostileError: when the first frame comes up that is not to be borne; what was given before it, counts.
        """
        buffer = self._rest + data if self._rest else data
        self._rest = b""
        start = position = 0
        end = len(buffer)
        if self._preface_awaited:
            if not PREFACE.startswith(buffer[: len(PREFACE)]):
                raise HostileError(ErrorCodes.PROTOCOL_ERROR)
            if end < len(PREFACE):
                self._rest = buffer
                return
            self._preface_awaited = False
            position = len(PREFACE)
        while end - position >= _FRAME_HEADER.size:
            high, low, kind, flags, _ = _FRAME_HEADER.unpack_from(buffer, position)
            length = high << 8 | low
            self._check_size(kind, length)
            after = position + _FRAME_HEADER.size + length
            if after > end:
                break
            if self._is_for_h2(kind):
                self._count(kind, flags, length)
            else:
                self._overhead.spend(1)
                if position > start:
                    yield buffer[start:position]
                start = after
            position = after
            if position - start >= _PORTION_BYTES:
                yield buffer[start:position]
                start = position
        self._rest = buffer[position:]
        if position > start:
            yield buffer[start:position]

    def _check_size(self, kind: int, length: int) -> None:
        """Refuse a frame by its header, before its payload is waited for."""
        if length > FRAME_BYTES_MAX:
            raise HostileError(ErrorCodes.FRAME_SIZE_ERROR)
        if kind == _SETTINGS and length > _SETTINGS_PER_FRAME_MAX * _SETTING_BYTES:
            raise HostileError(ErrorCodes.ENHANCE_YOUR_CALM)
        if kind in {_HEADERS, _CONTINUATION} and self._block_bytes + length > self._header_bytes_max:
            raise HostileError(ErrorCodes.ENHANCE_YOUR_CALM)

    def _is_for_h2(self, kind: int) -> bool:
        # within a block of headers nothing else may come, which is h2's to find
        if self._block_bytes or (kind <= _HIGHEST_KNOWN and kind != _GOAWAY):
            return True
        self.client_leaves = self.client_leaves or kind == _GOAWAY
        return False

    def _count(self, kind: int, flags: int, length: int) -> None:
        """Charge a frame that does no work; a request's headers are work, and are bounded in number elsewhere."""
        if kind == _HEADERS:
            self._block_bytes = 0 if flags & _END_HEADERS else max(1, length)
            return
        if kind == _DATA:
            if flags & _END_STREAM or (length >= _SMALL_DATA_BYTES and not flags & _PADDED):
                return
        elif kind == _CONTINUATION:
            self._block_bytes = 0 if flags & _END_HEADERS else self._block_bytes + length
        elif kind == _SETTINGS and not flags & _ACK:
            self._settings_frames += 1
            if self._settings_frames > _SETTINGS_FRAMES_MAX:
                raise HostileError(ErrorCodes.ENHANCE_YOUR_CALM)
        self._overhead.spend(1)
