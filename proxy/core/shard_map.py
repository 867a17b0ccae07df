"""Which shard a hash key belongs to: an immutable snapshot of a stream's open shards.

Must never know: how the snapshot was fetched.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Shard:
    """One open shard and the inclusive range of hash keys that it owns."""

    starting_hash_key: int
    ending_hash_key: int
    shard_id: str


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What DescribeStreamSummary says that matters to a producer.

    Args:
        stream_arn: the stream's ARN.
        open_shard_count: number of open shards.
        record_bytes_max: largest data + partition key, in bytes (MaxRecordSizeInKiB * 1024).
        auto_distribution: True where the service ignores keys (RecordDistributionStrategy AUTO).
    """

    stream_arn: str
    open_shard_count: int
    record_bytes_max: int = 1024 * 1024
    auto_distribution: bool = False


class ShardMap:
    """The open shards of one stream, by hash key.

    Args:
        shards: in any order. Overlaps (a parent still listed beside its children) resolve to the shard that starts
            last, and of those to the smallest; gaps resolve to None.

    `starts` and `ends` are the bounds of the shards' ranges, both inclusive, in the order of `shard_ids`.
    """

    __slots__ = ("_shards", "ends", "starts")

    def __init__(self, shards: Iterable[Shard]) -> None:
        # of shards that start together the smallest comes last and wins: a child against its parent
        self._shards = sorted(shards, key=lambda shard: (shard.starting_hash_key, -shard.ending_hash_key))
        self.starts = [shard.starting_hash_key for shard in self._shards]
        self.ends = [shard.ending_hash_key for shard in self._shards]

    @property
    def shard_ids(self) -> list[str]:
        """Shard ids in the order of their hash key ranges."""
        return [shard.shard_id for shard in self._shards]

    def shard_id_of(self, hash_key: int) -> str | None:
        """Predict the shard of a hash key, or None where the map has a gap."""
        index = bisect_right(self.starts, hash_key) - 1
        if index < 0:
            return None
        shard = self._shards[index]
        return shard.shard_id if hash_key <= shard.ending_hash_key else None
