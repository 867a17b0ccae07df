"""Polled only when it asked to be, a stream brings every record to its outcome, whatever the service does."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.batch import Answer, Batch, Failure, Reply, Written
from proxy.core.limits import StreamLimits
from proxy.core.ordering import Ordering
from proxy.core.record import Record, State
from tests.unit.core.builders import MS, SECOND, THROTTLED, Bench, failed, record_of, shards_of, taken, unlimited

if TYPE_CHECKING:
    from collections.abc import Callable

POLLS_MAX = 20_000
WHOLE_FAILURES = (
    "RequestTimeout",
    "ConnectFailed",
    "ServiceUnavailable",
    "ValidationException",
    "ResourceNotFoundException",
    THROTTLED,
    "BrandNewException",
)
RECORD_FAILURES = (THROTTLED, "InternalFailure", "KMSDisabledException", "BrandNewException")


class Run:
    """A stream moved by nothing but its own wishes and the responses to its requests.

    Args:
        bench: the stream.
        reply_to: what the service answers; it may choose at will.
        latency_ns: how long each answer takes.
        ordering: the stream's.
    """

    def __init__(
        self,
        bench: Bench,
        reply_to: Callable[[Batch], Reply],
        latency_ns: Callable[[], int],
        ordering: Ordering = Ordering.STRICT,
    ) -> None:
        self.bench = bench
        self._ordering = ordering
        self.told: list[Record] = []
        self._sent_requests = 0
        self.requests_max = 0
        self._reply_to = reply_to
        self._latency_ns = latency_ns
        self._flying: list[tuple[int, int, Batch]] = []
        self._arrived: list[Record] = []

    def go(self, arrivals: list[tuple[int, Record]]) -> None:
        """Append each record at its instant, and go on until every one of them has its outcome."""
        bench, stream = self.bench, self.bench.stream
        to_come = arrivals[::-1]
        for _ in range(POLLS_MAX):
            self._poll()
            instants = [stream.next_wake_ns(), self._flying[0][0] if self._flying else None]
            instants.append(to_come[-1][0] if to_come else None)
            known = [instant for instant in instants if instant is not None]
            if not known:
                assert stream.open_records == 0, "records are open, and nothing will ever happen"
                return
            bench.now_ns = max(bench.now_ns, min(known))
            while to_come and to_come[-1][0] <= bench.now_ns:
                record = to_come.pop()[1]
                self._arrived.append(record)
                bench.append(record)
            while self._flying and self._flying[0][0] <= bench.now_ns:
                batch = heappop(self._flying)[2]
                stream.completed(batch, self._reply_to(batch), bench.now_ns)
            assert bench.identity_holds()
        raise AssertionError("the stream wants to be polled again and again")

    def _check_order(self, batch: Batch) -> None:
        flying = {record.partition_key for *_, flying in self._flying for record in flying.records}
        keys = [record.partition_key for record in batch.records]
        assert flying.isdisjoint(keys), "a key has two requests in flight"
        assert self._ordering.runs or len(set(keys)) == len(keys), "a key has two records in flight"
        for key in set(keys):
            travelling = [record for record in batch.records if record.partition_key == key]
            oldest = self._open_of(key)[: len(travelling)]
            assert travelling == oldest, "a record goes before an older one of its key has its outcome"

    def _open_of(self, partition_key: str) -> list[Record]:
        return [
            record
            for record in self._arrived
            if record.partition_key == partition_key and record.state in {State.QUEUED, State.IN_FLIGHT}
        ]

    def _poll(self) -> None:
        for batch in self.bench.poll():
            self._sent_requests += 1
            if self._ordering is not Ordering.NONE:
                self._check_order(batch)
            heappush(self._flying, (self.bench.now_ns + self._latency_ns(), self._sent_requests, batch))
        self.requests_max = max(self.requests_max, len(self._flying))
        self.told.extend(self.bench.stream.take_settled())


def all_taken(batch: Batch) -> Reply:
    """Answer as a service in good health does."""
    return Answer([taken(number) for number, _ in enumerate(batch.records)])


def test_everything_finishes_when_the_service_is_well() -> None:
    """Two thousand records of a hundred keys through two shards with their limits on."""
    bench = Bench(StreamLimits())
    bench.learn(2)
    run = Run(bench, all_taken, lambda: 7 * MS)
    records = [record_of(f"k{number % 100}") for number in range(2000)]
    run.go([(number * MS // 2, record) for number, record in enumerate(records)])
    assert {record.state for record in records} == {State.ACKNOWLEDGED}
    assert sorted(map(id, run.told)) == sorted(map(id, records))


def test_a_stream_that_fails_for_ever_gives_every_record_up_at_its_deadline() -> None:
    """Not later than the response to its last attempt."""
    bench = Bench(StreamLimits())
    failure = Failure("RequestTimeout", None, Written.UNKNOWN)
    run = Run(bench, lambda _: failure, lambda: 10 * MS)
    records = [record_of(f"k{number % 5}") for number in range(20)]
    run.go([(0, record) for record in records])
    assert {record.state for record in records} == {State.EXPIRED}
    assert bench.now_ns <= 2510 * MS


def test_a_service_that_never_answers_leaves_the_stream_at_rest() -> None:
    """All that is open expires, and then there is nothing to do but wait."""
    bench = Bench(StreamLimits())
    first, second = bench.put("a", "a")
    polls = 0
    bench.now_ns = MS
    while (wake_at_ns := bench.stream.next_wake_ns()) is not None:
        bench.poll(max(bench.now_ns, wake_at_ns))
        polls += 1
    assert (first.state, second.state) == (State.EXPIRED, State.EXPIRED)
    assert polls < 10


def test_a_part_of_a_split_batch_goes_as_soon_as_the_gate_opens() -> None:
    """Although nothing else waits for it: what shut it has expired."""
    bench = Bench(unlimited(delivery_timeout_ns=1000 * MS))
    bench.put("hangs")
    hanging = bench.poll_one()
    bench.now_ns = 900 * MS
    bench.put("a", "b")
    refused = bench.poll_one()
    bench.poll(1000 * MS)
    bench.fail(hanging, "ConnectionReset")
    bench.fail(refused, "ValidationException")
    assert bench.poll() == []
    assert bench.stream.next_wake_ns() == 1025 * MS
    assert [len(batch.records) for batch in bench.poll(1025 * MS)] == [1, 1]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_everything_finishes_whatever_the_service_does(data: st.DataObject) -> None:
    """With one outcome each, told once, and no record sent before all older ones of its key have theirs."""
    draw = data.draw
    limits = StreamLimits(
        ordering=draw(st.sampled_from(Ordering)),
        admission_wait_ns=3600 * SECOND,
        batch_records_max=draw(st.sampled_from([1, 3, 500])),
        batch_bytes_max=draw(st.sampled_from([50, 5_000_000])),
        shard_slice_bytes_max=draw(st.sampled_from([20, 262_144])),
        in_flight_max=draw(st.integers(1, 4)),
        linger_ns=draw(st.sampled_from([0, MS, 5 * MS])),
        delivery_timeout_ns=draw(st.sampled_from([1, 80 * MS, 2500 * MS])),
        shard_records_per_second=draw(st.sampled_from([0, 50, 1000])),
        shard_bytes_per_second=draw(st.sampled_from([0, 500])),
    )
    bench = Bench(limits, random=lambda: draw(st.floats(0, 1, exclude_max=True)))

    def reply_to(batch: Batch) -> Reply:
        if draw(st.integers(0, 9)) == 0:
            bench.learn(shards_of(draw(st.integers(1, 4))))
        kind = draw(st.sampled_from(["well", "well", "partly", "failed", "short"]))
        if kind == "failed":
            code = draw(st.sampled_from(WHOLE_FAILURES))
            return Failure(code, None, draw(st.sampled_from(Written)), draw(st.sampled_from([0, 400, 413, 500])))
        results = [taken(number, shard=draw(st.integers(0, 4))) for number, _ in enumerate(batch.records)]
        if kind == "partly":
            spoiled = draw(st.sets(st.integers(0, len(results) - 1)))
            results = [
                failed(draw(st.sampled_from(RECORD_FAILURES))) if number in spoiled else result
                for number, result in enumerate(results)
            ]
        return Answer(results[1:] if kind == "short" else results)

    records = [
        record_of(
            draw(st.sampled_from("abcde")),
            size_bytes=draw(st.sampled_from([1, 20, 90])),
            sequence_number_for_ordering=draw(st.sampled_from([None, None, None, "1"])),
        )
        for _ in range(draw(st.integers(1, 25)))
    ]
    instants = sorted(draw(st.integers(0, SECOND // 10)) for _ in records)
    run = Run(bench, reply_to, lambda: draw(st.integers(1, 20 * MS)), limits.ordering)
    run.go(list(zip(instants, records, strict=True)))

    accepted = [record for record in records if record.state is not State.REJECTED]
    assert sorted(map(id, run.told)) == sorted(map(id, accepted))
    assert all(record.state in {State.ACKNOWLEDGED, State.REFUSED, State.EXPIRED} for record in accepted)
    assert run.requests_max <= limits.in_flight_max
    assert bench.stream.key_count == 0
    assert bench.buffer.bytes == 0
