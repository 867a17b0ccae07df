"""Senders of the real core share one shard of a simulated service; `make sharers` measures far more of it."""

from __future__ import annotations

from functools import partial
from statistics import fmean

import pytest

from proxy.core.limits import StreamLimits
from proxy.core.rate_control import AdaptiveRate
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
@pytest.mark.parametrize("service", SERVICES)
def test_a_crowd_with_large_records_settles(service: str) -> None:
    """Sixteen with 8 KB each have eight records a second to learn from, and yet little is throttled."""
    sharing = Sharing([Demand()] * 16, SERVICES[service], record_bytes=8192, seconds=100)
    figures = figures_of(Simulation(sharing).run(), 60, 100)
    assert figures.use >= 0.98
    assert figures.throttled <= 0.015
    assert figures.fairness >= 0.9


@pytest.mark.timeout(300)
@pytest.mark.parametrize("service", SERVICES)
def test_a_newcomer_to_a_lone_sender_comes_to_its_half_within_a_minute(service: str) -> None:
    """Though the other had the whole shard, and a service that counts by the second throttles both together."""
    sharing = Sharing([Demand(), Demand(from_seconds=30)], SERVICES[service], seconds=110)
    simulation = Simulation(sharing).run()
    taken = [sum(sender.taken[90:]) for sender in simulation.senders]
    assert taken[1] >= 0.4 * sum(taken)
    assert {sender.lane.stray_ratio for sender in simulation.senders} == {0.0}


@pytest.mark.timeout(300)
def test_modest_senders_whose_records_come_by_chance_keep_nobody_in_unrest() -> None:
    """Three who want 5, 10 and 15 % of the limit beside three who want all: little is throttled, they get theirs."""
    throttled = []
    for seed in (2, 3, 4):
        demands = [Demand(50), Demand(100), Demand(150), Demand(), Demand(), Demand()]
        simulation = Simulation(Sharing(demands, SERVICES["token bucket"], seconds=100, seed=seed)).run()
        throttled.append(figures_of(simulation, 40, 100).throttled)
        for sender in simulation.senders[:3]:
            assert sum(sender.taken[40:100]) >= 0.95 * sum(sender.arrived[40:100])
    assert fmean(throttled) < 0.0085


@pytest.mark.timeout(300)
def test_a_lone_sender_uses_its_shard_though_some_of_its_records_are_throttled_at_random() -> None:
    """One in twenty, from a cold start: what it gave up for them it has mostly got back within half a minute."""
    sharing = Sharing([Demand()], SERVICES["token bucket"], seconds=40, stray_ratio=0.05)
    simulation = Simulation(sharing).run()
    assert figures_of(simulation, 20, 40).use >= 0.6
    assert 0.04 < simulation.senders[0].lane.stray_ratio < 0.06


@pytest.mark.timeout(300)
def test_senders_with_a_least_rate_use_their_shard_though_some_of_their_records_are_throttled_at_random() -> None:
    """Four that are told to keep an eighth at least; without that they have a thirtieth, together."""
    limits = StreamLimits(rate_control=partial(AdaptiveRate, ratio_min=0.125))
    sharing = Sharing([Demand()] * 4, SERVICES["by the second"], seconds=60, limits=limits, stray_ratio=0.1)
    assert figures_of(Simulation(sharing).run(), 30, 60).use > 0.8 * 4 * 0.125
