"""The two times that the emulator is told with every call.

Must never know: where they come from.
"""

from __future__ import annotations

from typing import NamedTuple

NS_PER_SECOND = 1_000_000_000
NS_PER_MS = 1_000_000
MS_PER_SECOND = 1000
MS_PER_HOUR = 3_600_000


class Now(NamedTuple):
    """One moment on two clocks; neither steps back.

    Args:
        ns: monotonic nanoseconds: limits and delays.
        wall_ms: milliseconds since the epoch: sequence numbers, arrival times, expiry of iterators.
    """

    ns: int
    wall_ms: int
