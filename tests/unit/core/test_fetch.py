from __future__ import annotations

import pytest

from proxy.core.backoff import Backoff
from proxy.core.fetch import Fetch
from tests.unit.core.builders import MS, SECOND


def fetch_of(random: float = 0.0) -> Fetch:
    """Return a fetch that backs off from one second to a minute, with dice that always show the same."""
    return Fetch(Backoff(SECOND, 60 * SECOND, lambda: random), age_min_ns=SECOND)


def known_since(learned_at_ns: int) -> Fetch:
    """Return the fetch of something that is known."""
    fetch = fetch_of()
    fetch.want(learned_at_ns)
    assert fetch.start(learned_at_ns)
    fetch.learned(learned_at_ns)
    return fetch


def test_what_is_old_is_fetched_again_when_it_is_wanted() -> None:
    """After a minute and a spread by the dice of half of one; not while nobody wants it."""
    fetch = Fetch(Backoff(SECOND, 60 * SECOND, lambda: 0.5), age_min_ns=SECOND, age_max_ns=60 * SECOND)
    fetch.want(0)
    assert fetch.start(0)
    fetch.learned(0)
    fetch.want(75 * SECOND - 1, spread=True)
    assert not fetch.start(100 * SECOND)
    fetch.want(100 * SECOND, spread=True)
    assert fetch.due_at_ns == 100 * SECOND + 500 * MS
    fetch.want(100 * SECOND + 400 * MS)
    assert fetch.start(101 * SECOND)
    fetch.want(101 * SECOND)
    assert not fetch.start(101 * SECOND)
    fetch.learned(102 * SECOND)
    fetch.want(170 * SECOND)
    assert not fetch.start(170 * SECOND)


def test_what_somebody_is_refused_by_can_be_asked_for_sooner() -> None:
    """At once, where it was not learned a moment ago; never twice at a time."""
    fetch = known_since(SECOND)
    fetch.want_younger(5 * SECOND, 6 * SECOND)
    assert fetch.due_at_ns is None
    fetch.want_younger(5 * SECOND, 6 * SECOND + 1)
    assert fetch.start(6 * SECOND + 1)
    fetch.want_younger(5 * SECOND, 20 * SECOND)
    assert fetch.due_at_ns is None


def test_nothing_is_fetched_before_it_is_wanted() -> None:
    """There is no control-plane call at start."""
    fetch = fetch_of()
    assert fetch.due_at_ns is None
    assert not fetch.start(100 * SECOND)


def test_what_is_wanted_is_due_at_once() -> None:
    """From UNKNOWN to DUE."""
    fetch = fetch_of()
    fetch.want(7)
    assert fetch.due_at_ns == 7


def test_what_many_want_at_once_can_be_spread() -> None:
    """Over the first second, by the dice: a fleet that starts together shares one account's calls."""
    fetch = fetch_of(random=0.5)
    fetch.want(7, spread=True)
    assert fetch.due_at_ns == 7 + 500 * MS


def test_to_want_it_again_does_not_put_the_fetch_off() -> None:
    """Due stays due since the first time."""
    fetch = fetch_of(random=0.5)
    fetch.want(7)
    fetch.want(8)
    fetch.want(9, spread=True)
    assert fetch.due_at_ns == 7


def test_a_fetch_starts_once_and_not_before_it_is_due() -> None:
    """From DUE to FETCHING."""
    fetch = fetch_of()
    fetch.want(7)
    assert [fetch.start(6), fetch.start(7), fetch.start(8)] == [False, True, False]
    assert fetch.under_way


def test_a_fetch_under_way_is_the_only_one() -> None:
    """Neither a wish nor a doubt starts a second one beside it, the first time or later."""
    first, later = fetch_of(), known_since(0)
    first.want(0)
    later.doubt(sent_at_ns=0, now_ns=2 * SECOND)
    for fetch in (first, later):
        assert fetch.start(2 * SECOND)
        fetch.want(3 * SECOND)
        fetch.doubt(sent_at_ns=3 * SECOND, now_ns=3 * SECOND)
        assert fetch.due_at_ns is None
        assert not fetch.start(4 * SECOND)


