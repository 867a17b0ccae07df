"""One shard: a range of hash keys, its ancestry, its limits and its records.

    open ──close──> closed

A closed shard takes no more records; it can be read to its end, which leads on to its children.

Must never know: other shards, but for the indexes of its parents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.emulator import sequence_number
from proxy.emulator.clock import MS_PER_SECOND
from proxy.emulator.record_log import RecordLog

if TYPE_CHECKING:
    from proxy.emulator.shard_limit import ShardLimit


def shard_id_of(index: int) -> str:
    """Return the service's name for the shard with this number."""
    return f"shardId-{index:012d}"


def index_of(shard_id: str) -> int | None:
    """Return the number in a shard's name, which the service reads leniently; None where there is none."""
    digits = shard_id.partition("-")[2].partition("-")[0] or shard_id
    if not (digits.isascii() and digits.isdecimal()):
        return None
    index = int(digits)
    return index if index <= sequence_number.SHARD_INDEX_MAX else None


class Shard:
    """One shard of a stream.

    Args:
        index: the number in its id, counted within the stream.
        starting_hash_key: lowest hash key, inclusive.
        ending_hash_key: highest hash key, inclusive.
        created_seconds: epoch second that its sequence numbers carry; later than its parents'.
        opened_at_ms: epoch milliseconds from which it takes records.
        parents: shard split, or the two merged, lower range first.
        limit: what it takes per second.
    """

    __slots__ = (
        "_base",
        "accepted_bytes",
        "closed_at_ms",
        "created_seconds",
        "ending_hash_key",
        "ending_sequence_number",
        "index",
        "limit",
        "log",
        "opened_at_ms",
        "parents",
        "shard_id",
        "starting_hash_key",
        "throttled_records",
    )

    def __init__(  # noqa: PLR0913 - a shard is what its ancestry and range make it; nothing can be left to a default
        self,
        *,
        index: int,
        starting_hash_key: int,
        ending_hash_key: int,
        created_seconds: int,
        opened_at_ms: int,
        parents: tuple[Shard, ...],
        limit: ShardLimit,
    ) -> None:
        self.index = index
        self.shard_id = shard_id_of(index)
        self.starting_hash_key = starting_hash_key
        self.ending_hash_key = ending_hash_key
        self.created_seconds = created_seconds
        self.opened_at_ms = opened_at_ms
        self.closed_at_ms: int | None = None
        self.ending_sequence_number: str | None = None
        self.parents = tuple(parent.shard_id for parent in parents)
        self.limit = limit
        self.log = RecordLog()
        self.accepted_bytes = 0
        self.throttled_records = 0
        self._base = sequence_number.base_of(created_seconds, index)

    @property
    def accepted_records(self) -> int:
        """Number of records ever taken."""
        return self.log.next_ordinal - 1

    @property
    def starting_sequence_number(self) -> str:
        """The sequence number below all of its records'."""
        return self.sequence_number_of(0, self.created_seconds * MS_PER_SECOND)

    def sequence_number_of(self, ordinal: int, arrived_at_ms: int) -> str:
        """Return the sequence number of the record with this ordinal."""
        return sequence_number.compose(self._base, ordinal, arrived_at_ms // MS_PER_SECOND)

    def was_open_at(self, wall_ms: int) -> bool:
        """Whether the shard took records at that moment."""
        return self.opened_at_ms <= wall_ms and (self.closed_at_ms is None or wall_ms < self.closed_at_ms)

    def close(self, wall_ms: int) -> None:
        """Take no more records from now on."""
        self.closed_at_ms = wall_ms
        self.ending_sequence_number = self.sequence_number_of(sequence_number.ORDINAL_MAX, wall_ms)
