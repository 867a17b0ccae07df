"""The real driver and core against a simulated service, on virtual time, everything drawn from one seed.

The service routes, limits, numbers and writes as Kinesis does, and fails in every way that it can: slow answers,
throttled records, ill records, requests refused or reset before or after the write, answers with too few results, maps
that cannot be had, shards that split and merge. After each event the promises are checked; at the end every record has
its outcome, and the outcome is true.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.buffer import Buffer
from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from proxy.core.limits import MILLISECOND_NS, SECOND_NS, StreamLimits
from proxy.core.record import Record, State
from proxy.core.shard_map import Shard, ShardMap, StreamSummary
from proxy.driver import Driver
from tests.support.invariants import check_stream
from tests.support.virtual_time import VirtualTimeLoop, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.core.batch import Reply as PutReply
    from proxy.kinesis.http import Reply, Request

STREAM = "simulated"
CHECKED_SHARE = 20  # of appends, divided by the open records: recounting all books costs more than all the rest
THROUGHPUT_EXCEEDED = "ProvisionedThroughputExceededException"


@dataclass(frozen=True)
class Scenario:
    """What happens in one run; all shares are probabilities of an event, all rates are per second."""

    seed: int
    seconds: float = 20
    shards: int = 2
    keys: int = 40
    clients: int = 8
    records_per_second: float = 1_500
    throttled: float = 0.0
    ill: float = 0.0
    reset_before: float = 0.0
    reset_after: float = 0.0
    failed: float = 0.0
    refused: float = 0.0
    short: float = 0.0
    map_denied: float = 0.0
    reshards: int = 0
    latency_ms: tuple[float, float] = (3, 12)
    shard_limit: bool = True
    shutdown_at: float | None = None
    drain_timeout_ms: int = 3_000
    limits: StreamLimits = field(default_factory=StreamLimits)

    @classmethod
    def drawn(cls, seed: int) -> Scenario:
        """Draw a scenario with a bit of everything from a seed."""
        draw = Random(seed)  # noqa: S311 - a simulation, not a secret

        def share(most: float) -> float:
            return draw.choice((0.0, draw.uniform(0, most)))

        return cls(
            seed=seed,
            seconds=draw.uniform(2, 12),
            shards=draw.randint(1, 6),
            keys=draw.choice((1, 5, 50, 500)),
            clients=draw.randint(1, 16),
            records_per_second=draw.choice((20, 200, 2_000, 4_000)),
            throttled=share(0.3),
            ill=share(0.1),
            reset_before=share(0.2),
            reset_after=share(0.2),
            failed=share(0.2),
            refused=share(0.01),
            short=share(0.1),
            map_denied=share(1.0),
            reshards=draw.choice((0, 0, 1, 4)),
            latency_ms=draw.choice(((0, 1), (3, 12), (5, 400))),
            shutdown_at=draw.choice((None, draw.uniform(0.1, 2))),
            drain_timeout_ms=draw.choice((50, 3_000)),
        )


@dataclass
class Entry:
    """One result of a put response."""

    shard_id: str | None = None
    sequence_number: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class SimulatedService:
    """Upstream that behaves, and misbehaves, as the scenario says."""

    region = "us-east-1"

    def __init__(self, scenario: Scenario, loop: VirtualTimeLoop) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed + 1)  # noqa: S311 - a simulation, not a secret
        self.loop = loop
        self.generation = 0
        self.well = False  # set when the faults end
        self.shards = self._cut(scenario.shards)
        self.map = ShardMap(self.shards)
        self.spent: dict[str, tuple[float, float, float]] = {}  # shard id -> records, bytes, at
        self.written: dict[str, list[Record]] = defaultdict(list)  # by partition key, in the order of the stream
        self.places: dict[int, set[tuple[str, str]]] = defaultdict(set)  # id(record) -> shard id, sequence number
        self.sequence = 10**55
        self.in_flight: list[Batch] = []
        self.sent: dict[str, list[tuple[int, int]]] = defaultdict(list)  # shard id -> (instant, bytes) of each attempt
        self.throttled_shard_id: str | None = None
        self.sent_records = 0
        self.throttled_records = 0

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def ready(self) -> bool:
        """Always."""
        return True

    async def forward(self, operation: str, request: Request) -> Reply:
        """Not simulated."""
        raise NotImplementedError

    def _cut(self, count: int) -> list[Shard]:
        """Cut the hash keys into equal open shards with new ids."""
        self.generation += 1
        width = (HASH_KEY_MAX + 1) // count
        ends = [(index + 1) * width - 1 for index in range(count - 1)] + [HASH_KEY_MAX]
        starts = [0, *(end + 1 for end in ends[:-1])]
        return [
            Shard(start, end, f"shard-{self.generation}-{index}")
            for index, (start, end) in enumerate(zip(starts, ends, strict=True))
        ]

    def reshard(self) -> None:
        """Replace all shards by another number of new ones."""
        self.shards = self._cut(self.random.randint(1, 6))
        self.map = ShardMap(self.shards)

    def happens(self, share: float) -> bool:
        """Decide whether a fault happens."""
        return not self.well and self.random.random() < share

    async def put(self, batch: Batch) -> PutReply:
        """Take one batch, or fail it."""
        assert 0 < len(batch.records) <= self.scenario.limits.batch_records_max
        self.in_flight.append(batch)
        keys = [record.partition_key for flying in self.in_flight for record in flying.records]
        assert len(keys) == len(set(keys)), "no key is twice in flight"
        for record in batch.records:
            shard_id = self.map.shard_id_of(record.hash_key)
            assert shard_id is not None
            self.sent[shard_id].append((self.loop.clock_ns(), record.size_bytes))
        try:
            await self._pause()
            reply = self._reply(batch)
            await self._pause()
            return reply
        finally:
            self.in_flight.remove(batch)

    async def _pause(self) -> None:
        low, high = self.scenario.latency_ms if not self.well else (1, 2)
        await asyncio.sleep(self.random.uniform(low, high) / 1000)

    def _reply(self, batch: Batch) -> PutReply:
        scenario = self.scenario
        if self.happens(scenario.reset_before):
            return Failure("ConnectionReset", "before the write", Written.UNKNOWN)
        if self.happens(scenario.failed):
            return Failure("InternalFailure", None, Written.UNKNOWN, 500)
        if any(record.data == "guilty" for record in batch.records):
            return Failure("ValidationException", "a guilty record", Written.REFUSED, 400)
        results = [self._put_one(record) for record in batch.records]
        if self.happens(scenario.reset_after):
            return Failure("ConnectionReset", "after the write", Written.UNKNOWN)
        if self.happens(scenario.short):
            return Answer(results[: self.random.randrange(len(results))])
        return Answer(results, "NONE")

    def _put_one(self, record: Record) -> Entry:
        shard_id = self.map.shard_id_of(record.hash_key)
        assert shard_id is not None
        self.sent_records += 1
        throttled = shard_id == self.throttled_shard_id or self.happens(self.scenario.throttled)
        if throttled or not self._spend(shard_id, record.size_bytes):
            self.throttled_records += 1
            return Entry(error_code=THROUGHPUT_EXCEEDED, error_message=f"Rate exceeded for shard {shard_id}")
        if self.happens(self.scenario.ill):
            return Entry(error_code="InternalFailure", error_message="Internal Service Failure")
        self.sequence += 1
        self.written[record.partition_key].append(record)
        self.places[id(record)].add((shard_id, str(self.sequence)))
        return Entry(shard_id=shard_id, sequence_number=str(self.sequence))

    def _spend(self, shard_id: str, size_bytes: int) -> bool:
        """Count a record against its shard's second."""
        if not self.scenario.shard_limit:
            return True
        records, spent_bytes, at = self.spent.get(shard_id, (0.0, 0.0, self.loop.time()))
        elapsed = self.loop.time() - at
        records, spent_bytes = max(0.0, records - elapsed * 1_000), max(0.0, spent_bytes - elapsed * 1_048_576)
        fits = records + 1 <= 1_000 and spent_bytes + size_bytes <= 1_048_576
        if fits:
            records, spent_bytes = records + 1, spent_bytes + size_bytes
        self.spent[shard_id] = (records, spent_bytes, self.loop.time())
        return fits

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the open shards, if the scenario lets us."""
        del stream_name, stream_arn
        await self._pause()
        if self.happens(self.scenario.map_denied):
            return Failure("AccessDeniedException", "not allowed", Written.REFUSED, 400)
        return list(self.shards)

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the summary, if the scenario lets us."""
        del stream_name, stream_arn
        await self._pause()
        if self.happens(self.scenario.map_denied):
            return Failure("LimitExceededException", "slow down", Written.REFUSED, 400)
        return StreamSummary("arn:aws:kinesis:us-east-1:000000000000:stream/simulated", len(self.shards))


