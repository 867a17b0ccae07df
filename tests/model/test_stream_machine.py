"""The core against a naive model: any sequence of arrivals, polls, replies, maps and ticks keeps every promise."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.buffer import Buffer
from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from proxy.core.limits import MILLISECOND_NS, SECOND_NS, StreamLimits
from proxy.core.record import RECORD_OVERHEAD_BYTES, Record, State
from proxy.core.shard_map import Shard, StreamSummary
from proxy.core.stream import Stream
from tests.support.invariants import check_after_poll, check_stream

KEYS = ("a", "b", "c", "d", "e", "f")
LIMITS = StreamLimits(
    batch_records_max=4,
    batch_bytes_max=2_000,
    shard_slice_bytes_max=900,
    in_flight_max=3,
    delivery_timeout_ns=2 * SECOND_NS,
    shard_records_per_second=100,
    shard_bytes_per_second=20_000,
)
BUFFER_RECORDS = 30


@dataclass
class Entry:
    """One result of a put response."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


def shards_of(count: int) -> list[Shard]:
    """Cut the hash key range into equal shards; another count gives other shard ids, as resharding does."""
    width = (HASH_KEY_MAX + 1) // count
    return [
        Shard(index * width, HASH_KEY_MAX if index == count - 1 else (index + 1) * width - 1, f"shard-{count}-{index}")
        for index in range(count)
    ]


