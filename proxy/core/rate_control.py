"""How much of a shard's limit a lane may use: the share that it finds for itself, by its own throttles alone.

Other producers write to the same shards, and nobody tells how many they are. Every lane multiplies its limit by a
ratio that it learns. What is counted is not records but what they cost: milliseconds of the shard's limit, by records
or by bytes, whichever is more. A record of 100 bytes costs a millisecond of 1000 records a second, one of 10 KiB costs
ten of 1 MiB a second; so one law serves both limits.

Theory of operation: while a lane uses its ratio, the ratio grows by a factor a second, and it falls by a factor with
every throttled millisecond. It rests where both cancel out: where so many milliseconds a second are throttled, nearly
the same number for every lane. Lanes on one shard all see the same fraction of what they send throttled; so those that
send more are throttled more, and give way, until all send the same. Then 64 lanes lose some 3 % to throttles, and 2
lose 0.2 %.

    STARTING ──calm windows──> SETTLED ──more was throttled than can be chance──> SETTLED at age 0

How large the steps are is a matter of how much has changed. A lane that is STARTING halves its ratio with each window
in which much was throttled; one that is SETTLED gives way more slowly, for it may be a newcomer that is to yield. The
larger it is, the more it gives way, for a service that counts by the second throttles in clumps: to each of them all
lanes fall as far as they may, and falls by the same factor would leave them as unequal as they are. Steps are large at
age 0 and shrink with the age (one over time, the way of stochastic approximation), from those that find a new share
within seconds to those that keep it steady; meanwhile more is let be throttled, for throttles are all the news there
is. A large lane needs less time for as much news; and if it is the newcomer to a crowd, it is to give way while its
steps are still large. Steps are also no larger than what falls can make up for, one for each throttled record. Of large
records there are few: were each of them to make a lane fall further than it may, it would be throttled too often for
ever, take that for news, and never settle.

A lane that was not throttled for long though it used all that it had grows faster and faster: someone has left. Others
notice that some seconds later, and are to have their part; so soon it grows by the same amount in each second, not by
the same factor, until so much time is over that there cannot be others. How long is long depends on how often a lane at
rest is throttled.

A lane that does not use its ratio keeps it. So one that needs less than its share is not slowed down, and what it
leaves is shared by the others: the division is max-min fair.

Falls that have changed nothing are undone, and the throttles that caused them are let be (see `stray_throttles`).

Must never know: what else there is on the shard.

Source: Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion Avoidance" (1989); Robbins and
Monro, "A Stochastic Approximation Method" (1951); Page, "Continuous Inspection Schemes" (1954). The constants were
found by simulation; `make sharers` shows what they do.
"""

from __future__ import annotations

from math import exp, log
from typing import Final, Protocol

from proxy.core.stray_throttles import StrayThrottles
from proxy.core.traffic import Traffic

NANOSECONDS: Final = 1_000_000_000
MS_PER_SECOND: Final = 1000

# A lane is never stuck: a record a second still finds out that the others have gone; of large ones, by the largest of
# late, one in some seconds.
RATIO_MIN: Final = 1 / 1024
LARGEST_EVERY_SECONDS: Final = 4.0
LARGEST_FADES_SECONDS: Final = 60.0
WINDOW_NS: Final = NANOSECONDS  # the service counts by the second
WINDOW_SECONDS_MAX: Final = 2.0  # what a window is worth at the most: a lane that was idle has seen nothing
BUSY_RATIO: Final = 0.65  # of what a window allowed was used: then the limit held the lane back, or soon will

# Growth of the logarithm of the ratio in a second.
GROWTH_MAX: Final = 0.15
GROWTH_TIMES_AGE: Final = 1.5  # how it shrinks with the age, in seconds: above 1/2, or it would never arrive
GROWTH_MIN: Final = 0.008
# What the constants hold for is a crowd of 64; a larger ratio grows less, the more so the more settled it is.
CROWD: Final = 64
GROWTH_POWER: Final = 0.5
GROWTH_POWER_SECONDS: Final = 60.0

# What is throttled in a second at rest, in milliseconds; more for a larger ratio, where it is a smaller fraction.
THROTTLED_MS: Final = 0.42
THROTTLED_NEW_MS: Final = 4.0
THROTTLED_NEW_SECONDS: Final = 23.0  # a bell curve over the age, the narrower the larger the ratio is
THROTTLED_NEW_POWER: Final = 0.37
THROTTLED_POWER: Final = 0.2

