"""What one lane of a proxy may send, by the configured rates, recounted from outside."""

from __future__ import annotations

from collections import deque

from proxy.core.limits import SECOND_NS

# Instants are whole nanoseconds, and levels are not.
GRACE_SECONDS = 1e-6
RESERVE_SECONDS = 9.0


class Meter:
    """A token bucket of each kind, at the nominal rates, kept apart from the proxy's own.

    What is not in debt lets anything through: a record that is larger than the burst must pass, and the bucket of a
    lane that uses a share of its limit holds that share of a burst. What is in debt lets through what is not more than
    a second's worth together with all of the last second. A record larger than the burst may draw on a reserve: beyond
    a second's worth of the rate at the time, of which a lane may use any share. Rates may change: what is there, or
    owed, stays.

    A rate of 0 is no limit.

    Args:
        burst_seconds: what it holds, as time.
        now_ns: the present.
    """

    __slots__ = ("_at_ns", "_burst_seconds", "_levels", "_of_last_second", "_reserve_seconds")

    def __init__(self, burst_seconds: float, now_ns: int) -> None:
        self._burst_seconds = burst_seconds
        self._at_ns = now_ns
        self._levels: list[float] | None = None  # tokens: how a lane began is not seen from here, so each starts full
        self._reserve_seconds = RESERVE_SECONDS  # of bytes
        self._of_last_second: deque[tuple[int, int]] = deque()  # instant, size

    def takes(self, size_bytes: int, rates: tuple[int, int], now_ns: int) -> bool:
        """Take one record's tokens; return whether they were there."""
        elapsed = (now_ns - self._at_ns) / SECOND_NS
        self._at_ns = now_ns
        held = self._levels or [rate * self._burst_seconds for rate in rates]
        flowed = [level + elapsed * rate for level, rate in zip(held, rates, strict=True)]
        levels = [min(level, self._burst_seconds * rate) for level, rate in zip(flowed, rates, strict=True)]
        self._levels = [levels[0] - 1, levels[1] - size_bytes]
        if rates[1]:
            self._reserve_seconds = min(RESERVE_SECONDS, self._reserve_seconds + (flowed[1] - levels[1]) / rates[1])
            if size_bytes > self._burst_seconds * rates[1]:
                drawn = min(size_bytes / rates[1], self._reserve_seconds)
                self._reserve_seconds -= drawn
                self._levels[1] += drawn * rates[1]
        last = self._of_last_second
        last.append((now_ns, size_bytes))
        while last[0][0] <= now_ns - SECOND_NS:
            last.popleft()
        if all(level >= -GRACE_SECONDS * rate for level, rate in zip(levels, rates, strict=True) if rate):
            return True
        sent = (len(last), sum(size for _, size in last))
        return all(count <= rate for count, rate in zip(sent, rates, strict=True) if rate)
