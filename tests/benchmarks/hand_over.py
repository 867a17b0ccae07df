"""A prototype of workers that own partition keys: records of another's are handed over, their outcomes handed back.

For `workers.py` alone, to learn what such workers would cost; no part of the proxy. It stands where the driver stands,
between frontend and core, so that all else is the product's own. Each worker owns a range of hash keys. What it is
given of another's range goes to its owner over a Unix socket; whatever gathers in one iteration of the event loop, in
either direction, goes as one frame: its length in four bytes, and MessagePack.

What it leaves out, and a product could not: records of a client that has left are not taken back from their owner,
what is handed over is in no buffer's books, an attempt that reaches the other worker does not join its call, and
nothing is done when the other worker ends.

Must never know: HTTP, upstreams.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.record import Record, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.core.shard_map import StreamSummary
    from proxy.frontend.puts import RecordQueue

HASH_KEY_BYTES = 16
LENGTH_BYTES = 4
STATES = tuple(State)


class Given(msgspec.Struct, array_like=True, gc=False):
    """A record on its way to its owner."""

    ordinal: int
    partition_key: str
    data: str
    size_bytes: int
    hash_key: bytes
    received_at_ns: int
    explicit_hash_key: str | None
    sequence_number_for_ordering: str | None


class Part(msgspec.Struct, array_like=True):
    """Those records of one call that have the same owner, which takes them as a call."""

    stream_name: str
    stream_arn: str | None
    records: list[Given]


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What became of a record, on its way back."""

    ordinal: int
    state: int
    shard_id: str | None
    sequence_number: str | None
    encryption_type: str | None
    error_code: str | None
    error_message: str | None
    retry_after_ms: int
    attempts: int


class Frame(msgspec.Struct, array_like=True):
    """What goes to the other worker at once."""

    parts: list[Part]
    outcomes: list[Outcome]


class Guest(Record):
    """A record at its owner, with the number that it has where it came in."""

    __slots__ = ("ordinal",)

    def __init__(self, given: Given) -> None:
        super().__init__(
            given.partition_key,
            given.data,
            given.size_bytes,
            int.from_bytes(given.hash_key, "big"),
            given.received_at_ns,
            given.explicit_hash_key,
            given.sequence_number_for_ordering,
        )
        self.ordinal = given.ordinal


@dataclass(slots=True)
class Counts:
    """What went out so far."""

    records_kept: int = 0
    records_given: int = 0
    frames: int = 0
    frame_bytes: int = 0


class Link(asyncio.Protocol):
    """The connection to the other worker.

    Args:
        hand_over: takes the frames.
    """

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over = hand_over
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._hand_over.join(self)

    def data_received(self, data: bytes) -> None:
        """Take what is complete."""
        if self._buffer:
            data = self._buffer + data
        begin = 0
        while len(data) - begin >= LENGTH_BYTES:
            end = begin + LENGTH_BYTES + int.from_bytes(data[begin : begin + LENGTH_BYTES], "big")
            if end > len(data):
                break
            self._hand_over.take(memoryview(data)[begin + LENGTH_BYTES : end])
            begin = end
        self._buffer = data[begin:]

    def write(self, frame: bytes) -> int:
        """Send one frame and return its size."""
        assert self._transport is not None
        self._transport.write(len(frame).to_bytes(LENGTH_BYTES, "big") + frame)
        return LENGTH_BYTES + len(frame)


class HandOver:
    """A queue of records that keeps what its worker owns and hands over the rest.

    Args:
        queue: the worker's own.
        first_hash_key: of the range that the worker owns; above all hash keys it owns nothing.
        last_hash_key: likewise.

    Records are sent only when there is another worker, which joins by its `Link`.
    """

    def __init__(self, queue: RecordQueue, first_hash_key: int = 0, last_hash_key: int = HASH_KEY_MAX) -> None:
        self.counts = Counts()
        self.joined = asyncio.Event()
        self._queue = queue
        self._first, self._last = first_hash_key, last_hash_key
        self._link: Link | None = None
        self._away: dict[int, Record] = {}
        self._ordinal = 0
        self._frame = Frame([], [])
        self._flush_is_due = False
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Frame)

    def join(self, link: Link) -> None:
        """Take the connection to the other worker."""
        self._link = link
        self.joined.set()

    # What the frontend asks: `proxy.frontend.puts.RecordQueue`

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Queue what is owned, hand over the rest; of that, what is rejected is told as an outcome."""
        first, last, counts = self._first, self._last, self.counts
        kept = [record for record in records if first <= record.hash_key <= last]
        counts.records_kept += len(kept)
        if len(kept) == len(records):
            return self._queue.append(stream_name, stream_arn, records)
        given = [self._give(record) for record in records if not first <= record.hash_key <= last]
        counts.records_given += len(given)
        self._frame.parts.append(Part(stream_name, stream_arn, given))
        self._flush_later()
        return self._queue.append(stream_name, stream_arn, kept) if kept else 0

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Take out what is owned."""
        kept = [record for record in records if self._first <= record.hash_key <= self._last]
        self._queue.withdraw(stream_name, stream_arn, kept)

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Return what this worker knows of a stream."""
        return self._queue.summary(stream_name, stream_arn)

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Have this worker learn about a stream."""
        self._queue.learn_about(stream_name, stream_arn)

    # Between the workers

    def take(self, frame: memoryview) -> None:
        """Take a frame of the other worker."""
        arrived = self._decoder.decode(frame)
        for part in arrived.parts:
            guests: list[Record] = []
            for given in part.records:
                guest = Guest(given)
                guest.on_outcome = self._settled
                guests.append(guest)
            if self._queue.append(part.stream_name, part.stream_arn, guests):
                for record in guests:
                    if record.state is State.REJECTED:
                        self._settled(record)
        away = self._away
        for outcome in arrived.outcomes:
            record = away.pop(outcome.ordinal)
            record.state = STATES[outcome.state]
            record.shard_id = outcome.shard_id
            record.sequence_number = outcome.sequence_number
            record.encryption_type = outcome.encryption_type
            record.error_code = outcome.error_code
            record.error_message = outcome.error_message
            record.retry_after_ms = outcome.retry_after_ms
            record.attempts = outcome.attempts
            if record.on_outcome is not None:
                record.on_outcome(record)

    def _give(self, record: Record) -> Given:
        self._ordinal += 1
        self._away[self._ordinal] = record
        return Given(
            self._ordinal,
            record.partition_key,
            record.data,
            record.size_bytes,
            record.hash_key.to_bytes(HASH_KEY_BYTES, "big"),
            record.received_at_ns,
            record.explicit_hash_key,
            record.sequence_number_for_ordering,
        )

    def _settled(self, record: Record) -> None:
        """Hand an outcome back."""
        assert isinstance(record, Guest)
        self._frame.outcomes.append(
            Outcome(
                record.ordinal,
                record.state,
                record.shard_id,
                record.sequence_number,
                record.encryption_type,
                record.error_code,
                record.error_message,
                record.retry_after_ms,
                record.attempts,
            )
        )
        self._flush_later()

    def _flush_later(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        assert self._link is not None, "records were handed over before the other worker was there"
        self._flush_is_due = False
        frame, self._frame = self._frame, Frame([], [])
        self.counts.frames += 1
        self.counts.frame_bytes += self._link.write(self._encoder.encode(frame))
