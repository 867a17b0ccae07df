from __future__ import annotations

import itertools
from math import exp

import pytest

from proxy.core.rate_control import HASTE_GROWTH_LATE_MAX, RATIO_MIN, AdaptiveRate, FixedRate
from proxy.core.traffic import Traffic
from tests.unit.core.builders import MS, SECOND


class Lane:
    """A lane that is told what to send, second by second, in steps of a tenth; it tells its rate control."""

    def __init__(self, ratio_min: float = RATIO_MIN) -> None:
        self.rate = AdaptiveRate(0, ratio_min)
        self.now_ns = 0

    def seconds(self, count: int, *, throttled: int = 0, cost_ms: float = 1.0, used: float = 1.0) -> float:
        """Use a share of what may be sent, of which so many records a second come back throttled."""
        for _ in range(count):
            for tenth in range(10):
                self.now_ns += SECOND // 10
                sent = max(1, round(self.rate.ratio * 100 * used / cost_ms))
                back = throttled if tenth == 9 else 0
                self.rate.learn(Traffic(sent, sent * cost_ms, back, back * cost_ms), self.now_ns)
        return self.rate.ratio

    def settle(self, halvings: int = 3) -> float:
        """Start in a crowd, and let a minute pass at the share that was found."""
        self.seconds(halvings, throttled=400)
        self.seconds(90, throttled=1)
        return self.rate.ratio


def ratios_of_a_calm_minute() -> list[float]:
    """Return what a lane that had a sixteenth may use, second by second, when nothing is throttled any more."""
    lane = Lane()
    while lane.rate.ratio > 1 / 16:
        lane.seconds(1, throttled=1000)
    lane.seconds(90, throttled=1)
    return [lane.rate.ratio] + [lane.seconds(1) for _ in range(60)]


def test_a_lane_starts_with_all_of_its_limit_and_keeps_it_while_nothing_is_throttled() -> None:
    """Alone on its shard it has it all from the first second, and never more."""
    lane = Lane()
    assert lane.rate.ratio == 1.0
    assert lane.seconds(60) == 1.0


def test_a_starting_lane_halves_with_each_window_in_which_much_is_throttled() -> None:
    """Six windows lead from one to sixty-four senders."""
    lane = Lane()
    ratios = [lane.seconds(1, throttled=500) for _ in range(6)]
    for before, after in itertools.pairwise(ratios):
        assert 0.45 < after / before < 0.55


def test_a_lane_never_falls_below_the_least_that_it_is_given() -> None:
    """However much is throttled; and from there it grows as from anywhere else."""
    lane = Lane(ratio_min=0.125)
    for _ in range(120):
        assert lane.seconds(1, throttled=1000) >= 0.125
    assert lane.rate.ratio == 0.125
    assert lane.seconds(60) > 0.25


def test_a_clump_of_throttles_is_one_piece_of_news_for_a_settled_lane() -> None:
    """All that was in flight comes back throttled together; a tenth is given up for it, not all."""
    few, many = Lane(), Lane()
    few.settle(halvings=6)
    before = many.settle(halvings=6)
    few.rate.learn(Traffic(0, 0.0, 1, 1.0), few.now_ns)
    many.rate.learn(Traffic(0, 0.0, 300, 300.0), many.now_ns)
    assert many.rate.ratio < few.rate.ratio < before
    assert many.rate.ratio > 0.85 * before


def test_of_two_lanes_that_meet_a_clump_the_larger_gives_way_more() -> None:
    """However large the clump is: if both fell by the same factor, a newcomer to a lone lane never came to its half."""
    large, small = Lane(), Lane()
    before = large.settle(halvings=1), small.settle(halvings=3)
    for lane in (large, small):
        lane.rate.learn(Traffic(0, 0.0, 300, 300.0), lane.now_ns)
    assert before[0] > 1.3 * before[1]
    assert large.rate.ratio / before[0] < 0.97 * small.rate.ratio / before[1]


def test_a_clump_does_not_excuse_the_next_window_from_falling() -> None:
    """What has fallen in one window counts in that window alone."""
    lane = Lane()
    lane.settle()
    first = lane.seconds(1, throttled=30)
    second = lane.seconds(1, throttled=30)
    assert second < 0.95 * first


def test_the_more_throttled_of_two_lanes_gives_way_more() -> None:
    """Which is the one that sends more: so they come to send the same."""
    more, less = Lane(), Lane()
    more.settle()
    less.settle()
    assert more.seconds(5, throttled=3) < less.seconds(5, throttled=1)


def test_a_lane_rests_where_the_throttles_that_it_meets_are_as_many_as_the_law_lets_be() -> None:
    """On a shard that throttles what exceeds a fixed share, the ratio ends near that share."""
    lane = Lane()
    for _ in range(120):
        excess = max(0.0, lane.rate.ratio - 0.2) * 1000
        lane.seconds(1, throttled=round(excess))
    assert 0.19 < lane.rate.ratio < 0.21


