"""What one proxy has promised: every record that it took, told from outside, and whether its outcome is true.

Kept beside the proxy's own books and never from them: acceptance is noted when `append` returns, sending when a request
leaves, writing when the service writes, the outcome when the caller is told it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from proxy.core.batch import Failure
from proxy.core.limits import MILLISECOND_NS, SECOND_NS
from proxy.core.ordering import Ordering
from proxy.core.record import Record, State
from proxy.core.verdicts import Scope, verdict_of
from tests.simulation.promises import Rule
from tests.simulation.service import GUILTY_DATA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.lane import Lane
    from tests.simulation.world import World

# The driver's timer counts in whole milliseconds, rounded up, and virtual time in microseconds.
TIMER_GRACE_NS = 3 * MILLISECOND_NS
# How long the frontend keeps an answer that reached nobody, and how many in scenarios that do not test that bound.
KEPT_NS = 59 * SECOND_NS
UNDELIVERED_AMPLE = 1_000
SHARED_ID_DATA = "c2hhcmVk"  # base64 of `shared`
# So many failures, each of a request sent after the one before had failed, take six of the longest waits on average,
# with full jitter; less than half of one, once in 10**9 times.
FAILURES_PACED = 15


class Taken:
    """One accepted record as seen from outside.

    `ordinal` counts acceptances of its proxy, `call` the calls; `refusals` are the codes by which the service refused a
    whole request that held it; `batches` are the requests that held it, `in_flight` how many of them are out.
    """

    __slots__ = (
        "attempts",
        "batches",
        "call",
        "in_flight",
        "invocation_id",
        "ordinal",
        "outcome",
        "record",
        "refusals",
        "settled_at_ns",
        "stream_name",
        "withdrawn",
        "written",
    )

    def __init__(self, record: Record, stream_name: str, ordinal: int, call: int) -> None:
        self.record = record
        self.stream_name = stream_name
        self.ordinal = ordinal
        self.call = call
        self.batches: list[Batch] = []
        self.in_flight = 0
        self.withdrawn = False
        self.invocation_id: str | None = None
        self.attempts = 0
        self.outcome: State | None = None
        self.settled_at_ns = 0
        self.written = False
        self.refusals: frozenset[str] = frozenset()


class Account:
    """One proxy's promises.

    Args:
        world: of the run.
        name: of the proxy.
        open_changed: told by how much the number of open records changes.
    """

    def __init__(self, world: World, name: str, open_changed: Callable[[int], None]) -> None:
        self._scenario = world.scenario
        self._service = world.service
        self._promises = world.promises
        self._trace = world.trace
        self._clock = world.clock
        self._name = name
        self._open_changed = open_changed
        self._taken: dict[int, Taken] = {}  # by id of the record, which is kept alive by it
        self._waiting: deque[Taken] = deque()  # in the order of acceptance, hence of deadlines
        self._youngest_written: dict[tuple[str, str], Taken] = {}
        self._answered: dict[Batch, None] = {}  # those whose results have arrived
        self._by_data: dict[str, Taken] = {}  # the newest of each
        self.invocation_ids: dict[str, str] = {}  # by data: of the attempt that its client makes
        self._failures: dict[str, tuple[int, int, int]] = {}  # by stream: how many in a row, since when, the last
        self.inversions = 0  # that the proxy must know of
        self._calls = 0
        self._last_sequence: dict[tuple[str, str], int] = {}
        self._meters: dict[Lane, _Meter] = {}
        self.flying: dict[str, Counter[str]] = {stream_name: Counter() for stream_name in world.service.streams}
        self.batches: dict[Batch, None] = {}
        self.open_by_stream: Counter[str] = Counter()
        self.accepted = 0
        self.settled = 0
        self.given_up = False  # the drain's time is over

    @property
    def open_records(self) -> int:
        """Accepted records without an outcome."""
        return self.accepted - self.settled

    @property
    def taken(self) -> list[Taken]:
        """All accepted records, in the order of acceptance."""
        return list(self._taken.values())

    # What happens

    def watched(self, record: Record) -> None:
        """Have a record's outcome come by here first; to be called before it is appended."""
        told = record.on_outcome

        def outcome(settled: Record) -> None:
            self._outcome(settled)
            if told is not None:
                told(settled)

        record.on_outcome = outcome

    def took(self, stream_name: str, records: Sequence[Record], rejected: int) -> None:
        """Note those records of a call that were accepted, in this order, and check that the others may say so."""
        self._calls += 1
        passed_over: set[str] = set()
        accepted = 0
        ordered = self._ordering_of(stream_name) is not Ordering.NONE
        for record in records:
            if record.state is State.REJECTED:
                passed_over.add(record.partition_key)
                if record.error_code is None:
                    raise self._promises.note(Rule.ANSWER, f"{record.data[:24]} is rejected without an error")
                self._trace.counts[f"rejected {record.error_code}"] += 1
                continue
            if ordered and record.partition_key in passed_over:
                raise self._promises.note(Rule.ORDER, f"{record.data[:24]} is taken, an older one of its key was not")
            self._check_not_joined(record)
            accepted += 1
            self.accepted += 1
            taken = Taken(record, stream_name, self.accepted, self._calls)
            taken.invocation_id = self.invocation_ids.get(record.data)
            self._taken[id(record)] = self._by_data[record.data] = taken
            self._waiting.append(taken)
        if len(records) - accepted != rejected:
            raise self._promises.note(Rule.ANSWER, f"{rejected} rejected of {len(records)}, {accepted} accepted")
        if accepted:
            self.open_by_stream[stream_name] += accepted
            self._open_changed(accepted)
            self._trace.counts["records accepted"] += accepted
        self._trace.note(self._clock(), "took", self._name, stream_name, records[0].data[:24], accepted)

    def _check_not_joined(self, record: Record) -> None:
        """Check that a record that is accepted now is not one that its client could have joined."""
        before = self._by_data.get(record.data)
        if before is None or before.outcome not in {None, State.ACKNOWLEDGED}:
            return
        if record.data.startswith(SHARED_ID_DATA) or before.invocation_id != self.invocation_ids.get(record.data):
            return  # another call; of calls under one id at a time only one can be joined
        if before.outcome is not None and (
            self._clock() - before.settled_at_ns > KEPT_NS or self._scenario.undelivered_calls_max < UNDELIVERED_AMPLE
        ):
            return
        raise self._promises.note(Rule.JOIN, f"{self._said(before)} is taken again")

    def left(self, data: Iterable[str]) -> None:
        """Check that a client that has just left has taken its records with it, if none of them was ever sent."""
        call = [self._by_data[each] for each in data if each in self._by_data]
        if not any(taken.attempts for taken in call):
            for taken in call:
                if taken.record.state is State.QUEUED:
                    raise self._promises.note(Rule.WITHDRAWAL, f"{self._said(taken)} stays behind")

    def ended(self, batch: Batch, reply: PutReply | None) -> None:
        """Check that a stream whose requests fail one after the other sends them less and less often."""
        if not isinstance(reply, Failure) or not verdict_of(reply.code, reply.status).retry:
            self._failures.pop(batch.stream_name, None)
            return
        if verdict_of(reply.code, reply.status).scope is Scope.SHARD and len(batch.records) == 1:
            return  # one shard's trouble does not hold up the others
        now_ns = self._clock()
        failures, since_ns, last_ns = self._failures.get(batch.stream_name, (0, now_ns, 0))
        if batch.sent_at_ns < last_ns:
            return  # it was out when the trouble showed
        self._failures[batch.stream_name] = (failures + 1, since_ns, now_ns)
        if failures >= FAILURES_PACED and now_ns - since_ns < self._scenario.limits.backoff_max_ns // 2:
            raise self._promises.note(Rule.PACE, f"{failures} requests of {self._name} have failed in a row")

    def withdrawing(self, records: Sequence[Record]) -> None:
        """Note that records are to be withdrawn, if they wait."""
        for record in records:
            taken = self._taken.get(id(record))
            if taken is not None and record.state is State.QUEUED:
                taken.withdrawn = True

    def withdrew(self, records: Sequence[Record]) -> None:
        """Check that those that waited are withdrawn, and no others."""
        for record in records:
            taken = self._taken.get(id(record))
            if taken is not None and taken.withdrawn != (record.state is State.WITHDRAWN):
                raise self._promises.note(Rule.WITHDRAWAL, self._said(taken))

    def sent(self, batch: Batch) -> None:
        """Check a request that leaves now, and note it."""
        now_ns = self._clock()
        limits = self._scenario.limits
        if not 0 < len(batch.records) <= limits.batch_records_max:
            raise self._promises.note(Rule.BOUNDS, f"{len(batch.records)} records in one request")
        if len(batch.records) > 1 and batch.size_bytes > limits.batch_bytes_max:
            raise self._promises.note(Rule.BOUNDS, f"{batch.size_bytes} bytes in one request")
        self._check_keys(batch)
        flying = self.flying[batch.stream_name]
        self.batches[batch] = None
        for record in batch.records:
            taken = self._taken[id(record)]
            flying[record.partition_key] += 1
            taken.in_flight += 1
            taken.batches.append(batch)
            if taken.outcome is not None:
                raise self._promises.note(Rule.ONE_OUTCOME, f"{self._said(taken)} is sent after its outcome")
            if record.deadline_at_ns <= now_ns:
                raise self._promises.note(Rule.LATE, f"{self._said(taken)} is sent after its deadline")
            if taken.attempts == record.attempts:
                continue  # the half of a refused request: nothing of that was taken
            taken.attempts = record.attempts
            self._meter(record, now_ns)
        self._trace.counts["requests sent"] += 1
        self._trace.counts["records sent"] += len(batch.records)
        self._trace.note(now_ns, "sent", self._name, batch.records[0].data[:24], len(batch.records))

    def _check_keys(self, batch: Batch) -> None:
        """Check that no key is in another request, nor twice in this one but as its ordering allows."""
        ordering = self._ordering_of(batch.stream_name)
        if ordering is Ordering.NONE:
            return
        flying = self.flying[batch.stream_name]
        last: dict[str, Taken] = {}
        for record in batch.records:
            taken, key = self._taken[id(record)], record.partition_key
            if flying[key]:
                raise self._promises.note(Rule.KEY_TWICE, f"{self._name} {batch.stream_name} {key}")
            before = last.get(key)
            if before is not None:
                if not ordering.runs or (ordering is Ordering.CALL and before.call != taken.call):
                    raise self._promises.note(Rule.KEY_TWICE, f"{key} in one request, order is {ordering.value}")
                if before.ordinal > taken.ordinal:
                    raise self._promises.note(Rule.ORDER, f"{self._said(taken)} of key {key} behind a younger one")
            last[key] = taken

    def returned(self, batch: Batch) -> None:
        """Note that a request has ended, just before the driver is told."""
        del self.batches[batch]
        flying = self.flying[batch.stream_name]
        for record in batch.records:
            self._taken[id(record)].in_flight -= 1
            flying[record.partition_key] -= 1
            if not flying[record.partition_key]:
                del flying[record.partition_key]

    def answered(self, batch: Batch) -> None:
        """Note that the results of a request have arrived, one for each record."""
        self._answered[batch] = None

    def written(self, record: Record) -> None:
        """Check a record that the service writes at this instant."""
        taken = self._taken[id(record)]
        if taken.written:
            self._trace.counts["records written again"] += 1
            return
        taken.written = True
        ordering = self._ordering_of(taken.stream_name)
        key = (taken.stream_name, record.partition_key)
        younger = self._youngest_written.setdefault(key, taken)
        if younger.ordinal <= taken.ordinal:
            self._youngest_written[key] = taken
        elif ordering is not Ordering.NONE:
            self._overtaken(taken, younger, ordering)

    def _overtaken(self, taken: Taken, younger: Taken, ordering: Ordering) -> None:
        """Judge that a younger record has been written first: it may, if it failed in the same request before."""
        together = [batch for batch in taken.batches if batch in younger.batches]
        if not ordering.runs or not together or (ordering is Ordering.CALL and taken.call != younger.call):
            raise self._promises.note(Rule.ORDER, f"{self._said(taken)} has been overtaken by {self._said(younger)}")
        self._trace.counts["inversions"] += 1
        if all(batch in self._answered for batch in together):
            self.inversions += 1

    def _ordering_of(self, stream_name: str) -> Ordering:
        """Return what a stream is promised: nothing where the service ignores keys."""
        stream = self._service.streams[stream_name]
        return Ordering.NONE if stream.shape.auto else stream.shape.ordering

    def refused(self, batch: Batch, failure: Failure) -> None:
        """Note that the service refuses a request as a whole."""
        for record in batch.records:
            self._taken[id(record)].refusals |= {failure.code}

    def _outcome(self, record: Record) -> None:
        """Check the outcome that a caller is told."""
        now_ns = self._clock()
        taken = self._taken.get(id(record))
        if taken is None or taken.outcome is not None:
            raise self._promises.note(Rule.ONE_OUTCOME, f"{record.data[:24]} has an outcome too many")
        taken.outcome = record.state
        taken.settled_at_ns = now_ns
        self.settled += 1
        self.open_by_stream[taken.stream_name] -= 1
        self._open_changed(-1)
        self._trace.counts[f"outcome {record.state.name.lower()}"] += 1
        self._trace.note(now_ns, "outcome", self._name, record.data[:24], record.state, record.error_code)
        match record.state:
            case State.ACKNOWLEDGED:
                self._acknowledged(taken)
            case State.REFUSED:
                self._refused(taken)
            case State.EXPIRED:
                self._expired(taken, now_ns)
            case State.WITHDRAWN:
                if not taken.withdrawn or taken.in_flight:
                    raise self._promises.note(Rule.WITHDRAWAL, self._said(taken))
            case _:
                raise self._promises.note(Rule.ONE_OUTCOME, f"{self._said(taken)} is told, but {record.state.name}")
        if now_ns > self._latest_ns(taken):
            raise self._promises.note(Rule.LATE, self._said(taken))

    def _acknowledged(self, taken: Taken) -> None:
        record = taken.record
        stream = self._service.streams[taken.stream_name]
        place = (record.shard_id, record.sequence_number)
        if place not in stream.places[record.data]:
            raise self._promises.note(Rule.TRUTH, f"{self._said(taken)} is not at {place}")
        if self._ordering_of(taken.stream_name) is not Ordering.STRICT:
            return
        key = (taken.stream_name, record.partition_key)
        sequence = int(record.sequence_number or 0)
        if self._last_sequence.get(key, 0) >= sequence:
            raise self._promises.note(Rule.SEQUENCE, f"{self._said(taken)} of key {key}")
        self._last_sequence[key] = sequence

    def _refused(self, taken: Taken) -> None:
        code = taken.record.error_code
        guilty = taken.record.data.startswith(GUILTY_DATA)
        if code not in taken.refusals or (code == "ValidationException" and not guilty):
            raise self._promises.note(Rule.CAUSE, f"{self._said(taken)} is refused by {code}")

    def _expired(self, taken: Taken, now_ns: int) -> None:
        record = taken.record
        deadline_at_ns = record.received_at_ns + self._scenario.limits.delivery_timeout_ns
        if now_ns < deadline_at_ns and not self.given_up:
            raise self._promises.note(
                Rule.EXPIRY, f"{self._said(taken)} has time until {deadline_at_ns}, it is {now_ns}"
            )
        if record.error_code not in {"ProvisionedThroughputExceededException", "InternalFailure"}:
            raise self._promises.note(Rule.CAUSE, f"{self._said(taken)} expires as {record.error_code}")

    # What must be true at any moment

    def check_waits(self) -> None:
        """Check that no record waits past its deadline; the oldest alone is looked at."""
        waiting = self._waiting
        while waiting and waiting[0].outcome is not None:
            waiting.popleft()
        if waiting and self._clock() > self._latest_ns(waiting[0]):
            raise self._promises.note(Rule.LATE, self._said(waiting[0]))

    def _latest_ns(self, taken: Taken) -> int:
        """Return the instant by which a record must have its outcome."""
        deadline_at_ns = taken.record.received_at_ns + self._scenario.limits.delivery_timeout_ns
        return deadline_at_ns + TIMER_GRACE_NS

    def _meter(self, record: Record, now_ns: int) -> None:
        """Check a record against what its lane may be sent by the configured rate."""
        lane = record.key_queue.lane if record.key_queue is not None else None
        if lane is None:
            raise self._promises.note(Rule.LIMITS, "a record leaves without a lane")
        limits = self._scenario.limits
        meter = self._meters.get(lane)
        if meter is None:
            meter = self._meters[lane] = _Meter(limits.shard_burst_ns / SECOND_NS, now_ns)
        # the careful lane of a stream that ignores keys has the capacity of its shards
        shards = 1 if lane.shard_id is not None else self._shards_of_careful(record)
        rates = (limits.shard_records_per_second * shards, limits.shard_bytes_per_second * shards)
        if not meter.takes(record.size_bytes, rates, now_ns):
            raise self._promises.note(Rule.LIMITS, f"{self._name} sends {lane.shard_id} too much")

    def _shards_of_careful(self, record: Record) -> int:
        stream = self._service.streams[self._taken[id(record)].stream_name]
        counts = [len(stream.topology.open), *map(len, stream.topology.older)]
        return max(counts) if stream.shape.auto else 1

    def _said(self, taken: Taken) -> str:
        record = taken.record
        return f"record {taken.ordinal} of {self._name} ({record.state.name}, attempts {record.attempts})"


class _Meter:
    """A token bucket of each kind, at the nominal rates, kept apart from the proxy's own.

    What is not in debt lets anything through: a record that is larger than the burst must pass, and the bucket of a
    lane that uses a share of its limit holds that share of a burst.

    Args:
        burst_seconds: what it holds, as time.
        now_ns: the present.
    """

    __slots__ = ("_at_ns", "_burst_seconds", "_levels")

    def __init__(self, burst_seconds: float, now_ns: int) -> None:
        self._burst_seconds = burst_seconds
        self._at_ns = now_ns
        self._levels = [1.0, 1.0]  # seconds: how a lane began is not seen from here, so each starts full

    def takes(self, size_bytes: int, rates: tuple[int, int], now_ns: int) -> bool:
        """Take one record's tokens; return whether they were there."""
        elapsed = (now_ns - self._at_ns) / SECOND_NS
        self._at_ns = now_ns
        holds = True
        for index, (rate, tokens) in enumerate(zip(rates, (1, size_bytes), strict=True)):
            cost = tokens / rate
            level = min(self._levels[index] + elapsed, self._burst_seconds)
            holds = holds and level >= -1e-6
            self._levels[index] = level - cost
        return holds
