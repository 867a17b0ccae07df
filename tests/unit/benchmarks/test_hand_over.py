from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.record import State
from proxy.core.verdicts import THROUGHPUT_EXCEEDED
from tests.benchmarks.hand_over import HandOver, Link
from tests.unit.core.builders import record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.record import Record
    from proxy.core.shard_map import StreamSummary

HALF = (HASH_KEY_MAX + 1) // 2


class FakeQueue:
    """Takes records, or rejects all of a call; `calls` are those that it was given."""

    def __init__(self) -> None:
        self.calls: list[list[Record]] = []
        self.rejects = False

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Take a call."""
        assert (stream_name, stream_arn) == ("orders", None)
        self.calls.append(list(records))
        if self.rejects:
            for record in records:
                record.reject(THROUGHPUT_EXCEEDED, "No room.", 70)
        return len(records) if self.rejects else 0

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Nobody leaves."""
        raise NotImplementedError

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Nothing is known."""
        raise NotImplementedError

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Nothing is to be learned."""
        raise NotImplementedError

    def keys(self) -> list[list[str]]:
        """Return the partition keys of each call."""
        return [[record.partition_key for record in call] for call in self.calls]


class Wire(asyncio.Transport):
    """Brings what is written to the other end, in pieces of so many bytes."""

    def __init__(self, piece_bytes: int) -> None:
        super().__init__()
        self.there: Link | None = None
        self.writes = 0
        self._piece_bytes = piece_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bring it."""
        assert self.there is not None
        self.writes += 1
        whole = bytes(data)
        for begin in range(0, len(whole), self._piece_bytes):
            self.there.data_received(whole[begin : begin + self._piece_bytes])


class Pair:
    """Two workers, each the owner of half of the hash keys."""

    def __init__(self, piece_bytes: int = 1 << 20) -> None:
        self.queues = FakeQueue(), FakeQueue()
        self.low = HandOver(self.queues[0], 0, HALF - 1)
        self.high = HandOver(self.queues[1], HALF, HASH_KEY_MAX)
        self.wires = Wire(piece_bytes), Wire(piece_bytes)
        links = Link(self.low), Link(self.high)
        for wire, link, other in zip(self.wires, links, reversed(links), strict=True):
            wire.there = other
            link.connection_made(wire)


def record(partition_key: str, hash_key: int, told: list[Record] | None = None) -> Record:
    """Return a record at a place of the ring whose outcome goes into a list."""
    return record_of(partition_key, hash_key=hash_key, on_outcome=None if told is None else told.append)


async def turn() -> None:
    """Let what is due in the event loop happen."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
async def test_record_is_queued_by_the_owner_of_its_hash_key(piece_bytes: int) -> None:
    """Wherever its call came in, in the order of the call, and however the frames were cut."""
    pair = Pair(piece_bytes)
    call = [record("a", 1), record("b", HALF), record("c", HALF - 1), record("d", HASH_KEY_MAX)]
    assert pair.low.append("orders", None, call) == 0
    await turn()
    assert [queue.keys() for queue in pair.queues] == [[["a", "c"]], [["b", "d"]]]
    assert [handed.hash_key for handed in pair.queues[1].calls[0]] == [HALF, HASH_KEY_MAX]


async def test_outcome_comes_back_to_the_record_that_came_in() -> None:
    """Its caller is told once, by the same object."""
    pair = Pair()
    told: list[Record] = []
    mine = record("b", HALF, told)
    pair.low.append("orders", None, [mine])
    await turn()
    assert not told
    guest = pair.queues[1].calls[0][0]
    guest.state, guest.shard_id, guest.sequence_number, guest.attempts = State.ACKNOWLEDGED, "shardId-1", "77", 2
    assert guest.on_outcome is not None
    guest.on_outcome(guest)
    await turn()
    assert told == [mine]
    assert mine.state is State.ACKNOWLEDGED
    assert (mine.shard_id, mine.sequence_number, mine.attempts) == ("shardId-1", "77", 2)


async def test_what_the_owner_rejects_comes_back_as_an_outcome() -> None:
    """The giver could not know when it was asked."""
    pair = Pair()
    pair.queues[1].rejects = True
    told: list[Record] = []
    assert pair.low.append("orders", None, [record("b", HALF, told)]) == 0
    await turn()
    assert [(each.state, each.error_code, each.retry_after_ms) for each in told] == [
        (State.REJECTED, THROUGHPUT_EXCEEDED, 70)
    ]


async def test_calls_of_one_iteration_travel_in_one_frame() -> None:
    """They stay calls at their owner."""
    pair = Pair()
    for key in "abc":
        pair.low.append("orders", None, [record(key, HALF)])
    await turn()
    assert pair.queues[1].keys() == [["a"], ["b"], ["c"]]
    assert pair.wires[0].writes == pair.low.counts.frames == 1
    assert pair.low.counts.records_given == 3


async def test_what_is_owned_stays() -> None:
    """Nothing of it is written to the other worker."""
    pair = Pair()
    pair.high.append("orders", None, [record("a", HALF), record("b", HASH_KEY_MAX)])
    await turn()
    assert pair.queues[1].keys() == [["a", "b"]]
    assert not pair.wires[1].writes
