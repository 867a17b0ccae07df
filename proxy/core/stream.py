"""One stream, the core's public face: told what happened and what time it is, it answers what to do and when to ask.

The shell calls, always with the present on its monotonic clock:

    append(records)           a call's records have arrived
    withdraw(records)         their client has left
    poll()                    -> batches to send now
    completed(batch, reply)   what came back for one of them
    learn_map(), _summary()   what has been fetched; `map_due` and `summary_due` say when it is wanted
    next_wake_ns()            -> when to poll again if nothing happens before
    take_settled()            -> records whose outcome is final: after every call, to be told to their callers

Theory of operation: a record waits in the queue of its partition key; a key with a waiting record and none in flight is
ready in the lane of its predicted shard; the schedule drains lanes into batches. A batch goes, like Nagle's segments,
when nothing of the stream is in flight, when a full one is ready, or when the last went a linger ago, and never more
than `in_flight_max` at once. A key has at most one request in flight, so nothing can overtake within a key.

Must never know: sockets, tasks, wire formats, real time, real randomness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core import verdicts
from proxy.core.admission import Admission, Door, HeldBack
from proxy.core.backoff import Backoff
from proxy.core.batch import Answer, Batch, Failure
from proxy.core.fetch import Fetch
from proxy.core.gate import Gate
from proxy.core.hot_keys import HotKeys
from proxy.core.ledger import Ledger
from proxy.core.observed_shards import ObservedShards
from proxy.core.queues import Queues, queue_of
from proxy.core.record import State
from proxy.core.settlement import Settlement
from proxy.core.verdicts import Scope, verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.batch import Reply
    from proxy.core.buffer import Buffer
    from proxy.core.counters import StreamCounters
    from proxy.core.lane import Lane
    from proxy.core.limits import StreamLimits
    from proxy.core.record import Record
    from proxy.core.shard_map import Shard, StreamSummary


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
        self._used_at_ns = now_ns
        backoff = Backoff(limits.backoff_base_ns, limits.backoff_max_ns, random)
        self._ledger = Ledger(buffer)
        self._queues = Queues(limits, now_ns)
        self._gate = Gate(limits, backoff)
        self._admission = Admission(limits, buffer, self._ledger, self._queues, self._gate, random)
        fetch_backoff = Backoff(limits.fetch_backoff_base_ns, limits.fetch_backoff_max_ns, random)
        self._map_fetch = Fetch(fetch_backoff, limits.fetch_age_min_ns)
        self._summary_fetch = Fetch(fetch_backoff, limits.fetch_age_min_ns, limits.summary_age_max_ns)
        self._shards: Sequence[Shard] = ()
        self._settlement = Settlement(self._ledger, self._queues, self._gate, self._map_fetch, backoff, limits.ordering)
        self._settlement.observed = ObservedShards()
        self.hot_keys = self._settlement.hot_keys = HotKeys(now_ns)
        self._observed_at_ns = now_ns  # when observed shards were last taken over
        self._call_ordinal = 0
        self._held_back: HeldBack | None = None
        self._closing = False

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
        """Whether the stream could be forgotten: no record is open, no request is out, nothing is being fetched."""
        fetching = self._map_fetch.under_way or self._summary_fetch.under_way
        # records can expire in flight: then nothing is open, but their keys must stay muted until the request ends
        return not (self._ledger.open_records or self._gate.in_flight_requests or fetching)

    def is_used(self, now_ns: int) -> bool:
        """Whether the stream is not idle, or was not for long."""
        return not self.idle or now_ns < self._used_at_ns + self._limits.unused_ns

    @property
    def lanes(self) -> list[Lane]:
        """Lanes in use, for status pages."""
        return self._queues.lanes.known

    @property
    def open_shard_count(self) -> int:
        """Open shards by the newest map; 0 while it is unknown."""
        return self._queues.lanes.open_shard_count

    def shard_id_of(self, hash_key: int) -> str | None:
        """Return the shard that a hash key is predicted to go to; None while nobody knows."""
        return self._queues.lanes.lane_of(hash_key).shard_id

    def oldest_received_at_ns(self) -> int | None:
        """Return when the oldest open record arrived."""
        oldest = self._ledger.oldest
        return None if oldest is None else oldest.received_at_ns

    def take_held_back(self) -> HeldBack | None:
        """Return, once, a partition key whose records wait long for their own order, if there was one."""
        held_back, self._held_back = self._held_back, None
        return held_back

    def take_settled(self) -> list[Record]:
        """Return, once, the records whose outcome has become final."""
        return self._ledger.take_settled()

    # What the shell tells

    def append(self, records: Sequence[Record], now_ns: int) -> int:
        """Queue the records of one call in their order, as far as there is room for them.

        Where the key's order is kept, no record is taken while an older one of its key and call was not.

        Returns:
            How many were rejected: their state is REJECTED, and there will be no other outcome.
        """
        if self._closing:
            for record in records:
                record.reject(verdicts.INTERNAL_FAILURE, "The proxy is shutting down.")
            return len(records)
        self._used_at_ns = now_ns
        self._map_fetch.want(now_ns)
        self._summary_fetch.want(now_ns, spread=True)  # few calls a second are allowed, for a whole account
        deadline_at_ns = now_ns + self._limits.delivery_timeout_ns
        self._call_ordinal += 1
        queues, ledger = self._queues, self._ledger
        door = Door(self._admission, queues.keeps_order) if len(records) > 1 else self._admission
        rejected = 0
        for record in records:
            lane = queues.lanes.lane_of(record.hash_key)
            key_queue = queues.find(record)
            refusal = door.refusal(record, key_queue, lane, now_ns)
            if refusal is None:
                record.call_ordinal = self._call_ordinal
                ledger.receive(record, deadline_at_ns)
                queues.append(record, key_queue, lane)
            else:
                record.reject(refusal.code, refusal.message, refusal.retry_after_ms)
                self._held_back = refusal.held_back or self._held_back
                self.hot_keys.note(record.hash_key, now_ns)
                rejected += 1
        return rejected

    def withdraw(self, records: Sequence[Record]) -> None:
        """Take out those records that wait; what is in flight ends as it ends."""
        waiting = [record for record in records if record.state is State.QUEUED]
        for record in waiting:
            self._ledger.withdraw(record)
        self._queues.drop_withdrawn(waiting)

    def poll(self, now_ns: int) -> list[Batch]:
        """Settle what is overdue and return the batches to send now; each must be answered by one `completed`."""
        self._settlement.expire_overdue(self.name, self._gate.answer_ns, now_ns)
        gate, schedule, splits = self._gate, self._queues.schedule, self._settlement.splits
        batches: list[Batch] = []
        while splits and gate.may_start(now_ns):
            batches.append(self._start(splits.popleft(), now_ns))
        woken = schedule.wake(now_ns)
        if schedule.anything_ready:
            gate.linger(now_ns, waited=woken)
        while schedule.anything_ready and gate.may_start(now_ns) and gate.may_go(now_ns, schedule.ready_keys):
            records = schedule.drain(now_ns)
            if not records:
                break
            for record in records:
                self._ledger.drain(record)
            self._ledger.count_waits(records, now_ns)
            self._notice_held_back(records, now_ns)
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
                anything_split=bool(self._settlement.splits),
                lanes_wake_ns=schedule.next_wake_ns,
            ),
        )
        return min((instant for instant in instants if instant is not None), default=None)

    def completed(self, batch: Batch, reply: Reply, now_ns: int) -> None:
        """Take in what came back for a batch that `poll` handed out."""
        self._gate.returned(batch.sent_at_ns, now_ns, answered=isinstance(reply, Answer))
        self._settlement.completed(batch, reply, now_ns)
        if (
            isinstance(reply, Failure)
            and not batch.ordered
            and verdict_of(reply.code, reply.status).scope is Scope.RECORD
        ):
            # a record can be too large, or lack a partition key, since the stream was changed
            self._summary_fetch.want_younger(self._limits.summary_age_refusing_ns, now_ns)
        observed = self._settlement.observed
        if observed is not None and observed.changed and now_ns >= self._observed_at_ns + self._limits.fetch_age_min_ns:
            self._observed_at_ns = now_ns
            observed.changed = False
            if not self._auto_shards:
                self._queues.relocate(observed.shards, now_ns, auto_shards=0)

    def map_due(self, now_ns: int) -> bool:
        """Whether the shell must fetch the shard map now; it wants `learn_map` or `map_failed` then."""
        return bool(self._ledger.open_records) and self._map_fetch.start(now_ns)

    def want_summary(self, now_ns: int) -> None:
        """Ask for the summary although nothing is queued, since by what is known a caller would be refused."""
        self._used_at_ns = now_ns
        self._summary_fetch.want_younger(self._limits.summary_age_refusing_ns, now_ns)

    def summary_due(self, now_ns: int) -> bool:
        """Whether the shell must fetch the summary now; it wants `learn_summary` or `summary_failed` then."""
        return self._summary_fetch.start(now_ns)

    def learn_map(self, shards: Sequence[Shard], now_ns: int) -> None:
        """Take in the open shards that a fetch has brought."""
        if not shards:
            self._map_fetch.failed(now_ns)  # a stream that is being made: it has no open shard yet
            return
        if self._shards:
            self._summary_fetch.doubt(now_ns, now_ns)  # the stream has changed, or is another one of that name
        self.counters.map_refreshes += 1
        self._map_fetch.learned(now_ns)
        self._settlement.observed = None
        self._shards = shards
        self._relocate(now_ns)

    def learn_summary(self, summary: StreamSummary, now_ns: int) -> None:
        """Take in what DescribeStreamSummary says."""
        self._summary_fetch.learned(now_ns)
        earlier, auto_shards, self.summary = self.summary, self._auto_shards, summary
        if earlier is not None and earlier.auto_distribution != summary.auto_distribution:
            self._map_fetch.doubt(now_ns, now_ns)  # it can be another stream of that name, with shards of the same ids
            if self._settlement.observed is not None:  # what answers taught where keys were ignored is wrong
                self._settlement.observed = ObservedShards(self._shards)
        if self._auto_shards != auto_shards:
            self._relocate(now_ns)

    def map_failed(self, now_ns: int) -> None:
        """Note that the shard map could not be fetched: what is known goes on serving, and answers teach more."""
        self._map_fetch.failed(now_ns)
        self._queues.lanes.provisional = False
        if self._settlement.observed is None:
            self._settlement.observed = ObservedShards(self._shards)

    def summary_failed(self, now_ns: int) -> None:
        """Note that the summary could not be fetched."""
        self._summary_fetch.failed(now_ns)

    def close(self) -> None:
        """Take no more records; what is accepted goes on to its outcome."""
        self._closing = True

    def abandon(self, message: str) -> None:
        """Expire all that waits, and let nothing go back from flight to waiting; what is in flight ends as it ends."""
        self._closing = True
        self._settlement.abandon(message)

    @property
    def _auto_shards(self) -> int:
        """How many open shards a stream has that ignores keys; 0 where keys decide, or as long as nobody knows."""
        if self.summary is None or not self.summary.auto_distribution:
            return 0
        return len(self._shards) or max(1, self.summary.open_shard_count)

    def _relocate(self, now_ns: int) -> None:
        self._queues.relocate(self._shards, now_ns, auto_shards=self._auto_shards)

    def _notice_held_back(self, records: list[Record], now_ns: int) -> None:
        """Remember a key whose record has waited long behind others of its own."""
        long_ago_ns = now_ns - self._limits.admission_wait_ns // 2
        for record in records:
            if record.received_at_ns < long_ago_ns and queue_of(record).last_place is not None:
                self._held_back = HeldBack(record, queue_of(record).records)
                self.hot_keys.note(record.hash_key, now_ns)

    def _start(self, records: list[Record], now_ns: int) -> Batch:
        ordered = records[0].sequence_number_for_ordering is not None
        batch = Batch(self.name, self.arn, records, ordered=ordered)
        batch.sent_at_ns = now_ns
        deadline_at_ns = max(record.deadline_at_ns for record in records)
        batch.timeout_ns = deadline_at_ns - now_ns + self._limits.response_grace_ns
        self._gate.started(now_ns)
        self.counters.batch_records.observe(len(records))
        self.counters.batch_bytes.observe(batch.size_bytes)
        return batch
