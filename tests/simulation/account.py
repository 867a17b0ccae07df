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
from tests.simulation.meter import Meter
from tests.simulation.order import Order
from tests.simulation.promises import Rule
from tests.simulation.service import GUILTY_DATA, INVALID_ARGUMENT
from tests.simulation.taken import Taken

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
        self._standstills = world.standstills
        self._name = name
        self._open_changed = open_changed
        self._taken: dict[int, Taken] = {}  # by id of the record, which is kept alive by it
        self._waiting: deque[Taken] = deque()  # in the order of acceptance, hence of deadlines
        self.order = Order(world)
        self._by_data: dict[str, Taken] = {}  # the newest of each
        self.invocation_ids: dict[str, str] = {}  # by data: of the attempt that its client makes
        self._failures: dict[str, tuple[int, int, int]] = {}  # by stream: how many in a row, since when, the last
        self._calls = 0
        self._meters: dict[Lane, Meter] = {}
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

    def took(self, stream_name: str, records: Sequence[Record], rejected: int, *, kept: bool) -> None:
        """Note those records of a call that were accepted, in this order, and check that the others may say so.

        Args:
            stream_name: of the stream.
            records: of the call.
            rejected: how many of them, as the proxy says.
            kept: whether it keeps the order of keys in that stream now.
        """
        self._calls += 1
        passed_over: set[str] = set()
        accepted = 0
        for record in records:
            if record.state is State.REJECTED:
                passed_over.add(record.partition_key)
                if record.error_code is None:
                    raise self._promises.note(Rule.ANSWER, f"{record.data[:24]} is rejected without an error")
                self._trace.counts[f"rejected {record.error_code}"] += 1
                continue
            if kept and record.partition_key in passed_over:
                raise self._promises.note(Rule.ORDER, f"{record.data[:24]} is taken, an older one of its key was not")
            self._check_not_joined(record)
            accepted += 1
            self.accepted += 1
            taken = Taken(record, self._name, stream_name, self.accepted, self._calls, kept)
            taken.invocation_id = self.invocation_ids.get(record.data)
            self._taken[id(record)] = self._by_data[record.data] = taken
            self._waiting.append(taken)
        if len(records) - accepted != rejected:
            raise self._promises.note(Rule.ANSWER, f"{rejected} rejected of {len(records)}, {accepted} accepted")
        stream = self._service.streams[stream_name]
        if accepted and not (kept or stream.was_auto or stream.shape.ordering is Ordering.NONE):
            raise self._promises.note(Rule.ORDER, f"{self._name} keeps no order in {stream_name}")
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
        raise self._promises.note(Rule.JOIN, f"{before} is taken again")

    def left(self, data: Iterable[str]) -> None:
        """Check that a client that has just left has taken its records with it, if none of them was ever sent."""
        call = [self._by_data[each] for each in data if each in self._by_data]
        if not any(taken.attempts for taken in call):
            for taken in call:
                if taken.record.state is State.QUEUED:
                    raise self._promises.note(Rule.WITHDRAWAL, f"{taken} stays behind")

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
                raise self._promises.note(Rule.WITHDRAWAL, str(taken))

    def sent(self, batch: Batch) -> None:
        """Check a request that leaves now, and note it."""
        now_ns = self._clock()
        limits = self._scenario.limits
        if not 0 < len(batch.records) <= limits.batch_records_max:
            raise self._promises.note(Rule.BOUNDS, f"{len(batch.records)} records in one request")
        if len(batch.records) > 1 and batch.size_bytes > limits.batch_bytes_max:
            raise self._promises.note(Rule.BOUNDS, f"{batch.size_bytes} bytes in one request")
        self.order.check_keys([self._taken[id(record)] for record in batch.records], self.flying[batch.stream_name])
        flying = self.flying[batch.stream_name]
        self.batches[batch] = None
        for record in batch.records:
            taken = self._taken[id(record)]
            if taken.kept:
                flying[record.partition_key] += 1
            taken.in_flight += 1
            taken.batches.append(batch)
            if taken.outcome is not None:
                raise self._promises.note(Rule.ONE_OUTCOME, f"{taken} is sent after its outcome")
            if record.deadline_at_ns <= now_ns:
                raise self._promises.note(Rule.LATE, f"{taken} is sent after its deadline")
            if taken.attempts == record.attempts:
                continue  # the half of a refused request: nothing of that was taken
            taken.attempts = record.attempts
            self._meter(record, now_ns)
        self._trace.counts["requests sent"] += 1
        self._trace.counts["records sent"] += len(batch.records)
        self._trace.note(now_ns, "sent", self._name, batch.records[0].data[:24], len(batch.records))

    def returned(self, batch: Batch) -> None:
        """Note that a request has ended, just before the driver is told."""
        del self.batches[batch]
        flying = self.flying[batch.stream_name]
        for record in batch.records:
            taken = self._taken[id(record)]
            taken.in_flight -= 1
            if taken.kept:
                flying[record.partition_key] -= 1
                if not flying[record.partition_key]:
                    del flying[record.partition_key]

    def written(self, record: Record) -> None:
        """Check a record that the service writes at this instant."""
        taken = self._taken[id(record)]
        if taken.written:
            self._trace.counts["records written again"] += 1
            return
        taken.written = True
        self.order.written(taken)

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
                    raise self._promises.note(Rule.WITHDRAWAL, str(taken))
            case _:
                raise self._promises.note(Rule.ONE_OUTCOME, f"{taken} is told, but {record.state.name}")
        if now_ns > self._latest_ns(taken):
            raise self._promises.note(Rule.LATE, str(taken))

    def _acknowledged(self, taken: Taken) -> None:
        record = taken.record
        stream = self._service.streams[taken.stream_name]
        place = (record.shard_id, record.sequence_number)
        if place not in stream.places[record.data]:
            raise self._promises.note(Rule.TRUTH, f"{taken} is not at {place}")
        self.order.acknowledged(taken)

    def _refused(self, taken: Taken) -> None:
        record, stream = taken.record, self._service.streams[taken.stream_name]
        code = record.error_code
        guilty = {
            "ValidationException": record.data.startswith(GUILTY_DATA),
            INVALID_ARGUMENT: record.size_bytes > stream.record_bytes_least
            or record.sequence_number_for_ordering is not None,
        }
        if code not in taken.refusals or not guilty.get(code, True):
            raise self._promises.note(Rule.CAUSE, f"{taken} is refused by {code}")

    def _expired(self, taken: Taken, now_ns: int) -> None:
        record = taken.record
        # what still waits is given up when an answer would come too late: a quarter of its life before, at the most
        unsent_at_ns = record.received_at_ns + self._scenario.limits.delivery_timeout_ns * 3 // 4
        deadline_at_ns = record.received_at_ns + self._scenario.limits.delivery_timeout_ns
        if now_ns < (deadline_at_ns if taken.in_flight else unsent_at_ns) and not self.given_up:
            raise self._promises.note(Rule.EXPIRY, f"{taken} has time until {deadline_at_ns}, it is {now_ns}")
        if record.error_code not in {"ProvisionedThroughputExceededException", "InternalFailure"}:
            raise self._promises.note(Rule.CAUSE, f"{taken} expires as {record.error_code}")

    # What must be true at any moment

    def check_waits(self) -> None:
        """Check that no record waits past its deadline; the oldest alone is looked at."""
        waiting = self._waiting
        while waiting and waiting[0].outcome is not None:
            waiting.popleft()
        if waiting and self._clock() > self._latest_ns(waiting[0]):
            raise self._promises.note(Rule.LATE, str(waiting[0]))

    def _latest_ns(self, taken: Taken) -> int:
        """Return the instant by which a record must have its outcome."""
        deadline_at_ns = taken.record.received_at_ns + self._scenario.limits.delivery_timeout_ns
        return deadline_at_ns + TIMER_GRACE_NS + self._standstills.since_ns(deadline_at_ns)

    def _meter(self, record: Record, now_ns: int) -> None:
        """Check a record against what its lane may be sent by the configured rate."""
        lane = record.key_queue.lane if record.key_queue is not None else None
        if lane is None:
            raise self._promises.note(Rule.LIMITS, "a record leaves without a lane")
        limits = self._scenario.limits
        meter = self._meters.get(lane)
        if meter is None:
            meter = self._meters[lane] = Meter(limits.shard_burst_ns / SECOND_NS, now_ns)
        # the careful lane of a stream that ignores keys has the capacity of its shards
        shards = 1 if lane.shard_id is not None else self._shards_of_careful(record)
        rates = (limits.shard_records_per_second * shards, limits.shard_bytes_per_second * shards)
        if not meter.takes(record.size_bytes, rates, now_ns):
            raise self._promises.note(Rule.LIMITS, f"{self._name} sends {lane.shard_id} too much")

    def _shards_of_careful(self, record: Record) -> int:
        stream = self._service.streams[self._taken[id(record)].stream_name]
        return stream.topology.most if stream.was_auto else 1