def test_a_lane_that_does_not_use_its_ratio_keeps_it() -> None:
    """The limit is not what holds it back; grown to the full, it would come back as a burst."""
    lane = Lane()
    found = lane.settle()
    assert lane.seconds(300, used=0.5) == found


def test_a_lane_that_uses_its_ratio_grows_faster_and_faster_while_nothing_is_throttled() -> None:
    """All the others have left; from a sixteenth to all takes less than a minute, and no step is large."""
    ratios = ratios_of_a_calm_minute()
    steps = [after / before for before, after in itertools.pairwise(ratios) if after < 1]
    assert ratios[-1] == 1.0
    assert max(steps) < exp(1.1 * HASTE_GROWTH_LATE_MAX)
    assert steps[0] < steps[15] < steps[-1]


def test_a_lane_that_has_grown_in_haste_goes_on_by_amounts_not_by_a_factor() -> None:
    """One that happened to notice ten seconds before the others that someone has left is not to take all of it."""
    ratios = ratios_of_a_calm_minute()
    factors = [after / before for before, after in itertools.pairwise(ratios)]
    hasty = next(second for second, factor in enumerate(factors) if factor > 1.03)
    assert factors[hasty + 2] > factors[hasty + 4] > factors[hasty + 6] > 1.04
    assert ratios[hasty + 10] < 1.8 * ratios[hasty]


def test_a_lane_of_large_records_is_longer_patient() -> None:
    """At rest a record of 8 KB is throttled but once in a dozen seconds: as long without one is no sign of anything."""
    lane = Lane()
    lane.settle()
    for _ in range(5):
        before = lane.seconds(1, throttled=1, cost_ms=8.0)
        assert lane.seconds(20, cost_ms=8.0) < 1.2 * before


def test_steps_are_no_larger_than_the_falls_of_single_records_can_make_up_for() -> None:
    """Or a crowd with 8 KB each would be throttled too often for ever: a fifth of all, with 64 senders, was."""
    large, small = Lane(), Lane()
    grown = []
    for lane, cost_ms in ((large, 8.0), (small, 1.0)):
        lane.seconds(6, throttled=400, cost_ms=cost_ms)
        before = lane.seconds(4, cost_ms=cost_ms)
        grown.append(lane.seconds(1, cost_ms=cost_ms) / before)
    assert exp(0.02) < grown[0] < exp(0.07) < grown[1]


def test_steps_shrink_with_the_time_since_the_share_last_changed() -> None:
    """What finds a share within seconds would not keep it steady."""
    young, old = Lane(), Lane()
    young.seconds(3, throttled=400)
    young.seconds(4, throttled=1)
    old.seconds(3, throttled=400)
    old.seconds(90, throttled=1)
    falls = []
    for lane in (young, old):
        before = lane.seconds(1)
        lane.rate.learn(Traffic(0, 0.0, 1, 1.0), lane.now_ns + MS)
        falls.append(lane.rate.ratio / before)
    assert falls[0] < falls[1] < 1.0


def test_more_throttles_than_chance_make_the_steps_large_again() -> None:
    """Each window alone would prove nothing; what adds up over some of them does, and then the way back is short."""
    stirred, settled = Lane(), Lane()
    before = stirred.settle(halvings=5)
    settled.settle(halvings=5)
    assert settled.seconds(5) < 1.3 * before
    fallen = stirred.seconds(12, throttled=8)
    assert fallen < before
    assert stirred.seconds(5) > 1.5 * fallen


def growth_after_a_dozen_throttles(lane: Lane) -> float:
    """Return by which factor a lane grows in the next second."""
    for throttled in (8, 3, 1):
        lane.seconds(1, throttled=throttled)
    before = lane.rate.ratio
    return lane.seconds(1) / before


def test_a_lane_of_a_crowd_notices_a_newcomer_by_a_dozen_throttles() -> None:
    """As many as one of 16 meets within three seconds; if only some noticed, those would take more than the others."""
    lane = Lane()
    lane.settle(halvings=4)
    lane.seconds(60, throttled=1)
    settled = lane.rate.ratio
    assert lane.seconds(1) < 1.02 * settled
    assert growth_after_a_dozen_throttles(lane) > 1.1


def test_what_comes_soon_after_a_surplus_is_taken_for_its_echo() -> None:
    """Lanes whose steps are large have more throttled for a while: they would stir each other without an end."""
    lane = Lane()
    lane.settle(halvings=4)
    lane.seconds(60, throttled=1)
    assert growth_after_a_dozen_throttles(lane) > 1.1
    lane.seconds(60, throttled=1)
    assert growth_after_a_dozen_throttles(lane) < 1.05
    lane.seconds(300, throttled=1)
    assert growth_after_a_dozen_throttles(lane) > 1.1


