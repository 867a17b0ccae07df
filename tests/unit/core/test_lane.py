from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.core.backoff import Backoff
from proxy.core.lane import PROBE_WAIT_NS, Lane
from proxy.core.rate_control import AdaptiveRate, FixedRate
from proxy.core.shard_limit import ShardLimit
from tests.unit.core.builders import MS, SECOND

if TYPE_CHECKING:
    from proxy.core.traffic import Traffic

BACKOFF = Backoff(50 * MS, 1000 * MS, lambda: 0.5)


def lane_of(records_per_second: int = 0) -> Lane:
    """Return a lane whose bytes are unlimited."""
    return Lane("shard", ShardLimit(records_per_second, 0, 100 * MS, 0))


def test_a_lane_in_trouble_holds_everything_back_until_its_backoff_is_over() -> None:
    """Tokens or not."""
    lane = lane_of()
    assert lane.ready_at_ns(10) <= 0
    lane.back_off(SECOND, SECOND, BACKOFF)
    assert lane.ready_at_ns(10) == SECOND + 25 * MS


def test_a_lane_is_ready_when_both_its_backoff_and_its_limit_allow() -> None:
    """The later of the two decides."""
    lane = lane_of(records_per_second=10)
    lane.back_off(0, 0, BACKOFF)
    assert lane.ready_at_ns(10) == 100 * MS


def test_backoff_doubles_with_each_trouble_and_stops_at_the_cap() -> None:
    """Half of 50, 100, 200 ms by these dice, never beyond half a second."""
    lane = lane_of()
    waits = []
    for now_ns in (1 * SECOND, 2 * SECOND, 3 * SECOND):
        lane.back_off(now_ns, now_ns, BACKOFF)
        waits.append(lane.backoff_until_ns - now_ns)
    assert waits == [25 * MS, 50 * MS, 100 * MS]
    for _ in range(10):
        lane.back_off(4 * SECOND, 4 * SECOND, BACKOFF)
    assert lane.backoff_until_ns == 4 * SECOND + 500 * MS


def test_a_recovered_lane_starts_over_with_the_shortest_backoff() -> None:
    """A response without trouble wipes the slate."""
    lane = lane_of()
    for _ in range(5):
        lane.back_off(0, 0, BACKOFF)
    lane.recovered(0, 0)
    lane.back_off(SECOND, SECOND, BACKOFF)
    assert lane.backoff_until_ns == SECOND + 25 * MS


def test_requests_that_were_in_flight_together_meet_one_trouble() -> None:
    """Eight throttled responses of one moment are one reason to wait, not eight that double it."""
    lane = lane_of()
    for now_ns in (10 * MS, 11 * MS, 12 * MS):
        lane.back_off(5 * MS, now_ns, BACKOFF)
    assert lane.troubles == 1
    assert lane.backoff_until_ns == 35 * MS


def test_a_request_sent_after_the_last_trouble_makes_another_one() -> None:
    """In the very instant is not before it."""
    lane = lane_of()
    lane.back_off(0, 10 * MS, BACKOFF)
    lane.back_off(10 * MS, 40 * MS, BACKOFF)
    assert lane.troubles == 2
    assert lane.backoff_until_ns == 90 * MS


def test_late_news_of_trouble_reaches_a_lane_that_recovered_meanwhile() -> None:
    """A recovered lane has no trouble to be older than."""
    lane = lane_of()
    lane.back_off(0, 10 * MS, BACKOFF)
    lane.recovered(10 * MS, 15 * MS)
    lane.back_off(5 * MS, 20 * MS, BACKOFF)
    assert lane.backoff_until_ns == 45 * MS


def adaptive_lane() -> Lane:
    """Return a lane of a thousand records a second that finds its share."""
    return Lane("shard", ShardLimit(1000, 0, 100 * MS, 0), AdaptiveRate(0))


def throttle(lane: Lane, sent_at_ns: int, now_ns: int) -> None:
    """Answer a request of one record, which came back throttled."""
    lane.throttled(10)
    lane.back_off(sent_at_ns, now_ns, BACKOFF)


def test_after_a_throttle_one_record_goes_and_the_others_wait_for_its_answer() -> None:
    """Tokens are there for a hundred."""
    lane = adaptive_lane()
    throttle(lane, SECOND, SECOND)
    assert lane.ready_at_ns(10) == SECOND + 25 * MS
    lane.take(10, SECOND + 25 * MS)
    assert lane.ready_at_ns(10) > SECOND + 40 * MS
    assert lane.recovered(SECOND + 25 * MS, SECOND + 40 * MS)
    assert lane.ready_at_ns(10) == SECOND + 40 * MS


def test_a_probe_that_is_throttled_is_followed_by_another() -> None:
    """After a backoff that has not grown: the rate falls, so the wait need not."""
    lane = adaptive_lane()
    throttle(lane, SECOND, SECOND)
    for start_ns in (2 * SECOND, 3 * SECOND, 4 * SECOND):
        lane.take(10, start_ns)
        throttle(lane, start_ns, start_ns + 10 * MS)
        assert lane.ready_at_ns(10) == start_ns + 35 * MS
    assert lane.probing


def test_an_answer_to_what_was_sent_before_the_throttle_ends_no_probe() -> None:
    """It tells of the time before."""
    lane = adaptive_lane()
    throttle(lane, SECOND, SECOND + 10 * MS)
    assert not lane.recovered(SECOND + 5 * MS, SECOND + 12 * MS)
    assert lane.probing


