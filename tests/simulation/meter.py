"""What one lane of a proxy may send, by the configured rates, recounted from outside."""

from __future__ import annotations

from proxy.core.limits import SECOND_NS

# Instants are whole nanoseconds, and levels are not.
GRACE_SECONDS = 1e-6


class Meter:
    """A token bucket of each kind, at the nominal rates, kept apart from the proxy's own.

    What is not in debt lets anything through: a record that is larger than the burst must pass, and the bucket of a
    lane that uses a share of its limit holds that share of a burst. Rates may change: what is there, or owed, stays.

    Args:
        burst_seconds: what it holds, as time.
        now_ns: the present.
    """

    __slots__ = ("_at_ns", "_burst_seconds", "_levels")

    def __init__(self, burst_seconds: float, now_ns: int) -> None:
        self._burst_seconds = burst_seconds
        self._at_ns = now_ns
        self._levels: list[float] | None = None  # tokens: how a lane began is not seen from here, so each starts full

    def takes(self, size_bytes: int, rates: tuple[int, int], now_ns: int) -> bool:
        """Take one record's tokens; return whether they were there."""
        elapsed = (now_ns - self._at_ns) / SECOND_NS
        self._at_ns = now_ns
        held = self._levels or [rate * self._burst_seconds for rate in rates]
        levels = [
            min(level + elapsed * rate, self._burst_seconds * rate) for level, rate in zip(held, rates, strict=True)
        ]
        self._levels = [level - tokens for level, tokens in zip(levels, (1, size_bytes), strict=True)]
        return all(level >= -GRACE_SECONDS * rate for level, rate in zip(levels, rates, strict=True))
