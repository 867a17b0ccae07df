"""What it costs by itself to hand a record over and its outcome back: two processes, a Unix socket, and nothing else.

    python -m tests.benchmarks.hand_over_cost

One end makes records, in calls, so many in an iteration of its loop, and goes on when all outcomes are back. The other
end owns them all, takes them from the socket and acknowledges them in the next iteration. The same is done in one
process without handing over; what both ends spend beyond that is the cost. As there is one lump at a time, both ends
sleep in between: few records a lump are dearer here than between workers that are busy anyway.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from proxy.commands.process import spare_what_start_up_made
from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from proxy.core.record import Record, State
from tests.benchmarks.hand_over import HandOver, Link

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    from proxy.core.shard_map import StreamSummary

MICRO = 1e6
DATA = "x" * 268  # what base64 makes of 200 bytes
SHARD_ID = "shardId-000000000007"
SEQUENCE_NUMBER = "49680494156213481303106083005075717961432234731128225794"
KEYS = 4096
WARM_UP_LUMPS = 50


@dataclass(frozen=True, slots=True)
class Lump:
    """What comes in one iteration of the event loop.

    Args:
        calls: of which each is handed over as one.
        records: in each call.
    """

    calls: int
    records: int = 1

    @property
    def size(self) -> int:
        """All records."""
        return self.calls * self.records


# PutRecords of 500, half of whose records are another's, is the last.
LUMPS = (Lump(1), Lump(8), Lump(64), Lump(1, 250))


@dataclass(frozen=True, slots=True)
class HandOverCost:
    """CPU time for each record, in µs.

    Args:
        giver: of the end where it came in, and its outcome came back to.
        owner: of the end where it went.
        alone: of one process that does the work of both and hands nothing over.
    """

    giver: float
    owner: float
    alone: float

    @property
    def both(self) -> float:
        """What handing over adds."""
        return self.giver + self.owner - self.alone


class Acknowledging:
    """A queue that acknowledges what it is given in the next iteration of the loop."""

    def __init__(self) -> None:
        self._waiting: list[Record] = []
        self._is_due = False

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Take all."""
        del stream_name, stream_arn
        self._waiting += records
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._acknowledge)
        return 0

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Nobody leaves."""
        raise NotImplementedError

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Nothing is known of any stream."""
        del stream_name, stream_arn
        return None

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Nothing is to be learned."""

    def _acknowledge(self) -> None:
        self._is_due = False
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            record.state = State.ACKNOWLEDGED
            record.shard_id = SHARD_ID
            record.sequence_number = SEQUENCE_NUMBER
            record.attempts = 1
            assert record.on_outcome is not None
            record.on_outcome(record)


class Giver:
    """Makes lumps of records, one after the other.

    Args:
        hand_over: takes them.
        lump: what each is.
    """

    def __init__(self, hand_over: HandOver, lump: Lump) -> None:
        self._hand_over = hand_over
        self._lump = lump
        self._keys = [(f"{number:07d}", hash_key_of(f"{number:07d}", None)) for number in range(KEYS)]
        self._next_key = 0
        self._missing = 0
        self._lumps_left = 0
        self._done = asyncio.Event()

    async def give(self, lumps: int) -> float:
        """Give so many lumps and return the CPU time of this process."""
        self._lumps_left = lumps
        self._done.clear()
        before = time.process_time()
        self._give_one()
        await self._done.wait()
        return time.process_time() - before

    def _give_one(self) -> None:
        self._lumps_left -= 1
        lump = self._lump
        self._missing = lump.size
        for _ in range(lump.calls):
            self._hand_over.append("bench", None, [self._record() for _ in range(lump.records)])

    def _record(self) -> Record:
        self._next_key = (self._next_key + 1) % KEYS
        partition_key, hash_key = self._keys[self._next_key]
        return Record(partition_key, DATA, 207, hash_key, time.monotonic_ns(), None, None, self._settled)

    def _settled(self, record: Record) -> None:
        if record.sequence_number != SEQUENCE_NUMBER:
            raise RuntimeError("an outcome was lost")
        self._missing -= 1
        if not self._missing:
            if self._lumps_left:
                asyncio.get_running_loop().call_soon(self._give_one)
            else:
                self._done.set()


async def join(hand_over: HandOver, end: socket.socket) -> None:
    """Make a socket the link to the other end."""
    end.setblocking(False)  # noqa: FBT003 - the library's own
    await asyncio.get_running_loop().create_connection(lambda: Link(hand_over), sock=end)
    await hand_over.joined.wait()


def own(end: socket.socket, control: Connection) -> None:
    """Own all records, in a process of its own; whenever asked, tell how much CPU time that took so far."""

    async def main() -> None:
        hand_over = HandOver(Acknowledging())
        await join(hand_over, end)
        spare_what_start_up_made()
        over = asyncio.Event()

        def tell() -> None:
            if control.recv():
                control.send(time.process_time())
            else:
                over.set()

        asyncio.get_running_loop().add_reader(control.fileno(), tell)
        await over.wait()

    uvloop.run(main())


async def spent_handing_over(lump: Lump, lumps: int, end: socket.socket, control: Connection) -> tuple[float, float]:
    """Return the CPU time of this end and of the other."""
    hand_over = HandOver(Acknowledging(), HASH_KEY_MAX + 1)
    await join(hand_over, end)
    giver = Giver(hand_over, lump)
    spare_what_start_up_made()
    await giver.give(WARM_UP_LUMPS)
    before = _asked(control)
    here = await giver.give(lumps)
    there = _asked(control) - before
    control.send(False)  # noqa: FBT003 - the end
    return here, there


def _asked(control: Connection) -> float:
    control.send(True)  # noqa: FBT003 - the question
    seconds: float = control.recv()
    return seconds


async def spent_alone(lump: Lump, lumps: int) -> float:
    """Return the CPU time of the same without handing over."""
    giver = Giver(HandOver(Acknowledging()), lump)
    await giver.give(WARM_UP_LUMPS)
    return await giver.give(lumps)


def measure(lump: Lump, records: int) -> HandOverCost:
    """Hand so many records over, and the same without; lump by lump."""
    lumps = records // lump.size
    here, there = socket.socketpair()
    control, other_control = multiprocessing.Pipe()
    owner = multiprocessing.get_context("fork").Process(target=own, args=(there, other_control))
    owner.start()
    there.close()
    try:
        giver_seconds, owner_seconds = uvloop.run(spent_handing_over(lump, lumps, here, control))
        owner.join(10)
    finally:
        owner.kill()
    alone_seconds = uvloop.run(spent_alone(lump, lumps))
    per_record = MICRO / (lumps * lump.size)
    return HandOverCost(giver_seconds * per_record, owner_seconds * per_record, alone_seconds * per_record)


if __name__ == "__main__":
    for each in LUMPS:
        print(each, measure(each, 100_000))  # noqa: T201 - the result
