"""One stream, the core's public face: told what happened and what time it is, it answers what to do and when to ask.

The shell calls, always with the present on its monotonic clock:

    append(record)            a record has arrived
    poll()                    -> batches to send now
    completed(batch, reply)   what came back for one of them
    learn_map(), _summary()   what has been fetched; `map_due` and `summary_due` say when it is wanted
    next_wake_ns()            -> when to poll again if nothing happens before
    take_settled()            -> records whose outcome is final: after every call, to be told to their callers

Theory of operation: a record waits in the queue of its partition key; a key with a waiting record and none in flight is
ready in the lane of its predicted shard; the schedule drains lanes into batches. A batch goes, like Nagle's segments,
when nothing of the stream is in flight, when a full one is ready, or when the oldest has lingered, and never more than
`in_flight_max` at once. A key has at most one record in flight, so nothing can overtake within a key.

Must never know: sockets, tasks, wire formats, real time, real randomness.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from proxy.core import verdicts
from proxy.core.backoff import Backoff
from proxy.core.batch import Batch, Failure, Written
from proxy.core.fetch import Fetch
from proxy.core.gate import Gate
from proxy.core.ledger import Ledger
from proxy.core.limits import MILLISECOND_NS
from proxy.core.queues import Queues, lane_of_flight, queue_of
from proxy.core.record import State
from proxy.core.verdicts import Scope, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.batch import Answer, Reply, Result
    from proxy.core.buffer import Buffer
    from proxy.core.counters import StreamCounters
    from proxy.core.lane import Lane
    from proxy.core.limits import StreamLimits
    from proxy.core.record import Record
    from proxy.core.shard_map import Shard, StreamSummary


class Rejection(NamedTuple):
    """Why the rest of an append was not taken.

    Args:
        accepted: how many of the records, from the first, were queued; the others were not and will get no outcome.
        code: the error code for the caller of the others.
        message: what is full, or why nothing is taken.
    """

    accepted: int
    code: str
    message: str


class Stream:
    """One stream's records from their arrival to their outcome.

    Args:
        name: stream name.
        arn: stream ARN, for callers that name the stream by it; None otherwise.
        limits: see `StreamLimits`.
        buffer: the bound that all streams share.
        random: uniform in [0, 1), for jitter.
        now_ns: the present.
    """

    def __init__(
        self,
        name: str,
        arn: str | None,
        limits: StreamLimits,
        buffer: Buffer,
        random: Callable[[], float],
        now_ns: int,
    ) -> None:
        self.name = name
        self.arn = arn
        self.summary: StreamSummary | None = None
        self._limits = limits
        self._backoff = Backoff(limits.backoff_base_ns, limits.backoff_max_ns, random)
        self._ledger = Ledger(buffer)
        self._queues = Queues(limits, now_ns)
        self._gate = Gate(limits, self._backoff)
        fetch_backoff = Backoff(limits.fetch_backoff_base_ns, limits.fetch_backoff_max_ns, random)
        self._map_fetch = Fetch(fetch_backoff, limits.fetch_age_min_ns)
        self._summary_fetch = Fetch(fetch_backoff, limits.fetch_age_min_ns)
        self._shards: Sequence[Shard] = ()
        self._splits: deque[list[Record]] = deque()  # parts of a refused batch, each to be sent by itself
        self._closing = False
        self._abandoned_because: str | None = None

    # What the shell reads

    @property
    def counters(self) -> StreamCounters:
        """What happened so far."""
        return self._ledger.counters

    @property
    def queued_records(self) -> int:
        """Records that wait."""
        return self._ledger.queued_records

    @property
    def queued_bytes(self) -> int:
        """Data and partition keys that wait."""
        return self._ledger.queued_bytes

    @property
    def in_flight_records(self) -> int:
        """Records sent and unanswered."""
        return self._ledger.in_flight_records

    @property
    def open_records(self) -> int:
        """Accepted records without an outcome: those that wait and those in flight."""
        return self._ledger.open_records

    @property
    def in_flight_requests(self) -> int:
        """Requests sent and unanswered."""
        return self._gate.in_flight_requests

    @property
    def key_count(self) -> int:
        """Partition keys with an open record."""
        return self._queues.key_count

    @property
    def idle(self) -> bool:
        """Whether the stream could be forgotten: no record is open, nothing is being fetched."""
        return not (self._ledger.open_records or self._map_fetch.under_way or self._summary_fetch.under_way)

    @property
    def lanes(self) -> list[Lane]:
        """Lanes in use, for status pages."""
        return self._queues.lanes.known

    @property
    def open_shard_count(self) -> int:
        """Open shards by the newest map; 0 while it is unknown."""
        return self._queues.lanes.open_shard_count

    def oldest_received_at_ns(self) -> int | None:
        """Return when the oldest open record arrived."""
        oldest = self._ledger.oldest
        return None if oldest is None else oldest.received_at_ns

    def take_settled(self) -> list[Record]:
        """Return, once, the records whose outcome has become final."""
        return self._ledger.take_settled()

    # What the shell tells

    def append(self, records: Sequence[Record], now_ns: int) -> Rejection | None:
        """Queue records in their order; on the first that finds no room, leave out all the rest."""
        if self._closing:
            self.counters.rejected_records += len(records)
            return Rejection(0, verdicts.INTERNAL_FAILURE, "The proxy is shutting down.")
        self._map_fetch.want(now_ns)
        self._summary_fetch.want(now_ns, spread=True)  # few calls a second are allowed, for a whole account
        deadline_at_ns = now_ns + self._limits.delivery_timeout_ns
        for accepted, record in enumerate(records):
            full = self._ledger.receive(record, deadline_at_ns)
            if full is not None:
                self.counters.rejected_records += len(records) - accepted
                return Rejection(accepted, verdicts.THROUGHPUT_EXCEEDED, f"The proxy's {full} is full.")
            self._queues.append(record)
        return None

    def poll(self, now_ns: int) -> list[Batch]:
        """Settle what is overdue and return the batches to send now; each must be answered by one `completed`."""
        self._expire_overdue(now_ns)
        gate, schedule, ledger = self._gate, self._queues.schedule, self._ledger
        batches: list[Batch] = []
        while self._splits and gate.may_start(now_ns):
            batches.append(self._start(self._splits.popleft(), now_ns))
        woken = schedule.wake(now_ns)
        if schedule.anything_ready:
            gate.linger(now_ns, waited=woken)
        while schedule.anything_ready and gate.may_start(now_ns) and gate.may_go(now_ns, schedule.ready_keys):
            records = schedule.drain(now_ns)
            if not records:
                break
            for record in records:
                ledger.drain(record, now_ns)
            batches.append(self._start(records, now_ns))
        if not schedule.anything_ready:
            gate.emptied()
        return batches

    def next_wake_ns(self) -> int | None:
        """Return when to poll again if nothing else happens before; None if only an event can change anything."""
        if not self._ledger.open_records:
            return None
        oldest = self._ledger.oldest
        schedule = self._queues.schedule
        instants = (
            None if oldest is None else oldest.deadline_at_ns,
            self._map_fetch.due_at_ns,
            self._summary_fetch.due_at_ns,
            self._gate.opens_at_ns(
                anything_ready=schedule.anything_ready,
                anything_split=bool(self._splits),
                lanes_wake_ns=schedule.next_wake_ns,
            ),
        )
        return min((instant for instant in instants if instant is not None), default=None)

    def completed(self, batch: Batch, reply: Reply, now_ns: int) -> None:
        """Take in what came back for a batch that `poll` handed out."""
        self._gate.returned()
        if isinstance(reply, Failure):
            self._failed(batch, reply, now_ns)
        elif len(reply.results) != len(batch.records):
            text = f"{len(reply.results)} results came back for {len(batch.records)} records"
            self._failed(batch, Failure(verdicts.WRONG_RESULT_COUNT, text, Written.UNKNOWN), now_ns)
        else:
            self._answered(batch, reply, now_ns)

    def map_due(self, now_ns: int) -> bool:
        """Whether the shell must fetch the shard map now; it wants `learn_map` or `map_failed` then."""
        return bool(self._ledger.open_records) and self._map_fetch.start(now_ns)

    def summary_due(self, now_ns: int) -> bool:
        """Whether the shell must fetch the summary now; it wants `learn_summary` or `summary_failed` then."""
        return bool(self._ledger.open_records) and self._summary_fetch.start(now_ns)

    def learn_map(self, shards: Sequence[Shard], now_ns: int) -> None:
        """Take in the open shards that a fetch has brought."""
        if not shards:
            self._map_fetch.failed(now_ns)  # a stream that is being made: it has no open shard yet
            return
        self.counters.map_refreshes += 1
        self._map_fetch.learned(now_ns)
        self._shards = shards
        self._relocate(now_ns)

    def learn_summary(self, summary: StreamSummary, now_ns: int) -> None:
        """Take in what DescribeStreamSummary says."""
        self._summary_fetch.learned(now_ns)
        was_auto, self.summary = self._auto_distribution, summary
        if self._shards and self._auto_distribution != was_auto:
            self._relocate(now_ns)

    def map_failed(self, now_ns: int) -> None:
        """Note that the shard map could not be fetched: what is known goes on serving."""
        self._map_fetch.failed(now_ns)

    def summary_failed(self, now_ns: int) -> None:
        """Note that the summary could not be fetched."""
        self._summary_fetch.failed(now_ns)

    def close(self) -> None:
        """Take no more records; what is accepted goes on to its outcome."""
        self._closing = True

    def abandon(self, message: str) -> int:
        """Expire all that waits, and let nothing go back from flight to waiting; return how many were still open."""
        open_records = self._ledger.open_records
        self._closing = True
        self._abandoned_because = message
        for records in self._splits:
            for record in records:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, message)
        self._splits.clear()
        for record in self._ledger.waiting():
            self._expire_queued(record, verdicts.INTERNAL_FAILURE, message)
        return open_records

    @property
    def _auto_distribution(self) -> bool:
        return self.summary is not None and self.summary.auto_distribution

    def _relocate(self, now_ns: int) -> None:
        self._queues.relocate(self._shards, now_ns, auto_distribution=self._auto_distribution)

    # Outcomes

    def _start(self, records: list[Record], now_ns: int) -> Batch:
        ordered = records[0].sequence_number_for_ordering is not None
        batch = Batch(self.name, self.arn, records, ordered=ordered)
        batch.sent_at_ns = now_ns
        self._gate.started()
        self.counters.batch_records.observe(len(records))
        self.counters.batch_bytes.observe(batch.size_bytes)
        return batch

    def _answered(self, batch: Batch, answer: Answer, now_ns: int) -> None:
        """Give each record of a request that the service took its own outcome."""
        self._gate.succeeded()
        healthy: dict[Lane, None] = {}
        troubled: dict[Lane, None] = {}
        retried: list[Record] = []
        for record, result in zip(batch.records, answer.results, strict=True):
            lane = lane_of_flight(record)
            if result.shard_id is not None and result.sequence_number is not None:
                self._acknowledge(record, result.shard_id, result.sequence_number, answer.encryption_type)
                if lane.troubles:
                    healthy[lane] = None
                if lane.shard_id is not None and lane.shard_id != result.shard_id:
                    self.counters.mispredicted_records += 1
                    self._map_fetch.doubt(batch.sent_at_ns, now_ns)
            elif self._wants_retry(record, result):
                troubled[lane] = None
                retried.append(record)
        self._retry(retried, now_ns)
        for lane in troubled:
            lane.back_off(batch.sent_at_ns, now_ns, self._backoff)
        for lane in healthy:
            if lane not in troubled:
                lane.recovered()

    def _wants_retry(self, record: Record, result: Result) -> bool:
        """Judge one record's error: note it for a retry and return True, or refuse the record."""
        code = result.error_code or verdicts.MALFORMED_RESPONSE
        verdict = verdict_of(code)
        self._ledger.count_error(code)
        if not verdict.retry:
            self._refuse(record, code, result.error_message)
            return False
        if code == verdicts.THROUGHPUT_EXCEEDED:
            lane_of_flight(record).throttled_records += 1
        record.error_code, record.error_message = verdict.expired_as, result.error_message
        return True

    def _failed(self, batch: Batch, failure: Failure, now_ns: int) -> None:
        """Decide about every record of a request that failed as a whole."""
        records = batch.records
        verdict = verdict_of(failure.code, failure.status)
        self._ledger.count_error(failure.code, len(records))
        if failure.written is Written.UNKNOWN:
            self.counters.unknown_outcomes += len(records)
        if verdict.refresh_map:
            self._map_fetch.doubt(batch.sent_at_ns, now_ns)
        if verdict.retry:
            for record in records:
                record.error_code, record.error_message = verdict.expired_as, failure.message
            self._slow_down(batch, failure, verdict.scope, now_ns)
            self._retry(records, now_ns)
            return
        self._gate.succeeded()  # the service is well: it has judged the request
        if verdict.scope is Scope.RECORD and len(records) > 1:
            self._split(records, now_ns)
            return
        for record in records:
            self._refuse(record, failure.code, failure.message)

    def _slow_down(self, batch: Batch, failure: Failure, scope: Scope, now_ns: int) -> None:
        """Back off as far as the trouble of a failed request reaches."""
        if scope is not Scope.SHARD or len(batch.records) > 1:
            self._gate.failed(batch.sent_at_ns, now_ns)
            return
        lane = lane_of_flight(batch.records[0])
        if failure.code == verdicts.THROUGHPUT_EXCEEDED:
            lane.throttled_records += 1
        lane.back_off(batch.sent_at_ns, now_ns, self._backoff)

    def _split(self, records: list[Record], now_ns: int) -> None:
        """Halve a refused batch, until the guilty record is alone; its keys stay muted, so order holds."""
        if self._abandoned_because is not None:
            for record in records:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, self._abandoned_because)
            return
        alive = self._without_overdue(records, now_ns)
        middle = (len(alive) + 1) // 2
        self._splits.extend(half for half in (alive[:middle], alive[middle:]) if half)

    def _acknowledge(self, record: Record, shard_id: str, sequence_number: str, encryption_type: str | None) -> None:
        key_queue = queue_of(record)
        last = key_queue.last_sequence_number
        # decimal numbers without leading zeros compare as (length, text), much faster than as integers
        if last is not None and (len(last), last) >= (len(sequence_number), sequence_number):
            self.counters.sequence_regressions += 1
        key_queue.last_sequence_number = sequence_number
        self._ledger.acknowledge(record, shard_id, sequence_number, encryption_type)
        self._queues.release(record)

    def _refuse(self, record: Record, code: str, message: str | None) -> None:
        self._ledger.refuse(record, code, message)
        self._queues.release(record)

    def _retry(self, records: list[Record], now_ns: int) -> None:
        """Put records back in front of their keys and their lanes, in the order that they had; overdue ones expire."""
        for record in reversed(records):
            code, message = record.error_code or verdicts.INTERNAL_FAILURE, record.error_message
            if self._abandoned_because is not None:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, self._abandoned_because)
            elif record.deadline_at_ns <= now_ns:
                self._expire_in_flight(record, code, message)
            else:
                self._ledger.reenqueue(record)
                self._queues.reenqueue(record)

    def _expire_overdue(self, now_ns: int) -> None:
        """Settle what waits and is overdue, oldest first; records in flight get their outcome from their response."""
        overdue_in_flight = False
        record = self._ledger.oldest
        while record is not None and record.deadline_at_ns <= now_ns:
            if record.state is State.QUEUED:
                waited_ms = (now_ns - record.received_at_ns) // MILLISECOND_NS
                code = record.error_code or verdicts.THROUGHPUT_EXCEEDED
                message = (
                    record.error_message or f"Rate exceeded for stream {self.name}: no turn within {waited_ms} ms."
                )
                self._expire_queued(record, code, message)
            else:
                self._ledger.forget_deadline(record)
                overdue_in_flight = True
            record = self._ledger.oldest
        if overdue_in_flight and self._splits:
            alive = [self._without_overdue(records, now_ns) for records in self._splits]
            self._splits = deque(records for records in alive if records)

    def _expire_queued(self, record: Record, code: str, message: str | None) -> None:
        self._queues.discard(record)
        self._ledger.expire(record, code, message)

    def _expire_in_flight(self, record: Record, code: str, message: str | None) -> None:
        self._ledger.expire(record, code, message)
        self._queues.release(record)

    def _without_overdue(self, records: list[Record], now_ns: int) -> list[Record]:
        """Settle the overdue records of a split and return the others, which never left flight."""
        alive: list[Record] = []
        for record in records:
            if record.deadline_at_ns <= now_ns:
                self._expire_in_flight(record, record.error_code or verdicts.INTERNAL_FAILURE, record.error_message)
            else:
                alive.append(record)
        return alive
