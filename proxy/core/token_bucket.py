"""A token bucket: a limit of so many tokens a second, of which some may be taken at once.

A bucket is kept as one instant, the moment at which it was (or will be) empty; its level is the time since then times
the rate. Nothing accumulates, so nothing drifts, and a bucket costs no work while nobody looks.

The rate may change at any time; the tokens that are there, or owed, stay as they are.

A take larger than the burst passes when the bucket is full and leaves it in debt: no record is too large to ever go,
and the average holds. What flows past the full bucket fills its reserve, if it has one, from which only a take larger
than a second's worth draws, for all beyond that second: so it does not keep others waiting for as many seconds.

Buckets start empty: the shard's last second may have been used up by a predecessor.

Source: the generic cell rate algorithm (ITU-T I.371).
"""

from __future__ import annotations

from typing import Final

NANOSECONDS: Final = 1_000_000_000
LARGE_NS: Final = NANOSECONDS  # a take that costs more draws on the reserve


class TokenBucket:
    """One limit of one shard.

    Args:
        rate_per_second: tokens that flow in each second; 0 means unlimited.
        burst_ns: how many nanoseconds' worth of tokens the bucket holds.
        now_ns: the present; the bucket starts empty, and its reserve full.
        reserve_ns: how much the reserve holds.

    `token_ns` is how long one token takes to flow in; 0 where there is no limit.
    """

    __slots__ = ("_reserve_max_ns", "burst_ns", "empty_at_ns", "rate_per_second", "reserve_ns", "token_ns")

    def __init__(self, rate_per_second: float, burst_ns: int, now_ns: int, reserve_ns: int = 0) -> None:
        self.rate_per_second = rate_per_second
        self.burst_ns = burst_ns
        self.empty_at_ns = now_ns
        self.reserve_ns = self._reserve_max_ns = reserve_ns
        self.token_ns = self._cost_ns(1) if rate_per_second else 0

    def ready_at_ns(self, tokens: int) -> int:
        """Return the instant from which this many tokens may be taken (full is enough for any number)."""
        if not self.rate_per_second:
            return self.empty_at_ns
        return self.empty_at_ns + min(self._cost_ns(tokens), self.burst_ns)

    def take(self, tokens: int, now_ns: int) -> None:
        """Take tokens; the caller has seen that they are there, or may be owed."""
        if self.rate_per_second:
            cost_ns = self.token_ns if tokens == 1 else self._cost_ns(tokens)
            unused_ns = now_ns - self.burst_ns - self.empty_at_ns
            if unused_ns > 0:
                self.empty_at_ns += unused_ns
                self.reserve_ns = min(self.reserve_ns + unused_ns, self._reserve_max_ns)
            if cost_ns > LARGE_NS:
                drawn_ns = min(cost_ns - LARGE_NS, self.reserve_ns)
                self.reserve_ns -= drawn_ns
                cost_ns -= drawn_ns
            self.empty_at_ns += cost_ns

    def _cost_ns(self, tokens: int) -> int:
        """Return how long so many tokens take to flow in, rounded up: rounding down would exceed the rate for ever."""
        return -int(-tokens * NANOSECONDS // self.rate_per_second)

    def change_rate(self, rate_per_second: float, now_ns: int) -> None:
        """Let tokens flow at another rate from now on; those in the bucket and its reserve stay, and so does a debt.

        Args:
            rate_per_second: the new rate; a bucket without a limit stays without one, and one with a limit keeps one.
            now_ns: the present.
        """
        if self.rate_per_second and rate_per_second != self.rate_per_second:
            level_ns = min(now_ns - self.empty_at_ns, self.burst_ns)
            self.empty_at_ns = now_ns - int(level_ns * self.rate_per_second // rate_per_second)
            reserve_ns = int(self.reserve_ns * self.rate_per_second // rate_per_second)
            self.reserve_ns = min(reserve_ns, self._reserve_max_ns)
            self.rate_per_second = rate_per_second
            self.token_ns = self._cost_ns(1)

    def level(self, now_ns: int) -> float:
        """Return the tokens in the bucket now; negative while in debt."""
        return min(now_ns - self.empty_at_ns, self.burst_ns) * self.rate_per_second / NANOSECONDS
