"""Mistakes that such a proxy is prone to, planted one at a time: the simulation finds each of them."""

from __future__ import annotations

import pytest

from tests.simulation.run import Simulation
from tests.simulation.scenario import Scenario
from tests.support.planted_bugs import BUGS, planted

# None of these scenarios breaks a promise by itself: `test_every_promise_holds_under_all_faults_at_once`.
DENSE_SEEDS = range(12)
# The first of them to show a bug, where that is a late one: only to save time.
SHOWN_BY = {
    "door_lets_the_younger_pass": 4,
    "lane_waits_by_its_old_rate": 11,
    "lost_on_drain": 2,
    "probe_is_waited_for_to_the_end": 8,
    "undelivered_answers_pile_up": 4,
    "unknown_error_strands": 2,
}


@pytest.mark.parametrize("bug", sorted(BUGS))
def test_a_planted_bug_is_found_by_the_promise_that_it_breaks(bug: str) -> None:
    """Within a dozen seeds, and under the right name."""
    for seed in sorted(DENSE_SEEDS, key=lambda seed: seed != SHOWN_BY.get(bug, 0)):
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
