"""Mistakes that such a proxy is prone to, planted one at a time: the simulation finds each of them."""

from __future__ import annotations

import pytest

from tests.simulation.focus import FOCUSED, scenario_for
from tests.simulation.run import Simulation
from tests.support.planted_bugs import BUGS, planted

pytestmark = pytest.mark.interpreted

# None of their scenarios breaks a promise by itself: see below, and the dense seeds of the simulation's own test.
SEEDS = range(12)


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_planted_bug_is_found_by_the_promise_that_it_breaks(bug: str) -> None:
    """Within a dozen seeds, and under the right name."""
    for seed in SEEDS:
        with planted(bug):
            result = Simulation(scenario_for(bug, seed)).run()
        if result.broken is not None:
            assert result.broken.rule in BUGS[bug].rules, result.broken
            return
    pytest.fail(f"{bug} is not found in {len(SEEDS)} seeds")


@pytest.mark.parametrize("bug", sorted(FOCUSED))
@pytest.mark.parametrize("seed", range(4))
def test_where_a_rare_bug_shows_itself_nothing_else_breaks_a_promise(bug: str, seed: int) -> None:
    """So that it is the bug that is found."""
    assert Simulation(scenario_for(bug, seed)).run().broken is None


def test_a_planted_bug_is_gone_afterwards() -> None:
    """The real code is back, so that no test can spoil another."""
    for bug in BUGS.values():
        before = bug.owner.__dict__[bug.method]
        assert before is not bug.replacement
    for name, bug in BUGS.items():
        before = bug.owner.__dict__[bug.method]
        with planted(name):
            assert bug.owner.__dict__[bug.method] is bug.replacement
        assert bug.owner.__dict__[bug.method] is before
