"""Bugs to plant in the real code, one at a time, each in the place of one method: the simulation must find every one.

They are mistakes that producers of this kind have made. A bug that a change of the code makes meaningless fails its
test, which then needs another one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.core import settlement, verdicts
from proxy.core.admission import Door
from proxy.core.backoff import Backoff
from proxy.core.batch import Answer, Failure
from proxy.core.buffer import Buffer
from proxy.core.fetch import Fetch
from proxy.core.gate import Gate
from proxy.core.key_queue import KeyQueue
from proxy.core.lane import Lane
from proxy.core.ledger import Ledger
from proxy.core.limits import MILLISECOND_NS
from proxy.core.record import Record, State
from proxy.core.schedule import LaneSchedule
from proxy.core.settlement import Settlement
from proxy.core.shard_limit import ShardLimit
from proxy.core.stream import Stream
from proxy.core.token_bucket import TokenBucket
from proxy.driver import Driver
from proxy.frontend.calls import Call, Calls
from tests.simulation.promises import Rule

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from proxy.core.batch import Batch, Reply


@dataclass(frozen=True)
class Bug:
    """One bug.

    Args:
        owner: the class or module that has it.
        method: which method is replaced.
        replacement: by what; called as the method is.
        rules: any of which a run may find broken by it.
    """

    owner: type | ModuleType
    method: str
    replacement: Any
    rules: frozenset[Rule]


BUGS: dict[str, Bug] = {}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Have a bug for the while, or none."""
    if name is None:
        yield
        return
    bug = BUGS[name]
    original = bug.owner.__dict__[bug.method]
    setattr(bug.owner, bug.method, bug.replacement)
    try:
        yield
    finally:
        setattr(bug.owner, bug.method, original)


def _bug(owner: type | ModuleType, method: str, *rules: Rule) -> Callable[[Any], Any]:
    """Register a function as a bug of its own name."""

    def register(function: Any) -> Any:  # noqa: ANN401 - a method of any signature
        original = owner.__dict__[method]
        kind = type(original) if isinstance(original, (staticmethod, property)) else None
        BUGS[function.__name__] = Bug(owner, method, kind(function) if kind else function, frozenset(rules))
        return function

    return register


# Order

_append_key = KeyQueue.append


@_bug(KeyQueue, "reenqueue", Rule.ORDER, Rule.BOOKS, Rule.DEFECT)
def retried_to_the_back(self: KeyQueue, record: Record) -> None:
    """A record that failed goes behind the younger ones of its key."""
    _append_key(self, record)


@_bug(LaneSchedule, "_take", Rule.KEY_TWICE, Rule.BOOKS)
def released_when_sent(lane: Lane, key_queue: KeyQueue, records: list[Record], now_ns: int) -> None:
    """A key stays listed while it has a record in flight."""
    record = key_queue.popleft()
    key_queue.in_flight += 1
    lane.limit.take(record.size_bytes, now_ns)
    records.append(record)
    if key_queue.head is not None:
        lane.ready.append(key_queue)
        key_queue.listed_records, key_queue.listed_bytes = 1, key_queue.first.size_bytes
        lane.ready_records += 1
        lane.ready_bytes += key_queue.listed_bytes


_expire_overdue = Settlement.expire_overdue


@_bug(Settlement, "expire_overdue", Rule.KEY_TWICE, Rule.BOOKS)
def expired_in_flight_unmutes(self: Settlement, stream_name: str, answer_ns: int, now_ns: int) -> None:
    """A key is released at the deadline of its record in flight, not at the end of the request."""
    overdue = [
        record for record in self._ledger._open if record.deadline_at_ns <= now_ns and record.state is State.IN_FLIGHT
    ]
    _expire_overdue(self, stream_name, answer_ns, now_ns)
    for record in overdue:
        self._queues.release(record)


_poll = Stream.poll


@_bug(Stream, "poll", Rule.LATE, Rule.IDLE)
def overtakes_an_expired_head(self: Stream, now_ns: int) -> list[Batch]:
    """What is overdue is settled after the batches have been made."""
    with _replaced(Settlement, "expire_overdue", lambda *_: None):
        batches = _poll(self, now_ns)
    self._settlement.expire_overdue(self.name, self._gate.answer_ns, now_ns)
    return batches


@_bug(Door, "refusal", Rule.ORDER)
def door_lets_the_younger_pass(
    self: Door, record: Record, key_queue: KeyQueue | None, lane: Lane, now_ns: int
) -> object:
    """A record is taken although an older one of its key and call was not."""
    self._refused.clear()
    return _refusal(self, record, key_queue, lane, now_ns)


_refusal = Door.refusal


@_bug(Stream, "idle", Rule.KEY_TWICE, Rule.BOOKS)
def forgotten_with_a_request_out(self: Stream) -> bool:
    """A stream without open records is forgotten, though one that expired is still in flight."""
    return not (self._ledger.open_records or self._map_fetch.under_way or self._summary_fetch.under_way)


