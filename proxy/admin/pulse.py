"""A steady beat of the event loop: how late it comes is the loop's lag, and on each beat rates are sampled."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

BEAT_SECONDS = 0.5
WINDOW_BEATS = 20


class Pulse:
    """Beats twice a second and remembers ten seconds.

    Args:
        totals: returns counters that only grow, by name.

    Call `start` on the running loop, and `stop` at the end.
    """

    __slots__ = ("_delays", "_due_at", "_samples", "_timer", "_totals")

    def __init__(self, totals: Callable[[], Mapping[Hashable, int]]) -> None:
        self._totals = totals
        self._delays: deque[float] = deque(maxlen=WINDOW_BEATS)
        self._samples: deque[tuple[float, Mapping[Hashable, int]]] = deque(maxlen=WINDOW_BEATS + 1)
        self._due_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def lag_seconds(self) -> float:
        """The longest delay of a beat in the window, to a tenth of a millisecond."""
        return round(max(self._delays, default=0.0), 4)

    def per_second(self, name: Hashable) -> float:
        """Return how fast a counter grew over the window; a name that came later grew from zero."""
        if len(self._samples) < 2:  # noqa: PLR2004 - a rate needs two moments
            return 0.0
        (first_at, first), (last_at, last) = self._samples[0], self._samples[-1]
        return (last.get(name, 0) - first.get(name, 0)) / (last_at - first_at)

    def start(self) -> None:
        """Begin to beat."""
        self._samples.append((asyncio.get_running_loop().time(), self._totals()))
        self._await_beat()

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _await_beat(self) -> None:
        loop = asyncio.get_running_loop()
        self._due_at = loop.time() + BEAT_SECONDS
        self._timer = loop.call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        now = asyncio.get_running_loop().time()
        self._delays.append(max(0.0, now - self._due_at))
        self._samples.append((now, self._totals()))
        self._await_beat()
