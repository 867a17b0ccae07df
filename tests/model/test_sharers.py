"""Senders of the real core share one shard of a simulated service; `make sharers` measures far more of it."""

from __future__ import annotations

import pytest

from tests.support.sharers import SERVICES, Demand, Sharing, Simulation, figures_of


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_senders_that_know_nothing_of_each_other_share_a_shard_evenly_and_use_it_up(service: str) -> None:
    """Four, from a cold start, after a minute: 98 % of the limit is used, at most 1 % throttled, in equal parts."""
    sharing = Sharing([Demand()] * 4, SERVICES[service], seconds=80)
    figures = figures_of(Simulation(sharing).run(), 60, 80)
    assert figures.use >= 0.98
    assert figures.throttled <= 0.01
    assert figures.fairness >= 0.95


@pytest.mark.timeout(300)
def test_a_lone_sender_uses_its_shard_though_some_of_its_records_are_throttled_at_random() -> None:
    """One in twenty, from a cold start: what it gave up for them it has mostly got back within half a minute."""
    sharing = Sharing([Demand()], SERVICES["token bucket"], seconds=40, stray_ratio=0.05)
    assert figures_of(Simulation(sharing).run(), 20, 40).use >= 0.6
