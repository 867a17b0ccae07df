from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.backoff import Backoff
from tests.unit.core.builders import MS

ALMOST_ONE = 1 - 2**-53


def backoff_of(rolled: float) -> Backoff:
    """Return a backoff of 50 ms to 1 s whose dice always show the same."""
    return Backoff(50 * MS, 1000 * MS, lambda: rolled)


def test_the_wait_lies_between_nothing_and_its_bound() -> None:
    """Full jitter spreads contenders over the whole interval."""
    assert backoff_of(0.0).wait_ns(1) == 0
    assert backoff_of(0.5).wait_ns(1) == 25 * MS
    assert 50 * MS - 1 <= backoff_of(ALMOST_ONE).wait_ns(1) <= 50 * MS


def test_the_bound_doubles_with_each_failure_in_a_row() -> None:
    """Half of 50, 100, 200, 400 ms."""
    assert [backoff_of(0.5).wait_ns(failures) for failures in (1, 2, 3, 4)] == [25 * MS, 50 * MS, 100 * MS, 200 * MS]


def test_the_bound_stops_at_the_cap() -> None:
    """The fifth doubling of 50 ms would be beyond a second."""
    assert backoff_of(0.5).wait_ns(6) == 500 * MS


def test_a_billion_failures_cost_no_more_than_ten() -> None:
    """A huge count neither overflows nor makes a huge number."""
    assert backoff_of(0.5).wait_ns(1_000_000_000) == 500 * MS


def test_each_wait_is_rolled_anew() -> None:
    """Who waited as long as another once does not do so again."""
    dice = iter([0.1, 0.9])
    backoff = Backoff(50 * MS, 1000 * MS, lambda: next(dice))
    assert [backoff.wait_ns(1), backoff.wait_ns(1)] == [5 * MS, 45 * MS]


def test_many_who_begin_together_are_spread_over_the_base() -> None:
    """Between nothing and the bound of the first wait."""
    assert [backoff_of(rolled).spread_ns() for rolled in (0.0, 0.5)] == [0, 25 * MS]


@given(st.integers(1, 10**9), st.integers(0, 10**12), st.integers(0, 10**12), st.floats(0, 1, exclude_max=True))
def test_no_wait_is_negative_or_beyond_the_cap(failures: int, base_ns: int, cap_ns: int, rolled: float) -> None:
    """Whatever the settings and the dice."""
    assert 0 <= Backoff(base_ns, cap_ns, lambda: rolled).wait_ns(failures) <= cap_ns
