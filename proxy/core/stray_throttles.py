"""Throttles that come whatever the rate: how a lane tells them from those of a full shard, where it can.

A rate control that takes every throttle for news of a full shard gives way to those that come at random, too; and since
that changes nothing it gives way for ever. So a lane looks at what its own falls have changed.

    WATCHING ──falls have changed nothing──> PROVEN ──fewer come, probes fail, or the time is over──> WATCHING

WATCHING, it weighs two explanations of what came back in the last seconds: that the same fraction is throttled whatever
is sent, and that the fraction grows with what is sent. It is only convinced where it has given up a good part of the
shard itself: of less, others might have taken possession meanwhile. So this helps a lane that has much of its shard;
where many share one, nobody can tell. Where much is throttled the shard is full, and nothing is weighed: far beyond its
limit nearly everything is throttled, whatever is sent.

PROVEN, it lets so large a fraction of what is sent be throttled, with a margin, and names the rate up to which that
holds: what the lane sent before it fell. From there it may grow slowly, for lanes that have proven nothing give way.

Probes that fail one after the other speak for a full shard: those that meet throttles at random mostly come through.

Must never know: what the rate control does about it.

Source: Wald, "Sequential Tests of Statistical Hypotheses" (1945); RFC 3522 (what TCP does about a fall for nothing).
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Final

from proxy.core.traffic import Traffic

NANOSECONDS: Final = 1_000_000_000
MS_PER_SECOND: Final = 1000

WINDOW_NS: Final = NANOSECONDS
WINDOW_SECONDS_MAX: Final = 2.0  # a longer one says nothing about a rate
WINDOWS_MIN: Final = 6
MEMORY_SECONDS: Final = 15.0  # others need longer than a fall does to take up what was given up
# What has come of late must be nearly the same fraction. When a sender comes, throttles rain on it while it falls and
# the others have not yet, and a bucket that was full hides how many they would have been at first.
LATELY_SECONDS: Final = 1.5
LATELY_RATIO: Final = 0.8
# More than that have come than were to be expected: something has begun, and what was seen before does not hold for it.
BEGUN_DEVIATIONS: Final = 3.0
BEGUN_RECORDS: Final = 3

PROOF: Final = 6.0  # logarithm of the likelihood ratio: 400 to 1
DISPROOF: Final = -3.0  # 1 to 20; then something has changed, and what was seen before is forgotten
GIVEN_UP_RATIO: Final = 0.25  # of the shard's limit, by this lane
# Below the one it may be what a crowd lets be while shares change; above the other, by more than so many records, the
# shard is full whatever else happens.
STRAY_RATIO_MIN: Final = 0.03
STRAY_RATIO_MAX: Final = 0.2
STRAY_RECORDS_MAX: Final = 3
# Refusals in a row, the first and those of the probes after it: where a tenth is throttled at random one run in a
# thousand is so long, and at a full shard nearly every one. To give up what is proven takes more.
TROUBLES: Final = 4
TROUBLES_PROVEN: Final = 6

MARGIN: Final = 1.3  # times the fraction found: it was measured on some dozens of throttles
ALLOWANCE_SECONDS: Final = 2.0  # of strays may come together,
ALLOWANCE_MS_MIN: Final = 3.0  # or so many
GROWTH_PER_SECOND: Final = 0.02  # of the limit
PROVEN_SECONDS: Final = 60.0  # then it has to be found anew; twice as long each time that it is,
PROVEN_SECONDS_MAX: Final = 480.0
# Too few have come of so many that were expected, over so long: they have become fewer.
EXPECTED_RECORDS: Final = 30
EXPECTED_SECONDS: Final = 4.0
EXPECTED_RATIO: Final = 0.6


class _Evidence:
    """What the last windows say about throttles and rates, in sums that fade."""

    __slots__ = (
        "_lately_sent",
        "_lately_throttled",
        "_sent",
        "_sent_times_rate",
        "_throttled",
        "_throttled_log_rate",
        "rate_max",
        "windows",
    )

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self._sent = 0.0
        self._throttled = 0.0
        self._sent_times_rate = 0.0
        self._throttled_log_rate = 0.0
        self._lately_sent = 0.0
        self._lately_throttled = 0.0
        self.windows = 0
        self.rate_max = 0.0  # the largest at which it was so

    @property
    def stray_ratio(self) -> float:
        """Fraction of the records that was throttled."""
        return self._throttled / self._sent if self._sent else 0.0

    def add(self, sent: int, throttled: int, rate: float, seconds: float) -> None:
        """Take in a window; it starts anew where what was seen before does not hold any more.

        Args:
            sent: records.
            throttled: of them.
            rate: what they came to, as a share of the shard's limit.
            seconds: how long the window was.
        """
        expected = self.stray_ratio * sent
        if throttled > expected + BEGUN_DEVIATIONS * sqrt(expected) + BEGUN_RECORDS:
            self.forget()
        self._fade_and_add(sent, throttled, rate, seconds)
        if self.windows > 1 and self.weight() < DISPROOF:
            self.forget()
            self._fade_and_add(sent, throttled, rate, seconds)

    def _fade_and_add(self, sent: int, throttled: int, rate: float, seconds: float) -> None:
        fade = exp(-seconds / MEMORY_SECONDS)
        self._sent = self._sent * fade + sent
        self._throttled = self._throttled * fade + throttled
        self._sent_times_rate = self._sent_times_rate * fade + sent * rate
        self._throttled_log_rate = self._throttled_log_rate * fade + throttled * log(rate)
        fade = exp(-seconds / LATELY_SECONDS)
        self._lately_sent = self._lately_sent * fade + sent
        self._lately_throttled = self._lately_throttled * fade + throttled
        self.windows += 1
        self.rate_max = max(self.rate_max, rate)

    def goes_on(self) -> bool:
        """Whether as large a fraction has come of late as before."""
        return self._lately_throttled >= LATELY_RATIO * self.stray_ratio * self._lately_sent

    def weight(self) -> float:
        """Return the logarithm of how much likelier a fraction is that is the same at every rate.

        What was throttled in each window is taken for a number of Poisson's, with a mean that is so many of what was
        sent, or so many times the rate of it.
        """
        return self._throttled * log(self._sent_times_rate / self._sent) - self._throttled_log_rate


class StrayThrottles:
    """Of one lane.

    Args:
        now_ns: the present.

    `ratio` is the fraction of what is sent that is throttled at whatever rate; 0 where none has been proven.
    `ceiling_ratio` is up to which share of the shard's limit that holds.
    """

    __slots__ = (
        "_allowance_ms",
        "_evidence",
        "_expected_seconds",
        "_expected_sent",
        "_expected_throttled",
        "_lasts_seconds",
        "_until_ns",
        "_window",
        "_window_from_ns",
        "ceiling_ratio",
        "ratio",
    )

    def __init__(self, now_ns: int) -> None:
        self.ratio = 0.0
        self.ceiling_ratio = 1.0
        self._evidence = _Evidence()
        self._window = Traffic()
        self._window_from_ns = now_ns
        self._lasts_seconds = PROVEN_SECONDS
        self._until_ns = now_ns
        self._allowance_ms = 0.0
        self._expected_seconds = 0.0
        self._expected_sent = 0
        self._expected_throttled = 0

    def without(self, traffic: Traffic, ratio: float, now_ns: int) -> Traffic:
        """Take in what a lane did since the last call, and return it without the throttles that are to be let be.

        Args:
            traffic: what it did.
            ratio: the share of the shard's limit that it may use.
            now_ns: the present.
        """
        if now_ns - self._window_from_ns >= WINDOW_NS:
            self._close_window(ratio, now_ns)
        self._window.add(traffic)
        if not self.ratio:
            return traffic
        allowed = MARGIN * self.ratio
        most_ms = max(ALLOWANCE_MS_MIN, ALLOWANCE_SECONDS * allowed * MS_PER_SECOND * self.ceiling_ratio)
        self._allowance_ms = min(self._allowance_ms + allowed * traffic.sent_ms, most_ms)
        if not traffic.throttled_ms:
            return traffic
        let_be_ms = min(self._allowance_ms, traffic.throttled_ms)
        self._allowance_ms -= let_be_ms
        left = 1 - let_be_ms / traffic.throttled_ms
        left_records = round(traffic.throttled_records * left)
        return Traffic(traffic.sent_records, traffic.sent_ms, left_records, traffic.throttled_ms * left)

    def _close_window(self, ratio: float, now_ns: int) -> None:
        """Judge the window that is over, and begin the next."""
        window, seconds = self._window, (now_ns - self._window_from_ns) / NANOSECONDS
        self._window, self._window_from_ns = Traffic(), now_ns
        if self.ratio and now_ns > self._until_ns:
            self.ratio, self.ceiling_ratio = 0.0, 1.0
        if seconds > WINDOW_SECONDS_MAX:
            self._evidence.forget()
        elif not window.sent_ms:
            return
        elif self.ratio:
            self._doubt(window, seconds)
        else:
            self._watch(window, seconds, ratio, now_ns)

    def _watch(self, window: Traffic, seconds: float, ratio: float, now_ns: int) -> None:
        """Look whether what came back shows that throttles come whatever the rate."""
        evidence = self._evidence
        throttled = min(window.throttled_records, window.sent_records)
        if window.troubles >= TROUBLES or throttled > STRAY_RATIO_MAX * window.sent_records + STRAY_RECORDS_MAX:
            evidence.forget()
            return
        rate = window.sent_ms / seconds / MS_PER_SECOND
        evidence.add(window.sent_records, throttled, rate, seconds)
        if (
            evidence.windows >= WINDOWS_MIN
            and evidence.rate_max - rate > GIVEN_UP_RATIO
            and evidence.stray_ratio > STRAY_RATIO_MIN
            and evidence.weight() > PROOF
            and evidence.goes_on()
        ):
            self.ratio = evidence.stray_ratio
            self.ceiling_ratio = max(ratio, min(1.0, evidence.rate_max))
            self._allowance_ms = ALLOWANCE_MS_MIN
            self._until_ns = now_ns + int(self._lasts_seconds * NANOSECONDS)
            self._lasts_seconds = min(2 * self._lasts_seconds, PROVEN_SECONDS_MAX)
            self._expect_anew()
            evidence.forget()

    def _doubt(self, window: Traffic, seconds: float) -> None:
        """Look whether what was proven still holds."""
        self.ceiling_ratio = min(1.0, self.ceiling_ratio + GROWTH_PER_SECOND * seconds)
        self._expected_seconds += seconds
        self._expected_sent += window.sent_records
        self._expected_throttled += window.throttled_records
        expected = self._expected_sent * self.ratio
        if window.troubles >= TROUBLES_PROVEN:
            self._give_up()
        elif expected > EXPECTED_RECORDS and self._expected_seconds > EXPECTED_SECONDS:
            if self._expected_throttled < EXPECTED_RATIO * expected:
                self._give_up()
            else:
                self.ratio = min(self.ratio, self._expected_throttled / self._expected_sent)
            self._expect_anew()

    def _expect_anew(self) -> None:
        self._expected_seconds, self._expected_sent, self._expected_throttled = 0.0, 0, 0

    def _give_up(self) -> None:
        self.ratio, self.ceiling_ratio = 0.0, 1.0
        self._lasts_seconds = PROVEN_SECONDS
