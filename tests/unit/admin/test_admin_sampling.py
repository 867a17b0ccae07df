from __future__ import annotations

from typing import Any

import pytest

from proxy.admin.sampling import (
    PROCESS_POINTS_MAX,
    SECOND_NS,
    SELECTION_SAMPLES,
    STREAM_POINT_SAMPLES,
    STREAM_POINTS_MAX,
    History,
    ProcessSample,
    Sample,
    Selection,
    StreamSample,
    add_samples,
    quantile_ms,
    sample_stream,
)
from proxy.core.counters import StreamCounters

BOUNDS = (0.001, 0.01, 0.1)


def sample(second: float, *, queued: int = 0, rejected: int = 0, **streams: StreamSample) -> Sample:
    """Return a sample in which the process is the sum of these streams."""
    total = add_samples([StreamSample(waits=(0, 0, 0, 0)), *streams.values()])
    nothing = (0, 0, 0, 0)
    process = ProcessSample(total, queued, 0, rejected, 0, nothing, nothing)
    return Sample(round(second * SECOND_NS), process, streams)


def stream(
    received: int = 0, delivered: int = 0, throttled: int = 0, waits: tuple[int, ...] = (0, 0, 0, 0)
) -> StreamSample:
    """Return a stream's counts."""
    return StreamSample(received=received, delivered=delivered, throttled=throttled, waits=waits)


def test_a_sample_counts_throttles_of_every_kind_and_what_failed_for_good() -> None:
    """Throttles have several names; a client that left is no failure."""
    counters = StreamCounters()
    counters.count_error("ProvisionedThroughputExceededException", 3)
    counters.count_error("LimitExceededException", 2)
    counters.count_error("InternalFailure", 7)
    counters.refused_records, counters.expired_records, counters.withdrawn_records = 1, 4, 9
    counters.batch_records.observe(5)
    counters.batch_records.observe(7)
    read = sample_stream(counters)
    assert (read.throttled, read.failed, read.batches, read.batch_records) == (5, 5, 2, 12)


def test_a_rate_is_the_growth_over_the_last_five_samples() -> None:
    """One odd second does not make a number jump, and an old one is forgotten."""
    history = History(BOUNDS)
    for second, received in enumerate([0, 1000, 1000, 1000, 1010, 1020, 1030]):
        history.add(sample(second, orders=stream(received)))
    assert history.stream_rates("orders")["received"] == 6.0
    assert history.process_rates()["received"] == 6.0


def test_a_rate_counts_real_time_where_samples_are_late() -> None:
    """A sample that comes after two seconds makes no doubled rate."""
    history = History(BOUNDS)
    history.add(sample(0, orders=stream(0)))
    history.add(sample(2, orders=stream(100)))
    assert history.points[-1].received == 50.0


def test_the_first_sample_makes_no_rate() -> None:
    """What has happened before is no news of now."""
    history = History(BOUNDS)
    history.add(sample(0, orders=stream(5000)))
    assert history.stream_rates("orders")["received"] == 0.0
    assert not history.points


def test_a_stream_that_is_new_or_was_made_again_grew_from_zero() -> None:
    """Counts of its predecessor make no negative rate."""
    history = History(BOUNDS)
    history.add(sample(0, orders=stream(900)))
    history.add(sample(1, orders=stream(20), clicks=stream(10)))
    assert history.stream_rates("orders")["received"] == 20.0
    assert history.stream_rates("clicks")["received"] == 10.0


@pytest.mark.parametrize(
    ("before", "after", "quantile", "expected"),
    [
        ((), (0, 10, 0, 0), 0.5, 5.5),  # half way through the second bucket
        ((), (10, 0, 0, 0), 1.0, 1.0),
        ((5, 5, 5, 5), (5, 5, 15, 5), 0.5, 55.0),  # what was there before does not count
        ((), (0, 0, 0, 3), 0.5, 100.0),  # beyond all bounds
        ((1, 1, 1, 1), (1, 1, 1, 1), 0.99, None),
    ],
)
def test_a_quantile_is_spread_evenly_within_its_bucket(
    before: tuple[int, ...], after: tuple[int, ...], quantile: float, expected: float | None
) -> None:
    """As Prometheus's histogram_quantile has it, so that the page and a dashboard agree."""
    assert quantile_ms(BOUNDS, before, after, quantile) == expected


def test_quantiles_are_of_the_last_ten_samples() -> None:
    """What was slow a minute ago is in the plot, not in the number."""
    history = History(BOUNDS)
    for second in range(30):
        waits = (0, 0, 5, 0) if second < 10 else (second, 0, 5, 0)
        history.add(sample(second, orders=stream(waits=waits)))
    wait_ms = history.stream_wait_ms("orders", 0.99)
    assert wait_ms is not None
    assert wait_ms < 1.0


def test_the_histories_are_bounded() -> None:
    """Five minutes, however long the process lives; streams that are gone take no room."""
    history = History(BOUNDS)
    for second in range(2 * PROCESS_POINTS_MAX):
        others: Any = {"old": stream(second)} if second < PROCESS_POINTS_MAX else {}
        history.add(sample(second, orders=stream(10 * second, 5 * second, second), **others))
    assert len(history.points) == len(history.point_at_ns) == PROCESS_POINTS_MAX
    assert list(history.streams) == ["orders"]
    assert list(history.streams["orders"]) == [(5.0, 1.0)] * STREAM_POINTS_MAX
    assert history.stream_ticks == history.ticks // STREAM_POINT_SAMPLES


def test_a_point_tells_what_happened_since_the_last_one() -> None:
    """Gauges as they are, counts as rates."""
    history = History(BOUNDS)
    history.add(sample(0, orders=stream(0)))
    history.add(sample(1, queued=7, rejected=4, orders=stream(received=30, delivered=20, throttled=2)))
    point = history.points[-1]
    assert (point.received, point.delivered, point.throttled, point.rejected) == (30.0, 20.0, 2.0, 4.0)
    assert (point.queued, point.call_p99) == (7, None)


def test_of_too_many_streams_the_busiest_of_the_last_minute_are_shown() -> None:
    """Rows stay for a minute; then those that have received most take the places."""
    selection = Selection(streams_max=2)
    received = {"a": 5, "b": 9, "c": 1}
    shown = [sorted(selection.of({name: stream(count) for name, count in received.items()}))]
    for _ in range(SELECTION_SAMPLES):
        received["c"] += 10
        shown.append(sorted(selection.of({name: stream(count) for name, count in received.items()})))
    assert shown[0] == shown[-2] == ["a", "b"]
    assert "c" in shown[-1]


def test_a_place_that_a_forgotten_stream_leaves_is_filled_at_once() -> None:
    """No row stands for a stream that is no longer known."""
    selection = Selection(streams_max=2)
    selection.of({"a": stream(3), "b": stream(2), "c": stream(1)})
    assert sorted(selection.of({"b": stream(2), "c": stream(1), "d": stream(0)})) == ["b", "c"]
