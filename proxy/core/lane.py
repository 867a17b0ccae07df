"""One shard's lane: the keys that are ready to go to it, its limit, its share of it and its backoff.

A lane knows its shard only by prediction. While a stream's shard map is unknown all its keys share one careful lane
(`shard_id` None) with the capacity of a single shard; a stream that ignores keys keeps one lane for all its shards.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from proxy.core.linked_list import LinkedList
from proxy.core.rate_control import FixedRate
from proxy.core.traffic import Traffic

if TYPE_CHECKING:
    from proxy.core.backoff import Backoff
    from proxy.core.key_queue import KeyQueue
    from proxy.core.rate_control import RateControl
    from proxy.core.shard_limit import ShardLimit

NANOSECONDS_PER_MS: Final = 1_000_000
UTILIZATION_SPAN_NS: Final = 1_000_000_000  # over which it is measured
# How long a probe's answer is waited for: longer than a service that is well takes, and no lane is stuck for long by a
# request that fails.
PROBE_WAIT_NS: Final = 250_000_000


class Place(Enum):
    """Where the schedule keeps a lane."""

    IDLE = "idle"  # nothing ready
    TURNS = "turns"  # may give records now
    WAITING = "waiting"  # for tokens or the end of its backoff


class Lane:
    """Ready keys of one shard, first come first served.

    A key is in `ready` exactly while it is unmuted and has a record; each key gives one record a turn, or a run where
    the stream's ordering allows it, and goes to the back, so no key of a shard starves another. `ready_records` and
    `ready_bytes` are what its keys are listed with: what the shard must be sent before a new key has its turn;
    `ready_alone` is how many of its keys take a request for one record alone when their turn comes.

    Args:
        shard_id: the shard, as predicted; None for the careful lane.
        limit: what the shard may be sent.
        rate: finds the lane's share of that limit; without one it is all of it.

    After a throttle and its backoff one record goes, as a probe; the others wait for its answer. `sent_records` and
    `sent_bytes` count attempts. `shards` is how many the lane stands for: one, or all of a stream that ignores keys.
    """

    __slots__ = (
        "_adapts",
        "_backed_off_at_ns",
        "_rate",
        "_span_from_ns",
        "_span_ms",
        "_throttled_bytes",
        "_told_sent_bytes",
        "_told_sent_records",
        "_told_throttled_bytes",
        "_told_throttled_records",
        "_utilization",
        "backoff_until_ns",
        "limit",
        "place",
        "probing",
        "ready",
        "ready_alone",
        "ready_bytes",
        "ready_records",
        "sent_bytes",
        "sent_records",
        "shard_id",
        "shards",
        "throttled_records",
        "troubles",
        "wake_ordinal",
    )

    def __init__(self, shard_id: str | None, limit: ShardLimit, rate: RateControl | None = None) -> None:
        self.shard_id = shard_id
        self.shards = 1
        self.limit = limit
        self._rate = rate or FixedRate()
        self._adapts = self._rate.adapts
        self.ready: LinkedList[KeyQueue] = LinkedList()
        self.ready_records = 0
        self.ready_bytes = 0
        self.ready_alone = 0
        self.place = Place.IDLE
        self.wake_ordinal = 0  # which entry of the schedule's waiting heap counts
        self.backoff_until_ns = 0
        self._backed_off_at_ns = 0
        self.troubles = 0
        self.probing = False
        self.sent_records = 0
        self.sent_bytes = 0
        self.throttled_records = 0
        self._throttled_bytes = 0
        # what the rate control has been told
        self._told_sent_records = 0
        self._told_sent_bytes = 0
        self._told_throttled_records = 0
        self._told_throttled_bytes = 0
        self._span_from_ns = 0
        self._span_ms = 0.0  # what has been sent since then
        self._utilization = (0, 0.0)  # until when, and how much

    @property
    def rate_ratio(self) -> float:
        """Share of the shard's limit that the lane may use now."""
        return self.limit.ratio

    @property
    def stray_ratio(self) -> float:
        """Fraction of what is sent that the shard throttles at whatever rate, as far as the lane has found out."""
        return self._rate.stray_ratio

    def ready_at_ns(self, size_bytes: int) -> int:
        """Return the instant from which a record of this size may go to the shard."""
        ready_at_ns, backoff_until_ns = self.limit.ready_at_ns(size_bytes), self.backoff_until_ns
        return max(ready_at_ns, backoff_until_ns)

    def utilization_ratio(self, now_ns: int) -> float:
        """Return what was sent in the last second or so, as a share of the nominal limit; 0 when nothing was."""
        until_ns, utilization = self._utilization
        return utilization if now_ns - until_ns <= 2 * UTILIZATION_SPAN_NS else 0.0

    def take(self, size_bytes: int, now_ns: int) -> None:
        """Take the tokens of a record that goes now."""
        self.limit.take(size_bytes, now_ns)
        self.sent_records += 1
        self.sent_bytes += size_bytes
        if self.probing:
            self.backoff_until_ns = now_ns + PROBE_WAIT_NS

    def throttled(self, size_bytes: int) -> None:
        """Count a record that came back throttled; `back_off` must follow."""
        self.throttled_records += 1
        self._throttled_bytes += size_bytes

    def back_off(self, sent_at_ns: int, now_ns: int, backoff: Backoff) -> None:
        """Hold the lane back after a response in which its shard was throttled or ill.

        Waits double with each trouble, unless a throttle meets a rate that adapts: that falls in itself, a probe costs
        one record, and a longer wait would hide from the rate control how crowded the shard is.

        Args:
            sent_at_ns: when the request was sent. Requests that were in flight together meet one and the same trouble:
                only a request sent after the last trouble makes it another one.
            now_ns: the present.
            backoff: how long to wait.
        """
        throttled = self._learn(now_ns)
        if self.troubles and sent_at_ns < self._backed_off_at_ns:
            return
        self.troubles += 1
        self._backed_off_at_ns = now_ns
        self.probing = throttled and self._adapts
        wait_ns = backoff.spread_ns() if self.probing else backoff.wait_ns(self.troubles)
        self.backoff_until_ns = now_ns + wait_ns

    def recovered(self, sent_at_ns: int, now_ns: int) -> bool:
        """Forget past trouble: a response without any has come from the shard, to a request sent after it.

        Returns:
            Whether the lane could go on sooner than before: then its schedule must look at it again.
        """
        ratio = self.limit.ratio
        self._learn(now_ns)
        # after a fall too: a smaller bucket is full sooner, which is all that a record larger than it waits for
        changed = self.limit.ratio != ratio
        if not self.troubles or sent_at_ns < self._backed_off_at_ns:
            return changed
        self.troubles = 0
        probed, self.probing = self.probing, False
        if probed:
            self.backoff_until_ns = now_ns
        return probed or changed

    def _learn(self, now_ns: int) -> bool:
        """Tell the rate control what is new, obey it, and return whether any of it was a throttle."""
        sent_records = self.sent_records - self._told_sent_records
        sent_bytes = self.sent_bytes - self._told_sent_bytes
        throttled_records = self.throttled_records - self._told_throttled_records
        throttled_bytes = self._throttled_bytes - self._told_throttled_bytes
        self._told_sent_records, self._told_sent_bytes = self.sent_records, self.sent_bytes
        self._told_throttled_records, self._told_throttled_bytes = self.throttled_records, self._throttled_bytes
        sent_ms = self.limit.cost_ms(sent_records, sent_bytes)
        self._measure(sent_ms, now_ns)
        if self._adapts:
            throttled_ms = self.limit.cost_ms(throttled_records, throttled_bytes)
            traffic = Traffic(sent_records, sent_ms, throttled_records, throttled_ms, self.troubles)
            self._rate.learn(traffic, now_ns)
            self.limit.scale(self._rate.ratio, now_ns)
        return throttled_records > 0

    def _measure(self, sent_ms: float, now_ns: int) -> None:
        self._span_ms += sent_ms
        span_ns = now_ns - self._span_from_ns
        if span_ns >= UTILIZATION_SPAN_NS:
            self._utilization = (now_ns, self._span_ms * NANOSECONDS_PER_MS / span_ns)
            self._span_from_ns, self._span_ms = now_ns, 0.0
