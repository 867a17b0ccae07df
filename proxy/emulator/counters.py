"""Plain counters over all streams, deleted ones included; whoever serves metrics reads them at scrape time."""

from __future__ import annotations


class PutCounters:
    """What became of the records put since the start; all only grow."""

    __slots__ = ("accepted_bytes", "accepted_records", "faulted_records", "throttled_records")

    def __init__(self) -> None:
        self.accepted_records = 0
        self.accepted_bytes = 0
        self.throttled_records = 0  # by a shard's limits
        self.faulted_records = 0  # by an injected error
