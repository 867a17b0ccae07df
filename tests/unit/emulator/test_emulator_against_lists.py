"""The emulator against the simplest thing that could be a stream: one list per shard."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.emulator.emulator_driver import Emulator, entry, shard_id

RING = 2**128
hash_keys = st.integers(0, RING - 1) | st.sampled_from([0, RING // 2 - 1, RING // 2, RING - 1])


class Machine(RuleBasedStateMachine):
    """Puts, reshards and reads at random; the lists say what must be read, where, and in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.emulator = Emulator(shard_records_per_second=8, shards_max=24)
        self.ranges: dict[int, tuple[int, int]] = {}
        self.lists: dict[int, list[tuple[bytes, str]]] = {}
        self.open: list[int] = []
        self.parents: dict[int, list[int]] = {}
        self.readers: dict[int, tuple[str, list[str]]] = {}
        self.count = 0

    @initialize(shards=st.integers(1, 4))
    def create(self, shards: int) -> None:
        """Make the stream."""
        self.emulator.create(shards=shards)
        width = RING // shards
        for index in range(shards):
            self._opened(index, width * index, width * (index + 1) - 1 if index < shards - 1 else RING - 1, [])

    @rule(keys=st.lists(hash_keys, min_size=1, max_size=12))
    def put(self, keys: list[int]) -> None:
        """Put records where each is known to belong."""
        entries = []
        for key in keys:
            self.count += 1
            entries.append(entry("k", b"%d" % self.count, str(key)))
        results = self.emulator.put_many(entries)
        for key, sent, result in zip(keys, entries, results, strict=True):
            (owner,) = [index for index in self.open if self.ranges[index][0] <= key <= self.ranges[index][1]]
            if result.error_code is None:
                assert result.shard_id == shard_id(owner)
                self.lists[owner].append((sent["Data"].encode(), result.sequence_number or ""))
            else:
                assert shard_id(owner) in (result.error_message or "")

    @rule(ms=st.integers(0, 3000))
    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.emulator.advance(ms)

    @precondition(lambda self: len(self.open) < 20)
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        """Split any open shard anywhere."""
        index = data.draw(st.sampled_from(self.open))
        start, end = self.ranges[index]
        if end - start < 4:
            return
        at = data.draw(st.integers(start + 2, end - 1))
        self.emulator.call("SplitShard", StreamName="orders", ShardToSplit=shard_id(index), NewStartingHashKey=str(at))
        self.open.remove(index)
        self._opened(len(self.ranges), start, at - 1, [index])
        self._opened(len(self.ranges), at, end, [index])

    @precondition(lambda self: len(self.open) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        """Merge any two neighbours."""
        by_start = sorted(self.open, key=lambda index: self.ranges[index])
        at = data.draw(st.integers(0, len(by_start) - 2))
        lower, upper = by_start[at : at + 2]
        self.emulator.call(
            "MergeShards", StreamName="orders", ShardToMerge=shard_id(lower), AdjacentShardToMerge=shard_id(upper)
        )
        self.open.remove(lower)
        self.open.remove(upper)
        self._opened(len(self.ranges), self.ranges[lower][0], self.ranges[upper][1], [lower, upper])

    @rule(data=st.data())
    def read_on(self, data: st.DataObject) -> None:
        """Let a reader of some shard go on where it was, a few records at a time."""
        index = data.draw(st.sampled_from(sorted(self.ranges)))
        if index not in self.readers:
            self.readers[index] = (self.emulator.iterator(index), [])
        iterator, seen = self.readers[index]
        if not iterator:
            return
        limit = data.draw(st.integers(1, 5))
        answer = self.emulator.call("GetRecords", ShardIterator=iterator, Limit=limit)
        seen += [record.sequence_number for record in answer["Records"]]
        numbers = [number for _, number in self.lists[index]]
        assert seen == numbers[: len(seen)]
        ended = "NextShardIterator" not in answer
        assert ended == (index not in self.open and len(seen) == len(numbers))
        if ended:
            children = [shard_id(child) for child, parents in self.parents.items() if index in parents]
            assert [child["ShardId"] for child in answer["ChildShards"]] == children
        self.readers[index] = (answer.get("NextShardIterator", ""), seen)

    @rule(data=st.data())
    def read_from_any_record(self, data: st.DataObject) -> None:
        """Read from a record by its sequence number, at and after."""
        index = data.draw(st.sampled_from(sorted(self.ranges)))
        if not self.lists[index]:
            return
        at = data.draw(st.integers(0, len(self.lists[index]) - 1))
        number = self.lists[index][at][1]
        for kind, start in (("AT_SEQUENCE_NUMBER", at), ("AFTER_SEQUENCE_NUMBER", at + 1)):
            iterator = self.emulator.iterator(index, kind, StartingSequenceNumber=number)
            assert self._read(iterator) == self.lists[index][start:]

    @invariant()
    def every_shard_holds_its_list(self) -> None:
        """All that was acknowledged is read back in order, and nothing else, after every step."""
        for index, kept in self.lists.items():
            assert self._read(self.emulator.iterator(index)) == kept
            numbers = [int(number) for _, number in kept]
            assert numbers == sorted(set(numbers))
            for parent in self.parents[index]:
                assert not numbers or not self.lists[parent] or numbers[0] > int(self.lists[parent][-1][1])

    @invariant()
    def the_open_shards_are_known(self) -> None:
        """ListShards tells the same ranges as the lists."""
        if not self.ranges:
            return
        listed = {
            shard["ShardId"]: (
                int(shard["HashKeyRange"]["StartingHashKey"]),
                int(shard["HashKeyRange"]["EndingHashKey"]),
            )
            for shard in self.emulator.shards(ShardFilter={"Type": "AT_LATEST"})
        }
        assert listed == {shard_id(index): self.ranges[index] for index in self.open}

    def _opened(self, index: int, start: int, end: int, parents: list[int]) -> None:
        self.ranges[index] = (start, end)
        self.lists[index] = []
        self.parents[index] = parents
        self.open.append(index)

    def _read(self, iterator: str) -> list[tuple[bytes, str]]:
        records: list[Any] = self.emulator.read(iterator)
        return [(record.data.encode(), record.sequence_number) for record in records]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
