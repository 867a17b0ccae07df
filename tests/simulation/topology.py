"""The shards of one simulated stream: what is open, what was open before, how they split and merge, what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.limits import SECOND_NS
from proxy.core.shard_map import Shard, ShardMap

if TYPE_CHECKING:
    from random import Random

RESERVE_SECONDS = 9.0  # of bytes, beside the one of the bucket
MAPS_REMEMBERED = 4  # a stale answer is one of them


class Topology:
    """Open shards.

    Args:
        count: equal shards to begin with.

    `most` is how many were ever open: a proxy that has not asked for hours may take it for as many.
    """

    def __init__(self, count: int) -> None:
        self._made = 0
        self.most = 0
        self.older: list[list[Shard]] = []
        self.open: list[Shard] = []
        self.map = ShardMap(())
        self._replace(self._cut(0, HASH_KEY_MAX, count))

    def split(self, draw: Random) -> None:
        """Split one shard in two."""
        index = draw.randrange(len(self.open))
        shard = self.open[index]
        if shard.ending_hash_key - shard.starting_hash_key < 2:
            return
        halves = self._cut(shard.starting_hash_key, shard.ending_hash_key, 2)
        self._replace([*self.open[:index], *halves, *self.open[index + 1 :]])

    def merge(self, draw: Random) -> None:
        """Merge two neighbours."""
        if len(self.open) < 2:
            return
        index = draw.randrange(len(self.open) - 1)
        left, right = self.open[index : index + 2]
        merged = self._cut(left.starting_hash_key, right.ending_hash_key, 1)
        self._replace([*self.open[:index], *merged, *self.open[index + 2 :]])

    def cut_anew(self, count: int) -> None:
        """Scale to a number of equal shards, all of them new."""
        self._replace(self._cut(0, HASH_KEY_MAX, count))

    def make_again(self, count: int) -> None:
        """Have another stream of that name, with equal shards that are counted from the first on again."""
        self._made = 0
        self._replace(self._cut(0, HASH_KEY_MAX, count))

    def _replace(self, shards: list[Shard]) -> None:
        self.older = [*self.older, self.open][-MAPS_REMEMBERED:] if self.open else []
        self.open = shards
        self.most = max(self.most, len(shards))
        self.map = ShardMap(shards)

    def _cut(self, start: int, end: int, count: int) -> list[Shard]:
        width = (end - start + 1) // count
        starts = [start + index * width for index in range(count)]
        ends = [*(next_start - 1 for next_start in starts[1:]), end]
        shards = []
        for starting_hash_key, ending_hash_key in zip(starts, ends, strict=True):
            shards.append(Shard(starting_hash_key, ending_hash_key, f"shardId-{self._made:012d}"))
            self._made += 1
        return shards


class ShardMeter:
    """What one shard takes: records and bytes, by the second of the service's clock or by token bucket.

    A bucket has a reserve of bytes, for records of more than a second's worth.

    Args:
        rates: records and bytes a second.
        by_second: by the clock's second; otherwise by a bucket of one second.
    """

    def __init__(self, rates: tuple[int, int], *, by_second: bool) -> None:
        self._rates = rates
        self._by_second = by_second
        self._spent: dict[str, tuple[int, float, float, float]] = {}  # instant, records, bytes, bytes of the reserve

    def takes(self, shard_id: str, size_bytes: int, now_ns: int) -> bool:
        """Count a record against its shard's limits, unless it is too much."""
        at_ns, records, spent_bytes, reserve_bytes = self._spent.get(shard_id, (now_ns, 0.0, 0.0, 0.0))
        records_max, bytes_max = self._rates
        if self._by_second:
            if at_ns // SECOND_NS != now_ns // SECOND_NS:
                records = spent_bytes = 0.0
        else:
            elapsed = (now_ns - at_ns) / SECOND_NS
            records = max(0.0, records - elapsed * records_max)
            spent_bytes -= elapsed * bytes_max
            reserve_bytes = max(0.0, reserve_bytes + min(0.0, spent_bytes))  # it fills while the bucket is full
            spent_bytes = max(0.0, spent_bytes)
        fits = records + 1 <= records_max and spent_bytes + size_bytes <= bytes_max
        if size_bytes > bytes_max and records + 1 <= records_max:
            # a record above the second's bytes passes through a shard that is unused, or has something in reserve
            drawn_bytes = size_bytes - max(0.0, bytes_max - spent_bytes)
            if not spent_bytes or reserve_bytes + drawn_bytes <= RESERVE_SECONDS * bytes_max:
                fits, size_bytes = True, size_bytes - int(drawn_bytes)
                reserve_bytes += drawn_bytes
        if fits:
            records, spent_bytes = records + 1, spent_bytes + size_bytes
        self._spent[shard_id] = (now_ns, records, spent_bytes, reserve_bytes)
        return fits
