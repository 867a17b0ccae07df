"""What one seed draws: sizes, rates, faults, habits, and the course of its hours. Values only.

Swarm testing: each fault is on in some seeds and off in the others, so that none always hides another.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from proxy.core.limits import MIB, MILLISECOND_NS, SECOND_NS, StreamLimits
from proxy.core.ordering import Ordering
from proxy.core.rate_control import fixed_rate

HOUR_SECONDS = 3600.0
# Where a second's worth of a shard is more, records of several of them are left to scenarios that write no bodies.
HUGE_IN_BODIES_BYTES = 50_000


@dataclass(frozen=True)
class Faults:
    """Shares of requests, records or fetches that meet a fault, while faults are on.

    Args:
        throttled, ill, unknown: of records, answered by a throttle, InternalFailure, or a code that nobody knows.
        guilty: of records, for which the service refuses their whole request.
        failed, unavailable, busy, unknown_request: of requests, answered by 500, 503, LimitExceeded, an unknown code.
        asks_to_wait: of these answers, that say for how long not to come again.
        reset_before, reset_after, black_hole, unconnected, malformed: of requests, before or after the write.
        short, long: of answers, with too few or too many results.
        slow: of exchanges, that take seconds.
        unordered: of records with SequenceNumberForOrdering, whose number is not one that the service knows.
        ambiguous: of records that failed, whose result names a place all the same.
        map_denied, map_throttled, map_slow, map_stale, map_torn, summary_denied: of fetches; torn lacks a shard.
        ill_stretches: stretches a burst in which the service refuses or throttles everything in one way.
        reshards, restarts: a burst.
        strategies, record_limits: a burst; they change whether a stream ignores its keys, and its largest record. A
            stream that was gone may be back with another strategy, too.
        standstills: a burst; nothing at all runs for a while.
    """

    throttled: float = 0
    ill: float = 0
    unknown: float = 0
    guilty: float = 0
    failed: float = 0
    unavailable: float = 0
    busy: float = 0
    unknown_request: float = 0
    asks_to_wait: float = 0
    reset_before: float = 0
    reset_after: float = 0
    black_hole: float = 0
    unconnected: float = 0
    malformed: float = 0
    short: float = 0
    long: float = 0
    slow: float = 0
    unordered: float = 0
    ambiguous: float = 0
    map_denied: float = 0
    map_throttled: float = 0
    map_slow: float = 0
    map_stale: float = 0
    map_torn: float = 0
    summary_denied: float = 0
    ill_stretches: int = 0
    reshards: int = 0
    restarts: int = 0
    strategies: int = 0
    record_limits: int = 0
    standstills: int = 0


NO_FAULTS = Faults()


@dataclass(frozen=True)
class Habits:
    """How a client's SDK behaves.

    Args:
        tries: attempts of one call, all under one invocation id.
        timeout_seconds: how long it waits for an answer before it cuts the connection.
        backoff_seconds: base of its exponential waits; 0 tries again at once.
        heeds_retry_after: whether it waits for as long as the answer asks.
        resends: how many times the failed entries of a PutRecords are sent again, as a call of their own.
        records_max: records of one call; 1 uses PutRecord.
        calls_max: calls at once.
        cut, vanishes: shares of attempts cut at any moment, and then tried again or not.
        shares_id: whether it sends one invocation id for all its calls, the same as other such clients.
    """

    tries: int = 3
    timeout_seconds: float = 60
    backoff_seconds: float = 1
    heeds_retry_after: bool = False
    resends: int = 0
    records_max: int = 5
    calls_max: int = 8
    cut: float = 0
    vanishes: float = 0
    shares_id: bool = False


@dataclass(frozen=True)
class Phase:
    """A stretch of time with one kind of load; faults that are events happen in bursts only."""

    kind: str  # burst, trickle or idle
    seconds: float
    calls_per_second: float = 0


@dataclass(frozen=True)
class StreamShape:
    """One stream: its shards, whether the service ignores its keys, how callers name it, and what it is promised."""

    shards: int = 2
    auto: bool = False
    by_arn: bool = False
    ordering: Ordering = Ordering.STRICT


@dataclass(frozen=True)
class Scenario:
    """One run.

    Args:
        seed: of every die.
        frontend: whether calls go through the real frontend, or straight to the driver.
        proxies: how many serve at once.
        streams: of the service.
        phases: the course of the run.
        habits: one for each client.
        faults: see `Faults`.
        limits: of each proxy; the service's shards have the same rates.
        service_rates: records and bytes a second of each shard; None as in `limits`.
        counts_by_second: the service counts by the second of its clock, otherwise by token bucket.
        keys: partition keys; every fourth is shared by all clients.
        sizes: record sizes in bytes, drawn evenly.
        record_bytes_max: the largest record that a stream takes, one of these, the first to begin with.
        explicit_ratio: share of records with a hash key of their own, which sends them to any shard.
        latency_ms: least and most of each way, of most requests.
        buffer_records_max, buffer_bytes_max, streams_max, undelivered_calls_max: bounds of each proxy.
        drain_timeout_ms: of each shutdown.
        ends_well: faults end before the end, and everything must finish; otherwise all proxies shut down under way.
    """

    seed: int
    frontend: bool = True
    proxies: int = 1
    streams: tuple[StreamShape, ...] = (StreamShape(),)
    phases: tuple[Phase, ...] = (Phase("burst", 5, 100),)
    habits: tuple[Habits, ...] = (Habits(),) * 4
    faults: Faults = NO_FAULTS
    limits: StreamLimits = field(default_factory=StreamLimits)
    service_rates: tuple[int, int] | None = None
    counts_by_second: bool = False
    keys: int = 50
    sizes: tuple[int, ...] = (200,)
    record_bytes_max: tuple[int, ...] = (MIB,)
    explicit_ratio: float = 0.02
    latency_ms: tuple[float, float] = (2, 8)
    buffer_records_max: int = 20_000
    buffer_bytes_max: int = 64 * 1024 * 1024
    streams_max: int = 16
    undelivered_calls_max: int = 10_000
    drain_timeout_ms: int = 3_000
    ends_well: bool = True

    def limits_of(self, stream_name: str) -> StreamLimits:
        """Return a stream's limits."""
        number = int(stream_name.rpartition("-")[2])
        return replace(self.limits, ordering=self.streams[number].ordering)

    @classmethod
    def dense(cls, seed: int) -> Scenario:
        """Draw a short scenario in which every fault is likely: what a mistake in the proxy shows itself in soon."""
        draw = Random(f"dense {seed}")  # noqa: S311 - a simulation, not a secret
        hurried = seed % 4 == 0  # deadlines pass while requests are out
        return cls(
            seed=seed,
            frontend=seed % 3 > 0,
            proxies=draw.choice((1, 1, 2)),
            streams=(StreamShape(draw.choice((1, 2, 4))), StreamShape(2, by_arn=seed % 2 > 0)),
            phases=(Phase("burst", 1.5, 120), Phase("trickle", 10, 1), Phase("burst", 1.5, 120)),
            habits=(
                Habits(3, 3, 0.1, records_max=8, cut=0.2, vanishes=0.5),
                Habits(1, 60, 0, records_max=2, cut=0.5),
                Habits(5, 60, 0, resends=2, records_max=20, calls_max=32, cut=0.1),
                Habits(3, 1, 0.02, heeds_retry_after=True, calls_max=32, records_max=1, shares_id=True),
                Habits(5, 1, 0.02, calls_max=32, records_max=1, shares_id=True, cut=0.2),
            ),
            faults=Faults(
                throttled=0.05,
                ill=0.05,
                unknown=0.01,
                guilty=0.3 if hurried else 0.02,
                failed=0.9 if seed % 4 == 1 else 0.05,
                unknown_request=0.03,
                reset_before=0.03,
                reset_after=0.03,
                black_hole=0.02,
                short=0.05,
                long=0.02,
                slow=0.1 if hurried else 0.02,
                map_stale=0.2,
                ill_stretches=1,
                reshards=1,
                restarts=1 if seed % 4 == 3 else 0,
                unordered=0.2,
                ambiguous=0.3,
                map_torn=0.1,
                strategies=2 if seed % 5 == 4 else 0,
                record_limits=2,
                standstills=1 if seed % 3 == 1 else 0,
            ),
            limits=StreamLimits(
                batch_records_max=3 if hurried else draw.choice((500, 20)),
                delivery_timeout_ns=(800 if hurried else 2_500) * MILLISECOND_NS,
                unused_ns=(1 if hurried else 3_600) * SECOND_NS,
                response_grace_ns=2 * SECOND_NS if hurried else 100 * MILLISECOND_NS,
                shard_records_per_second=40 if hurried else draw.choice((100, 400)),
                shard_bytes_per_second=draw.choice((20_000, 200_000)),
            ),
            keys=draw.choice((4, 40)),
            sizes=(60, 200),
            record_bytes_max=(MIB, 150),
            explicit_ratio=0.3 if seed % 2 else 0.02,
            latency_ms=(1, 250) if hurried else (1, 8),
            buffer_records_max=draw.choice((20_000, 100)),
            undelivered_calls_max=10_000 if seed % 2 else 1,
            streams_max=1 if hurried else 16,
            drain_timeout_ms=draw.choice((50, 1_000)),
            ends_well=seed % 4 != 2,
        )

    @classmethod
    def drawn(cls, seed: int) -> Scenario:
        """Draw a scenario from a seed."""
        draw = Random(f"scenario {seed}")  # noqa: S311 - a simulation, not a secret
        frontend = draw.random() < 0.75
        rates = draw.choice(((1000, 1024 * 1024), (100, 50_000), (25, 10_000)))
        phases = _phases(draw, frontend=frontend)
        big = draw.random() < 0.1
        scenario = cls(
            seed=seed,
            frontend=frontend,
            proxies=draw.choice((1, 1, 2, 3, 8)),
            streams=_streams(draw),
            phases=phases,
            habits=tuple(_habits(draw) for _ in range(draw.choice((1, 3, 8, 24)))),
            faults=_faults(draw),
            limits=StreamLimits(
                batch_records_max=draw.choice((500, 500, 20, 3)),
                in_flight_max=draw.choice((8, 8, 2, 1)),
                linger_ns=draw.choice((2, 2, 0, 20)) * MILLISECOND_NS,
                delivery_timeout_ns=draw.choice((2_500, 2_500, 500, 10_000)) * MILLISECOND_NS,
                shard_records_per_second=rates[0],
                shard_bytes_per_second=rates[1],
                admission_wait_ns=draw.choice((1_000, 1_000, 100, 60_000)) * MILLISECOND_NS,
                stream_buffer_ratio=draw.choice((0.8, 1, 0.3)),
                unused_ns=draw.choice((3_600, 3_600, 10)) * SECOND_NS,
            ),
            counts_by_second=draw.random() < 0.5,
            keys=draw.choice((1, 5, 50, 1_000)),
            sizes=(20, 200, 2_000, 30_000) if big else draw.choice(((60,), (60, 200, 1_000))),
            latency_ms=draw.choice(((0, 1), (2, 8), (5, 300))),
            buffer_records_max=draw.choice((20_000, 20_000, 300, 20)),
            buffer_bytes_max=draw.choice((64 * 1024 * 1024, 64 * 1024 * 1024, 200_000)),
            streams_max=draw.choice((16, 16, 2)),
            undelivered_calls_max=draw.choice((10_000, 10_000, 2)),
            drain_timeout_ms=draw.choice((50, 1_000, 3_000, 10_000)),
            ends_well=draw.random() < 0.7,
        )
        return _with_changes(scenario)


