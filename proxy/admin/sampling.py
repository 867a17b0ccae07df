"""What the page to watch remembers: samples of growing counters, the rates and quantiles between two, and histories.

A sample is plain numbers, taken once a tick for all viewers. Pure: it is told what it is and what time it is.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from proxy.core.verdicts import verdict_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.core.counters import StreamCounters

SECOND_NS = 1_000_000_000
# Rates are over the last five samples, quantiles over the last ten: fewer observations would make them jump.
RATE_SAMPLES = 5
QUANTILE_SAMPLES = 10
# Five minutes at a sample a second.
PROCESS_POINTS_MAX = 300
STREAM_POINT_SAMPLES = 5
STREAM_POINTS_MAX = PROCESS_POINTS_MAX // STREAM_POINT_SAMPLES
# The others are in the sums alone.
STREAMS_SHOWN_MAX = 200
# How often it is looked which streams are the busiest, where there are more.
SELECTION_SAMPLES = 60

MEDIAN, TAIL = 0.5, 0.99

Counts = tuple[int, ...]


class StreamSample(NamedTuple):
    """The growing counts of one stream, or of all."""

    received: int = 0
    received_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    throttled: int = 0
    failed: int = 0
    batches: int = 0
    batch_records: int = 0
    waits: Counts = ()


class ProcessSample(NamedTuple):
    """All of them together, and what only the process as a whole counts.

    Args:
        records: the sum over all streams, the forgotten ones too.
        queued: records that wait now.
        in_flight: records sent and unanswered now.
        rejected: records that were not accepted.
        calls: answers to clients.
        puts: durations of put calls, as counts by bucket.
        upstream: durations of put requests upstream, likewise.
    """

    records: StreamSample
    queued: int
    in_flight: int
    rejected: int
    calls: int
    puts: Counts
    upstream: Counts


class Point(NamedTuple):
    """One point of the process's history: rates a second, records, milliseconds; None where nothing was measured."""

    received: float
    delivered: float
    throttled: float
    failed: float
    rejected: float
    requests: float
    queued: int
    in_flight: int
    call_p50: float | None
    call_p99: float | None
    upstream_p99: float | None


class Sample(NamedTuple):
    """One moment."""

    at_ns: int
    process: ProcessSample
    streams: Mapping[str, StreamSample]


def sample_stream(counters: StreamCounters) -> StreamSample:
    """Read one stream's counts."""
    errors = counters.record_errors
    return StreamSample(
        counters.received_records,
        counters.received_bytes,
        counters.acknowledged_records,
        counters.acknowledged_bytes,
        sum(count for code, count in errors.items() if verdict_of(code).throttled) if errors else 0,
        counters.refused_records + counters.expired_records,
        sum(counters.batch_records.counts),
        int(counters.batch_records.sum),
        tuple(counters.buffer_time_seconds.counts),
    )


def add_samples(samples: Sequence[StreamSample]) -> StreamSample:
    """Add up; there is one at least, and all have the same buckets."""
    *sums, waits = zip(*samples, strict=True)
    return StreamSample._make([*map(sum, sums), added(*waits)])


def added(*counts: Counts) -> Counts:
    """Add up counts by bucket."""
    return tuple(map(sum, zip(*counts, strict=True)))


def quantile_ms(bounds: Sequence[float], before: Counts, after: Counts, quantile: float) -> float | None:
    """Return a quantile of what was observed between two readings of a histogram, or None if nothing was.

    As Prometheus does it: evenly spread within a bucket, and the highest bound for what lies beyond all.

    Args:
        bounds: upper bounds in seconds.
        before: counts by bucket at the first reading; empty is all zero.
        after: at the second.
        quantile: between 0 and 1.
    """
    counts = [late - early for early, late in zip(before, after, strict=True)] if before else list(after)
    rank = quantile * sum(counts)
    if rank <= 0:
        return None
    lower = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and rank <= count:
            return round((lower + (bound - lower) * rank / count) * 1000, 3)
        rank -= count
        lower = bound
    return bounds[-1] * 1000


class Selection:
    """Which streams are shown: all, or the busiest of the last minute, so that rows stay where they are meanwhile.

    Args:
        streams_max: how many.
    """

    __slots__ = ("_received", "_samples", "_shown", "_streams_max")

    def __init__(self, streams_max: int = STREAMS_SHOWN_MAX) -> None:
        self._streams_max = streams_max
        self._samples = 0
        self._shown: dict[str, None] = {}
        self._received: dict[str, int] = {}

    def of(self, streams: Mapping[str, StreamSample]) -> dict[str, StreamSample]:
        """Return those to show of all that are known."""
        if len(streams) <= self._streams_max:
            self._shown = dict.fromkeys(streams)
        elif self._samples % SELECTION_SAMPLES == 0 or not self._shown.keys() <= streams.keys():
            growth = {name: sample.received - self._received.get(name, 0) for name, sample in streams.items()}
            busiest = sorted(streams, key=lambda name: (-growth[name], name not in self._shown))
            self._shown = dict.fromkeys(busiest[: self._streams_max])
        if self._samples % SELECTION_SAMPLES == 0:
            self._received = {name: sample.received for name, sample in streams.items()}
        self._samples += 1
        return {name: streams[name] for name in self._shown}


