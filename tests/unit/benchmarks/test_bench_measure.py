from __future__ import annotations

from tests.benchmarks.latency import rows_of
from tests.benchmarks.load import Report
from tests.benchmarks.measure import Cost, Plan, median_of, put_records, ratio_of
from tests.benchmarks.spread import Found, Point, row_of


def cost(us: float, failed: int = 0) -> Cost:
    """Return a cost of one record a request."""
    return Cost(us, us, 1e6 / us, failed)


def test_ratio_is_of_neighbouring_rounds() -> None:
    """A round in which the machine was slow for both changes no ratio."""
    ratio = ratio_of([cost(50), cost(150), cost(60)], [cost(100), cost(300), cost(100)])
    assert (ratio.median, ratio.lowest, ratio.highest) == (0.5, 0.5, 0.6)


def test_failures_of_all_rounds_count() -> None:
    """The median of the costs hides no failure."""
    assert median_of([cost(1, failed=2), cost(2), cost(3, failed=5)]).failed == 7


def test_finer_plan_takes_as_long() -> None:
    """Shorter rounds, and more of them."""
    finer = Plan(3, 6.0).finer()
    assert finer.rounds > 3
    assert finer.rounds * finer.seconds == 18


def test_added_latency_is_the_difference_of_the_medians() -> None:
    """What the upstream takes by itself is not the proxy's."""
    direct = [Report(latency_p50=p50, latency_p99=0.02) for p50 in (0.010, 0.011, 0.5)]
    through = [Report(latency_p50=p50, latency_p99=0.05) for p50 in (0.012, 0.012, 0.012)]
    median, tail = rows_of(20, direct, through)
    assert round(median.value or 0, 6) == 1.0
    assert round(tail.value or 0, 6) == 30.0
    assert tail.met is False


def test_spread_is_the_dearest_place_by_the_cheapest() -> None:
    """One dear place misses the target, wherever it lies."""
    row = row_of("keys", "PutRecord", {10: Found(cost(30), 9), 100: Found(cost(10), 90), 1_000: Found(cost(11), 99)})
    assert row.value == 3.0
    assert row.met is False


def test_calls_of_fewer_keys_than_records_come_one_at_a_time() -> None:
    """They take a round trip for each record of a key, and several would wait for each other beyond their deadline."""
    load = put_records(0)
    assert Point(keys=10).options(load).connections == 1
    assert Point().options(load).connections == load.connections