def _with_changes(scenario: Scenario) -> Scenario:
    """Draw what changes in a scenario's streams, what of it is hard to see, and in some seeds records that are huge."""
    draw = Random(f"changes {scenario.seed}")  # noqa: S311 - a simulation, not a secret
    if draw.random() < 0.3:
        return scenario
    faults = replace(
        scenario.faults,
        asks_to_wait=_share(draw, 1),
        unordered=_share(draw, 0.5),
        ambiguous=_share(draw, 0.5),
        map_torn=_share(draw, 0.5),
        strategies=draw.choice((0, 0, 0, 1, 3)),
        record_limits=draw.choice((0, 0, 1, 3)),
        standstills=draw.choice((0, 0, 1, 3)),
    )
    changed = replace(_with_rates(scenario, draw), faults=faults, explicit_ratio=draw.choice((0.02, 0.02, 0.5, 1)))
    second_bytes = scenario.limits.shard_bytes_per_second
    if draw.random() < 0.6 or (scenario.frontend and second_bytes > HUGE_IN_BODIES_BYTES):
        return changed
    return replace(
        changed,
        limits=replace(
            changed.limits,
            batch_bytes_max=5 * second_bytes - second_bytes // 16,
            shard_slice_bytes_max=second_bytes // 4,
        ),
        sizes=(100, 100, second_bytes // 2, 2 * second_bytes, 10 * second_bytes),
        record_bytes_max=(10 * second_bytes, second_bytes, 3 * second_bytes),
    )


def _with_rates(scenario: Scenario, draw: Random) -> Scenario:
    """Draw what the proxies are told of the shards' limits, which stay what they are, and whether they look further."""
    limits = scenario.limits
    rates = (limits.shard_records_per_second, limits.shard_bytes_per_second)
    known = draw.choice((rates, rates, rates, rates, rates, (0, 0), (0, rates[1]), (rates[0], 0)))
    limits = replace(limits, shard_records_per_second=known[0], shard_bytes_per_second=known[1])
    if draw.random() < 0.2:
        limits = replace(limits, rate_control=fixed_rate)
    return replace(scenario, limits=limits, service_rates=rates)


def _share(draw: Random, most: float) -> float:
    """Draw a fault's share: none in two seeds of three."""
    return draw.uniform(0, most) if draw.random() < 1 / 3 else 0.0


def _faults(draw: Random) -> Faults:
    if draw.random() < 0.1:
        return NO_FAULTS
    return Faults(
        throttled=_share(draw, 0.3),
        ill=_share(draw, 0.1),
        unknown=_share(draw, 0.05),
        guilty=_share(draw, 0.02),
        failed=_share(draw, 0.2),
        unavailable=_share(draw, 0.1),
        busy=_share(draw, 0.1),
        unknown_request=_share(draw, 0.1),
        reset_before=_share(draw, 0.15),
        reset_after=_share(draw, 0.15),
        black_hole=_share(draw, 0.05),
        unconnected=_share(draw, 0.2),
        malformed=_share(draw, 0.05),
        short=_share(draw, 0.1),
        long=_share(draw, 0.05),
        slow=_share(draw, 0.05),
        map_denied=draw.choice((0, 0, 0.5, 1)),
        map_throttled=_share(draw, 0.5),
        map_slow=_share(draw, 0.5),
        map_stale=_share(draw, 0.7),
        summary_denied=draw.choice((0, 0, 0.5, 1)),
        ill_stretches=draw.choice((0, 0, 1, 2)),
        reshards=draw.choice((0, 0, 1, 4)),
        restarts=draw.choice((0, 0, 1, 3)),
    )


def _streams(draw: Random) -> tuple[StreamShape, ...]:
    return tuple(
        StreamShape(
            draw.choice((1, 1, 2, 4, 12, 40, 1_200)),
            draw.random() < 0.12,
            draw.random() < 0.15,
            draw.choice((Ordering.STRICT, Ordering.STRICT, *Ordering)),
        )
        for _ in range(draw.choice((1, 1, 1, 2, 4)))
    )


def _habits(draw: Random) -> Habits:
    return Habits(
        tries=draw.choice((1, 3, 3, 5)),
        timeout_seconds=draw.choice((3, 6, 10, 60)),
        backoff_seconds=draw.choice((0, 0.1, 1)),
        heeds_retry_after=draw.random() < 0.3,
        resends=draw.choice((0, 0, 3)),
        records_max=draw.choice((1, 5, 5, 40)),
        calls_max=draw.choice((1, 8, 64)),
        cut=draw.choice((0, 0, 0.05)),
        vanishes=draw.choice((0, 0, 0.05)),
        shares_id=draw.random() < 0.1,
    )


def _phases(draw: Random, *, frontend: bool) -> tuple[Phase, ...]:
    phases: list[Phase] = []
    for _ in range(draw.randint(1, 4)):
        calls = draw.choice((100, 400, 400, 800)) * (1 if frontend else 2)
        seconds = draw.choice((0.5, 2, 5, 15))
        phases.append(Phase("burst", seconds, calls / seconds))
        if draw.random() < 0.5:
            pause_seconds = draw.uniform(1, 40)
            seconds = min(draw.uniform(0.1, 2) * HOUR_SECONDS, 300 * pause_seconds)
            phases.append(Phase("trickle", seconds, 1 / pause_seconds))
        phases.append(Phase("idle", draw.choice((60, HOUR_SECONDS, 24 * HOUR_SECONDS)) * draw.uniform(0.1, 1)))
    if draw.random() < 0.7:
        phases.pop()
    return tuple(phases)
