"""Which lane a hash key belongs to, as far as the stream's shards are known.

    no map yet       one careful lane with the capacity of a single shard
    shard map        a lane a shard; a hash key in a gap of the map uses the careful lane
    AUTO stream      one lane with the capacity of all open shards (the service ignores keys: nothing to predict)

A lane outlives a new map if its shard is still open: tokens, backoff and debts stay true. So does the careful lane, as
long as it stands for one shard, or for all.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from proxy.core.lane import Lane
from proxy.core.rate_control import FixedRate
from proxy.core.shard_limit import ShardLimit
from proxy.core.shard_map import ShardMap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.limits import StreamLimits
    from proxy.core.shard_map import Shard

_BITS_BELOW_FIRST_BYTE: Final = 120
_NOT_BY_FIRST_BYTE: Final[Sequence[Lane | None]] = [None] * 256


class Lanes:
    """The lanes of one stream.

    Args:
        limits: for each lane's buckets.
        now_ns: the present.

    `provisional` is set until a first map has come, or could not be fetched: how many shards there are is then a matter
    of moments, and the careful lane says nothing about how long anything will wait.
    """

    __slots__ = (
        "_auto_distribution",
        "_by_first_byte",
        "_by_shard_id",
        "_careful",
        "_ends",
        "_in_order",
        "_limits",
        "_map",
        "_shard_ids",
        "_starts",
        "provisional",
    )

    def __init__(self, limits: StreamLimits, now_ns: int) -> None:
        self._limits = limits
        self._map: ShardMap | None = None
        self._auto_distribution = False
        self.provisional = True
        self._by_shard_id: dict[str, Lane] = {}
        self._careful = self._make(None, now_ns)
        # the map once more, for the search that each record makes: by the first byte where that alone decides
        self._by_first_byte: Sequence[Lane | None] = _NOT_BY_FIRST_BYTE
        self._starts: Sequence[int] = ()
        self._ends: Sequence[int] = ()
        self._in_order: Sequence[Lane] = ()
        self._shard_ids: frozenset[str] = frozenset()

    @property
    def auto_distribution(self) -> bool:
        """Whether the service ignores keys, so that one lane serves all shards."""
        return self._auto_distribution

    @property
    def open_shard_count(self) -> int:
        """Open shards by the newest map; 0 while there is none."""
        return len(self._shard_ids)

    @property
    def known(self) -> list[Lane]:
        """Lanes in use, in the order of the shards' hash key ranges."""
        return list(self._by_shard_id.values()) or [self._careful]

    def lane_of(self, hash_key: int) -> Lane:
        """Return the lane of a hash key."""
        lane = self._by_first_byte[hash_key >> _BITS_BELOW_FIRST_BYTE]
        if lane is not None:
            return lane
        index = bisect_right(self._starts, hash_key) - 1
        return self._in_order[index] if index >= 0 and hash_key <= self._ends[index] else self._careful

    def contradicts(self, lane: Lane, shard_id: str) -> bool:
        """Whether a record of the lane has landed where the map cannot have it: the map is out of date."""
        if lane is self._careful and self._map is None:
            return bool(self._shard_ids) and shard_id not in self._shard_ids
        return lane.shard_id != shard_id

    def learn(self, shards: Sequence[Shard], now_ns: int, *, auto_shards: int) -> None:
        """Replace the map; the caller lists its ready keys anew afterwards.

        Args:
            shards: the open ones, as far as they are known.
            now_ns: the present.
            auto_shards: how many open shards a stream has that ignores keys; 0 where keys decide.
        """
        self.provisional = False
        self._shard_ids = frozenset(shard.shard_id for shard in shards)
        if self._auto_distribution != (auto_shards > 0):
            self._auto_distribution = not self._auto_distribution
            # what all shards together owed, or had to spare, is not for the one that it stands for now
            self._careful = self._make(None, now_ns)
        limits = self._limits
        careful = self._careful
        careful.shards = auto_shards or 1
        careful.limit.change_nominal(
            limits.shard_records_per_second * careful.shards, limits.shard_bytes_per_second * careful.shards, now_ns
        )
        if auto_shards:
            self._map = None
            self._by_shard_id = {}
            self._starts = self._ends = self._in_order = ()
            self._by_first_byte = _NOT_BY_FIRST_BYTE
            return
        self._map = ShardMap(shards)
        known = self._by_shard_id
        self._by_shard_id = {
            shard_id: known.get(shard_id) or self._make(shard_id, now_ns) for shard_id in self._map.shard_ids
        }
        self._starts, self._ends = self._map.starts, self._map.ends
        self._in_order = [self._by_shard_id[shard_id] for shard_id in self._map.shard_ids]
        self._by_first_byte = [self._lane_of_all(first_byte) for first_byte in range(256)]

    def _lane_of_all(self, first_byte: int) -> Lane | None:
        """Return the lane of all hash keys that begin with a byte; None if they have none, or several."""
        lowest = first_byte << _BITS_BELOW_FIRST_BYTE
        highest = lowest + (1 << _BITS_BELOW_FIRST_BYTE) - 1
        index = bisect_right(self._starts, lowest) - 1
        is_one = index >= 0 and highest <= self._ends[index] and bisect_right(self._starts, highest) - 1 == index
        return self._in_order[index] if is_one else None

    def _make(self, shard_id: str | None, now_ns: int) -> Lane:
        limits = self._limits
        limit = ShardLimit(
            limits.shard_records_per_second, limits.shard_bytes_per_second, limits.shard_burst_ns, now_ns
        )
        unlimited = not (limits.shard_records_per_second or limits.shard_bytes_per_second)
        rate = FixedRate() if unlimited else limits.rate_control(now_ns)
        limit.scale(rate.ratio, now_ns)
        return Lane(shard_id, limit, rate)
