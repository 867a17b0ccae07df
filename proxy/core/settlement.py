"""What becomes of records that were sent, or whose time is over.

Decides, by the table in `proxy.core.verdicts`, who is acknowledged, who goes back to the front of its key, who is
refused and who expires; and how far a trouble slows the stream down: a lane, or the gate.

A request that was refused for what is in it must not fail innocent neighbours: it is halved, and the halves are sent by
themselves, until the guilty record is alone. Their keys stay muted meanwhile, so order holds. Where a key can be in
both halves, only the first is sent by itself; the second goes back to the front of its keys.

A record that still waits when there is no time left for an answer is not sent any more: its caller would be told that
it failed, and send it again, although it was written; and while a queue is as old as its records may be, none of them
would ever succeed.

A record in flight at its deadline expires there and then, since its caller has waited long enough; but its key stays
muted until the request has ended, for the record may still be written, and nothing younger may pass it.

Must never know: when anything is sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from proxy.core import verdicts
from proxy.core.batch import Failure, Written
from proxy.core.limits import MILLISECOND_NS
from proxy.core.observed_shards import shard_id_of_message
from proxy.core.queues import lane_of_flight, queue_of
from proxy.core.record import State
from proxy.core.verdicts import Scope, verdict_of

if TYPE_CHECKING:
    from proxy.core.backoff import Backoff
    from proxy.core.batch import Answer, Batch, Reply, Result
    from proxy.core.fetch import Fetch
    from proxy.core.gate import Gate
    from proxy.core.hot_keys import HotKeys
    from proxy.core.key_queue import KeyQueue
    from proxy.core.lane import Lane
    from proxy.core.ledger import Ledger
    from proxy.core.observed_shards import ObservedShards
    from proxy.core.ordering import Ordering
    from proxy.core.queues import Queues
    from proxy.core.record import Record
    from proxy.core.verdicts import Verdict

# Looked up once: Python 3.11 finds a member of an Enum by way of its metaclass, several times for each record.
_QUEUED: Final = State.QUEUED
_IN_FLIGHT: Final = State.IN_FLIGHT

# A shard that is at its limit refuses all that comes after: where it took one of the last records, it is not. A lane
# with fewer records in a request has nothing else to tell.
TAIL_OF_TROUBLE: Final = 3


class Settlement:
    """Outcomes of one stream's records.

    Args:
        ledger: where outcomes are written.
        queues: where retried records go back to.
        gate: shut when requests fail as a whole.
        map_fetch: told when a result contradicts the shard map.
        backoff: how long lanes are held back.
        ordering: whether several records of a key may have been in one request.

    `splits` are the parts of refused requests that wait to be sent, each by itself. `observed` is told where records
    have landed, for as long as there is no other shard map; `hot_keys` whose records were throttled.
    """

    __slots__ = (
        "_abandoned_because",
        "_backoff",
        "_gate",
        "_ledger",
        "_map_fetch",
        "_queues",
        "_runs",
        "_trouble",
        "hot_keys",
        "observed",
        "splits",
    )

    def __init__(
        self, ledger: Ledger, queues: Queues, gate: Gate, map_fetch: Fetch, backoff: Backoff, ordering: Ordering
    ) -> None:
        self._ledger = ledger
        self._queues = queues
        self._gate = gate
        self._map_fetch = map_fetch
        self._backoff = backoff
        self._runs = ordering.runs
        self._abandoned_because: str | None = None
        self._trouble: tuple[str, str | None] | None = None  # why the gate was last shut
        self.splits: deque[list[Record]] = deque()
        self.observed: ObservedShards | None = None
        self.hot_keys: HotKeys | None = None

    def completed(self, batch: Batch, reply: Reply, now_ns: int) -> None:
        """Take in what came back for a batch."""
        if isinstance(reply, Failure):
            self._failed(batch, reply, now_ns)
        elif len(reply.results) != len(batch.records):
            text = f"{len(reply.results)} results came back for {len(batch.records)} records"
            self._failed(batch, Failure(verdicts.WRONG_RESULT_COUNT, text, Written.UNKNOWN), now_ns)
        else:
            if self.observed is not None:
                _observe(self.observed, batch, reply)
            if self._runs:
                self._ledger.counters.order_inversions += _inversions(batch, reply)
            self._answered(batch, reply, now_ns)

    def expire_overdue(self, stream_name: str, answer_ns: int, now_ns: int) -> None:
        """Settle what is overdue, oldest first; the key of a record in flight stays muted until its request ends.

        Args:
            stream_name: for messages.
            answer_ns: how long an answer takes: what waits and has less time is overdue already.
            now_ns: the present.
        """
        overdue = self._ledger.due_by(now_ns + answer_ns)
        if not overdue:
            return
        unsent = {id(record) for records in self.splits for record in records}
        for record in overdue:
            if record.state is _QUEUED:
                self._queues.discard(record)
                self._ledger.expire(record, *self._last_cause(record, stream_name, now_ns))
            elif record.deadline_at_ns > now_ns:
                continue
            elif id(record) in unsent:
                self._ledger.expire(record, *self._last_cause(record, stream_name, now_ns))
            else:
                waited_ms = (now_ns - record.received_at_ns) // MILLISECOND_NS
                text = f"No answer came within {waited_ms} ms; the record may have been written."
                self._ledger.expire(record, verdicts.INTERNAL_FAILURE, text)
        if unsent:
            alive = [self._without_settled(records) for records in self.splits]
            self.splits = deque(records for records in alive if records)

    def abandon(self, message: str) -> None:
        """Expire all that waits, and let nothing go back from flight to waiting."""
        self._abandoned_because = message
        for records in self.splits:
            for record in records:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, message)
        self.splits.clear()
        for record in self._ledger.waiting():
            self._queues.discard(record)
            self._ledger.expire(record, verdicts.INTERNAL_FAILURE, message)

    def _answered(self, batch: Batch, answer: Answer, now_ns: int) -> None:
        """Give each record of a request that the service took its own outcome."""
        self._gate.succeeded()
        self._trouble = None
        lanes = self._queues.lanes
        map_was_known = self._map_fetch.is_older_than(batch.sent_at_ns)
        # of each lane how many records in a row met trouble at the end of what it had in the request; more if all did
        tails: dict[Lane, int] = {}
        lane_before: Lane | None = None
        retried: list[Record] = []
        results = answer.results
        for index, record in enumerate(batch.records):
            result = results[index]
            lane = lane_of_flight(record)
            shard_id, sequence_number = result.shard_id, result.sequence_number
            if shard_id and sequence_number and not result.error_code:
                self._acknowledge(record, shard_id, sequence_number, answer.encryption_type)
                if lane is not lane_before:  # those of a lane come together, most of them taken
                    tails[lane] = 0
                    lane_before = lane
                if map_was_known and shard_id != lane.shard_id and lanes.contradicts(lane, shard_id):
                    self._ledger.counters.mispredicted_records += 1
                    self._map_fetch.doubt(batch.sent_at_ns, now_ns)
            elif self._is_trouble(record, result, lane, now_ns):
                tails[lane] = tails.get(lane, TAIL_OF_TROUBLE - 1) + 1
                lane_before = None
                retried.append(record)
        if retried:
            self._retry(self._without_settled(retried))
        for lane, tail in tails.items():
            if tail >= TAIL_OF_TROUBLE:
                self._back_off(lane, batch, now_ns)
            elif lane.recovered(batch.sent_at_ns, now_ns):
                self._queues.schedule.reconsider(lane)

    def _is_trouble(self, record: Record, result: Result, lane: Lane, now_ns: int) -> bool:
        """Judge one record's error: note it for a retry and return True, or refuse the record."""
        code = result.error_code or verdicts.MALFORMED_RESPONSE
        verdict = verdict_of(code)
        self._ledger.counters.count_error(code)
        if code == verdicts.THROUGHPUT_EXCEEDED:
            self._throttled(record, lane, now_ns)
        if record.state is _IN_FLIGHT:
            if not verdict.retry:
                self._ledger.refuse(record, code, result.error_message)
            else:
                record.error_code, record.error_message = verdict.expired_as, result.error_message
        if not verdict.retry:
            self._queues.release(record)
        return verdict.retry

    def _failed(self, batch: Batch, failure: Failure, now_ns: int) -> None:
        """Decide about every record of a request that failed as a whole."""
        verdict = verdict_of(failure.code, failure.status)
        self._ledger.counters.count_error(failure.code, len(batch.records))
        records = self._without_settled(batch.records)
        if failure.written is Written.UNKNOWN:
            self._ledger.counters.unknown_outcomes += len(records)
        if verdict.refresh_map:
            self._map_fetch.doubt(batch.sent_at_ns, now_ns)
        if verdict.retry:
            for record in records:
                record.error_code, record.error_message = verdict.expired_as, failure.message
            self._slow_down(batch, failure, verdict, now_ns)
            self._retry(records)
            return
        self._gate.succeeded()  # the service is well: it has judged the request
        self._trouble = None
        if verdict.scope is Scope.RECORD and len(batch.records) > 1:
            self._split(records)
            return
        for record in records:
            self._ledger.refuse(record, failure.code, failure.message)
            self._queues.release(record)

    def _slow_down(self, batch: Batch, failure: Failure, verdict: Verdict, now_ns: int) -> None:
        """Back off as far as the trouble of a failed request reaches."""
        if verdict.scope is not Scope.SHARD or len(batch.records) > 1:
            self._gate.failed(batch.sent_at_ns, now_ns, failure.retry_after_ns)
            self._trouble = (verdict.expired_as, failure.message)
            return
        lane = lane_of_flight(batch.records[0])
        if failure.code == verdicts.THROUGHPUT_EXCEEDED:
            self._throttled(batch.records[0], lane, now_ns)
        self._back_off(lane, batch, now_ns)

    def _throttled(self, record: Record, lane: Lane, now_ns: int) -> None:
        lane.throttled(record.size_bytes)
        if self.hot_keys is not None:
            self.hot_keys.note(record.hash_key, now_ns)

    def _back_off(self, lane: Lane, batch: Batch, now_ns: int) -> None:
        """Hold a lane back; that can be for less long than it was waiting for a probe's answer."""
        lane.back_off(batch.sent_at_ns, now_ns, self._backoff)
        self._queues.schedule.reconsider(lane)

    def _split(self, records: list[Record]) -> None:
        """Halve a refused batch, until the guilty record is alone."""
        if self._abandoned_because is not None:
            for record in records:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, self._abandoned_because)
            return
        middle = (len(records) + 1) // 2
        # of two, one can have expired meanwhile: the other is sent alone, for the guilty one may be gone
        if records:
            self.splits.append(records[:middle])
        if self._runs:
            self._retry(records[middle:])
        elif len(records) > middle:
            self.splits.append(records[middle:])

    def _acknowledge(self, record: Record, shard_id: str, sequence_number: str, encryption_type: str | None) -> None:
        key_queue = queue_of(record)
        if key_queue.last_place is not None:
            last_shard_id, last = key_queue.last_place
            # decimal numbers without leading zeros compare as (length, text), much faster than as integers
            if last_shard_id == shard_id and (len(last), last) >= (len(sequence_number), sequence_number):
                self._ledger.counters.sequence_regressions += 1
        if key_queue.head is not None or key_queue.in_flight > 1:  # else the key is forgotten now
            key_queue.last_place = (shard_id, sequence_number)
        if record.state is _IN_FLIGHT:
            self._ledger.acknowledge(record, shard_id, sequence_number, encryption_type)
        else:
            self._ledger.counters.late_acknowledgements += 1
        self._queues.release(record)

    def _retry(self, records: list[Record]) -> None:
        """Put records back in front of their keys and their lanes, in the order that they had."""
        for record in reversed(records):
            if self._abandoned_because is not None:
                self._expire_in_flight(record, verdicts.INTERNAL_FAILURE, self._abandoned_because)
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

    def _expire_in_flight(self, record: Record, code: str, message: str | None) -> None:
        self._ledger.expire(record, code, message)
        self._queues.release(record)

    def _without_settled(self, records: list[Record]) -> list[Record]:
        """Let go of the records that expired while their request was out, and return the others."""
        alive: list[Record] = []
        for record in records:
            if record.state is _IN_FLIGHT:
                alive.append(record)
            else:
                self._queues.release(record)
        return alive


def _observe(observed: ObservedShards, batch: Batch, answer: Answer) -> None:
    """Learn from each result where its record's hash key lies."""
    for record, result in zip(batch.records, answer.results, strict=True):
        shard_id = result.shard_id or shard_id_of_message(result.error_message)
        if shard_id is not None:
            observed.observe(record.hash_key, shard_id)


def _inversions(batch: Batch, answer: Answer) -> int:
    """Count the records to be sent again that a younger one of their key, in the same request, has passed."""
    passed: set[KeyQueue] = set()
    inversions = 0
    for record, result in zip(reversed(batch.records), reversed(answer.results), strict=True):
        if result.sequence_number and not result.error_code:
            passed.add(queue_of(record))
        elif record.state is _IN_FLIGHT and queue_of(record) in passed and verdict_of(result.error_code or "").retry:
            inversions += 1
    return inversions
