from __future__ import annotations

from dataclasses import replace

import pytest

from tests.benchmarks.hand_over_cost import LUMPS, HandOverCost
from tests.benchmarks.workers import ONE, OWNERS, TWO, Round, cost_nearest, load_table, median_of, ratios_of

ROUND = Round(
    cpu_us=20.0,
    first_us=20.0,
    busiest_us=20.0,
    generator_us=5.0,
    upstream_us=5.0,
    records_per_second=10_000.0,
    p50_ms=1.0,
    p99_ms=2.0,
    fill=100.0,
    given=0.0,
    frame_records=0.0,
    failed=0,
)
COSTS = {lump.size: HandOverCost(giver=1.0, owner=float(lump.size), alone=0.5) for lump in LUMPS}


def test_handing_over_costs_what_both_ends_spend_beyond_the_work_itself() -> None:
    """One process that does it all is the measure."""
    assert HandOverCost(giver=2.0, owner=3.0, alone=1.5).both == 3.5


@pytest.mark.parametrize(("records", "size"), [(1.2, 1), (4.0, 8), (20.0, 8), (30.0, 64), (2_000.0, 250)])
def test_frame_is_held_against_the_lump_that_is_most_like_it(records: float, size: int) -> None:
    """By the factor between them, not by the difference."""
    assert cost_nearest(COSTS, records) == (size, COSTS[size].both)


def test_ratio_is_of_neighbouring_rounds() -> None:
    """A round in which the machine was slow for both changes nothing."""
    slow = replace(ROUND, cpu_us=60.0)
    assert ratios_of([replace(ROUND, cpu_us=30.0), replace(ROUND, cpu_us=90.0)], [ROUND, slow]) == [1.5, 1.5]


def test_what_is_reachable_is_bounded_by_the_busiest() -> None:
    """Two that share the work evenly take twice as much."""
    even = replace(ROUND, busiest_us=10.0)
    assert (ROUND.reachable_per_second, even.reachable_per_second) == (50_000.0, 100_000.0)


def test_failures_of_all_rounds_are_shown() -> None:
    """The median of the figures hides none."""
    rounds = [replace(ROUND, failed=3), ROUND, ROUND]
    assert median_of(rounds).failed == 3
    found = {ONE: rounds, TWO: [ROUND] * 3, OWNERS: [replace(ROUND, given=0.5, frame_records=9.0)] * 3}
    assert "3 records FAILED" in "\n".join(load_table("any", found, COSTS))


def test_table_computes_what_owners_cost_from_the_parts() -> None:
    """Two that are unaware of each other, and half of the records handed over."""
    two = replace(ROUND, cpu_us=24.0, busiest_us=12.0)
    owners = replace(ROUND, cpu_us=30.0, busiest_us=15.0, given=0.5, frame_records=8.0)
    table = "\n".join(load_table("any", {ONE: [ROUND], TWO: [two], OWNERS: [owners]}, COSTS))
    assert "24.00 + 0.50 x 8.50 (lumps of 8) = 28.25 µs, 1.41 of one process; measured 30.00." in table
    assert "| two, keys owned | 30.00 | 1.50 (1.50 to 1.50) | 15.00 | 66,667 | 1.33 |" in table
