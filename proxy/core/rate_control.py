"""How much of a shard's limit a lane may use: the share that it finds for itself, by its own throttles alone.

Other producers write to the same shards, and nobody tells how many they are. Every lane multiplies its limit by a
ratio that it learns. What is counted is not records but what they cost: milliseconds of the shard's limit, by records
or by bytes, whichever is more. A record of 100 bytes costs a millisecond of 1000 records a second, one of 10 KiB costs
ten of 1 MiB a second; so one law serves both limits.

Theory of operation: the ratio grows steadily, by a factor a second, while the lane uses it, and falls by a factor with
every throttled millisecond. It rests where both cancel out: where so many milliseconds a second are throttled, the same
number for every lane. Lanes on one shard all see the same fraction of what they send throttled; so those that send more
are throttled more and give way to those that send less, until all send the same. Then 64 lanes lose some 3 % to
throttles, and 2 lose 0.1 %.

    START ──a calm window──> CALM ──a window in which much was throttled──> STIRRED
                               ^                                               │
                               └───────────────steps shrink with age───────────┘

How large the steps are is a matter of how much has changed. At the START the ratio halves with each window in which
anything much is throttled. A lane that is STIRRED (others came or went, or it has just started) takes large steps,
which find the new share within seconds; they shrink with the time since (one over age, the way of all stochastic
approximation) down to the CALM ones, which keep it steady. A lane that has not been throttled for long though it used
all that it had grows faster and faster: someone has left.

A lane that does not use its ratio keeps it. So one that needs less than its share is not slowed down, and what it
leaves is shared by the others: the division is max-min fair.

Source: AIMD and its fairness, Chiu and Jain, "Analysis of the Increase and Decrease Algorithms for Congestion
Avoidance" (1989); constants by simulation, `make sharers`.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple, Protocol

NANOSECONDS = 1_000_000_000
MS_PER_SECOND = 1000

RATIO_MIN = 1 / 1024  # a lane is never stuck: a record a second still finds out that the others have gone
WINDOW_NS = NANOSECONDS  # the service counts by the second
WINDOW_SECONDS_MAX = 2.0  # what a window is worth at the most: a lane that was idle has seen nothing
BUSY_RATIO = 0.8  # of what a window allowed was used: then the limit is what held the lane back

CROWD = 64  # senders on one shard at which the constants below hold; for fewer they are bent by powers of the ratio
CALM_GROWTH = 0.01  # of the ratio in a second
STIRRED_GROWTH = 0.15
STIRRED_GROWTH_SECONDS = 1.5  # growth times age: how fast the steps shrink
CALM_THROTTLED_MS = 0.4  # throttled a second at rest
STIRRED_THROTTLED_MS = 1.0
CALM_POWER = 0.5
STIRRED_POWER = 0.25
THROTTLED_POWER = 0.15

FALL_MAX = 0.1  # of the logarithm in one window, beyond the fraction that was throttled: one clump is one piece of news
STIRRED_RECORDS = 5  # throttled in one window, and
STIRRED_FRACTION = 0.12  # throttled of what was sent in it: more than chance
START_RECORDS = 3
START_FRACTION = 0.03
START_FALL = 0.7  # of the logarithm: half
PATIENCE_SECONDS = 8.0  # without a throttle, for records of a millisecond; in proportion for larger ones, up to
PATIENCE_SECONDS_MAX = 30.0
HASTE = 0.128  # growth while nothing was throttled for long rises as the square of the time in patiences
HASTE_GROWTH_MAX = 0.2


class Traffic(NamedTuple):
    """What a lane did since it was last asked.

    Args:
        sent_records: records sent.
        sent_ms: what they cost, in milliseconds of the lane's nominal limit.
        throttled_records: records that came back throttled.
        throttled_ms: what they cost.
    """

    sent_records: int
    sent_ms: float
    throttled_records: int
    throttled_ms: float

    def plus(self, other: Traffic) -> Traffic:
        """Return both together."""
        return Traffic(
            self.sent_records + other.sent_records,
            self.sent_ms + other.sent_ms,
            self.throttled_records + other.throttled_records,
            self.throttled_ms + other.throttled_ms,
        )


class RateControl(Protocol):
    """A law by which a lane finds its ratio.

    `ratio` is what the lane may use of its nominal limit; `adapts` whether that can change.
    """

    ratio: float
    adapts: bool

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

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Learn nothing."""


