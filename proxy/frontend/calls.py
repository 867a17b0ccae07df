"""Put calls from their first attempt to an answer that has reached somebody.

A client whose patience ends cuts its connection, or resets its request, and tries the call again. That attempt must not
be queued beside the first: the records would be written twice. So it joins the call that it repeats and gets the same
outcome. It repeats a call if caller, operation and id are the same (`identity`) and the body is, by a hash of it; then
stream and records are, too.

The newest attempt is the one that its client listens to; it decides whether an answer has reached anybody:

    a call is      when                                          it becomes
    waited for     another attempt comes                         waited for, by both
                   its last outcome comes                        answered, or undelivered if the newest attempt has left
                   its last attempt leaves: nothing was sent     withdrawn
                                            something was sent   orphaned
    orphaned       another attempt comes                         waited for
                   its last outcome comes                        undelivered
    answered       the newest attempt leaves before all of       undelivered
                   the answer is written
    undelivered    another attempt comes                         answered, with what is known already
                   it has been so for too long, or the bounds    forgotten
                   are reached and it is the oldest

Answered and withdrawn calls are forgotten: whoever was told of an error and tries again really wants it tried. For the
same reason nothing is kept of a call of which no record was written; to miss that answer writes nothing twice.

A client that leaves takes its records with it: all of them, as long as none was ever sent. Once one was, the call is
kept whole, its outcome being one: to take out the rest would leave a call that is half of one attempt and half of the
next, whose halves could be told apart record by record only, for a saving that nobody asked for. A call that cannot be
repeated, because it has no id, has no outcome that anybody could ask for: all that is still queued of it is taken out.

There is an `Attempt` for each request, and nothing for a record. Calls waited for and orphaned are as many as requests
and records that are held anyway; what is undelivered is bounded here.

Must never know: HTTP, how records travel upstream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from proxy.core.limits import SECOND_NS
from proxy.frontend.answers import bytes_of, tells_of_a_written_record
from proxy.frontend.identity import says_it_is_the_first

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.record import Record
    from proxy.frontend.counters import FrontendCounters
    from proxy.frontend.identity import Identity
    from proxy.frontend.outputs import Answer
    from proxy.kinesis.http import Request

ContextT = TypeVar("ContextT")

# A call's own memory beside its answer's: objects and identity.
_CALL_BYTES: Final = 1024


class Withdrawer(Protocol):
    """What calls ask of the queue; a part of `RecordQueue`."""

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Take those of the records out that are queued."""


@dataclass(frozen=True, slots=True)
class UndeliveredLimits:
    """What may be kept of calls whose answer has reached nobody; the oldest go first.

    Args:
        calls_max: how many.
        bytes_max: the memory that they take, about.
        keep_ns: how long each; SDKs come again within 20 s, and a client's patience adds to that.
    """

    calls_max: int = 10_000
    bytes_max: int = 32 * 1024 * 1024
    keep_ns: int = 60 * SECOND_NS


class Attempt:
    """One request that waits for a call's answer.

    Args:
        calls: its maker.
        call: what it waits for.
        deliver: called once: with the context and the answer, or None when there is nobody left to take it.
        context: the caller's own.
    """

    __slots__ = ("_calls", "_context", "_deliver", "call", "ordinal")

    def __init__(
        self, calls: Calls, call: Call, deliver: Callable[[ContextT, Answer | None], None], context: ContextT
    ) -> None:
        self._calls = calls
        self._context: Any = context
        self._deliver: Callable[[Any, Answer | None], None] | None = deliver
        self.call = call
        self.ordinal = call.attempts = call.newest = call.attempts + 1

    def answer(self) -> None:
        """Take the answer of the call, which is settled."""
        deliver, context = self._deliver, self._context
        self._deliver = self._context = None
        if deliver is not None:
            self._calls.taken(self)
            deliver(context, self.call.answer())

    def leave(self) -> None:
        """Note that the client has left, perhaps while its answer was being written."""
        deliver, context = self._deliver, self._context
        self._deliver = self._context = None
        self._calls.left(self)
        if deliver is not None:
            deliver(context, None)


