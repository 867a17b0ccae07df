"""An asyncio event loop whose time is virtual: it never waits, it jumps to the next timer.

Clock and timers move together, so a program that takes its time from `loop.time()` runs hours in seconds, always in the
same order. There are no sockets and no threads in it: waiting for anything but a timer is an error.
"""

from __future__ import annotations

import asyncio
import selectors
from math import ceil
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class DeadlockError(RuntimeError):
    """Nothing is ready and no timer is set: the program would wait for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, moves the loop's clock."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("no task can go on and no timer is set")
        self.loop.advance(timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Event loop on virtual time; starts at 1000 s, so that an instant is never mistaken for a duration."""

    def __init__(self) -> None:
        self._now_ns = 1_000 * 10**9
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Return virtual seconds."""
        return self._now_ns / 1e9

    def clock_ns(self) -> int:
        """Return virtual nanoseconds, without rounding."""
        return self._now_ns

    def advance(self, seconds: float) -> None:
        """Move time on by a timeout that the loop computed, rounded up to whole microseconds.

        Up, always: a timer that is due in less than a nanosecond would otherwise never be, and the loop turn for ever.
        """
        self._now_ns += ceil(seconds * 1e6) * 1_000


def run(main: Coroutine[object, object, T], *, debug: bool = False) -> T:
    """Run a coroutine to its end on a fresh virtual-time loop."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop, debug=debug) as runner:
        return runner.run(main)
