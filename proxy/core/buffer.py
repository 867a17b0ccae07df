"""The bound on everything that waits in the proxy, in records and in bytes, over all streams.

Memory is what it protects, so bytes here are what a record holds in memory, not what the service counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.core.record import Record


class Buffer:
    """Counts what is held against two limits.

    Args:
        records_max: most records held at once.
        bytes_max: most bytes held at once.
    """

    __slots__ = ("bytes", "bytes_max", "records", "records_max")

    def __init__(self, records_max: int, bytes_max: int) -> None:
        self.records_max = records_max
        self.bytes_max = bytes_max
        self.records = 0
        self.bytes = 0

    def lacks_room_for(self, record: Record) -> str | None:
        """Return None, or what is too full to take a record."""
        if self.records >= self.records_max:
            return f"buffer of {self.records_max} records"
        if self.bytes + record.held_bytes > self.bytes_max:
            return f"buffer of {self.bytes_max} bytes"
        return None

    def take(self, record: Record) -> None:
        """Reserve room for a record; the caller has asked whether there is any."""
        self.records += 1
        self.bytes += record.held_bytes

    def give(self, record: Record) -> None:
        """Return the room of a record that has its outcome."""
        self.records -= 1
        self.bytes -= record.held_bytes