# Outcomes


@_bug(Ledger, "take_settled", Rule.ONE_OUTCOME)
def told_twice(self: Ledger) -> list[Record]:
    """An outcome is told each time that anybody asks."""
    return list(self._settled)


_answered = Driver._answered


@_bug(Driver, "_answered", Rule.DEFECT, Rule.BOOKS)
def completed_twice(self: Driver, stream: Stream, batch: Batch, task: asyncio.Task[Reply]) -> None:
    """The answer of a request is handed to the core twice."""
    _answered(self, stream, batch, task)
    _answered(self, stream, batch, task)


_completed = Settlement.completed


@_bug(Settlement, "completed", Rule.TRUTH)
def short_answer_believed(self: Settlement, batch: Batch, reply: Reply, now_ns: int) -> None:
    """Records without a result get the last one that came."""
    if isinstance(reply, Answer) and 0 < len(reply.results) < len(batch.records):
        missing = len(batch.records) - len(reply.results)
        reply = Answer([*reply.results, *[reply.results[-1]] * missing], reply.encryption_type)
    _completed(self, batch, reply, now_ns)


@_bug(Settlement, "completed", Rule.TRUTH)
def place_believed_beside_an_error(self: Settlement, batch: Batch, reply: Reply, now_ns: int) -> None:
    """A result that names a place is a success, whatever error it tells."""
    if isinstance(reply, Answer):
        for result in reply.results:
            if result.sequence_number is not None:
                result.error_code = None
    _completed(self, batch, reply, now_ns)


@_bug(Settlement, "_split", Rule.CAUSE)
def neighbours_are_refused(self: Settlement, records: list[Record]) -> None:
    """All records of a refused request are refused."""
    for record in records:
        self._ledger.refuse(record, "ValidationException", "a guilty record")
        self._queues.release(record)


@_bug(Settlement, "_split", Rule.CAUSE)
def the_last_one_is_guilty(self: Settlement, records: list[Record]) -> None:
    """Of a refused request one record alone is left when the others have expired: that one is refused."""
    if len(records) > 1:
        _split(self, records)
    for record in records[:1] if len(records) == 1 else ():
        self._ledger.refuse(record, "ValidationException", "a guilty record")
        self._queues.release(record)


@_bug(settlement, "_inversions", Rule.ORDER)
def inversions_are_not_counted(batch: Batch, answer: Answer) -> int:
    """That a record was passed by a younger one of its key, where that may be, is told to nobody."""
    del batch, answer
    return 0


_split = Settlement._split


@_bug(Settlement, "_split", Rule.BOOKS, Rule.LATE, Rule.FINISH)
def split_loses_its_second_half(self: Settlement, records: list[Record]) -> None:
    """Of a refused request only the first half is sent again."""
    _split(self, records)
    if len(self.splits) > 1:
        self.splits.pop()


_failed = Settlement._failed


@_bug(Settlement, "_failed", Rule.BOOKS, Rule.LATE, Rule.ALIVE)
def unknown_error_strands(self: Settlement, batch: Batch, failure: Failure, now_ns: int) -> None:
    """Nothing becomes of records whose request met an error that nobody knows."""
    if failure.code in verdicts.VERDICTS:
        _failed(self, batch, failure, now_ns)


@_bug(Settlement, "abandon", Rule.DRAIN)
def lost_on_drain(self: Settlement, message: str) -> None:
    """What waits when the drain's time is over gets no outcome."""
    self._abandoned_because = message


_withdraw = Stream.withdraw


@_bug(Stream, "withdraw", Rule.DEFECT, Rule.WITHDRAWAL)
def withdraws_what_is_in_flight(self: Stream, records: Sequence[Record]) -> None:
    """A record whose client left is taken back although it was sent."""
    for record in records:
        if record.state is State.IN_FLIGHT:
            self._ledger.reenqueue(record)
    _withdraw(self, records)


# Calls


@_bug(Call, "has_body", Rule.TRUTH, Rule.ANSWER, Rule.WITHDRAWAL)
def joins_across_bodies(self: Call, body: bytes) -> bool:
    """An attempt joins any call that has its id, whatever it puts."""
    del self, body
    return True


@_bug(Calls, "find", Rule.JOIN)
def nothing_is_joined(self: Calls, identity: object, request: object) -> None:
    """Every attempt is queued as a call of its own."""
    del self, identity, request


_keep = Calls._keep


@_bug(Calls, "_keep", Rule.BOUNDS)
def undelivered_answers_pile_up(self: Calls, call: Call) -> None:
    """Answers that reached nobody are kept beyond their bound."""
    with _replaced(Calls, "_shrink", lambda *_: None):
        _keep(self, call)