class AdaptiveRate:
    """The law above.

    Args:
        now_ns: the present.
    """

    __slots__ = (
        "_age_seconds",
        "_calm_since_ns",
        "_fallen",
        "_starting",
        "_window",
        "_window_from_ns",
        "adapts",
        "ratio",
        "stirred_windows",
    )

    def __init__(self, now_ns: int) -> None:
        self.ratio = 1.0
        self.adapts = True
        self.stirred_windows = 0  # in a row
        self._starting = True
        self._age_seconds = 0.0  # since the last stirred window
        self._calm_since_ns = now_ns  # nothing was throttled, and all that was allowed was used
        self._window_from_ns = now_ns
        self._window = Traffic(0, 0.0, 0, 0.0)
        self._fallen = 0.0  # of the logarithm of the ratio, in this window

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Take in what happened since the last call; afterwards `ratio` is what counts."""
        if now_ns - self._window_from_ns >= WINDOW_NS:
            self._close_window(now_ns)
        window = self._window = self._window.plus(traffic)
        if traffic.throttled_records:
            self._calm_since_ns = now_ns
            expected_ms = max(window.sent_ms, self.ratio * MS_PER_SECOND)
            growth, at_rest_ms = self._step()
            fall = min(window.throttled_ms * growth / at_rest_ms, FALL_MAX + window.throttled_ms / expected_ms)
            self._fall_to(min(fall, START_FALL))

    def _close_window(self, now_ns: int) -> None:
        """Judge the window that is over, and begin the next."""
        window = self._window
        seconds = min((now_ns - self._window_from_ns) / NANOSECONDS, WINDOW_SECONDS_MAX)
        if self._was_stirred(window):
            self._fall_to(START_FALL if self._starting else min(START_FALL, FALL_MAX * 2**self.stirred_windows))
            self.stirred_windows += 1
            self._age_seconds = 0.0
            self._calm_since_ns = now_ns
        else:
            self.stirred_windows = 0
            self._age_seconds += seconds
            if window.sent_records:
                self._starting = False
                self._grow(window, seconds, now_ns)
        self._window_from_ns = now_ns
        self._window = Traffic(0, 0.0, 0, 0.0)
        self._fallen = 0.0

    def _was_stirred(self, window: Traffic) -> bool:
        """Whether so much was throttled that the share must have changed."""
        records, fraction = (START_RECORDS, START_FRACTION) if self._starting else (STIRRED_RECORDS, STIRRED_FRACTION)
        return window.throttled_records >= records and window.throttled_ms > fraction * window.sent_ms

    def _grow(self, window: Traffic, seconds: float, now_ns: int) -> None:
        """Grow as the window allows, if the ratio is what held the lane back."""
        cost_ms = window.sent_ms / window.sent_records
        if window.sent_ms < BUSY_RATIO * self.ratio * MS_PER_SECOND * seconds - cost_ms:
            self._calm_since_ns = now_ns
            return
        growth, _ = self._step()
        patience = min(PATIENCE_SECONDS * cost_ms, max(PATIENCE_SECONDS, PATIENCE_SECONDS_MAX))
        impatience = (now_ns - self._calm_since_ns) / NANOSECONDS / patience - 1
        if impatience > 0:
            haste = min(CALM_GROWTH * (2 + HASTE * impatience**2), HASTE_GROWTH_MAX)
            if haste > growth:
                growth = haste
                self._age_seconds = min(self._age_seconds, STIRRED_GROWTH_SECONDS / haste)
        self.ratio = min(1.0, self.ratio * exp(growth * seconds))

    def _fall_to(self, fall: float) -> None:
        """Let the logarithm of the ratio fall so far in this window, what it has fallen before included."""
        if fall > self._fallen:
            self.ratio = max(RATIO_MIN, self.ratio * exp(self._fallen - fall))
            self._fallen = fall

    def _step(self) -> tuple[float, float]:
        """Return the growth of the logarithm in a second, and how many throttled ms a second cancel it out."""
        crowding = CROWD * self.ratio
        calm = CALM_GROWTH / crowding**CALM_POWER
        most = STIRRED_GROWTH / crowding**STIRRED_POWER
        stirred = most * min(1.0, STIRRED_GROWTH_SECONDS / STIRRED_GROWTH / max(self._age_seconds, 0.1))
        growth = max(calm, stirred)
        stirring = (growth - calm) / (most - calm)
        at_rest_ms = CALM_THROTTLED_MS + (STIRRED_THROTTLED_MS - CALM_THROTTLED_MS) * stirring
        return growth, at_rest_ms * crowding**THROTTLED_POWER
