"""What the core's tests are made of: records, results, and a stream whose clock is in the test's hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.buffer import Buffer
from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from proxy.core.limits import MIB, StreamLimits
from proxy.core.record import Record
from proxy.core.shard_map import Shard
from proxy.core.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.record import State

MS = 1_000_000
SECOND = 1_000_000_000

THROTTLED = "ProvisionedThroughputExceededException"
STREAM = "orders"


def record_of(partition_key: str = "a", *, size_bytes: int = 10, **members: Any) -> Record:  # noqa: ANN401
    """Return a record; `members` are those of `Record`, and its hash key is its partition key's unless given."""
    members.setdefault("hash_key", hash_key_of(partition_key))
    members.setdefault("received_at_ns", 0)
    return Record(partition_key, members.pop("data", ""), size_bytes, **members)


def shards_of(count: int) -> list[Shard]:
    """Return open shards that share the hash keys evenly, by the names that the service gives them."""
    starts = [HASH_KEY_MAX // count * index for index in range(count)]
    ends = [start - 1 for start in starts[1:]] + [HASH_KEY_MAX]
    return [Shard(start, end, shard_id_of(index)) for index, (start, end) in enumerate(zip(starts, ends, strict=True))]


def shard_id_of(index: int) -> str:
    """Return the name that the service gives a shard."""
    return f"shardId-{index:012d}"


UNLIMITED: dict[str, Any] = {
    "shard_records_per_second": 0,
    "shard_bytes_per_second": 0,
    "admission_wait_ns": 3600 * SECOND,
    "stream_buffer_ratio": 1,
}


def unlimited(**limits: Any) -> StreamLimits:  # noqa: ANN401 - the members of StreamLimits
    """Return limits under which no shard and no queue holds anything back, for tests of everything else."""
    return StreamLimits(**(UNLIMITED | limits))


def state_of(record: Record) -> State:
    """Return a record's state now: type checkers remember what they saw of an attribute, and states move."""
    return record.state


def keys_of(batch: Batch) -> list[str]:
    """Return the partition keys of a batch, in order."""
    return [record.partition_key for record in batch.records]


@dataclass(slots=True)
class PutResult:
    """One entry of a put response."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


def taken(sequence_number: int = 1, shard: int = 0) -> PutResult:
    """Return the result of a record that the service took."""
    return PutResult(shard_id_of(shard), str(sequence_number))


def failed(code: str = THROTTLED, message: str | None = None) -> PutResult:
    """Return the result of a record that the service did not take."""
    return PutResult(error_code=code, error_message=message)


class Bench:
    """A stream, its clock and its upstream in the hands of a test.

    Args:
        limits: of the stream; unlimited shards by default.
        buffer: the bound on what waits; ample by default.
        random: the one value that every roll of the dice gives, or a source of them.

    Time starts at `now_ns` 0 and moves when a test sets it.
    """

    def __init__(
        self,
        limits: StreamLimits | None = None,
        *,
        buffer: Buffer | None = None,
        random: float | Callable[[], float] = 0.5,
    ) -> None:
        self.now_ns = 0
        self.buffer = buffer or Buffer(100_000, 1024 * MIB)
        source = random if callable(random) else lambda: random
        self.stream = Stream(STREAM, None, limits or unlimited(), self.buffer, source, 0)
        self.map_fetches = 0
        self.summary_fetches = 0
        self._sequence_number = 0

    def append(self, *records: Record) -> int:
        """Append records now, as one call; return how many were rejected."""
        return self.stream.append(records, self.now_ns)

    def put(self, *partition_keys: str, **members: Any) -> list[Record]:  # noqa: ANN401
        """Append one record for each partition key now, as one call."""
        records = [record_of(key, received_at_ns=self.now_ns, **members) for key in partition_keys]
        assert self.append(*records) == 0
        return records

    def poll(self, now_ns: int | None = None) -> list[Batch]:
        """Poll now, or move on to an instant first; count the fetches that are due then, but leave them unanswered."""
        if now_ns is not None:
            self.now_ns = now_ns
        batches = self.stream.poll(self.now_ns)
        self.map_fetches += self.stream.map_due(self.now_ns)
        self.summary_fetches += self.stream.summary_due(self.now_ns)
        return batches

    def poll_one(self, now_ns: int | None = None) -> Batch:
        """Poll and return the one batch that goes."""
        (batch,) = self.poll(now_ns)
        return batch

    def answer(self, batch: Batch, *results: PutResult) -> None:
        """Answer a batch; without results every record of it was taken, by its predicted shard."""
        self.stream.completed(batch, Answer(results or self.all_taken(batch)), self.now_ns)

    def all_taken(self, batch: Batch) -> Sequence[PutResult]:
        """Return results that take every record of a batch."""
        return [self._taken(record) for record in batch.records]

    def fail(self, batch: Batch, code: str, *, status: int = 0, written: Written = Written.REFUSED) -> None:
        """Fail a batch as a whole."""
        self.stream.completed(batch, Failure(code, f"{code} it is", written, status), self.now_ns)

    def learn(self, shards: int | Sequence[Shard]) -> None:
        """Give the stream a shard map."""
        self.stream.learn_map(shards_of(shards) if isinstance(shards, int) else shards, self.now_ns)

    def identity_holds(self) -> bool:
        """Whether received = acknowledged + refused + expired + withdrawn + queued + in flight, as the buffer says."""
        stream, counters = self.stream, self.stream.counters
        settled = counters.acknowledged_records + counters.refused_records + counters.expired_records
        settled += counters.withdrawn_records
        return (
            counters.received_records == settled + stream.queued_records + stream.in_flight_records
            and self.buffer.records == stream.open_records
        )

    def _taken(self, record: Record) -> PutResult:
        self._sequence_number += 1
        lane = record.key_queue.lane if record.key_queue is not None else None
        shard_id = lane.shard_id if lane is not None else None
        return PutResult(shard_id or shard_id_of(0), str(self._sequence_number))