def test_a_probe_without_an_answer_holds_its_lane_up_for_a_quarter_of_a_second() -> None:
    """Its request may have failed as a whole, or take long; then the next record is the probe."""
    lane = adaptive_lane()
    throttle(lane, SECOND, SECOND)
    lane.take(10, 2 * SECOND)
    assert lane.ready_at_ns(10) == 2 * SECOND + PROBE_WAIT_NS
    lane.take(10, 2 * SECOND + PROBE_WAIT_NS)
    assert lane.ready_at_ns(10) == 2 * SECOND + 2 * PROBE_WAIT_NS


def test_an_ill_shard_is_not_a_crowded_one() -> None:
    """Its lane waits longer each time, keeps its rate, and goes on without a probe."""
    lane = adaptive_lane()
    waits = []
    for now_ns in (1 * SECOND, 2 * SECOND, 3 * SECOND):
        lane.back_off(now_ns, now_ns, BACKOFF)
        waits.append(lane.backoff_until_ns - now_ns)
    assert waits == [25 * MS, 50 * MS, 100 * MS]
    assert not lane.probing
    assert lane.rate_ratio == 1.0


def test_a_rate_that_cannot_fall_leaves_the_waits_to_grow() -> None:
    """Nothing else would spare a shard that refuses everything."""
    lane = lane_of(records_per_second=1000)
    waits = []
    for now_ns in (1 * SECOND, 2 * SECOND):
        throttle(lane, now_ns, now_ns)
        waits.append(lane.backoff_until_ns - now_ns)
    assert waits == [25 * MS, 50 * MS]
    assert not lane.probing


def test_throttles_lower_the_limit_that_the_lane_sends_by() -> None:
    """The ratio that the rate control finds is the ratio of the buckets."""
    lane = adaptive_lane()
    for number in range(20):
        lane.take(10, SECOND + number)
        throttle(lane, SECOND + number, SECOND + number)
    assert lane.rate_ratio < 1.0
    assert lane.limit.records.rate_per_second == 1000 * lane.rate_ratio
    assert lane.throttled_records == 20


def test_a_lane_without_a_rate_control_uses_its_whole_limit() -> None:
    """For ever."""
    lane = Lane("shard", ShardLimit(1000, 0, 100 * MS, 0), FixedRate())
    throttle(lane, SECOND, SECOND)
    assert lane.rate_ratio == 1.0


def test_utilization_is_what_was_sent_lately_as_a_share_of_the_limit() -> None:
    """Of the nominal limit, whatever the ratio; and nothing once the lane has fallen silent."""
    lane = adaptive_lane()
    lane.recovered(0, 10 * SECOND)
    for _ in range(250):
        lane.take(10, 10 * SECOND)
    lane.recovered(10 * SECOND, 11 * SECOND)
    assert lane.utilization_ratio(11 * SECOND) == 0.25
    assert lane.utilization_ratio(14 * SECOND) == 0.0


class Listener:
    """A rate control that only notes how often in a row the shard refused what it was sent, and lets a twentieth be."""

    def __init__(self) -> None:
        self.ratio = 1.0
        self.adapts = True
        self.stray_ratio = 0.05
        self.troubles: list[int] = []

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Note it."""
        del now_ns
        self.troubles.append(traffic.troubles)


def test_the_rate_control_hears_how_often_in_a_row_the_shard_refused() -> None:
    """Each time what was sent after the last refusal; what was in flight with it is the same refusal."""
    rate = Listener()
    lane = Lane("shard", ShardLimit(1000, 0, 100 * MS, 0), rate)
    throttle(lane, 0, SECOND)
    throttle(lane, 0, SECOND + MS)
    throttle(lane, 2 * SECOND, 3 * SECOND)
    lane.recovered(4 * SECOND, 5 * SECOND)
    lane.recovered(6 * SECOND, 7 * SECOND)
    assert rate.troubles == [0, 1, 1, 2, 0]


def test_a_lane_tells_which_fraction_of_its_throttles_is_let_be() -> None:
    """As its rate control has found out; one of a fixed rate lets none be."""
    assert Lane("shard", ShardLimit(1000, 0, 100 * MS, 0), Listener()).stray_ratio == 0.05
    assert Lane("shard", ShardLimit(1000, 0, 100 * MS, 0), FixedRate()).stray_ratio == 0.0


@pytest.mark.parametrize(("before", "after", "sooner"), [(0.5, 0.6, True), (0.5, 0.5, False), (0.5, 0.4, True)])
def test_a_lane_whose_rate_has_changed_is_looked_at_again(before: float, after: float, *, sooner: bool) -> None:
    """Tokens come sooner than it was put aside for, or fill a smaller bucket sooner."""
    rate = FixedRate(before)
    rate.adapts = True
    lane = Lane("shard", ShardLimit(10, 0, 100 * MS, 0), rate)
    lane.recovered(0, 0)
    rate.ratio = after
    assert lane.recovered(SECOND, SECOND) == sooner


def test_a_record_larger_than_the_burst_may_go_sooner_at_a_lower_rate() -> None:
    """It waits for a full bucket, and that holds fewer tokens then."""
    limit = ShardLimit(0, 1000, 100 * MS, 0)
    limit.take(60, 100 * MS)
    at_full_rate_ns = limit.ready_at_ns(500)
    limit.scale(0.5, 100 * MS)
    assert limit.ready_at_ns(500) < at_full_rate_ns
