from __future__ import annotations

from proxy.core.backoff import Backoff
from proxy.core.lane import Lane
from proxy.core.token_bucket import ShardLimit
from tests.unit.core.builders import MS, SECOND

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