def test_a_few_large_records_that_are_throttled_are_no_news() -> None:
    """Of 8 KB each, in flight together: 16 lanes that took them for news had a twentieth of all throttled."""
    lane = Lane()
    lane.settle(halvings=4)
    lane.seconds(2, throttled=3, cost_ms=8.0)
    before = lane.rate.ratio
    assert lane.seconds(1, cost_ms=8.0) > 0.97 * before


def test_a_throttle_in_a_second_without_a_sending_is_judged_by_its_own_cost() -> None:
    """The answer came a second later; one record of 8 KB is no news, whatever was sent meanwhile."""
    lane = Lane()
    before = lane.settle(halvings=4)
    lane.rate.learn(Traffic(), lane.now_ns + SECOND)
    lane.rate.learn(Traffic(0, 0.0, 1, 8.0), lane.now_ns + SECOND)
    lane.rate.learn(Traffic(), lane.now_ns + 2 * SECOND)
    assert lane.rate.ratio > 0.88 * before


def test_a_newcomer_to_a_crowd_of_sixteen_comes_near_its_share_within_a_minute() -> None:
    """The crowd holds the fraction that is throttled; while a lane is young it lets more be, and is not to stay so."""
    lane = Lane()
    lane.seconds(2, throttled=400)
    throttled_ratio, due = 0.55 / (1000 / 16), 0.0
    for _ in range(60):
        due += throttled_ratio * 1000 * lane.rate.ratio
        lane.seconds(1, throttled=int(due))
        due -= int(due)
    assert 0.8 / 16 < lane.rate.ratio < 1.6 / 16


def test_what_has_proven_to_be_no_chance_is_answered_with_the_large_step() -> None:
    """The lone lane that a newcomer meets was old, and its steps small: it makes room at once, not a second later."""
    lane = Lane()
    lane.seconds(90, throttled=1)
    before = lane.rate.ratio
    lane.rate.learn(Traffic(900, 900.0, 35, 35.0), lane.now_ns)
    by_the_small_step = lane.rate.ratio
    lane.rate.learn(Traffic(0, 0.0, 0, 0.0), lane.now_ns + SECOND)
    assert by_the_small_step > 0.9 * before
    assert lane.rate.ratio < 0.75 * before


def test_what_is_throttled_counts_by_its_cost() -> None:
    """A record of ten milliseconds is ten of one."""
    one, ten = Lane(), Lane()
    one.settle()
    ten.settle()
    one.rate.learn(Traffic(0, 0.0, 1, 4.0), one.now_ns)
    ten.rate.learn(Traffic(0, 0.0, 4, 4.0), ten.now_ns)
    assert one.rate.ratio == ten.rate.ratio


def test_a_shard_that_refuses_everything_leaves_a_record_a_second() -> None:
    """A lane is never stuck: it finds out when the trouble is over and in two minutes has all again, step by step."""
    lane = Lane()
    assert lane.seconds(120, throttled=1000) == RATIO_MIN
    ratios = [lane.seconds(1) for _ in range(120)]
    assert ratios[-1] == 1.0
    assert max(after / before for before, after in itertools.pairwise(ratios)) < exp(1.1 * HASTE_GROWTH_LATE_MAX)


def test_a_lane_of_large_records_keeps_enough_for_one_in_some_seconds() -> None:
    """At a thousandth of its shard a record of 1 MB would wait for a quarter of an hour, and everyone behind it."""
    lane = Lane()
    lane.seconds(60, throttled=1, cost_ms=954.0)
    assert 0.2 < lane.rate.ratio < 0.3


def test_a_large_record_now_and_then_between_small_ones_uses_a_lane() -> None:
    """While it is paid for nothing else can be sent: that little is sent then is no sign that little is wanted."""
    lane = Lane()
    lane.seconds(60, throttled=1, cost_ms=954.0)
    for second in range(90):
        lane.now_ns += SECOND
        lane.rate.learn(Traffic(1, 1.0 if second % 5 else 954.0, 0, 0.0), lane.now_ns)
    assert lane.rate.ratio > 0.4


def test_an_idle_hour_teaches_nothing() -> None:
    """Time without a record is no sign that others have left."""
    lane = Lane()
    found = lane.settle()
    lane.now_ns += 3600 * SECOND
    lane.rate.learn(Traffic(1, 1.0, 0, 0.0), lane.now_ns)
    assert lane.rate.ratio == found


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_a_fixed_rate_learns_nothing(ratio: float) -> None:
    """Whatever comes back."""
    rate = FixedRate(ratio)
    rate.learn(Traffic(100, 100.0, 100, 100.0), SECOND)
    assert rate.ratio == ratio
    assert not rate.adapts