# Falls of the logarithm of the ratio in one window.
FALL_MAX: Final = 0.7  # half
# Of a settled lane: one clump of throttles is one piece of news. Twice the growth, if that is more.
FALL_SETTLED_MAX: Final = 0.1
FALL_TIMES_RATIO: Final = 0.3  # on top: of two lanes that fall as far as they may, the larger gives way more
FALL_DOUBLES_AFTER: Final = 4  # windows in a row in which much was throttled: nobody else yields

# When much was throttled in a window: that many records, and that fraction of what was sent.
MUCH_RECORDS_STARTING: Final = 3
MUCH_RATIO_STARTING: Final = 0.03
MUCH_TIMES_REST_STARTING: Final = 2.5  # and that many times what is throttled at rest
MUCH_RECORDS: Final = 5
MUCH_RATIO: Final = 0.06
CALM_WINDOWS: Final = 2  # in a row, and a lane has started

# When the throttles of several windows are no chance (a cumulative sum of what exceeds so many times the rest).
SURPLUS_TIMES_REST: Final = 3.0
SURPLUS_MS_MAX: Final = 5.2  # of records of a millisecond; of larger ones more than in proportion, for a few of them,
SURPLUS_COST_POWER: Final = 1.2  # in flight together, are no news; or, if it is more,
SURPLUS_CLUMP_MAX: Final = 0.03  # of the lane's rate: what is in flight is throttled together
# A lane at age 0 lets more be throttled, of the others' too, and would be stirred by theirs in turn: with every time
# that it was of late it takes so much more for chance.
SURPLUS_TIMES_STIRRED: Final = 2.0
STIRRED_FADES_SECONDS: Final = 60.0

PATIENCE_RESTS: Final = 5.0  # without a throttle: so many times what passes between two at rest, within
PATIENCE_SECONDS_MIN: Final = 10.0
PATIENCE_SECONDS_MAX: Final = 23.0
# Growth rises with the square of the time beyond the patience, counted in patiences, up to a bound: so much where the
# ratio is what it was when the calm began, and less in proportion as it rises; but the longer it is calm the more.
HASTE_GROWTH: Final = 0.04
HASTE_POWER: Final = 6.0
HASTE_GROWTH_MAX: Final = 0.06
HASTE_GROWTH_LATE: Final = 0.015
HASTE_LATE_POWER: Final = 3.0
HASTE_GROWTH_LATE_MAX: Final = 0.24


class RateControl(Protocol):
    """A law by which a lane finds its ratio.

    `ratio` is what the lane may use of its nominal limit; `adapts` whether that can change. `stray_ratio` is the
    fraction of what is sent that comes back throttled at whatever rate, and is let be: 0 where none has been found.
    """

    ratio: float
    adapts: bool

    @property
    def stray_ratio(self) -> float: ...  # noqa: D102 - see above

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Take in what happened since the last call; afterwards `ratio` is what counts."""


class FixedRate:
    """A ratio that never changes.

    Args:
        ratio: share of the nominal limit.
    """

    __slots__ = ("adapts", "ratio")

    def __init__(self, ratio: float = 1.0) -> None:
        self.ratio = ratio
        self.adapts = False

    @property
    def stray_ratio(self) -> float:
        """Nothing is looked for."""
        return 0.0

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Learn nothing."""


def fixed_rate(now_ns: int) -> FixedRate:
    """Make a law that lets a lane use all of its limit, whatever happens."""
    del now_ns
    return FixedRate()