@_bug(Calls, "_abandon", Rule.WITHDRAWAL)
def unsent_records_stay_behind(self: Calls, call: Call) -> None:
    """A client that leaves leaves its records in the queue."""
    call.orphan_settled = self._keep


# Time

_set_timer = Driver._set_timer


@_bug(Driver, "_set_timer", Rule.IDLE)
def timer_not_moved(self: Driver) -> None:
    """A timer that is set stays as it is, though something is due before."""
    if self._timer is None:
        _set_timer(self)


_next_wake_ns = Stream.next_wake_ns


@_bug(Stream, "next_wake_ns", Rule.LATE, Rule.FINISH, Rule.IDLE)
def deadline_is_no_reason_to_wake(self: Stream) -> int | None:
    """A stream with a request out asks for no poll, though the deadline of a record may come first."""
    return None if self.in_flight_requests else _next_wake_ns(self)


@_bug(Backoff, "wait_ns", Rule.PACE)
def retries_without_backoff(self: Backoff, failures: int) -> int:
    """What failed is tried again at once."""
    del self, failures
    return 0


# Limits and bounds


@_bug(LaneSchedule, "_take", Rule.LIMITS)
def retries_take_no_tokens(lane: Lane, key_queue: KeyQueue, records: list[Record], now_ns: int) -> None:
    """Only the first attempt of a record counts against its shard's limits."""
    record = key_queue.popleft()
    key_queue.in_flight += 1
    if not record.attempts:
        lane.limit.take(record.size_bytes, now_ns)
    records.append(record)


@_bug(TokenBucket, "take", Rule.LIMITS)
def bucket_without_a_bottom(self: TokenBucket, tokens: int, now_ns: int) -> None:
    """A bucket that nobody has used holds more than its burst."""
    del now_ns
    self.empty_at_ns += self._cost_ns(tokens)


@_bug(ShardLimit, "_begin_span", Rule.LIMITS)
def credit_forgets_the_span_before(self: ShardLimit, now_ns: int) -> None:
    """Each span has a second's worth in advance, whatever went in the one before."""
    self._span_from_ns = now_ns
    self._credit_until_records = self._sent_records + self._records_per_second
    self._credit_until_bytes = self._sent_bytes + self._bytes_per_second


_returned = Gate.returned


@_bug(Gate, "returned", Rule.ALIVE, Rule.IDLE, Rule.LATE)
def slow_requests_stay_in_flight(self: Gate, sent_at_ns: int, now_ns: int, *, answered: bool) -> None:
    """A request that took long is never counted back in."""
    if now_ns - sent_at_ns < 500 * MILLISECOND_NS:
        _returned(self, sent_at_ns, now_ns, answered=answered)


_wait = LaneSchedule._wait


@_bug(LaneSchedule, "_wait", Rule.IDLE)
def lane_waits_too_long(self: LaneSchedule, lane: Lane, ready_at_ns: int) -> None:
    """A lane without tokens is looked at again a second late."""
    _wait(self, lane, ready_at_ns + 1_000 * MILLISECOND_NS)


_recovered = Lane.recovered


@_bug(Lane, "recovered", Rule.IDLE)
def lane_waits_by_its_old_rate(self: Lane, sent_at_ns: int, now_ns: int) -> bool:
    """A lane that waits for tokens is not looked at again when its rate has grown."""
    probed = self.probing
    _recovered(self, sent_at_ns, now_ns)
    return probed and not self.probing


@_bug(Settlement, "_back_off", Rule.IDLE)
def probe_is_waited_for_to_the_end(self: Settlement, lane: Lane, batch: Batch, now_ns: int) -> None:
    """A lane that waits for a probe's answer is not looked at again when that has come and is no success."""
    lane.back_off(batch.sent_at_ns, now_ns, self._backoff)


_give = Buffer.give


@_bug(Buffer, "give", Rule.BOOKS)
def expired_records_keep_their_room(self: Buffer, record: Record) -> None:
    """The room of a record that expired is not given back."""
    if record.state is not State.EXPIRED:
        _give(self, record)


@_bug(Fetch, "doubt", Rule.MAP)
def contradicted_map_is_kept(self: Fetch, sent_at_ns: int, now_ns: int) -> None:
    """Records that land elsewhere than predicted cause no refresh."""
    del self, sent_at_ns, now_ns


_learned = Fetch.learned


@_bug(Fetch, "learned", Rule.SUMMARY)
def summary_is_kept_for_ever(self: Fetch, now_ns: int) -> None:
    """What is known of a stream does not age."""
    _learned(self, now_ns)
    self._old_at_ns = None


@contextmanager
def _replaced(owner: type, method: str, replacement: Any) -> Iterator[None]:  # noqa: ANN401 - as `Bug`
    original = owner.__dict__[method]
    setattr(owner, method, replacement)
    try:
        yield
    finally:
        setattr(owner, method, original)