class Call:
    """One put call: its records, the attempts that wait for them, and its answer.

    Args:
        stream_name: where the records go.
        stream_arn: if the caller named the stream by it.
        received_at_ns: instant of arrival.
        answer_of: makes an answer of the records, once all states are final.
    """

    __slots__ = (
        "_answer",
        "_answer_of",
        "_fingerprint",
        "_unsettled",
        "attempts",
        "identity",
        "kept_bytes",
        "kept_until_ns",
        "newest",
        "orphan_settled",
        "received_at_ns",
        "records",
        "stream_arn",
        "stream_name",
        "waiting",
    )

    def __init__(
        self,
        stream_name: str,
        stream_arn: str | None,
        received_at_ns: int,
        answer_of: Callable[[Sequence[Record]], Answer],
    ) -> None:
        self.stream_name = stream_name
        self.stream_arn = stream_arn
        self.received_at_ns = received_at_ns
        self.records: Sequence[Record] = ()
        self.waiting: tuple[Attempt, ...] = ()
        self.attempts = 0
        self.newest = 0  # ordinal of the newest attempt, for as long as its client is there
        self.identity: Identity | None = None
        self.orphan_settled: Callable[[Call], None] | None = None
        self.kept_until_ns = 0
        self.kept_bytes = 0
        self._answer_of = answer_of
        self._answer: Answer | None = None
        self._fingerprint = (0, 0)
        self._unsettled = 0

    @property
    def settled(self) -> bool:
        """Whether no outcome is to come any more."""
        return not self._unsettled

    def queued(self, records: Sequence[Record], rejected: int) -> None:
        """Take the records, of which so many were not queued and will have no outcome."""
        self.records = records
        self._unsettled = len(records) - rejected

    def settle(self, record: Record) -> None:
        """Take one record's outcome; the last one ends the wait."""
        del record
        self._unsettled -= 1
        if self._unsettled:
            return
        waiting, self.waiting = self.waiting, ()
        for attempt in waiting:
            attempt.answer()
        if not waiting and self.orphan_settled is not None:
            self.orphan_settled(self)

    def answer(self) -> Answer:
        """Return the answer of a settled call, and let go of its records."""
        if self._answer is None:
            self._answer = self._answer_of(self.records)
            self.records = ()
        return self._answer

    def any_sent(self) -> bool:
        """Return whether any of the records was ever sent."""
        return any(record.attempts for record in self.records)

    def identify(self, identity: Identity, body: bytes) -> None:
        """Let the call be joined."""
        self.identity = identity
        self._fingerprint = _fingerprint_of(body)

    def has_body(self, body: bytes) -> bool:
        """Return whether this is the call's body."""
        return self._fingerprint == _fingerprint_of(body)


def _fingerprint_of(body: bytes) -> tuple[int, int]:
    """Return what a body is known by, instead of keeping it: its length, and 64 bits keyed by the process."""
    return len(body), hash(body)