class AdaptiveRate:
    """The law above.

    Args:
        now_ns: the present.
        ratio_min: what the ratio never falls below, however much is throttled.
    """

    __slots__ = (
        "_age_seconds",
        "_calm_ratio",
        "_calm_since_ns",
        "_calm_windows",
        "_carried_ms",
        "_cost_ms",
        "_fallen",
        "_largest_ms",
        "_ratio_min",
        "_starting",
        "_stirred_lately",
        "_stormy_windows",
        "_strays",
        "_surplus_ms",
        "_window",
        "_window_from_ns",
        "adapts",
        "ratio",
    )

    def __init__(self, now_ns: int, ratio_min: float = RATIO_MIN) -> None:
        self.ratio = 1.0
        self.adapts = True
        self._ratio_min = max(RATIO_MIN, ratio_min)
        self._starting = True
        self._age_seconds = 0.0
        self._calm_windows = 0  # in a row
        self._stormy_windows = 0  # in a row
        self._surplus_ms = 0.0
        self._stirred_lately = 0.0  # how often, since it started; it fades
        self._carried_ms = 0.0  # of a record, what is beyond the ratio: it holds the lane back in later windows
        self._largest_ms = 1.0  # of late, by the mean of what was sent between two answers
        self._cost_ms = 1.0  # of a record, at least 1, in the last window that had any
        self._calm_since_ns = now_ns  # nothing was throttled, and all that was allowed was used
        self._calm_ratio = self.ratio  # what the ratio was then
        self._window_from_ns = now_ns
        self._window = Traffic()
        self._fallen = 0.0  # of the logarithm of the ratio, in this window
        self._strays = StrayThrottles(now_ns)

    @property
    def stray_ratio(self) -> float:
        """The fraction that is let be."""
        return self._strays.ratio

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Take in what happened since the last call; afterwards `ratio` is what counts."""
        strays = self._strays
        were_proven = strays.ratio > 0
        traffic = strays.without(traffic, self.ratio, now_ns)
        if now_ns - self._window_from_ns >= WINDOW_NS:
            self._close_window(now_ns)
        self._window.add(traffic)
        if traffic.sent_records:
            self._largest_ms = max(self._largest_ms, traffic.sent_ms / traffic.sent_records)
        if traffic.throttled_records:
            self._fall_for(self._window)
            self._begin_calm(now_ns)
        if strays.ratio:
            undone = self.ratio if were_proven else strays.ceiling_ratio
            self.ratio = min(max(self.ratio, undone), strays.ceiling_ratio)

    def _close_window(self, now_ns: int) -> None:
        """Judge the window that is over, and begin the next."""
        window, elapsed = self._window, (now_ns - self._window_from_ns) / NANOSECONDS
        seconds = min(elapsed, WINDOW_SECONDS_MAX)
        records = window.sent_records + window.throttled_records
        if records:
            self._cost_ms = max(1.0, (window.sent_ms + window.throttled_ms) / records)
        stirred = self._is_stirred(window, seconds)
        if self._is_stormy(window, seconds):
            stirred = stirred or self._starting
            self._fall_to(self._fall_max())
            self._calm_windows = 0
            self._stormy_windows += 1
            self._begin_calm(now_ns)
        else:
            self._stormy_windows = 0
            self._age_seconds += seconds
            if window.sent_records:
                self._calm_windows += 1
                self._starting = self._starting and self._calm_windows < CALM_WINDOWS
                self._grow(window, seconds, now_ns)
        self._stirred_lately *= exp(-seconds / STIRRED_FADES_SECONDS)
        if stirred:
            self._age_seconds = 0.0
            if not self._starting:
                self._stirred_lately += 1
                self._fall_for(window)
        beyond_ms = self._carried_ms + window.sent_ms - self.ratio * MS_PER_SECOND * elapsed
        self._carried_ms = min(max(0.0, beyond_ms), self._largest_ms)
        self._largest_ms *= exp(-seconds / LARGEST_FADES_SECONDS)
        self._window_from_ns = now_ns
        self._window = Traffic()
        self._fallen = 0.0

    def _is_stormy(self, window: Traffic, seconds: float) -> bool:
        """Whether much of what was sent in a window was throttled."""
        if not self._starting:
            return window.throttled_records >= MUCH_RECORDS and window.throttled_ms > MUCH_RATIO * window.sent_ms
        return (
            window.throttled_records >= MUCH_RECORDS_STARTING
            and window.throttled_ms > MUCH_RATIO_STARTING * window.sent_ms
            and window.throttled_ms > MUCH_TIMES_REST_STARTING * self._at_rest_ms() * seconds
        )

    def _is_stirred(self, window: Traffic, seconds: float) -> bool:
        """Whether more has been throttled, lately, than would be by chance if the share were right."""
        surplus_ms = self._surplus_ms + window.throttled_ms - SURPLUS_TIMES_REST * self._at_rest_ms() * seconds
        chance_ms = SURPLUS_MS_MAX * exp(SURPLUS_COST_POWER * log(self._cost_ms))
        most_ms = max(chance_ms, SURPLUS_CLUMP_MAX * MS_PER_SECOND * self.ratio)
        most_ms *= 1 + SURPLUS_TIMES_STIRRED * self._stirred_lately
        self._surplus_ms = max(0.0, surplus_ms) if surplus_ms <= most_ms else 0.0
        return surplus_ms > most_ms

    def _grow(self, window: Traffic, seconds: float, now_ns: int) -> None:
        """Grow as a window allows, if the ratio is what held the lane back."""
        cost_ms = window.sent_ms / window.sent_records
        if window.sent_ms + self._carried_ms < BUSY_RATIO * self.ratio * MS_PER_SECOND * seconds - cost_ms:
            self._begin_calm(now_ns)
            return
        growth = self._growth()
        patience = PATIENCE_RESTS * self._cost_ms / self._at_rest_ms()
        patience = min(max(PATIENCE_SECONDS_MIN, patience), PATIENCE_SECONDS_MAX)
        overdue = (now_ns - self._calm_since_ns) / NANOSECONDS / patience - 1
        if overdue > 0:
            late = min(HASTE_GROWTH_LATE * (1 + HASTE_LATE_POWER * overdue**2), HASTE_GROWTH_LATE_MAX)
            haste_max = max(HASTE_GROWTH_MAX * self._calm_ratio / self.ratio, late)
            haste = min(HASTE_GROWTH * (1 + HASTE_POWER * overdue**2), haste_max)
            self._age_seconds = min(self._age_seconds, GROWTH_TIMES_AGE / haste)
            growth = max(growth, haste)
        self.ratio = min(1.0, self.ratio * exp(growth * seconds))

    def _begin_calm(self, now_ns: int) -> None:
        """Count anew how long nothing has been throttled."""
        self._calm_since_ns = now_ns
        self._calm_ratio = self.ratio

    def _fall_for(self, window: Traffic) -> None:
        """Fall as far as what was throttled in a window asks for at this age."""
        self._fall_to(min(window.throttled_ms * self._growth() / self._at_rest_ms(), self._fall_max()))

    def _fall_to(self, fall: float) -> None:
        """Let the logarithm of the ratio fall so far in this window, what it has fallen before included."""
        if fall > self._fallen:
            least = max(self._ratio_min, self._largest_ms / MS_PER_SECOND / LARGEST_EVERY_SECONDS)
            self.ratio = max(min(self.ratio, least), self.ratio * exp(self._fallen - fall))
            self._fallen = fall

    def _fall_max(self) -> float:
        """Return how far the logarithm of the ratio may fall in one window."""
        if self._starting:
            return FALL_MAX
        doublings = max(0, self._stormy_windows - FALL_DOUBLES_AFTER)
        return min(FALL_MAX, max(self._fall_settled_max(), 2 * self._growth()) * (1 << doublings))

    def _fall_settled_max(self) -> float:
        """Return how far it may fall in one window in which nothing is unusual."""
        return FALL_SETTLED_MAX + FALL_TIMES_RATIO * self.ratio

    def _growth(self) -> float:
        """Return the growth of the logarithm of the ratio in a second, by its age."""
        age_seconds = max(self._age_seconds, 1.0)
        power = GROWTH_POWER * min(1.0, age_seconds / GROWTH_POWER_SECONDS)
        larger = log(CROWD * self.ratio)
        growth = min(GROWTH_MAX, GROWTH_TIMES_AGE / age_seconds) * exp(-power * larger)
        growth = max(growth, GROWTH_MIN * exp(-GROWTH_POWER * larger))
        return min(growth, self._fall_settled_max() * self._at_rest_ms() / self._cost_ms)

    def _at_rest_ms(self) -> float:
        """Return how much is throttled in a second when growth and falls cancel out."""
        larger = log(CROWD * self.ratio)
        novelty = exp(-((self._age_seconds / THROTTLED_NEW_SECONDS * exp(THROTTLED_NEW_POWER * larger)) ** 2))
        throttled_ms = THROTTLED_MS + (THROTTLED_NEW_MS - THROTTLED_MS) * novelty
        return throttled_ms * exp(THROTTLED_POWER * larger)
