from __future__ import annotations

from random import Random

import pytest

from proxy.core.rate_control import AdaptiveRate
from proxy.core.stray_throttles import (
    GROWTH_PER_SECOND,
    PROVEN_SECONDS,
    TROUBLES,
    TROUBLES_PROVEN,
    StrayThrottles,
)
from proxy.core.traffic import Traffic
from tests.unit.core.builders import SECOND


class Watched:
    """What a lane says of itself, a second at a time; a record costs a millisecond."""

    def __init__(self) -> None:
        self.strays = StrayThrottles(0)
        self.now_ns = 0

    def second(self, sent: int, throttled: int, troubles: int = 1, ratio: float = 0.0) -> Traffic:
        """Send so many records, of which some come back; return what is left of them for the rate control."""
        self.now_ns += SECOND
        return self.strays.without(
            Traffic(sent, float(sent), throttled, float(throttled), troubles), ratio, self.now_ns
        )

    def fall(self, *windows: tuple[int, int]) -> None:
        """Go through some seconds, and begin another in which nothing happens."""
        for sent, throttled in windows:
            self.second(sent, throttled)
        self.second(0, 0)

    def prove(self) -> None:
        """Fall to a quarter, a twentieth throttled all the way."""
        self.fall((800, 40), (600, 30), (400, 20), (200, 10), (180, 9), (160, 8))
        assert self.strays.ratio == pytest.approx(0.05)


def test_throttles_that_a_fall_has_not_changed_are_strays() -> None:
    """Three quarters of the rate were given up, and the same fraction comes back: the rate was not the cause."""
    watched = Watched()
    watched.prove()
    assert watched.strays.ceiling_ratio == pytest.approx(0.8)


def test_throttles_that_become_fewer_with_the_rate_are_a_full_shards() -> None:
    """Half the rate, half the fraction: the others are as many as before."""
    watched = Watched()
    watched.fall((800, 160), (600, 90), (400, 40), (200, 10), (100, 3), (50, 1))
    assert watched.strays.ratio == 0.0


def test_a_shard_far_beyond_its_limit_is_not_taken_for_strays() -> None:
    """Nearly everything is throttled at any rate, and what is taken stays the same: that is no fraction that stays."""
    watched = Watched()
    watched.fall((1000, 190), (900, 170), (820, 160))
    watched.fall((1000, 998), (500, 498), (250, 248), (125, 123), (62, 60), (31, 29))
    assert watched.strays.ratio == 0.0


def test_a_steady_rate_proves_nothing() -> None:
    """What comes back at one rate alone may have any cause."""
    watched = Watched()
    watched.fall(*[(500, 25)] * 60)
    assert watched.strays.ratio == 0.0


def test_a_lane_with_little_of_its_shard_proves_nothing() -> None:
    """What it gave up, others may have taken."""
    watched = Watched()
    watched.fall(*[(240, 24)] * 3, *[(120, 12)] * 3, *[(60, 6)] * 3, *[(30, 3)] * 20)
    assert watched.strays.ratio == 0.0


def test_few_throttles_prove_nothing() -> None:
    """A dozen fall as they will."""
    watched = Watched()
    watched.fall((800, 8), (400, 4), (200, 2), (100, 1))
    assert watched.strays.ratio == 0.0


def test_probes_that_fail_one_after_the_other_speak_for_a_full_shard() -> None:
    """Strays would have let one of them through: what was seen before counts no more."""
    watched = Watched()
    for sent, throttled in ((800, 40), (600, 30), (400, 20), (200, 10), (180, 9)):
        watched.second(sent, throttled)
    watched.second(160, 8, TROUBLES)
    watched.second(0, 0)
    assert watched.strays.ratio == 0.0


def test_a_change_of_what_happens_makes_the_lane_look_anew() -> None:
    """It falls out of a crowd into strays: what the crowd threw back is forgotten, and then they show."""
    watched = Watched()
    watched.fall((1000, 150), (900, 36), (450, 18), (300, 12), (225, 9), (200, 8), (200, 8), (200, 8))
    assert watched.strays.ratio == pytest.approx(0.04)


def test_strays_that_begin_in_a_calm_are_found_as_soon_as_others() -> None:
    """The minute without any says nothing about them."""
    watched = Watched()
    watched.fall(*[(1000, 0)] * 60)
    watched.prove()


def test_proven_strays_are_let_be_and_what_exceeds_them_is_not() -> None:
    """The rate control hears of the rest alone."""
    watched = Watched()
    watched.prove()
    assert watched.second(800, 40).throttled_records == 0
    left = watched.second(800, 400)
    assert 250 < left.throttled_records < 400
    assert left.throttled_ms == pytest.approx(left.throttled_records, abs=1)
    assert watched.second(800, 400).throttled_records > left.throttled_records


def test_before_a_proof_every_throttle_counts() -> None:
    """Nothing is let be on suspicion."""
    watched = Watched()
    assert watched.second(800, 40).throttled_records == 40


def test_the_ceiling_rises_slowly() -> None:
    """Those that have proven nothing give way to a lane that has."""
    watched = Watched()
    watched.prove()
    ceiling_ratio = watched.strays.ceiling_ratio
    watched.fall(*[(800, 40)] * 4)
    assert watched.strays.ceiling_ratio == pytest.approx(ceiling_ratio + 4 * GROWTH_PER_SECOND)


def test_strays_that_have_ended_are_let_be_no_longer() -> None:
    """Hundreds are expected, and none comes."""
    watched = Watched()
    watched.prove()
    for _ in range(10):
        watched.second(800, 0)
    assert watched.strays.ratio == 0.0
    assert watched.strays.ceiling_ratio == 1.0


