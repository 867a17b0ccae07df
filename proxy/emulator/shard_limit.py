"""What one shard takes: records and bytes per second, decided together for each record.

Two tanks for bytes. The first holds one second of the rate and serves every record. What overflows it fills a reserve,
from which only a record larger than a second's worth may draw, so that a large record passes now and then, smaller
ones go on as the rate flows, and the average still holds. Both start full: an idle shard has had its second.

Levels are integers, in billionths of a record or byte: exact at any rate, and nothing is lost between two looks.

Source: developer guide, "Handle large records" (a tank that refills at a steady rate; bursts up to 10 MiB).
"""

from __future__ import annotations

from proxy.emulator.clock import NS_PER_SECOND
from proxy.kinesis.limits import SHARD_BURST_BYTES_MAX


class ShardLimit:
    """The limits of one shard.

    Args:
        records_per_second: 0 means unlimited.
        bytes_per_second: data and partition keys together; 0 means unlimited.
        now_ns: the present; the tanks start full.
    """

    __slots__ = (
        "_bytes",
        "_bytes_full",
        "_bytes_per_second",
        "_filled_at_ns",
        "_records",
        "_records_full",
        "_records_per_second",
        "_reserve",
        "_reserve_full",
    )

    def __init__(self, records_per_second: int, bytes_per_second: int, now_ns: int) -> None:
        self._records_per_second = records_per_second
        self._bytes_per_second = bytes_per_second
        self._records = self._records_full = records_per_second * NS_PER_SECOND
        self._bytes = self._bytes_full = bytes_per_second * NS_PER_SECOND
        self._reserve = self._reserve_full = max(0, SHARD_BURST_BYTES_MAX - bytes_per_second) * NS_PER_SECOND
        self._filled_at_ns = now_ns

    def take(self, size_bytes: int, now_ns: int) -> bool:
        """Take one record's share, or nothing at all and say no.

        Args:
            size_bytes: data and partition key.
            now_ns: not before the last call's.
        """
        if now_ns > self._filled_at_ns:
            self._fill(now_ns)
        if self._records_per_second and self._records < NS_PER_SECOND:
            return False
        if self._bytes_per_second and not self._take_bytes(size_bytes * NS_PER_SECOND):
            return False
        self._records -= NS_PER_SECOND
        return True

    def _take_bytes(self, cost: int) -> bool:
        if cost <= self._bytes:
            self._bytes -= cost
            return True
        if cost > self._bytes_full and cost <= self._bytes + self._reserve:
            self._reserve -= cost - self._bytes
            self._bytes = 0
            return True
        return False

    def _fill(self, now_ns: int) -> None:
        elapsed_ns = now_ns - self._filled_at_ns
        self._filled_at_ns = now_ns
        self._records = min(self._records_full, self._records + elapsed_ns * self._records_per_second)
        level = self._bytes + elapsed_ns * self._bytes_per_second
        if level > self._bytes_full:
            self._reserve = min(self._reserve_full, self._reserve + level - self._bytes_full)
            level = self._bytes_full
        self._bytes = level
