"""Mistakes that such a proxy is prone to, planted one at a time: the simulation finds each of them."""

from __future__ import annotations

import pytest

from tests.simulation.run import Simulation
from tests.simulation.scenario import Scenario
from tests.support.planted_bugs import BUGS, planted

# None of these scenarios breaks a promise by itself: `test_every_promise_holds_under_all_faults_at_once`.
DENSE_SEEDS = range(12)


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_planted_bug_is_found_by_the_promise_that_it_breaks(bug: str) -> None:
    """Within a dozen seeds, and under the right name."""
    for seed in DENSE_SEEDS:
        with planted(bug):
            result = Simulation(Scenario.dense(seed)).run()
        if result.broken is not None:
            assert result.broken.rule in BUGS[bug].rules, result.broken
            return
    pytest.fail(f"{bug} is not found in {len(DENSE_SEEDS)} seeds")


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
