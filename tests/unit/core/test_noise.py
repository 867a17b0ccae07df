"""Throttles that have nothing to do with the rate, told from those that have."""

from __future__ import annotations

from collections.abc import Callable

from proxy.core.noise import Noise, Phase
from proxy.core.rate_control import AdaptiveRate, Traffic
from tests.unit.core.builders import SECOND

Throttling = Callable[[float], float]


def played(fraction_of: Throttling, seconds: int) -> list[float]:
    """Return a lane's ratio, second by second, on a shard that throttles a fraction of what is sent, by its load."""
    rate, now_ns, ratios = AdaptiveRate(0), 0, []
    for _ in range(seconds):
        load = rate.ratio
        for _ in range(10):
            now_ns += SECOND // 10
            sent = round(load * 100)
            throttled = round(sent * fraction_of(load), 6)
            rate.learn(Traffic(sent, float(sent), 1 if throttled else 0, throttled), now_ns)
        ratios.append(rate.ratio)
    return ratios


def window(throttled_records: int, sent_records: int = 1000) -> Traffic:
    """Return a second of records that cost a millisecond each."""
    return Traffic(sent_records, float(sent_records), throttled_records, float(throttled_records))


def test_a_lane_that_loses_a_little_whatever_it_sends_keeps_its_rate() -> None:
    """Half a percent would drive it down to a tenth of its shard otherwise."""
    assert min(played(lambda _load: 0.005, 300)[120:]) > 0.85


def test_a_lane_that_loses_what_exceeds_a_share_stays_around_that_share() -> None:
    """Giving way ends the throttles then: they were the limit's."""
    ratios = played(lambda load: max(0.0, 1 - 0.5 / load), 300)
    assert 0.3 < min(ratios[120:]) < max(ratios[120:]) < 0.6


def test_a_test_gives_way_by_more_than_the_excess_and_ends_after_three_windows() -> None:
    """One to settle, two to look."""
    noise = Noise()
    phases, reliefs = [], []
    for _ in range(4):
        noise.close_window(window(10), 1.0, 1.0, 1.0, testable=True)
        phases.append(noise.phase)
        reliefs.append(noise.relief)
    assert phases == [Phase.SETTLING, Phase.LOOKING, Phase.LOOKING, Phase.QUIET]
    assert 0.04 < reliefs[0] == reliefs[1] == reliefs[2] < 0.05
    assert reliefs[3] == 0.0
    assert noise.fraction == 0.01


def test_throttles_that_end_when_the_lane_gives_way_are_no_noise() -> None:
    """And the next test comes later."""
    noise = Noise()
    for throttled in (10, 10, 0, 0):
        noise.close_window(window(throttled), 1.0, 1.0, 1.0, testable=True)
    assert (noise.phase, noise.fraction) == (Phase.QUIET, 0.0)
    for second in range(1, 60):
        noise.close_window(window(10), 1.0, 1.0, 1.0, testable=True)
        if noise.testing:
            assert second >= 40
            break
    else:
        raise AssertionError("it is tested again some time")


def test_one_look_alone_proves_nothing() -> None:
    """Where two differ much, one of them is chance, or others came: the smaller one counts."""
    noise = Noise()
    for throttled in (10, 10, 50, 1):
        noise.close_window(window(throttled), 1.0, 1.0, 1.0, testable=True)
    assert noise.fraction == 0.001


def test_a_lane_that_cannot_give_way_far_enough_takes_every_throttle_for_the_limits() -> None:
    """A small share of a crowded shard, or too much that is throttled."""
    for throttled, ratio in ((10, 0.1), (200, 1.0), (90, 0.2)):
        noise = Noise()
        noise.close_window(window(throttled), 1.0, ratio, 1.0, testable=True)
        assert not noise.testing


def test_what_is_throttled_as_noise_brings_it_counts_for_nothing() -> None:
    """And what is beyond its chances counts."""
    noise = Noise()
    noise.fraction = 0.01
    assert noise.beyond_ms(window(10)) == 0.0
    assert noise.beyond_ms(window(14)) == 0.0
    assert 5 < noise.beyond_ms(window(20)) < 10
    assert Noise().beyond_ms(window(20)) == 20.0


def test_noise_that_is_over_is_forgotten_within_seconds() -> None:
    """What is seen on the average is an upper bound of it."""
    noise = Noise()
    for throttled in (10, 10, 10, 10):
        noise.close_window(window(throttled), 1.0, 1.0, 1.0, testable=True)
    for _ in range(30):
        noise.close_window(window(0), 1.0, 1.0, 1.0, testable=True)
    assert noise.fraction < 0.001
