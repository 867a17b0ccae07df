"""Senders that know nothing of each other, on one shard: the real core, a simulated service, virtual time.

Each sender is a `Stream` of the core with a clock of its own. The service is reached in some milliseconds and takes
records as long as its limit allows, by one of two ways of counting; what it does not take comes back throttled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Protocol

from proxy.core.batch import Answer
from proxy.core.buffer import Buffer
from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.limits import MIB, MILLISECOND_NS, SECOND_NS, StreamLimits
from proxy.core.record import Record
from proxy.core.shard_map import Shard, StreamSummary
from proxy.core.stream import Stream
from proxy.core.verdicts import THROUGHPUT_EXCEEDED
from proxy.emulator.shard_limit import ShardLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.batch import Batch, Result

RECORDS_PER_SECOND = 1000
BYTES_PER_SECOND = MIB
SHARD = Shard(0, HASH_KEY_MAX, "shardId-000000000000")
SUMMARY = StreamSummary("arn:aws:kinesis:us-east-1:000000000000:stream/shared", open_shard_count=1)
LATENCY_MS = (5.0, 20.0)  # there and back
STARTS_WITHIN_SECONDS = 0.1  # of each other
QUEUED_SECONDS = 0.5  # a sender that wants all it can get has so much waiting at its present rate
QUEUED_RECORDS_MIN = 10
REFILL_NS = 10 * MILLISECOND_NS  # after which a sender looks again that has nothing left


class Service(Protocol):
    """What takes records as long as its limit allows."""

    def take(self, size_bytes: int, now_ns: int) -> bool:
        """Take a record, or say no."""


class SecondCounter:
    """A service that counts by the second of the wall clock: at each boundary everything is forgiven."""

    def __init__(self) -> None:
        self._second = -1
        self._records = self._bytes = 0

    def take(self, size_bytes: int, now_ns: int) -> bool:
        """Take a record, or say no."""
        second = now_ns // SECOND_NS
        if second != self._second:
            self._second, self._records, self._bytes = second, 0, 0
        if self._records + 1 > RECORDS_PER_SECOND or self._bytes + size_bytes > BYTES_PER_SECOND:
            return False
        self._records += 1
        self._bytes += size_bytes
        return True


def token_buckets() -> Service:
    """Return a service with a token bucket for records and one for bytes, a second deep, as the emulator has."""
    return ShardLimit(RECORDS_PER_SECOND, BYTES_PER_SECOND, 0)


SERVICES: dict[str, Callable[[], Service]] = {"by the second": SecondCounter, "token bucket": token_buckets}


@dataclass(frozen=True, slots=True)
class Demand:
    """When a sender is there, and what it wants.

    Args:
        records_per_second: what arrives at it; None: always more than it can send.
        from_seconds: when it begins, at the earliest.
        until_seconds: when it falls silent.
    """

    records_per_second: float | None = None
    from_seconds: float = 0.0
    until_seconds: float = float("inf")


@dataclass(frozen=True, slots=True)
class Sharing:
    """One run.

    Args:
        demands: one for each sender.
        service: makes the service.
        record_bytes: size of each record, key included.
        seconds: how long the run is.
        seed: of all dice.
        limits: of every sender.
        stray_ratio: share of the records that the service throttles at random, whatever its limit.
        shuffled: whether the service judges the records of a request in another order than that of its answer.
    """

    demands: Sequence[Demand]
    service: Callable[[], Service]
    record_bytes: int = 100
    seconds: int = 120
    seed: int = 1
    limits: StreamLimits = field(default_factory=StreamLimits)
    stray_ratio: float = 0.0
    shuffled: bool = False

    @property
    def limit_per_second(self) -> float:
        """Records of this size that the shard takes in a second."""
        return min(RECORDS_PER_SECOND, BYTES_PER_SECOND / self.record_bytes)


@dataclass(slots=True)
class Entry:
    """One result of a put response."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


TAKEN = Entry(SHARD.shard_id, "1")
THROTTLED = Entry(error_code=THROUGHPUT_EXCEEDED)


