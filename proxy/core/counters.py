"""Plain counters that the core and the shell bump and the metrics module reads at scrape time.

Must never know: prometheus, names of metric families.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence


class Histogram:
    """Counts of observations by upper bound, as Prometheus understands them.

    Args:
        bounds: inclusive upper bounds, ascending, without the infinite one.

    `counts[i]` is the number of observations in (bounds[i-1], bounds[i]]; the last element of `counts` is beyond all
    bounds. They are not cumulative.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count one value, or the same value several times."""
        index = 0
        for bound in self.bounds:  # compiled, that is faster than a search
            if value <= bound:
                break
            index += 1
        self.counts[index] += times
        self.sum += value * times

    def add(self, other: Histogram) -> None:
        """Add the observations of another histogram with the same bounds."""
        if self.bounds != other.bounds:
            raise ValueError("histograms with different bounds cannot be added")
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


# Half a millisecond is what the proxy adds when quiet; ten seconds is beyond any client's patience.
LATENCY_BOUNDS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_RECORDS_BOUNDS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 500)
BATCH_BYTES_BOUNDS: Final = (1024, 4096, 16384, 65536, 262144, 1048576, 5242880, 10485760)


# Error codes come from outside: a service that invents them without end must not grow our memory.
ERROR_CODES_MAX: Final = 64
OTHER_CODES: Final = "other"


STREAM_COUNTS: Final = (
    "acknowledged_bytes",
    "acknowledged_records",
    "batch_bytes",
    "batch_records",
    "buffer_time_seconds",
    "expired_records",
    "late_acknowledgements",
    "map_refreshes",
    "mispredicted_records",
    "order_inversions",
    "received_bytes",
    "received_records",
    "record_errors",
    "refused_records",
    "retried_records",
    "sequence_regressions",
    "unknown_outcomes",
    "withdrawn_records",
)


class StreamCounters:
    """What happened to one stream's records since the stream became known; all only grow.

    At any moment, with the stream's `queued_records` and `in_flight_records`:
    received = acknowledged + refused + expired + withdrawn + queued + in flight.

    `sequence_regressions` are sequence numbers that did not increase within a key and a shard, of keys that had more to
    send when the first was acknowledged: nothing is remembered of the others. `order_inversions` are records that a
    younger one of their key has passed, where the stream's ordering lets several of a key share a request.
    `late_acknowledgements` are records that turned out to be written after they had expired in flight.
    """

    __slots__ = STREAM_COUNTS

    def __init__(self) -> None:
        self.received_records = 0
        self.received_bytes = 0
        self.acknowledged_records = 0
        self.acknowledged_bytes = 0
        self.refused_records = 0
        self.expired_records = 0
        self.withdrawn_records = 0
        self.late_acknowledgements = 0
        self.order_inversions = 0
        self.retried_records = 0
        self.unknown_outcomes = 0
        self.sequence_regressions = 0
        self.mispredicted_records = 0
        self.map_refreshes = 0
        self.record_errors: dict[str, int] = {}
        self.batch_records = Histogram(BATCH_RECORDS_BOUNDS)
        self.batch_bytes = Histogram(BATCH_BYTES_BOUNDS)
        self.buffer_time_seconds = Histogram(LATENCY_BOUNDS_SECONDS)

    def count_error(self, code: str, records: int = 1) -> None:
        """Count an error of the service by its code, or as another when there are too many codes."""
        errors = self.record_errors
        if code not in errors and len(errors) >= ERROR_CODES_MAX:
            code = OTHER_CODES
        errors[code] = errors.get(code, 0) + records

    def add(self, other: StreamCounters) -> None:
        """Add another stream's counts, so that a stream can be forgotten without its counts being lost."""
        for name in STREAM_COUNTS:
            mine, its = getattr(self, name), getattr(other, name)
            if isinstance(mine, Histogram):
                mine.add(its)
            elif isinstance(mine, dict):
                for code, count in its.items():
                    self.count_error(code, count)
            else:
                setattr(self, name, mine + its)
