from __future__ import annotations

import pytest

from proxy.core.counters import ERROR_CODES_MAX, STREAM_COUNTS, Histogram, StreamCounters


def test_an_observation_on_a_bound_belongs_below_it() -> None:
    """Upper bounds are inclusive, as Prometheus has them."""
    histogram = Histogram((1, 2, 5))
    for value in (1, 2, 2.5, 5, 6):
        histogram.observe(value)
    assert histogram.counts == [1, 1, 2, 1]
    assert histogram.sum == 16.5


def test_equal_observations_can_be_counted_together() -> None:
    """Five of a value count and sum as five."""
    histogram = Histogram((1, 2))
    histogram.observe(2, times=5)
    assert (histogram.counts, histogram.sum) == ([0, 5, 0], 10)


def test_histograms_with_the_same_bounds_add_up() -> None:
    """Bucket by bucket."""
    one, other = Histogram((1, 2)), Histogram((1, 2))
    one.observe(1)
    other.observe(1)
    other.observe(9)
    one.add(other)
    assert (one.counts, one.sum) == ([2, 0, 1], 11)
    assert (other.counts, other.sum) == ([1, 0, 1], 10)


def test_histograms_with_different_bounds_do_not_add_up() -> None:
    """Nothing true could come of it, and nothing changes."""
    histogram = Histogram((1, 2))
    with pytest.raises(ValueError, match="different bounds"):
        histogram.add(Histogram((1, 3)))
    assert histogram.counts == [0, 0, 0]


def test_every_count_of_a_forgotten_stream_survives_in_the_sum() -> None:
    """Numbers, histograms and errors by code alike."""
    total, stream = StreamCounters(), StreamCounters()
    for position, name in enumerate(name for name in STREAM_COUNTS if name.endswith("_records")):
        if isinstance(getattr(stream, name), int):
            setattr(stream, name, position + 1)
    stream.record_errors = {"InternalFailure": 2}
    stream.batch_records.observe(500)
    total.record_errors = {"InternalFailure": 1, "Throttling": 1}
    total.add(stream)
    total.add(stream)
    for name in STREAM_COUNTS:
        if isinstance(getattr(stream, name), int):
            assert getattr(total, name) == 2 * getattr(stream, name)
    assert total.record_errors == {"InternalFailure": 5, "Throttling": 1}
    assert total.batch_records.counts[-2] == 2


def test_error_codes_are_counted_by_name_up_to_a_limit() -> None:
    """A service that invents codes without end does not grow the proxy's memory, nor do streams that are forgotten."""
    counters = StreamCounters()
    for number in range(ERROR_CODES_MAX + 100):
        counters.count_error(f"Code{number}")
    counters.count_error("Code0", 5)
    assert len(counters.record_errors) == ERROR_CODES_MAX + 1
    assert counters.record_errors["other"] == 100
    assert counters.record_errors["Code0"] == 6
    forgotten = StreamCounters()
    for number in range(200):
        stream = StreamCounters()
        stream.count_error(f"Code{number}")
        forgotten.add(stream)
    assert len(forgotten.record_errors) == ERROR_CODES_MAX + 1
