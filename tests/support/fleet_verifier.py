"""Holds what is read from a stream against what was acknowledged, while both go on, in bounded memory.

It verifies what `readback.verify` does at the end of a run, record by record as they come. Acknowledgements and read
records arrive in any order relative to each other; each waits for the other, and both are forgotten when they meet. So
what is held is what is under way, what was written without an acknowledgement, and two numbers for each partition key.

A record that comes behind a younger one of its key is an inversion if its client was told that it is in the stream, and
overtaken if not: the service may carry out a request that its sender has given up, whoever sends.

Records must be handed in as a consumer reads them: a shard's in their order, a parent's all before its children's.
Must never know: where records and acknowledgements come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from proxy.core.hashing import hash_key_of
from tests.support.producers import name_of, payload_of
from tests.support.readback import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

# Ordinals below the newest of their key that are remembered; an older one counts as an inversion, seen or not.
REMEMBERED = 256
_MASK = (1 << REMEMBERED) - 1


class ShardRange(NamedTuple):
    """A shard and the hash keys that it owns."""

    shard_id: str
    starting_hash_key: int
    ending_hash_key: int


class FleetVerifier:
    """Verifies one stream.

    Args:
        data_bytes: size of the payloads, as they were made by `payload_of`.
    """

    def __init__(self, data_bytes: int) -> None:
        self.verdict = Verdict()
        self.overtaken = 0
        self._data_bytes = data_bytes
        self._last: dict[str, int] = {}
        # By partition key: the newest ordinal read, and a bit for each ordinal up to it that was read, it in bit 0.
        self._seen: dict[str, tuple[int, int]] = {}
        # By key and ordinal: records behind younger ones of their key, whose acknowledgement was not seen yet.
        self._behind: set[tuple[str, int]] = set()
        # By key and ordinal: where an acknowledged record must be that was not read there yet.
        self._awaited: dict[tuple[str, int], tuple[str, str]] = {}
        # By key and ordinal: where records were read whose acknowledgement was not seen yet.
        self._unclaimed: dict[tuple[str, int], list[tuple[str, str]]] = {}

    @property
    def awaited(self) -> int:
        """Acknowledged records that were not read yet."""
        return len(self._awaited)

    @property
    def held(self) -> int:
        """Records of either side that wait for the other."""
        return len(self._awaited) + len(self._unclaimed)

    def read(self, shard: ShardRange, sequence_number: str, partition_key: str, data: bytes) -> None:
        """Take the next record of a shard."""
        verdict = self.verdict
        verdict.stored += 1
        sequence, last = int(sequence_number), self._last.get(shard.shard_id, -1)
        if sequence <= last:
            verdict.regressions += 1
            verdict.note(f"{shard.shard_id}: {sequence} follows {last}")
        self._last[shard.shard_id] = sequence
        name = name_of(data)
        if name is None or name[0] != partition_key or payload_of(*name, self._data_bytes) != data:
            verdict.foreign += 1
            verdict.note(f"{shard.shard_id}: {data!r} with key {partition_key} was never sent")
            return
        if not shard.starting_hash_key <= hash_key_of(partition_key) <= shard.ending_hash_key:
            verdict.misrouted += 1
            verdict.note(f"{shard.shard_id} does not own {partition_key}")
        self._match(name, (shard.shard_id, sequence_number), first=self._order(*name))

    def acknowledged(self, partition_key: str, ordinal: int, shard_id: str, sequence_number: str) -> None:
        """Take what a client was told about one sending."""
        self.verdict.acknowledged += 1
        name, place = (partition_key, ordinal), (shard_id, sequence_number)
        if name in self._behind:
            self._behind.remove(name)
            self._invert(name)
        # Written twice, it may be acknowledged under the second place: the first one then needs no owner either.
        if place not in self._unclaimed.pop(name, ()):
            self._awaited[name] = place

    def finish(self, sent: Mapping[str, int]) -> Verdict:
        """Return the verdict when everything has been read and every acknowledgement handed in.

        Args:
            sent: how many sendings each partition key had.
        """
        verdict = self.verdict
        verdict.lost += len(self._awaited)
        verdict.unacknowledged += len(self._unclaimed)
        self.overtaken = len(self._behind)
        for name, place in self._awaited.items():
            verdict.note(f"{name} is not where it was acknowledged: {place}")
        for partition_key, (newest, _) in self._seen.items():
            if newest >= sent.get(partition_key, 0):
                verdict.foreign += 1
                verdict.note(f"{partition_key}: ordinal {newest} was never sent")
        return verdict

    def _order(self, partition_key: str, ordinal: int) -> bool:
        """Enter a record in its key's order; return whether it is its first occurrence."""
        newest, mask = self._seen.get(partition_key, (-1, 0))
        if ordinal > newest:
            self._seen[partition_key] = ordinal, (mask << ordinal - newest | 1) & _MASK
            return True
        behind = newest - ordinal
        if mask >> behind & 1:
            self.verdict.duplicates += 1
            self.verdict.late_duplicates += behind > 0
            return False
        self._seen[partition_key] = newest, (mask | 1 << behind) & _MASK
        name = (partition_key, ordinal)
        if name in self._awaited or behind >= REMEMBERED:
            self._invert(name)
        else:
            self._behind.add(name)
        return True

    def _invert(self, name: tuple[str, int]) -> None:
        self.verdict.inversions += 1
        self.verdict.note(f"{name} first occurs after a younger record of its key")

    def _match(self, name: tuple[str, int], place: tuple[str, str], *, first: bool) -> None:
        awaited = self._awaited.get(name)
        if awaited is not None:
            if awaited == place:
                del self._awaited[name]
        elif first:
            self._unclaimed[name] = [place]
        elif name in self._unclaimed:
            self._unclaimed[name].append(place)
