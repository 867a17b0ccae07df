"""What becomes of records that were sent, or whose time is over.

Decides, by the table in `proxy.core.verdicts`, who is acknowledged, who goes back to the front of its key, who is
refused and who expires; and how far a trouble slows the stream down: a lane, or the gate.

A request that was refused for what is in it must not fail innocent neighbours: it is halved, and the halves are sent by
themselves, until the guilty record is alone. Their keys stay muted meanwhile, so order holds.

Must never know: when anything is sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from proxy.core import verdicts
from proxy.core.batch import Failure, Written
from proxy.core.limits import MILLISECOND_NS
from proxy.core.queues import lane_of_flight, queue_of
from proxy.core.record import State
from proxy.core.verdicts import Scope, verdict_of

if TYPE_CHECKING:
    from proxy.core.backoff import Backoff
    from proxy.core.batch import Answer, Batch, Reply, Result
    from proxy.core.fetch import Fetch
    from proxy.core.gate import Gate
    from proxy.core.lane import Lane
    from proxy.core.ledger import Ledger
    from proxy.core.queues import Queues
    from proxy.core.record import Record
    from proxy.core.verdicts import Verdict


class Settlement:
    """Outcomes of one stream's records.

    Args:
        ledger: where outcomes are written.
        queues: where retried records go back to.
        gate: shut when requests fail as a whole.
        map_fetch: told when a result contradicts the shard map.
        backoff: how long lanes are held back.

    `splits` are the parts of refused requests that wait to be sent, each by itself.
    """

    __slots__ = ("_abandoned_because", "_backoff", "_gate", "_ledger", "_map_fetch", "_queues", "_trouble", "splits")

    def __init__(self, ledger: Ledger, queues: Queues, gate: Gate, map_fetch: Fetch, backoff: Backoff) -> None:
        self._ledger = ledger
        self._queues = queues
        self._gate = gate
        self._map_fetch = map_fetch
        self._backoff = backoff
        self._abandoned_because: str | None = None
        self._trouble: tuple[str, str | None] | None = None  # why the gate was last shut
        self.splits: deque[list[Record]] = deque()

    def completed(self, batch: Batch, reply: Reply, now_ns: int) -> None:
        """Take in what came back for a batch."""
        if isinstance(reply, Failure):
            self._failed(batch, reply, now_ns)
        elif len(reply.results) != len(batch.records):
            text = f"{len(reply.results)} results came back for {len(batch.records)} records"
            self._failed(batch, Failure(verdicts.WRONG_RESULT_COUNT, text, Written.UNKNOWN), now_ns)
        else:
            self._answered(batch, reply, now_ns)

    def expire_overdue(self, stream_name: str, now_ns: int) -> None:
        """Settle what waits and is overdue, oldest first; records in flight get their outcome from their response."""
        overdue_in_flight = False
        record = self._ledger.next_due
        while record is not None and record.deadline_at_ns <= now_ns:
            if record.state is State.QUEUED:
                self._expire_queued(record, *self._last_cause(record, stream_name, now_ns))
            else:
                self._ledger.forget_deadline(record)
                overdue_in_flight = True
            record = self._ledger.next_due
        if overdue_in_flight and self.splits:
            alive = [self._without_overdue(records, now_ns) for records in self.splits]
            self.splits = deque(records for records in alive if records)

    def abandon(self, message: str) -> None:
        """Expire all that waits, and let nothing go back from flight to waiting."""
        self._abandoned_because = message
        for records in self.splits:
            for record in records:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, message)
        self.splits.clear()
        for record in self._ledger.waiting():
            self._expire_queued(record, verdicts.INTERNAL_FAILURE, message)

    def _answered(self, batch: Batch, answer: Answer, now_ns: int) -> None:
        """Give each record of a request that the service took its own outcome."""
        self._gate.succeeded()
        self._trouble = None
        map_was_known = self._map_fetch.is_older_than(batch.sent_at_ns)
        healthy: dict[Lane, None] = {}
        troubled: dict[Lane, None] = {}
        retried: list[Record] = []
        for record, result in zip(batch.records, answer.results, strict=True):
            lane = lane_of_flight(record)
            if result.shard_id is not None and result.sequence_number is not None:
                self._acknowledge(record, result.shard_id, result.sequence_number, answer.encryption_type)
                healthy[lane] = None
                if map_was_known and self._queues.lanes.contradicts(lane, result.shard_id):
                    self._ledger.counters.mispredicted_records += 1
                    self._map_fetch.doubt(batch.sent_at_ns, now_ns)
            elif self._wants_retry(record, result):
                troubled[lane] = None
                retried.append(record)
        self._retry(retried, now_ns)
        for lane in troubled:
            lane.back_off(batch.sent_at_ns, now_ns, self._backoff)
        for lane in healthy:
            if lane not in troubled and lane.recovered(batch.sent_at_ns, now_ns):
                self._queues.schedule.reconsider(lane)

    def _wants_retry(self, record: Record, result: Result) -> bool:
        """Judge one record's error: note it for a retry and return True, or refuse the record."""
        code = result.error_code or verdicts.MALFORMED_RESPONSE
        verdict = verdict_of(code)
        self._ledger.counters.count_error(code)
        if not verdict.retry:
            self._refuse(record, code, result.error_message)
            return False
        if code == verdicts.THROUGHPUT_EXCEEDED:
            lane_of_flight(record).throttled(record.size_bytes)
        record.error_code, record.error_message = verdict.expired_as, result.error_message
        return True

    def _failed(self, batch: Batch, failure: Failure, now_ns: int) -> None:
        """Decide about every record of a request that failed as a whole."""
        records = batch.records
        verdict = verdict_of(failure.code, failure.status)
        self._ledger.counters.count_error(failure.code, len(records))
        if failure.written is Written.UNKNOWN:
            self._ledger.counters.unknown_outcomes += len(records)
        if verdict.refresh_map:
            self._map_fetch.doubt(batch.sent_at_ns, now_ns)
        if verdict.retry:
            for record in records:
                record.error_code, record.error_message = verdict.expired_as, failure.message
            self._slow_down(batch, failure, verdict, now_ns)
            self._retry(records, now_ns)
            return
        self._gate.succeeded()  # the service is well: it has judged the request
        self._trouble = None
        if verdict.scope is Scope.RECORD and len(records) > 1:
            self._split(records, now_ns)
            return
        for record in records:
            self._refuse(record, failure.code, failure.message)

    def _slow_down(self, batch: Batch, failure: Failure, verdict: Verdict, now_ns: int) -> None:
        """Back off as far as the trouble of a failed request reaches."""
        if verdict.scope is not Scope.SHARD or len(batch.records) > 1:
            self._gate.failed(batch.sent_at_ns, now_ns)
            self._trouble = (verdict.expired_as, failure.message)
            return
        lane = lane_of_flight(batch.records[0])
        if failure.code == verdicts.THROUGHPUT_EXCEEDED:
            lane.throttled(batch.records[0].size_bytes)
        lane.back_off(batch.sent_at_ns, now_ns, self._backoff)

    def _split(self, records: list[Record], now_ns: int) -> None:
        """Halve a refused batch, until the guilty record is alone; its keys stay muted, so order holds."""
        if self._abandoned_because is not None:
            for record in records:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, self._abandoned_because)
            return
        alive = self._without_overdue(records, now_ns)
        middle = (len(alive) + 1) // 2
        self.splits.extend(half for half in (alive[:middle], alive[middle:]) if half)

    def _acknowledge(self, record: Record, shard_id: str, sequence_number: str, encryption_type: str | None) -> None:
        key_queue = queue_of(record)
        if key_queue.last_place is not None:
            last_shard_id, last = key_queue.last_place
            # decimal numbers without leading zeros compare as (length, text), much faster than as integers
            if last_shard_id == shard_id and (len(last), last) >= (len(sequence_number), sequence_number):
                self._ledger.counters.sequence_regressions += 1
        key_queue.last_place = (shard_id, sequence_number)
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

    def _last_cause(self, record: Record, stream_name: str, now_ns: int) -> tuple[str, str | None]:
        """Return the error for a waiting record whose time is over: its own last one, else what held it back."""
        if record.error_code is not None:
            return record.error_code, record.error_message
        if self._trouble is not None:
            return self._trouble
        waited_ms = (now_ns - record.received_at_ns) // MILLISECOND_NS
        return verdicts.THROUGHPUT_EXCEEDED, f"Rate exceeded for stream {stream_name}: no turn within {waited_ms} ms."

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