class Sender:
    """One stream of the core and what becomes of its records, second by second."""

    def __init__(self, sharing: Sharing, demand: Demand, random: Random) -> None:
        self.demand = demand
        self.record_bytes = sharing.record_bytes
        self.clock_offset_ns = random.randrange(3600 * SECOND_NS)
        self.stream = Stream("shared", None, sharing.limits, Buffer(10**6, 10**12), random.random, self.clock_offset_ns)
        self.stream.learn_map([SHARD], self.clock_offset_ns)
        (self.lane,) = self.stream.lanes
        self.arrived = [0] * (sharing.seconds + 1)  # where records come by themselves
        self.taken = [0] * (sharing.seconds + 1)
        self.throttled = [0] * (sharing.seconds + 1)
        self.ratios: list[float] = []
        self.wake_at_ns: int | None = None
        self.active = False
        self._records = 0

    def fall_silent(self) -> None:
        """Let nothing more arrive."""
        self.active = False

    def append(self, count: int, now_ns: int) -> None:
        """Let records arrive, each with a partition key of its own."""
        records = []
        for _ in range(count):
            self._records += 1
            records.append(Record(str(self._records), "", self.record_bytes, 0, now_ns))
        self.stream.append(records, now_ns)

    def fill(self, now_ns: int) -> None:
        """Let so much arrive that the sender never lacks anything to send."""
        rate = min(self.lane.limit.records.rate_per_second, self.lane.limit.bytes.rate_per_second / self.record_bytes)
        missing = QUEUED_RECORDS_MIN + int(rate * QUEUED_SECONDS) - self.stream.queued_records
        if missing > 0:
            self.append(missing, now_ns)

    def poll(self, now_ns: int) -> list[Batch]:
        """Do what a driver does: fetch what is due, poll, take what is settled."""
        stream = self.stream
        if self.active and self.demand.records_per_second is None:
            self.fill(now_ns)
        if stream.map_due(now_ns):
            stream.learn_map([SHARD], now_ns)
        if stream.summary_due(now_ns):
            stream.learn_summary(SUMMARY, now_ns)
        batches = stream.poll(now_ns)
        stream.take_settled()
        return batches