def test_a_quiet_second_ends_nothing() -> None:
    """So few of so many may come by chance, once."""
    watched = Watched()
    watched.prove()
    watched.fall((800, 40), (800, 20), *[(800, 40)] * 4)
    assert watched.strays.ratio > 0


def test_strays_that_have_become_fewer_are_let_be_in_part() -> None:
    """The fraction never rises by itself: more of them may be a full shard's."""
    watched = Watched()
    watched.prove()
    for _ in range(10):
        watched.second(800, 32)
    assert watched.strays.ratio == pytest.approx(0.04)
    for _ in range(10):
        watched.second(800, 48)
    assert watched.strays.ratio == pytest.approx(0.04)


def test_a_long_row_of_failed_probes_ends_what_was_proven() -> None:
    """The shard has become full meanwhile."""
    watched = Watched()
    watched.prove()
    watched.second(800, 40, TROUBLES_PROVEN)
    watched.second(800, 40)
    assert watched.strays.ratio == 0.0


def test_what_was_proven_has_to_be_found_anew_and_then_holds_twice_as_long() -> None:
    """A crowd that came in the place of strays must not be taken for them for ever."""
    watched = Watched()
    spans = []
    for _ in range(2):
        watched.prove()
        proven_at_ns = watched.now_ns
        while watched.strays.ratio:
            watched.second(800, 40)
        spans.append((watched.now_ns - proven_at_ns) // SECOND)
    assert abs(spans[0] - PROVEN_SECONDS) <= 3
    assert abs(spans[1] - 2 * PROVEN_SECONDS) <= 3


def test_an_idle_hour_outlasts_what_was_proven() -> None:
    """The first record after it finds nothing let be."""
    watched = Watched()
    watched.prove()
    watched.now_ns += 3600 * SECOND
    assert watched.second(10, 1).throttled_records == 1


def test_what_was_given_up_holds_its_time_anew_after_a_doubt() -> None:
    """The minutes that a proof was worth are not those of the next, once it has proven wrong."""
    watched = Watched()
    watched.prove()
    watched.fall(*[(800, 0)] * 10)
    watched.now_ns += 60 * SECOND
    watched.prove()
    proven_at_ns = watched.now_ns
    while watched.strays.ratio:
        watched.second(800, 40)
    assert (watched.now_ns - proven_at_ns) // SECOND <= PROVEN_SECONDS + 3


def test_an_idle_while_ends_what_was_seen() -> None:
    """The shard is another's world after some seconds without a record."""
    watched = Watched()
    watched.fall((800, 40), (600, 30), (400, 20))
    watched.now_ns += 3 * SECOND
    watched.fall((200, 10), (180, 9), (160, 8))
    assert watched.strays.ratio == 0.0


def test_a_long_window_is_no_rate() -> None:
    """What was sent in one of three seconds was not sent at a third of the rate."""
    watched = Watched()
    for sent, throttled in ((2400, 120), (1800, 90), (1200, 60), (600, 30), (540, 27), (480, 24), (0, 0)):
        watched.now_ns += 2 * SECOND
        watched.second(sent, throttled)
    assert watched.strays.ratio == 0.0


def test_a_slow_fall_proves_nothing() -> None:
    """A hundredth a second: the others take up what is given up as fast."""
    watched = Watched()
    sent = 900
    while sent > 150:
        watched.second(sent, round(0.05 * sent))
        assert watched.strays.ratio == 0.0
        sent = int(0.99 * sent)


def test_some_seconds_prove_nothing() -> None:
    """Whatever they say, they may be those in which all make room for a newcomer."""
    watched = Watched()
    watched.fall((1000, 100), (500, 50), (250, 25), (200, 20), (200, 20))
    assert watched.strays.ratio == 0.0
    watched.fall((150, 15))
    assert watched.strays.ratio > 0


def test_what_has_ended_meanwhile_proves_nothing() -> None:
    """Throttles rained on a lane that came, while it fell; then the others had made room."""
    watched = Watched()
    watched.fall((990, 50), (700, 50), (500, 44), (300, 28), (240, 6), (240, 2), (240, 2), (240, 2))
    assert watched.strays.ratio == 0.0


def test_two_percent_are_what_a_crowd_lets_be() -> None:
    """However many there are to count: records of a tenth of a millisecond."""
    watched = Watched()
    for sent in (8000, 6000, 4000, 2000, 2000, 2000, 0):
        watched.now_ns += SECOND
        throttled = sent // 50
        watched.strays.without(Traffic(sent, sent / 10, throttled, throttled / 10), 0.0, watched.now_ns)
    assert watched.strays.ratio == 0.0


def test_a_lane_that_was_not_held_back_keeps_what_it_may_use() -> None:
    """Its demand fell, not its ratio; the ceiling is no lower than that."""
    watched = Watched()
    for sent, throttled in ((800, 40), (600, 30), (400, 20), (200, 10), (180, 9), (160, 8)):
        watched.second(sent, throttled, ratio=0.9)
    watched.second(0, 0, ratio=0.9)
    assert watched.strays.ratio > 0
    assert watched.strays.ceiling_ratio == 0.9


@pytest.mark.parametrize("stray_ratio", [0.05, 0.1])
def test_a_lone_lane_gets_back_what_it_gave_up_for_strays(stray_ratio: float) -> None:
    """Within seconds; without that it would end at a hundredth of its limit."""
    rate, dice, now_ns = AdaptiveRate(0), Random(7), 0  # noqa: S311 - a simulation, not a secret
    used = []
    for _ in range(600):
        now_ns += SECOND // 10
        sent = max(1, round(rate.ratio * 100))
        back = sum(dice.random() < stray_ratio for _ in range(sent))
        rate.learn(Traffic(sent, float(sent), back, float(back), 1), now_ns)
        used.append(rate.ratio)
    assert min(used) < 0.5
    assert min(used[-300:]) > 0.5