class History:
    """The last minutes of the process and of the streams sampled.

    Args:
        bounds: of all histograms of durations, in seconds.

    `ticks` counts the samples taken, `stream_ticks` the points of streams.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.ticks = 0
        self.stream_ticks = 0
        self.points: deque[Point] = deque(maxlen=PROCESS_POINTS_MAX)
        self.point_at_ns: deque[int] = deque(maxlen=PROCESS_POINTS_MAX)
        self.streams: dict[str, deque[tuple[float, float]]] = {}
        self._samples: deque[Sample] = deque(maxlen=QUANTILE_SAMPLES + 1)

    def add(self, sample: Sample) -> None:
        """Take in a sample, later than those before."""
        self._samples.append(sample)
        if len(self._samples) == 1:
            return
        self.ticks += 1
        self.points.append(self._point())
        self.point_at_ns.append(sample.at_ns)
        if self.ticks % STREAM_POINT_SAMPLES == 0:
            self.stream_ticks += 1
            known = self.streams
            self.streams = {}
            for identity in sample.streams:
                points = known.get(identity) or deque(maxlen=STREAM_POINTS_MAX)
                rates = self.stream_rates(identity)
                points.append((rates["delivered"], rates["throttled"]))
                self.streams[identity] = points

    @property
    def sample(self) -> Sample:
        """The latest sample."""
        return self._samples[-1]

    def stream_rates(self, identity: str) -> dict[str, float]:
        """Return how much a stream's counts grew a second; what came later grew from zero."""
        before, after = self._over(RATE_SAMPLES)
        return _rates(*_pair(before, after, identity), _seconds(before, after))

    def stream_wait_ms(self, identity: str, quantile: float) -> float | None:
        """Return a quantile of how long a stream's records waited for their first attempt."""
        first, last = _pair(*self._over(QUANTILE_SAMPLES), identity)
        return quantile_ms(self.bounds, first.waits, last.waits, quantile) if first.waits != last.waits else None

    def process_rates(self) -> dict[str, float]:
        """Return how much the process's counts grew a second."""
        before, after = self._over(RATE_SAMPLES)
        return _process_rates(before, after)

    def latencies_ms(self) -> dict[str, dict[str, float | None]]:
        """Return the quantiles of calls, of waits and of requests upstream."""
        before, after = self._over(QUANTILE_SAMPLES)
        first, last = before.process, after.process
        pairs = {
            "call": (first.puts, last.puts),
            "wait": (first.records.waits, last.records.waits),
            "upstream": (first.upstream, last.upstream),
        }
        return {
            name: {
                "p50": quantile_ms(self.bounds, *pair, MEDIAN),
                "p99": quantile_ms(self.bounds, *pair, TAIL),
            }
            for name, pair in pairs.items()
        }

    def _over(self, samples: int) -> tuple[Sample, Sample]:
        """Return the latest sample and the one so many before, or the first there is."""
        return self._samples[max(0, len(self._samples) - 1 - samples)], self._samples[-1]

    def _point(self) -> Point:
        rates = _process_rates(*self._over(1))
        latencies = self.latencies_ms()
        process = self.sample.process
        return Point(
            rates["received"],
            rates["delivered"],
            rates["throttled"],
            rates["failed"],
            rates["rejected"],
            rates["batches"],
            process.queued,
            process.in_flight,
            latencies["call"]["p50"],
            latencies["call"]["p99"],
            latencies["upstream"]["p99"],
        )


def _pair(before: Sample, after: Sample, identity: str) -> tuple[StreamSample, StreamSample]:
    """Return a stream's counts at two moments; one that was forgotten in between, and made again, grew from zero."""
    first, last = before.streams.get(identity, StreamSample()), after.streams.get(identity, StreamSample())
    return (first if first.received <= last.received else StreamSample()), last


def _process_rates(before: Sample, after: Sample) -> dict[str, float]:
    seconds = _seconds(before, after)
    first, last = before.process, after.process
    return {
        **_rates(first.records, last.records, seconds),
        "rejected": round((last.rejected - first.rejected) / seconds, 1),
        "calls": round((last.calls - first.calls) / seconds, 1),
    }


def _rates(first: StreamSample, last: StreamSample, seconds: float) -> dict[str, float]:
    if first == last:
        return _NO_RATES  # of many streams most are quiet
    batches = last.batches - first.batches
    return {
        "received": round((last.received - first.received) / seconds, 1),
        "received_bytes": round((last.received_bytes - first.received_bytes) / seconds),
        "delivered": round((last.delivered - first.delivered) / seconds, 1),
        "delivered_bytes": round((last.delivered_bytes - first.delivered_bytes) / seconds),
        "throttled": round((last.throttled - first.throttled) / seconds, 1),
        "failed": round((last.failed - first.failed) / seconds, 1),
        "batches": round(batches / seconds, 1),
        "records_per_batch": round((last.batch_records - first.batch_records) / batches, 1) if batches else 0.0,
    }


def _seconds(before: Sample, after: Sample) -> float:
    """Return the time between two samples, never nothing: then nothing has grown either."""
    return max(after.at_ns - before.at_ns, 1) / SECOND_NS


_NO_RATES = dict.fromkeys(
    (
        "received",
        "received_bytes",
        "delivered",
        "delivered_bytes",
        "throttled",
        "failed",
        "batches",
        "records_per_batch",
    ),
    0.0,
)
