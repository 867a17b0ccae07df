"""Several proxies on one overloaded stream: the short form of `make fleet`, and that it finds broken promises."""

from __future__ import annotations

import pytest

from tests.support.fleet_liar import Lie, lying
from tests.support.fleet_plan import CALM, STRETCHES, FleetOptions, Stretch
from tests.support.fleet_report import broken_promises, markdown
from tests.support.fleet_run import Fleet, FleetRun

# Several processes start one after the other, on whatever machine this is.
pytestmark = pytest.mark.timeout(180)

# Little enough that nothing is throttled for long: whatever is found is the liar's doing.
QUIET = FleetOptions(
    seconds=3.0,
    proxies=1,
    shards=1,
    overload=0.5,
    settings={"request_timeout_ms": "20000", "delivery_timeout_ms": "30000"},
    stretches=(Stretch(CALM, 1),),
)


def say_nothing(line: str) -> None:
    """Take a line of progress."""
    del line


async def lied_to(lie: Lie) -> FleetRun:
    """Run a small fleet on an upstream that breaks a promise."""
    return await Fleet(QUIET, say_nothing).run(lying(lie))


async def test_a_fleet_keeps_order_outcomes_and_books_under_overload_faults_and_resharding() -> None:
    """Two proxies share a stream through every fault, a split and a merge, and break no promise."""
    run = await Fleet(FleetOptions(seconds=8.0, proxies=2, shards=2, overload=1.5), say_nothing).run()
    assert broken_promises(run) == []
    assert run.verdict.acknowledged > 100
    last = run.samples[-1]
    assert last.stream.faulted > 0, "faults were injected"
    assert len(last.stream.shard_ids) == 5, "two shards, two of a split, one of a merge"
    assert all(proxy.delivered > 0 for proxy in last.proxies)
    report = markdown(run)
    assert all(stretch.name in report for stretch in STRETCHES)


async def test_a_fleet_finds_what_was_acknowledged_and_never_written() -> None:
    """Records that an upstream acknowledged and forgot are lost."""
    run = await lied_to(Lie.FORGET)
    assert run.verdict.lost > 0
    assert any("lost" in text for text in broken_promises(run))


async def test_a_fleet_finds_what_was_written_too_late() -> None:
    """A record that an upstream wrote behind a younger one of its key is an inversion."""
    run = await lied_to(Lie.DEFER)
    assert run.verdict.inversions > 0
    assert any("inversions" in text for text in broken_promises(run))


async def test_a_fleet_finds_what_was_written_twice() -> None:
    """Duplicates that no unknown outcome explains are found."""
    run = await lied_to(Lie.REPEAT)
    assert run.verdict.problems == {}
    assert any("duplicates" in text for text in broken_promises(run))