class Simulation:
    """One run of a scenario; `run` returns when every promise has been checked to the end."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed)  # noqa: S311 - a simulation, not a secret
        self.accepted: list[Record] = []
        self.open: dict[int, Record] = {}
        self.by_key: dict[str, list[Record]] = defaultdict(list)
        self.settled: dict[int, State] = {}
        self.wait_ns_of: dict[int, int] = {}
        self.throttle_shard_index: int | None = None  # of a shard that throttles everything
        self.rejected = 0
        self.abandoned = 0

    def run(self) -> Simulation:
        """Run on a virtual-time loop of its own."""
        run(self._main())
        return self

    @property
    def stream_outcomes(self) -> dict[State, int]:
        """How many records ended in which state."""
        outcomes = dict.fromkeys(State, 0)
        for state in self.settled.values():
            outcomes[state] += 1
        return outcomes

    @property
    def waits_ns(self) -> list[int]:
        """From arrival to outcome, of every record."""
        return list(self.wait_ns_of.values())

    async def _main(self) -> None:
        scenario = self.scenario
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.loop = loop
        self.service = SimulatedService(scenario, loop)
        if self.throttle_shard_index is not None:
            self.service.throttled_shard_id = self.service.shards[self.throttle_shard_index].shard_id
        buffer = Buffer(20_000, 64 * 1024 * 1024)
        self.driver = Driver(self.service, lambda _: scenario.limits, buffer, 10, loop.clock_ns, self.random.random)
        tasks = [asyncio.create_task(self._client(number)) for number in range(scenario.clients)]
        tasks += [asyncio.create_task(self._reshard()), asyncio.create_task(self._watch())]
        if scenario.shutdown_at is None:
            await asyncio.gather(*tasks[:-1])
            self.service.well = True
            # after the faults end, everything finishes within the life of a record and one request
            await asyncio.sleep(scenario.limits.delivery_timeout_ns / SECOND_NS + 1)
            assert not any(stream.open_records for stream in self.driver.streams.values()), "everything finishes"
        else:
            await asyncio.sleep(scenario.shutdown_at)
        began_at_ns = loop.clock_ns()
        self.abandoned = await self.driver.drain(scenario.drain_timeout_ms * MILLISECOND_NS)
        assert loop.clock_ns() - began_at_ns <= (scenario.drain_timeout_ms + 2) * MILLISECOND_NS, "draining is bounded"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error
        await self.driver.close()
        self._check_end(buffer)

    async def _client(self, number: int) -> None:
        """Append calls of one to a few records, at random times, until the scenario's time is over."""
        scenario = self.scenario
        ends_at = self.loop.time() + scenario.seconds
        pace = scenario.clients * 3 / scenario.records_per_second
        while self.loop.time() < ends_at:
            await asyncio.sleep(self.random.expovariate(1 / pace))
            records = [self._record(number) for _ in range(self.random.randint(1, 5))]
            self.driver.append(STREAM, None, records)
            taken = [record for record in records if record.state is not State.REJECTED]
            self.rejected += len(records) - len(taken)
            for record in taken:
                self.accepted.append(record)
                self.by_key[record.partition_key].append(record)
                self.open[id(record)] = record
            if self.random.random() * len(self.open) < CHECKED_SHARE:
                self._check()

    def _record(self, client: int) -> Record:
        # every fourth key is shared by all clients
        index = self.random.randrange(self.scenario.keys)
        partition_key = f"key-{index}" if index % 4 == 0 else f"key-{index}-of-{client}"
        explicit = str(self.random.randrange(HASH_KEY_MAX)) if self.random.random() < 0.02 else None
        ordered = "1" if self.random.random() < 0.01 else None
        data = "guilty" if self.random.random() < self.scenario.refused else "innocent"
        return Record(
            partition_key,
            data,
            self.random.choice((20, 200, 2_000, 30_000)) if index == 0 else 200,
            hash_key_of(partition_key, explicit),
            self.loop.clock_ns(),
            explicit,
            ordered,
            on_outcome=self._outcome,
        )

    def _outcome(self, record: Record) -> None:
        assert id(record) not in self.settled, "one outcome for each record"
        self.settled[id(record)] = record.state
        del self.open[id(record)]
        self.wait_ns_of[id(record)] = self.loop.clock_ns() - record.received_at_ns
        if record.state is State.ACKNOWLEDGED:
            place = (record.shard_id, record.sequence_number)
            assert place in self.service.places[id(record)], "an acknowledged record is where its answer says"
        if record.data == "guilty":
            assert record.state is not State.ACKNOWLEDGED
        elif record.state is State.REFUSED:
            raise AssertionError("an innocent record is never refused for its neighbour")

    async def _reshard(self) -> None:
        for _ in range(self.scenario.reshards):
            await asyncio.sleep(self.scenario.seconds / (self.scenario.reshards + 1))
            self.service.reshard()

    async def _watch(self) -> None:
        """Look at the books at moments of no meaning."""
        while True:
            await asyncio.sleep(self.random.uniform(0.05, 0.3))
            self._check()

    def _check(self) -> None:
        for stream in self.driver.streams.values():
            flying = [record for batch in self.service.in_flight for record in batch.records]
            # a batch that `poll` has just handed out is not with the service before its task has started
            started = {id(record) for record in flying}
            flying += [record for record in self._in_flight() if id(record) not in started]
            check_stream(stream, flying)
            assert stream.in_flight_requests <= self.scenario.limits.in_flight_max
            assert self.driver.buffer.records == stream.open_records

    def _in_flight(self) -> Iterator[Record]:
        """Iterate the records that are in flight by their own word."""
        return (record for record in self.open.values() if record.state is State.IN_FLIGHT)

    def _check_end(self, buffer: Buffer) -> None:
        assert len(self.settled) == len(self.accepted), "every record has its outcome"
        assert buffer.records == buffer.bytes == 0, "nothing is left in the books"
        for key, records in self.by_key.items():
            first = dict.fromkeys(map(id, self.service.written[key]))
            arrived = [id(record) for record in records if id(record) in first]
            assert list(first) == arrived, f"order of {key}"
        limit_ns = self.scenario.limits.delivery_timeout_ns
        slowest_ns = int(2 * self.scenario.latency_ms[1] * MILLISECOND_NS) + 10 * MILLISECOND_NS
        assert max(self.waits_ns, default=0) <= limit_ns + slowest_ns, (
            "no record outlives its deadline by more than a request"
        )
