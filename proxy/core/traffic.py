"""What a lane tells its rate control."""

from __future__ import annotations


class Traffic:
    """What a lane did since it was last asked.

    Args:
        sent_records: records sent.
        sent_ms: what they cost, in milliseconds of the lane's nominal limit.
        throttled_records: records that came back throttled.
        throttled_ms: what they cost.
        troubles: how often in a row, at most, the shard refused what was sent after it had refused before.
    """

    __slots__ = ("sent_ms", "sent_records", "throttled_ms", "throttled_records", "troubles")

    def __init__(
        self,
        sent_records: int = 0,
        sent_ms: float = 0.0,
        throttled_records: int = 0,
        throttled_ms: float = 0.0,
        troubles: int = 0,
    ) -> None:
        self.sent_records = sent_records
        self.sent_ms = sent_ms
        self.throttled_records = throttled_records
        self.throttled_ms = throttled_ms
        self.troubles = troubles

    def add(self, other: Traffic) -> None:
        """Add what was done besides."""
        self.sent_records += other.sent_records
        self.sent_ms += other.sent_ms
        self.throttled_records += other.throttled_records
        self.throttled_ms += other.throttled_ms
        self.troubles = max(self.troubles, other.troubles)
