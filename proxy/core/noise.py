"""Throttles that have nothing to do with the rate, told from those that have.

A service can throttle a small part of whatever it is sent: for bursts shorter than anybody counts, while it moves a
shard, or because it is made ill on purpose. To slow down helps nothing then, and a law that slows down with every
throttle ends at nothing.

Theory of operation: where the limit is why, the shard is sent more than it takes by an excess that follows from the
fraction that is throttled. So for a short time the lane gives way by a little more than that excess:

    QUIET ──throttles, and the excess is small enough to give way──> SETTLING ──a window──> LOOKING ──two──> QUIET

If the limit was why, nothing is throttled any more while the lane is LOOKING, for nobody else grows that fast. What is
throttled all the same is noise: a fraction that is no reason to slow down. It is forgotten slowly, so that it is looked
for again, and at once where less than it is throttled.

A lane with a small share of a crowded shard cannot give way so far, and takes every throttle for the limit's.

Must never know: what a throttle does to the rate.
"""

from __future__ import annotations

from enum import Enum
from math import sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.core.rate_control import Traffic

RELIEF_TIMES_EXCESS = 1.3
RELIEF_MORE = 0.03  # of the nominal limit: the excess is an estimate
RELIEF_MAX = 0.6  # of the lane's ratio: what it cannot give way by it cannot test
RATIO_MIN = 0.15  # a lane with less than a sixth of the shard gives way by too little to be noticed among the others
THROTTLED_RECORDS_MIN = 2  # in a window: one is chance
TIMES_REST = 1.5  # what is throttled on the average must be more than is at rest
SEEN_MAX = 0.1  # a lane that loses more is not tested: the excess is not what it seems while others give way too
KEPT_IN_A_SECOND = 0.998
SMOOTHED_SECONDS = 10.0  # what is seen is averaged over: more than that on the average cannot be noise
DEVIATIONS = 1.5  # of the number of throttles that noise explains
WAIT_SECONDS = 20.0  # between two tests; doubles while they find no noise
WAIT_SECONDS_MAX = 160.0


class Phase(Enum):
    """What the lane is doing about it."""

    QUIET = "quiet"
    SETTLING = "settling"  # gives way; what was sent before is still being answered, and counted against the second
    LOOKING = "looking"  # gives way, and what is throttled now is noise


class Noise:
    """What fraction of its records a lane loses whatever it does.

    `fraction` is that; `relief` is how much of the nominal limit the lane gives way by at present.
    """

    __slots__ = (
        "_average",
        "_first_look",
        "_next_test_seconds",
        "_seconds",
        "_wait_seconds",
        "fraction",
        "phase",
        "relief",
    )

    def __init__(self) -> None:
        self.fraction = 0.0
        self.relief = 0.0
        self.phase = Phase.QUIET
        self._average = 0.0  # fraction that was throttled lately
        self._seconds = 0.0  # that the average is over
        self._first_look: float | None = None  # fraction that was throttled in the first window of looking
        self._wait_seconds = WAIT_SECONDS
        self._next_test_seconds = 0.0  # from now

    @property
    def testing(self) -> bool:
        """Whether the lane gives way at present."""
        return self.phase is not Phase.QUIET

    def explains(self, sent_records: int, throttled_records: int) -> bool:
        """Whether so many throttles are no more than noise brings."""
        if not self.fraction:
            return False
        expected = self.fraction * sent_records
        return throttled_records <= 1 + expected + 2 * sqrt(expected)

    def beyond_ms(self, traffic: Traffic) -> float:
        """Return what was throttled beyond noise and its chances, in milliseconds of the limit."""
        if not self.fraction or not traffic.sent_records:
            return traffic.throttled_ms
        cost_ms = traffic.sent_ms / traffic.sent_records
        expected_ms = self.fraction * traffic.sent_ms
        return max(0.0, traffic.throttled_ms - expected_ms - DEVIATIONS * sqrt(expected_ms * cost_ms))

    def close_window(self, window: Traffic, seconds: float, ratio: float, at_rest_ms: float, *, testable: bool) -> None:
        """Take in what a window brought, and decide whether the lane gives way in the next.

        Args:
            window: what was sent and throttled.
            seconds: its length.
            ratio: the lane's share of the nominal limit.
            at_rest_ms: what is throttled in a second where the limit is why and the share is right.
            testable: whether the lane used what it was allowed, and has for long been allowed as much: only then does
                what was throttled say by how much the shard is sent too much.
        """
        self._next_test_seconds -= seconds
        seen = window.throttled_ms / window.sent_ms if window.sent_ms else 0.0
        if self.phase is Phase.SETTLING:
            self.phase = Phase.LOOKING
        elif self.phase is Phase.LOOKING:
            self._learn(seen)
        else:
            self._seconds = min(SMOOTHED_SECONDS, self._seconds + seconds)
            self._average += (seen - self._average) * min(1.0, seconds / self._seconds)
            self.fraction = min(self.fraction * KEPT_IN_A_SECOND**seconds, self._average)
            often = self._average * window.sent_ms > TIMES_REST * at_rest_ms * seconds
            beyond = self.beyond_ms(window) > at_rest_ms * seconds
            if testable and often and beyond and window.throttled_records >= THROTTLED_RECORDS_MIN:
                self._begin(seen, ratio)

    def _begin(self, seen: float, ratio: float) -> None:
        """Give way, if it is time, by more than what the shard is sent beyond its limit."""
        if self._next_test_seconds > 0 or seen > SEEN_MAX:
            return
        relief = RELIEF_TIMES_EXCESS * seen / (1 - seen) + RELIEF_MORE
        if ratio >= RATIO_MIN and relief <= RELIEF_MAX * ratio:
            self.relief = relief
            self.phase = Phase.SETTLING

    def _learn(self, seen: float) -> None:
        """Believe what two windows show; where they differ much, one of them is chance, or others came."""
        if self._first_look is None:
            self._first_look = seen
            return
        low, high = sorted((self._first_look, seen))
        found = (low + high) / 2 if 2 * low > high else low
        self._wait_seconds = (
            WAIT_SECONDS if found > 2 * self.fraction else min(WAIT_SECONDS_MAX, 2 * self._wait_seconds)
        )
        self._next_test_seconds = self._wait_seconds
        self.fraction = found
        self._average = max(self._average, found)
        self._first_look = None
        self.relief = 0.0
        self.phase = Phase.QUIET
