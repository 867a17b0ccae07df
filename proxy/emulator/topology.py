"""The shards of one stream: who owns which hash key, and how shards are split and merged.

Open shards always cover every hash key exactly once. A child is created in a later second than its parents, whatever
the clock says, because that is what puts its sequence numbers above theirs.

Must never know: the stream's status, other streams, what is put.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from proxy.core.hashing import HASH_KEY_MAX
from proxy.emulator.clock import MS_PER_SECOND
from proxy.emulator.scaling import Split, plan, uniform_starts
from proxy.emulator.shard import Shard
from proxy.emulator.shard_limit import ShardLimit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.emulator.clock import Now
    from proxy.emulator.settings import EmulatorSettings

# Shards of a new stream seem to have been made this long before it (recorded by kinesalite), which leaves room for
# children to be created in a later second although the stream splits at once.
_CREATED_AGO_SECONDS = 2
# A stream that is resharded without end forgets its oldest closed shards beyond this many, even within its retention.
CLOSED_SHARDS_MAX = 10_000


class Topology:
    """The shards of one stream, by index.

    Args:
        settings: limits of each shard.
    """

    def __init__(self, settings: EmulatorSettings) -> None:
        self.shards: dict[int, Shard] = {}
        self.open_shards: Sequence[Shard] = ()
        self.starts: Sequence[int] = ()
        self._settings = settings
        self._next_index = 0

    def create(self, shard_count: int, now: Now) -> None:
        """Open the first shards, all of one size."""
        starts = uniform_starts(shard_count)
        ends = [start - 1 for start in starts[1:]] + [HASH_KEY_MAX]
        created_seconds = now.wall_ms // MS_PER_SECOND - _CREATED_AGO_SECONDS
        for starting_hash_key, ending_hash_key in zip(starts, ends, strict=True):
            self._open(starting_hash_key, ending_hash_key, (), created_seconds, now)
        self._index()

    def clear(self) -> list[Shard]:
        """Remove all shards and return them."""
        removed = list(self.shards.values())
        self.shards.clear()
        self._index()
        return removed

    def shard_at(self, hash_key: int) -> Shard:
        """Return the open shard that owns a hash key."""
        return self.open_shards[bisect_right(self.starts, hash_key) - 1]

    def children_of(self, shard: Shard) -> list[Shard]:
        """Return the shards into which a closed shard was split or merged."""
        return [other for other in self.shards.values() if shard.shard_id in other.parents]

    def split(self, shard: Shard, new_starting_hash_key: int, now: Now) -> None:
        """Replace an open shard by two; the upper one starts with the hash key."""
        created_seconds = self._close((shard,), now)
        self._open(shard.starting_hash_key, new_starting_hash_key - 1, (shard,), created_seconds, now)
        self._open(new_starting_hash_key, shard.ending_hash_key, (shard,), created_seconds, now)
        self._index()

    def merge(self, lower: Shard, upper: Shard, now: Now) -> None:
        """Replace two open shards, whose ranges adjoin, by one."""
        created_seconds = self._close((lower, upper), now)
        self._open(lower.starting_hash_key, upper.ending_hash_key, (lower, upper), created_seconds, now)
        self._index()

    def rescale(self, shard_count: int, now: Now) -> None:
        """Split and merge until there are so many open shards of one size."""
        for step in plan(self.starts, shard_count):
            if isinstance(step, Split):
                self.split(self.shard_at(step.new_starting_hash_key), step.new_starting_hash_key, now)
            else:
                self.merge(self.shard_at(step.starting_hash_key - 1), self.shard_at(step.starting_hash_key), now)

    def forget_closed(self, closed_before_ms: int) -> None:
        """Remove shards that were closed before a moment, or that are closed and too many.

        A shard that still keeps records stays.
        """
        closed = [(shard, at_ms) for shard in self.shards.values() if (at_ms := shard.closed_at_ms) is not None]
        for ordinal, (shard, closed_at_ms) in enumerate(closed):
            too_many = len(closed) - ordinal > CLOSED_SHARDS_MAX
            if not len(shard.log) and (closed_at_ms < closed_before_ms or too_many):
                del self.shards[shard.index]

    def _close(self, parents: tuple[Shard, ...], now: Now) -> int:
        """Close shards and return the second in which their children are created."""
        for parent in parents:
            parent.close(now.wall_ms)
        return max(now.wall_ms // MS_PER_SECOND, *(parent.created_seconds + 1 for parent in parents))

    def _open(
        self,
        starting_hash_key: int,
        ending_hash_key: int,
        parents: tuple[Shard, ...],
        created_seconds: int,
        now: Now,
    ) -> None:
        index = self._next_index
        self._next_index += 1
        self.shards[index] = Shard(
            index=index,
            starting_hash_key=starting_hash_key,
            ending_hash_key=ending_hash_key,
            created_seconds=created_seconds,
            opened_at_ms=now.wall_ms,
            parents=parents,
            limit=ShardLimit(self._settings.shard_records_per_second, self._settings.shard_bytes_per_second, now.ns),
        )

    def _index(self) -> None:
        self.open_shards = sorted(
            (shard for shard in self.shards.values() if shard.closed_at_ms is None),
            key=attrgetter("starting_hash_key"),
        )
        self.starts = [shard.starting_hash_key for shard in self.open_shards]