class Simulation:
    """Plays one run through; afterwards the senders know what became of their records."""

    def __init__(self, sharing: Sharing) -> None:
        self.sharing = sharing
        self._random = Random(sharing.seed)  # noqa: S311 - a simulation, not a secret
        self._service = sharing.service()
        self._begin_ns = self._random.randrange(SECOND_NS)  # somewhere in a second of the wall clock
        self._now_ns = self._begin_ns
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._ordinal = 0
        self.senders = [Sender(sharing, demand, self._random) for demand in sharing.demands]

    def run(self) -> Simulation:
        """Play it, and return self."""
        for sender in self.senders:
            begin = sender.demand.from_seconds + self._random.random() * STARTS_WITHIN_SECONDS
            self._at(self._begin_ns + int(begin * SECOND_NS), partial(self._begin, sender))
            if sender.demand.until_seconds < self.sharing.seconds:
                end_ns = self._begin_ns + int(sender.demand.until_seconds * SECOND_NS)
                self._at(end_ns, sender.fall_silent)
        for second in range(self.sharing.seconds):
            self._at(self._begin_ns + second * SECOND_NS, self._sample)
        end_ns = self._begin_ns + self.sharing.seconds * SECOND_NS
        while self._events and self._events[0][0] < end_ns:
            self._now_ns, _, event = heappop(self._events)
            event()
        return self

    def _at(self, at_ns: int, event: Callable[[], None]) -> None:
        self._ordinal += 1
        heappush(self._events, (at_ns, self._ordinal, event))

    def _sample(self) -> None:
        for sender in self.senders:
            sender.ratios.append(sender.lane.rate_ratio if sender.active else 0.0)

    def _begin(self, sender: Sender) -> None:
        sender.active = True
        if sender.demand.records_per_second is not None:
            self._arrive(sender)
        self._poll(sender)

    def _arrive(self, sender: Sender) -> None:
        """Let one record arrive, and the next after a time that is drawn (a Poisson process)."""
        rate = sender.demand.records_per_second
        if sender.active and rate:
            sender.append(1, self._now_ns + sender.clock_offset_ns)
            sender.arrived[(self._now_ns - self._begin_ns) // SECOND_NS] += 1
            wait_ns = int(self._random.expovariate(rate) * SECOND_NS)
            self._at(self._now_ns + wait_ns, partial(self._arrive, sender))
            self._poll(sender)

    def _poll(self, sender: Sender) -> None:
        offset_ns = sender.clock_offset_ns
        for batch in sender.poll(self._now_ns + offset_ns):
            self._at(self._now_ns + self._one_way_ns(), partial(self._serve, sender, batch))
        wake_at_ns = sender.stream.next_wake_ns()
        if wake_at_ns is None and sender.active and sender.demand.records_per_second is None:
            wake_at_ns = self._now_ns + offset_ns + REFILL_NS  # all that waited has expired
        if wake_at_ns is None:
            sender.wake_at_ns = None
            return
        wake_at_ns = max(wake_at_ns - offset_ns, self._now_ns + 1)
        if sender.wake_at_ns is None or wake_at_ns < sender.wake_at_ns or sender.wake_at_ns <= self._now_ns:
            sender.wake_at_ns = wake_at_ns
            self._at(wake_at_ns, partial(self._wake, sender, wake_at_ns))

    def _wake(self, sender: Sender, at_ns: int) -> None:
        if sender.wake_at_ns == at_ns:
            self._poll(sender)

    def _serve(self, sender: Sender, batch: Batch) -> None:
        """Decide about each record as the request reaches the service."""
        results: list[Result] = [TAKEN if self._takes(record) else THROTTLED for record in batch.records]
        if self.sharing.shuffled:
            self._random.shuffle(results)
        self._at(self._now_ns + self._one_way_ns(), partial(self._answer, sender, batch, results))

    def _takes(self, record: Record) -> bool:
        """Whether a record is taken; what is throttled at random does not count against the limit."""
        stray_ratio = self.sharing.stray_ratio
        if stray_ratio and self._random.random() < stray_ratio:
            return False
        return self._service.take(record.size_bytes, self._now_ns)

    def _answer(self, sender: Sender, batch: Batch, results: list[Result]) -> None:
        second = (self._now_ns - self._begin_ns) // SECOND_NS
        throttled = results.count(THROTTLED)
        sender.taken[second] += len(results) - throttled
        sender.throttled[second] += throttled
        sender.stream.completed(batch, Answer(results), self._now_ns + sender.clock_offset_ns)
        sender.stream.take_settled()
        self._poll(sender)

    def _one_way_ns(self) -> int:
        return int(self._random.uniform(*LATENCY_MS) / 2 * MILLISECOND_NS)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a part of a run came to.

    Args:
        use: taken records as a share of what the shard takes.
        throttled: share of the sent records that came back throttled.
        fairness: Jain's index over the senders' taken records; 1 is equal, 1/n is one has all.
    """

    use: float
    throttled: float
    fairness: float


def figures_of(simulation: Simulation, from_seconds: int, until_seconds: int) -> Figures:
    """Measure the part of a run between two seconds, over the senders that are there all the while."""
    span = slice(from_seconds, until_seconds)
    there = [
        sender
        for sender in simulation.senders
        if sender.demand.from_seconds <= from_seconds and sender.demand.until_seconds >= until_seconds
    ]
    taken = [sum(sender.taken[span]) for sender in there]
    throttled = sum(sum(sender.throttled[span]) for sender in there)
    limit = simulation.sharing.limit_per_second * (until_seconds - from_seconds)
    squares = sum(count**2 for count in taken)
    return Figures(
        use=sum(taken) / limit,
        throttled=throttled / max(1, sum(taken) + throttled),
        fairness=sum(taken) ** 2 / (len(taken) * squares) if squares else 0.0,
    )
