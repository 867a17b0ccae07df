"""What a shard may be sent: a token bucket for records and one for bytes, taken together.

A bucket is kept as one instant, the moment at which it was (or will be) empty; its level is the time since then times
the rate. Nothing accumulates, so nothing drifts, and a bucket costs no work while nobody looks.

The rate may change at any time; the tokens that are there, or owed, stay as they are.

A take larger than the burst passes when the bucket is full and leaves it in debt: no record is too large to ever go,
and the average holds. Buckets start empty: the shard's last second may have been used up by a predecessor.

Source: the generic cell rate algorithm (ITU-T I.371); the Kinesis limits per shard.
"""

from __future__ import annotations

from typing import Final

NANOSECONDS: Final = 1_000_000_000
MS_PER_SECOND: Final = 1000


class TokenBucket:
    """One limit of one shard.

    Args:
        rate_per_second: tokens that flow in each second; 0 means unlimited.
        burst_ns: how many nanoseconds' worth of tokens the bucket holds.
        now_ns: the present; the bucket starts empty.

    `token_ns` is how long one token takes to flow in; 0 where there is no limit.
    """

    __slots__ = ("burst_ns", "empty_at_ns", "rate_per_second", "token_ns")

    def __init__(self, rate_per_second: float, burst_ns: int, now_ns: int) -> None:
        self.rate_per_second = rate_per_second
        self.burst_ns = burst_ns
        self.empty_at_ns = now_ns
        self.token_ns = self._cost_ns(1) if rate_per_second else 0

    def ready_at_ns(self, tokens: int) -> int:
        """Return the instant from which this many tokens may be taken (full is enough for any number)."""
        if not self.rate_per_second:
            return self.empty_at_ns
        return self.empty_at_ns + min(self._cost_ns(tokens), self.burst_ns)

    def take(self, tokens: int, now_ns: int) -> None:
        """Take tokens; the caller has checked that `ready_at_ns(tokens)` has come."""
        if self.rate_per_second:
            empty_at_ns, oldest_ns = self.empty_at_ns, now_ns - self.burst_ns
            empty_at_ns = max(empty_at_ns, oldest_ns)
            self.empty_at_ns = empty_at_ns + (self.token_ns if tokens == 1 else self._cost_ns(tokens))

    def _cost_ns(self, tokens: int) -> int:
        """Return how long so many tokens take to flow in, rounded up: rounding down would exceed the rate for ever."""
        return -int(-tokens * NANOSECONDS // self.rate_per_second)

    def change_rate(self, rate_per_second: float, now_ns: int) -> None:
        """Let tokens flow at another rate from now on; those in the bucket stay, and so does a debt.

        Args:
            rate_per_second: the new rate; a bucket without a limit stays without one, and one with a limit keeps one.
            now_ns: the present.
        """
        if self.rate_per_second and rate_per_second != self.rate_per_second:
            level_ns = min(now_ns - self.empty_at_ns, self.burst_ns)
            self.empty_at_ns = now_ns - int(level_ns * self.rate_per_second // rate_per_second)
            self.rate_per_second = rate_per_second
            self.token_ns = self._cost_ns(1)

    def level(self, now_ns: int) -> float:
        """Return the tokens in the bucket now; negative while in debt."""
        return min(now_ns - self.empty_at_ns, self.burst_ns) * self.rate_per_second / NANOSECONDS


class ShardLimit:
    """The two buckets of one shard.

    Args:
        records_per_second: 0 means unlimited.
        bytes_per_second: data and partition keys together; 0 means unlimited.
        burst_ns: how much either bucket holds, as time.
        now_ns: the present.

    The rates given are the nominal ones; `ratio` is what the buckets let flow of them. `unlimited` is set where there
    is neither limit.
    """

    __slots__ = ("_bytes_per_second", "_records_per_second", "bytes", "ratio", "records", "unlimited")

    def __init__(self, records_per_second: int, bytes_per_second: int, burst_ns: int, now_ns: int) -> None:
        self._records_per_second = records_per_second
        self._bytes_per_second = bytes_per_second
        self.ratio = 1.0
        self.unlimited = not (records_per_second or bytes_per_second)
        self.records = TokenBucket(records_per_second, burst_ns, now_ns)
        self.bytes = TokenBucket(bytes_per_second, burst_ns, now_ns)

    def ready_at_ns(self, size_bytes: int) -> int:
        """Return the instant from which a record of this size may go."""
        records = self.records
        ready_at_ns = records.empty_at_ns
        if self.unlimited:
            return ready_at_ns
        # the records' bucket without a call: every record asks, more than once
        ready_at_ns += min(records.token_ns, records.burst_ns)
        return max(ready_at_ns, self.bytes.ready_at_ns(size_bytes))

    def take(self, size_bytes: int, now_ns: int) -> None:
        """Take the tokens of one record from both buckets."""
        if not self.unlimited:
            self.records.take(1, now_ns)
            self.bytes.take(size_bytes, now_ns)

    def cost_ms(self, records: int, size_bytes: int) -> float:
        """Return what records cost of the nominal limits, as time; nothing where there are none."""
        records_ms = MS_PER_SECOND * records / self._records_per_second if self._records_per_second else 0.0
        bytes_ms = MS_PER_SECOND * size_bytes / self._bytes_per_second if self._bytes_per_second else 0.0
        return max(records_ms, bytes_ms)

    def scale(self, ratio: float, now_ns: int) -> None:
        """Let so much of both nominal rates flow from now on."""
        if ratio != self.ratio:
            self.ratio = ratio
            self._change_rates(now_ns)

    def change_nominal(self, records_per_second: int, bytes_per_second: int, now_ns: int) -> None:
        """Take over other nominal rates; the ratio stays."""
        self._records_per_second = records_per_second
        self._bytes_per_second = bytes_per_second
        self._change_rates(now_ns)

    def _change_rates(self, now_ns: int) -> None:
        self.records.change_rate(self._records_per_second * self.ratio, now_ns)
        self.bytes.change_rate(self._bytes_per_second * self.ratio, now_ns)