class StreamMachine(RuleBasedStateMachine):
    """Plays callers, service and clock."""

    @initialize(jitter=st.floats(0, 0.999))
    def begin(self, jitter: float) -> None:
        """Start with an empty stream."""
        self.now_ns = 7 * SECOND_NS
        self.buffer = Buffer(BUFFER_RECORDS, BUFFER_RECORDS * (RECORD_OVERHEAD_BYTES + 2_000))
        self.stream = Stream("s", None, LIMITS, self.buffer, lambda: jitter, self.now_ns)
        self.batches: list[Batch] = []
        self.appended: dict[str, list[Record]] = {key: [] for key in KEYS}
        self.outcomes: dict[int, State] = {}
        self.written: dict[str, list[Record]] = {key: [] for key in KEYS}
        self.sequence = 10**55
        self.abandoned = False
        self.closed = False
        self.records: list[Record] = []
        self.sent_at_ns: list[int] = []
        self.shard_count = 1
        self.mapped = False
        self.keys_were_ignored = False

    # Callers

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=6),
        size_bytes=st.sampled_from((1, 200, 1_900, 3_000)),
        explicit=st.sampled_from((None, None, "0", str(HASH_KEY_MAX))),
        ordered=st.booleans(),
    )
    def append(self, keys: list[str], size_bytes: int, explicit: str | None, ordered: bool) -> None:  # noqa: FBT001 - drawn
        """A call with some records arrives."""
        records = []
        for key in keys:
            self.now_ns += 1  # so that arrival instants tell the order
            record = Record(
                key,
                "x",
                size_bytes,
                hash_key_of(key, explicit),
                self.now_ns,
                explicit,
                "1" if ordered and len(keys) == 1 else None,
            )
            records.append(record)
        rejected = self.stream.append(records, self.now_ns)
        accepted = [record for record in records if record.state is not State.REJECTED]
        assert rejected == len(records) - len(accepted)
        self.records += accepted
        for record in accepted:
            self.appended[record.partition_key].append(record)
        self.settle()

    # Time

    @rule(ms=st.sampled_from((0, 1, 5, 30, 200, 1_000)))
    def tick(self, ms: int) -> None:
        """Time passes and the shell polls."""
        self.now_ns += ms * MILLISECOND_NS
        self.poll()

    def poll(self) -> None:
        """Poll as the shell does, and look at what comes out."""
        for batch in self.stream.poll(self.now_ns):
            assert 0 < len(batch.records) <= LIMITS.batch_records_max
            assert len(batch.records) == 1 or batch.size_bytes <= LIMITS.batch_bytes_max
            assert batch.ordered == (batch.records[0].sequence_number_for_ordering is not None)
            assert not batch.ordered or len(batch.records) == 1
            assert all(record.deadline_at_ns > self.now_ns for record in batch.records)
            self.batches.append(batch)
        assert len(self.batches) <= LIMITS.in_flight_max
        self.settle()
        check_after_poll(self.stream, self.now_ns, LIMITS.linger_ns)

    # Service

    def write(self, record: Record) -> Entry:
        """Write a record to the stream."""
        self.sequence += 1
        self.written[record.partition_key].append(record)
        return Entry(shard_id=f"shard-{self.shard_count}-0", sequence_number=str(self.sequence))

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """The service takes a request; each record has its own result."""
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        codes = st.sampled_from(
            (
                None,
                None,
                None,
                "ProvisionedThroughputExceededException",
                "InternalFailure",
                "NewError",
                "ValidationException",
            )
        )
        results = []
        for record in batch.records:
            code = data.draw(codes)
            results.append(self.write(record) if code is None else Entry(error_code=code, error_message="m"))
        self.stream.completed(batch, Answer(results), self.now_ns)
        self.settle()

    @precondition(lambda self: self.batches)
    @rule(
        data=st.data(),
        code=st.sampled_from(
            (
                "ProvisionedThroughputExceededException",
                "InternalFailure",
                "ConnectionReset",
                "ValidationException",
                "ResourceNotFoundException",
                "NewError",
            )
        ),
        wrote=st.booleans(),
    )
    def fail(self, data: st.DataObject, code: str, wrote: bool) -> None:  # noqa: FBT001 - drawn
        """A request fails as a whole, maybe after it was written."""
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        wrote = wrote and code in {"InternalFailure", "ConnectionReset"}
        if wrote:
            for record in batch.records:
                self.write(record)
        self.stream.completed(batch, Failure(code, "m", Written.UNKNOWN if wrote else Written.REFUSED), self.now_ns)
        self.settle()

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), fewer=st.integers(1, 4))
    def answer_short(self, data: st.DataObject, fewer: int) -> None:
        """A request is written, but its response lacks results: none of them can be trusted."""
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        results = [self.write(record) for record in batch.records]
        self.stream.completed(batch, Answer(results[:-fewer]), self.now_ns)
        self.settle()

    # Shard map

    @rule(count=st.integers(1, 4))
    def reshard(self, count: int) -> None:
        """The stream's shards change."""
        self.shard_count = count

    @rule(works=st.booleans())
    def fetch_map(self, works: bool) -> None:  # noqa: FBT001 - drawn
        """The shell fetches the map if one is due."""
        if self.stream.map_due(self.now_ns):
            if works:
                self.stream.learn_map(shards_of(self.shard_count), self.now_ns)
            else:
                self.stream.map_failed(self.now_ns)

    @rule(auto=st.sampled_from((False, False, False, True)), works=st.booleans())
    def describe(self, auto: bool, works: bool) -> None:  # noqa: FBT001 - drawn
        """The shell fetches the summary if it is due; it says whether the service ignores keys."""
        if not self.stream.summary_due(self.now_ns):
            return
        if not works:
            self.stream.summary_failed(self.now_ns)
            return
        self.keys_were_ignored = self.keys_were_ignored or auto
        self.stream.learn_summary(StreamSummary("arn", self.shard_count, auto_distribution=auto), self.now_ns)

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        """The proxy starts to shut down."""
        self.closed = True
        self.stream.close()

    @precondition(lambda self: self.closed and not self.abandoned)
    @rule()
    def abandon(self) -> None:
        """The drain's time is over."""
        self.abandoned = True
        self.stream.abandon("over")
        self.settle()

    # Promises

    def settle(self) -> None:
        """Each record settles once, and what it says is true."""
        for record in self.stream.take_settled():
            assert id(record) not in self.outcomes, "one outcome"
            self.outcomes[id(record)] = record.state
            assert record.state in {State.ACKNOWLEDGED, State.REFUSED, State.EXPIRED}
            if record.state is State.ACKNOWLEDGED:
                assert record in self.written[record.partition_key], "never a success that was not one"
                assert record.sequence_number is not None
            else:
                assert record.error_code is not None

    @invariant()
    def books(self) -> None:
        """The books are true."""
        check_stream(self.stream, [record for batch in self.batches for record in batch.records])
        assert self.buffer.records == self.stream.open_records == len(self.records) - len(self.outcomes)

    @invariant()
    def order(self) -> None:
        """The first occurrences of each key's records in the stream are in the order of their arrival.

        A stream that ignores keys keeps no order of theirs.
        """
        if self.keys_were_ignored:
            return
        for key in KEYS:
            written = dict.fromkeys(map(id, self.written[key]))
            arrived = [id(record) for record in self.appended[key] if id(record) in written]
            assert list(written) == arrived

    def teardown(self) -> None:
        """Once the service is well, everything finishes, by polling at no other times than the core asks for."""
        if not hasattr(self, "stream"):
            return
        ends_at_ns = self.now_ns + LIMITS.delivery_timeout_ns
        for _ in range(10_000):
            self.poll()
            if not self.stream.open_records:
                break
            if self.batches:
                batch = self.batches.pop(0)
                results = [self.write(record) for record in batch.records]
                self.stream.completed(batch, Answer(results), self.now_ns)
                self.settle()
                continue
            wake_at_ns = self.stream.next_wake_ns()
            assert wake_at_ns is not None
            if self.stream.map_due(self.now_ns):
                self.stream.learn_map(shards_of(self.shard_count), self.now_ns)
            if self.stream.summary_due(self.now_ns):
                self.stream.summary_failed(self.now_ns)
            self.now_ns = max(self.now_ns, wake_at_ns)
        assert not self.stream.open_records
        assert self.now_ns <= ends_at_ns, "no record outlives its deadline"
        assert len(self.outcomes) == len(self.records)
        assert self.buffer.records == self.buffer.bytes == 0
        self.order()


TestStreamMachine = StreamMachine.TestCase
TestStreamMachine.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