class Calls:
    """The calls that an attempt can join, and what becomes of those that are left.

    Args:
        queue: takes records back.
        counters: where joins are counted.
        clock: monotonic nanoseconds.
        limits: of what is undelivered.
    """

    def __init__(
        self,
        queue: Withdrawer,
        counters: FrontendCounters,
        clock: Callable[[], int],
        limits: UndeliveredLimits,
    ) -> None:
        self._queue = queue
        self._counters = counters
        self._clock = clock
        self._limits = limits
        self._known: dict[Identity, Call] = {}
        # those of the known whose answer has reached nobody, oldest first
        self._undelivered: dict[Identity, Call] = {}
        self._undelivered_bytes = 0

    @property
    def known(self) -> int:
        """How many calls could be joined."""
        return len(self._known)

    @property
    def undelivered(self) -> int:
        """How many of them have an answer that has reached nobody."""
        return len(self._undelivered)

    @property
    def undelivered_bytes(self) -> int:
        """The memory that these are counted with."""
        return self._undelivered_bytes

    def find(self, identity: Identity, request: Request) -> Call | None:
        """Return the call that a request repeats; None if it begins one."""
        call = self._known.get(identity)
        if call is None or says_it_is_the_first(request):
            return None
        if identity in self._undelivered and call.kept_until_ns <= self._clock():
            self._forget(call)
            return None
        if not call.has_body(request.body):
            return None
        self._counters.joined_requests += 1
        return call

    def add(self, call: Call, identity: Identity, body: bytes) -> None:
        """Let a new call be joined, unless there is nothing to wait for, or another call has its identity."""
        if not call.settled and self._known.setdefault(identity, call) is call:
            call.identify(identity, body)

    def attend(
        self,
        call: Call,
        request: Request,
        deliver: Callable[[ContextT, Answer | None], None],
        context: ContextT,
    ) -> None:
        """Have a request wait for a call's answer.

        Args:
            call: found or new.
            request: tells when its client leaves.
            deliver: called once, perhaps from inside here: with the answer, or with None if the client has left.
            context: what else it is to be called with: a tuple costs a tenth of a closure.
        """
        attempt = Attempt(self, call, deliver, context)
        request.on_gone = attempt.leave
        if call.settled:
            attempt.answer()
        else:
            call.waiting += (attempt,)

    def taken(self, attempt: Attempt) -> None:
        """Note that an attempt takes the answer of a settled call."""
        call = attempt.call
        if call.newest == attempt.ordinal:
            self._forget(call)
        elif not call.newest:
            self._keep(call)

    def left(self, attempt: Attempt) -> None:
        """Note that an attempt's client has left."""
        call = attempt.call
        call.waiting = tuple(other for other in call.waiting if other is not attempt)
        if call.newest == attempt.ordinal:
            call.newest = 0
        if call.settled:
            if not call.newest:
                self._keep(call)
        elif not call.waiting:
            self._abandon(call)

    def _abandon(self, call: Call) -> None:
        """Decide what becomes of a call that nobody waits for."""
        if call.identity is not None and call.any_sent():
            call.orphan_settled = self._keep
            return
        self._forget(call)
        call.identity = None
        records, call.records = call.records, ()
        self._queue.withdraw(call.stream_name, call.stream_arn, records)

    def _keep(self, call: Call) -> None:
        """Keep a settled call's answer for another attempt, if missing it would write something twice."""
        identity = call.identity
        if identity is None or identity in self._undelivered:
            return
        answer = call.answer()
        if not tells_of_a_written_record(answer):
            self._forget(call)
        elif self._known.setdefault(identity, call) is call:
            now_ns = self._clock()
            call.kept_until_ns = now_ns + self._limits.keep_ns
            call.kept_bytes = _CALL_BYTES + bytes_of(answer)
            self._undelivered[identity] = call
            self._undelivered_bytes += call.kept_bytes
            self._shrink(now_ns)

    def _shrink(self, now_ns: int) -> None:
        """Forget what has been kept for too long, and the oldest of what is too much."""
        limits = self._limits
        while self._undelivered:
            oldest = next(iter(self._undelivered.values()))
            fits = len(self._undelivered) <= limits.calls_max and self._undelivered_bytes <= limits.bytes_max
            if fits and oldest.kept_until_ns > now_ns:
                return
            self._forget(oldest)

    def _forget(self, call: Call) -> None:
        identity = call.identity
        if identity is not None and self._known.get(identity) is call:
            del self._known[identity]
            if self._undelivered and self._undelivered.pop(identity, None) is not None:
                self._undelivered_bytes -= call.kept_bytes
