"""What the page to watch shows: a sample a second, and documents made of it once, whoever asks and however many.

Documents are encoded when the first viewer of a tick asks, and the same bytes go to the others. Without viewers there
is only the sample. All is bounded: streams and shards shown, lanes looked at, answers a second, and the shares of the
time that samples and documents may take: where they take long, they come less often.

Partition keys and data are in none of it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.admin.sampling import (
    SECOND_NS,
    STREAM_POINT_SAMPLES,
    TAIL,
    History,
    Point,
    ProcessSample,
    Sample,
    Selection,
    add_samples,
    added,
    sample_stream,
)
from proxy.admin.shards import ShardWatch, survey
from proxy.admin.status import describe_records, describe_records_of
from proxy.core.counters import LATENCY_BOUNDS_SECONDS, StreamCounters
from proxy.core.token_bucket import TokenBucket
from proxy.frontend.handler import PUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.core.stream import Stream
    from proxy.driver import Driver
    from proxy.frontend.counters import FrontendCounters
    from proxy.upstream.counters import UpstreamCounters

TICK_SECONDS = 1.0
# A sample may take this share of the time; where it takes longer than a tick's share, ticks are further apart.
SAMPLING_RATIO_MAX = 0.005
# So may making documents, on the average of some seconds; while this is used up, viewers get those of before.
MAKING_RATIO_MAX = 0.02
MAKING_BURST_NS = 5 * SECOND_NS
OLDER_DOCUMENTS_MAX = 64
# Twenty viewers, each with a stream opened; more of them see less often what is new.
ANSWERS_PER_SECOND_MAX = 40
# Points that come with the present, so that a viewer may miss some.
RECENT_POINTS = 10
# Lanes looked at for the list of streams, busiest streams first.
LANES_SURVEYED_MAX = 2_000

# What the sums begin with.
NO_RECORDS = sample_stream(StreamCounters())

FAILING, THROTTLED, AT_LIMIT, FLOWING, IDLE = "failing", "throttled", "at limit", "flowing", "idle"


@dataclass(frozen=True, slots=True)
class Sources:
    """What is watched.

    Args:
        driver: the streams.
        frontend: what callers were answered.
        upstream: what became of requests upstream.
        about: returns what is true of the process: version, obstacles and so on.
    """

    driver: Driver
    frontend: FrontendCounters
    upstream: UpstreamCounters
    about: Callable[[], Mapping[str, Any]]


class TooManyViewersError(Exception):
    """More is asked for than the page may cost."""


class Watch:
    """Samples once a tick, and answers viewers.

    Args:
        sources: what is watched.
        clock: monotonic nanoseconds.
        cost_clock: nanoseconds of processor time: what waits for a processor costs the proxy nothing.

    Call `start` on the running loop, and `stop` at the end.
    """

    def __init__(
        self, sources: Sources, clock: Callable[[], int], cost_clock: Callable[[], int] = time.thread_time_ns
    ) -> None:
        self._sources = sources
        self._clock = clock
        self._cost_clock = cost_clock
        self._history = History(LATENCY_BOUNDS_SECONDS)
        self._selection = Selection()
        self._shards = ShardWatch()
        self._documents: dict[str, bytes] = {}  # of this tick
        self._older: dict[str, bytes] = {}
        full_since_ns = clock() - MAKING_BURST_NS
        self._answers = TokenBucket(ANSWERS_PER_SECOND_MAX, SECOND_NS, full_since_ns)
        self._making_ns = TokenBucket(MAKING_RATIO_MAX * SECOND_NS, MAKING_BURST_NS, full_since_ns)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take the first sample, and go on."""
        loop = asyncio.get_running_loop()
        before_ns = self._cost_clock()
        self.sample()
        seconds = (self._cost_clock() - before_ns) / SECOND_NS
        self._timer = loop.call_later(max(TICK_SECONDS, seconds / SAMPLING_RATIO_MAX), self.start)

    def stop(self) -> None:
        """Sample no more."""
        if self._timer is not None:
            self._timer.cancel()

    def sample(self) -> None:
        """Begin a tick."""
        for name, body in self._documents.items():
            self._older.pop(name, None)
            self._older[name] = body
        while len(self._older) > OLDER_DOCUMENTS_MAX:
            del self._older[next(iter(self._older))]
        self._documents = {}
        self._history.add(self._read())
        self._shards.forget_unwatched(self._clock())

    def now(self) -> bytes:
        """Return the present, and the last few points of the histories, as JSON.

        Raises:
            TooManyViewersError: try again later.
        """
        return self._answer("now", self._now) or b""

    def history(self) -> bytes:
        """Return the last minutes as JSON.

        Raises:
            TooManyViewersError: try again later.
        """
        return self._answer("history", self._last_minutes) or b""

    def stream(self, identity: str) -> bytes | None:
        """Return one stream and its shards as JSON, or None if there is no such stream.

        Raises:
            TooManyViewersError: try again later.
        """
        stream = self._sources.driver.streams.get(identity)
        return self._answer(f"stream {identity}", lambda: None if stream is None else self._describe(identity, stream))

    def _answer(self, name: str, make: Callable[[], dict[str, Any] | None]) -> bytes | None:
        now_ns = self._clock()
        if now_ns < self._answers.ready_at_ns(1):
            raise TooManyViewersError
        self._answers.take(1, now_ns)
        if name in self._documents:
            return self._documents[name]
        if now_ns < self._making_ns.ready_at_ns(1):
            if name not in self._older:
                raise TooManyViewersError
            return self._older[name]
        before_ns = self._cost_clock()
        document = make()
        if document is None:
            return None
        body = self._documents[name] = msgspec.json.encode(document)
        self._making_ns.take(self._cost_clock() - before_ns, now_ns)
        return body

    def _read(self) -> Sample:
        driver, frontend = self._sources.driver, self._sources.frontend
        streams = driver.streams
        samples = {identity: sample_stream(stream.counters) for identity, stream in streams.items()}
        process = ProcessSample(
            add_samples([NO_RECORDS, *map(sample_stream, driver.forgotten.values()), *samples.values()]),
            sum(stream.queued_records for stream in streams.values()),
            sum(stream.in_flight_records for stream in streams.values()),
            sum(frontend.rejected_records.values()),
            sum(frontend.requests.values()),
            added(*(tuple(frontend.request_seconds[operation].counts) for operation in PUTS)),
            tuple(self._sources.upstream.put_duration_seconds.counts),
        )
        return Sample(self._clock(), process, self._selection.of(samples))

    def _now(self) -> dict[str, Any]:
        driver, history = self._sources.driver, self._history
        now_ns = self._clock()
        buffer = driver.buffer
        return {
            "tick": history.ticks,
            "stream_tick": history.stream_ticks,
            "points": list(history.points)[-RECENT_POINTS:],
            "about": self._sources.about(),
            "records": describe_records(driver),
            "rejected": {reason: count for reason, count in self._sources.frontend.rejected_records.items() if count},
            "rates": history.process_rates(),
            "latencies_ms": history.latencies_ms(),
            "buffer": {
                "records": buffer.records,
                "records_max": buffer.records_max,
                "bytes": buffer.bytes,
                "bytes_max": buffer.bytes_max,
                "oldest_record_age_ms": driver.oldest_record_age_ns() // 1_000_000,
            },
            "upstream": {"requests_in_flight": self._sources.upstream.in_flight, "outcomes": self._outcomes()},
            "streams": self._rows(now_ns),
            "streams_known": len(driver.streams),
        }

    def _outcomes(self) -> dict[str, int]:
        outcomes: dict[str, int] = {}
        for (operation, outcome), count in self._sources.upstream.requests.items():
            if operation in PUTS:
                outcomes[outcome.value] = outcomes.get(outcome.value, 0) + count
        return outcomes

    def _rows(self, now_ns: int) -> list[dict[str, Any]]:
        """Describe the streams, the busiest first: there the lanes are looked at."""
        known = self._sources.driver.streams
        rates = {identity: self._history.stream_rates(identity) for identity in self._history.sample.streams}
        busiest = sorted(rates, key=lambda identity: -rates[identity]["received"])
        lanes_left = LANES_SURVEYED_MAX
        rows = []
        for identity in busiest:
            stream = known.get(identity)
            if stream is None:
                continue
            lanes = stream.lanes
            lanes_left -= len(lanes)
            shards = survey(lanes, now_ns) if lanes_left >= 0 else None
            rows.append(self._row(identity, stream, rates[identity], shards))
        return rows

    def _row(
        self, identity: str, stream: Stream, rates: dict[str, float], shards: dict[str, Any] | None
    ) -> dict[str, Any]:
        oldest_at_ns = stream.oldest_received_at_ns()
        return {
            "id": identity,
            "name": stream.name,
            "state": state_of(rates, shards, stream.open_records),
            "open_shards": stream.open_shard_count,
            "rates": rates,
            "shards": shards,
            "queued": stream.queued_records,
            "in_flight": stream.in_flight_records,
            "requests_in_flight": stream.in_flight_requests,
            "oldest_record_age_ms": None if oldest_at_ns is None else (self._clock() - oldest_at_ns) // 1_000_000,
            "wait_p99_ms": self._history.stream_wait_ms(identity, TAIL),
            "failed": stream.counters.refused_records + stream.counters.expired_records,
        }

    def _last_minutes(self) -> dict[str, Any]:
        history = self._history
        now_ns = history.sample.at_ns
        return {
            "tick": history.ticks,
            "stream_tick": history.stream_ticks,
            "tick_seconds": TICK_SECONDS,
            "stream_tick_seconds": TICK_SECONDS * STREAM_POINT_SAMPLES,
            "points_max": history.points.maxlen,
            "names": Point._fields,
            "ages_seconds": [round((now_ns - at_ns) / SECOND_NS) for at_ns in history.point_at_ns],
            "points": list(history.points),
            "streams": {identity: list(points) for identity, points in history.streams.items()},
        }

    def _describe(self, identity: str, stream: Stream) -> dict[str, Any]:
        counters = stream.counters
        summary = stream.summary
        return {
            "id": identity,
            "arn": stream.arn or (summary.stream_arn if summary else None),
            "records": describe_records_of(stream),
            "retried": counters.retried_records,
            "unknown_outcomes": counters.unknown_outcomes,
            "order_inversions": counters.order_inversions,
            "mispredicted": counters.mispredicted_records,
            "partition_keys_open": stream.key_count,
            "errors": dict(sorted(counters.record_errors.items(), key=lambda item: -item[1])),
            **self._shards.describe(identity, stream.lanes, self._clock()),
        }


def state_of(rates: Mapping[str, float], shards: Mapping[str, Any] | None, open_records: int) -> str:
    """Return in a word how a stream is: the worst that is true of it."""
    if rates["failed"]:
        return FAILING
    if rates["throttled"]:
        return THROTTLED
    if shards is not None and shards["at_limit"]:
        return AT_LIMIT
    return FLOWING if open_records or rates["received"] or rates["delivered"] else IDLE
