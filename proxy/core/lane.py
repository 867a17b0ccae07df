"""One shard's lane: the keys that are ready to go to it, its limit and its backoff.

A lane knows its shard only by prediction. While a stream's shard map is unknown all its keys share one careful lane
(`shard_id` None) with the capacity of a single shard; a stream that ignores keys keeps one lane for all its shards.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.core.backoff import Backoff
    from proxy.core.key_queue import KeyQueue
    from proxy.core.token_bucket import ShardLimit


class Place(Enum):
    """Where the schedule keeps a lane."""

    IDLE = "idle"  # nothing ready
    TURNS = "turns"  # may give records now
    WAITING = "waiting"  # for tokens or the end of its backoff


class Lane:
    """Ready keys of one shard, first come first served.

    A key is in `ready` exactly while it is unmuted and has a record; each key gives one record a turn, or a run where
    the stream's ordering allows it, and goes to the back, so no key of a shard starves another. `ready_records` and
    `ready_bytes` are what its keys are listed with: what the shard must be sent before a new key has its turn.
    """

    __slots__ = (
        "_backed_off_at_ns",
        "backoff_until_ns",
        "limit",
        "place",
        "ready",
        "ready_bytes",
        "ready_records",
        "shard_id",
        "throttled_records",
        "troubles",
        "wake_ordinal",
    )

    def __init__(self, shard_id: str | None, limit: ShardLimit) -> None:
        self.shard_id = shard_id
        self.limit = limit
        self.ready: OrderedDict[KeyQueue, None] = OrderedDict()
        self.ready_records = 0
        self.ready_bytes = 0
        self.place = Place.IDLE
        self.wake_ordinal = 0  # which entry of the schedule's waiting heap counts
        self.backoff_until_ns = 0
        self._backed_off_at_ns = 0
        self.troubles = 0
        self.throttled_records = 0

    def ready_at_ns(self, size_bytes: int) -> int:
        """Return the instant from which a record of this size may go to the shard."""
        return max(self.backoff_until_ns, self.limit.ready_at_ns(size_bytes))

    def back_off(self, sent_at_ns: int, now_ns: int, backoff: Backoff) -> None:
        """Hold the lane back after a response in which its shard was throttled or ill.

        Args:
            sent_at_ns: when the request was sent. Requests that were in flight together meet one and the same trouble:
                only a request sent after the last trouble makes it another one.
            now_ns: the present.
            backoff: how long to wait.
        """
        if self.troubles and sent_at_ns < self._backed_off_at_ns:
            return
        self.troubles += 1
        self._backed_off_at_ns = now_ns
        self.backoff_until_ns = now_ns + backoff.wait_ns(self.troubles)

    def recovered(self) -> None:
        """Forget past trouble: a response without any has come from the shard."""
        self.troubles = 0
