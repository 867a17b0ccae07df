"""Which splits and merges lead from some shards to a number of equal ones (UpdateShardCount, UNIFORM_SCALING).

Every wanted boundary that no shard has yet is made by a split, then every boundary that is not wanted goes by a merge:
each hash key moves as rarely as splits and merges allow. Doubling is one split a shard, halving one merge a pair.

Must never know: shards as such; it sees starting hash keys alone.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from proxy.core.hashing import HASH_KEY_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

# A boundary this near to the wanted one is taken for it: ranges that do not divide evenly are rounded differently for
# different counts, and nobody wants a shard of one hash key. It is 2^-64 of all keys.
_NEAR_HASH_KEYS = 2**64


class Split(NamedTuple):
    """Split the open shard that contains a hash key, so that the upper part starts with it."""

    new_starting_hash_key: int


class Merge(NamedTuple):
    """Merge the open shard that starts with a hash key with the one below it."""

    starting_hash_key: int


def uniform_starts(shard_count: int) -> list[int]:
    """Return the starting hash keys of so many equal shards, as the service divides a new stream."""
    width = (HASH_KEY_MAX + 1) // shard_count
    return [width * index for index in range(shard_count)]


def plan(starts: Sequence[int], shard_count: int) -> list[Split | Merge]:
    """Return the steps, in order, from the open shards to so many equal ones.

    Args:
        starts: starting hash keys of the open shards, ascending, the first one 0.
        shard_count: number of shards wanted, at least 1.
    """
    wanted = [_snap(start, starts) for start in uniform_starts(shard_count)]
    splits = [Split(start) for start in sorted(set(wanted).difference(starts))]
    merges = [Merge(start) for start in sorted(set(starts).difference(wanted))]
    return [*splits, *merges]


def _snap(wanted: int, starts: Sequence[int]) -> int:
    """Return the existing start next to a wanted one if it is near enough to serve."""
    index = bisect_left(starts, wanted)
    for start in starts[max(0, index - 1) : index + 1]:
        if abs(start - wanted) <= _NEAR_HASH_KEYS:
            return start
    return wanted