def test_what_is_known_is_not_wanted_again() -> None:
    """Only a doubt asks for it anew."""
    fetch = known_since(SECOND)
    fetch.want(100 * SECOND)
    assert fetch.due_at_ns is None
    assert not fetch.under_way


def test_a_doubt_makes_a_new_fetch_due() -> None:
    """A response to a request that was sent since contradicted what is known."""
    fetch = known_since(SECOND)
    fetch.doubt(sent_at_ns=5 * SECOND, now_ns=6 * SECOND)
    assert fetch.due_at_ns == 6 * SECOND


def test_a_doubt_older_than_what_is_known_is_ignored() -> None:
    """The request was sent before: what is known now may know better."""
    fetch = known_since(2 * SECOND)
    fetch.doubt(sent_at_ns=2 * SECOND - 1, now_ns=3 * SECOND)
    assert fetch.due_at_ns is None
    fetch.doubt(sent_at_ns=2 * SECOND, now_ns=3 * SECOND)
    assert fetch.due_at_ns == 3 * SECOND


def test_what_is_known_is_not_fetched_again_before_it_has_some_age() -> None:
    """A stream that contradicts every map costs one call a second, not one a response."""
    fetch = known_since(5 * SECOND)
    fetch.doubt(sent_at_ns=5 * SECOND, now_ns=5 * SECOND + MS)
    assert fetch.due_at_ns == 6 * SECOND


def test_a_doubt_about_what_is_unknown_asks_for_it() -> None:
    """There is nothing that could be newer."""
    fetch = fetch_of()
    fetch.doubt(sent_at_ns=0, now_ns=9)
    assert fetch.due_at_ns == 9


def test_doubts_that_follow_do_not_put_the_fetch_off() -> None:
    """Due stays due since the first."""
    fetch = known_since(0)
    fetch.doubt(sent_at_ns=2 * SECOND, now_ns=3 * SECOND)
    fetch.doubt(sent_at_ns=3 * SECOND, now_ns=4 * SECOND)
    assert fetch.due_at_ns == 3 * SECOND


@pytest.mark.parametrize(("failures", "wait_ms"), [(1, 1500), (2, 2000), (3, 3000), (7, 31_000), (1000, 31_000)])
def test_a_failed_fetch_is_tried_again_after_a_growing_backoff(failures: int, wait_ms: int) -> None:
    """A second and half of 1, 2, 4 … 60 s by these dice, for as long as it takes."""
    fetch = fetch_of(random=0.5)
    fetch.want(0)
    for _ in range(failures):
        fetch.failed(SECOND)
        assert not fetch.under_way
    assert fetch.due_at_ns == SECOND + wait_ms * MS


def test_a_failed_fetch_is_never_tried_again_at_once() -> None:
    """Not even when the dice show nothing."""
    fetch = fetch_of(random=0.0)
    fetch.want(0)
    fetch.start(0)
    fetch.failed(SECOND)
    assert fetch.due_at_ns == 2 * SECOND


def test_a_doubt_does_not_cut_a_backoff_short() -> None:
    """A service that is asked too often is not asked oftener."""
    fetch = known_since(0)
    fetch.doubt(sent_at_ns=SECOND, now_ns=SECOND)
    fetch.start(SECOND)
    fetch.failed(2 * SECOND)
    fetch.doubt(sent_at_ns=2 * SECOND, now_ns=2 * SECOND)
    assert fetch.due_at_ns == 3 * SECOND


def test_what_is_learned_makes_the_next_failure_the_first() -> None:
    """Failures are counted in a row."""
    fetch = fetch_of(random=0.5)
    for _ in range(6):
        fetch.failed(0)
    fetch.learned(10 * SECOND)
    fetch.failed(20 * SECOND)
    assert fetch.due_at_ns == 21 * SECOND + 500 * MS
