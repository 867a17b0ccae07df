"""What a shard remembers: its records by ordinal, the oldest of them forgotten first.

Ordinals are handed out without gaps, so a record's place is its ordinal minus the first one kept. Data stays the base64
text in which it came and in which it will be read: nothing is decoded.

Must never know: sequence numbers, clocks, how much may be kept.
"""

from __future__ import annotations

from bisect import bisect_left
from operator import attrgetter

from msgspec import Struct

# Forgotten records are cut off the list only in runs of this many, so that forgetting one costs no copy of the rest.
_CUT_RECORDS = 1024


class StoredRecord(Struct, gc=False):
    """One record as the service keeps it.

    Args:
        data: base64 text.
        partition_key: empty where a stream that ignores keys was given none.
        size_bytes: data and partition key as the service counts them.
        arrived_at_ms: epoch milliseconds.
    """

    data: str
    partition_key: str
    size_bytes: int
    arrived_at_ms: int


_arrived_at_ms = attrgetter("arrived_at_ms")


class RecordLog:
    """The records of one shard.

    The first record has ordinal 1: ordinal 0 is the shard's own starting sequence number.
    """

    __slots__ = ("_cut", "_records", "_zero", "next_ordinal")

    def __init__(self) -> None:
        self._records: list[StoredRecord | None] = []
        self._cut = 0  # so many at the front of the list are forgotten
        self._zero = 1  # ordinal of the list's first element
        self.next_ordinal = 1

    def __len__(self) -> int:
        """Return the number of records kept."""
        return len(self._records) - self._cut

    @property
    def first_ordinal(self) -> int:
        """Ordinal of the oldest record kept, or the next one to be handed out."""
        return self._zero + self._cut

    def append(self, record: StoredRecord) -> int:
        """Keep a record as the newest and return its ordinal."""
        ordinal = self.next_ordinal
        self._records.append(record)
        self.next_ordinal = ordinal + 1
        return ordinal

    def skip(self) -> int:
        """Hand out an ordinal without keeping the record; for a log that never keeps any."""
        ordinal = self.next_ordinal
        self.next_ordinal = self._zero = ordinal + 1
        return ordinal

    def oldest(self) -> StoredRecord:
        """Return the oldest record kept; there must be one."""
        record = self._records[self._cut]
        if record is None:
            raise AssertionError(f"ordinal {self.first_ordinal} was forgotten")
        return record

    def forget_oldest(self) -> None:
        """Drop the oldest record kept; there must be one."""
        self._records[self._cut] = None
        self._cut += 1
        if self._cut >= _CUT_RECORDS and self._cut * 2 >= len(self._records):
            del self._records[: self._cut]
            self._zero += self._cut
            self._cut = 0

    def read(self, ordinal: int, records_max: int, bytes_max: int) -> tuple[int, list[StoredRecord]]:
        """Return the records from an ordinal on, at least one where there is one.

        Args:
            ordinal: where to start; what is forgotten is stepped over.
            records_max: at least 1.
            bytes_max: of data and partition keys together; the first record may exceed it.

        Returns:
            The ordinal of the first record returned (or of the first to come), and the records.
        """
        ordinal = max(ordinal, self.first_ordinal)
        start = ordinal - self._zero
        found: list[StoredRecord] = []
        for record in self._records[start : start + records_max]:
            if record is None:
                raise AssertionError(f"a forgotten record is read from ordinal {ordinal} on")
            bytes_max -= record.size_bytes
            if bytes_max < 0 and found:
                break
            found.append(record)
        return ordinal, found

    def ordinal_at(self, wall_ms: int) -> int:
        """Return the ordinal of the first record kept that arrived at or after a moment, or the next to come."""
        return self._zero + bisect_left(self._records, wall_ms, lo=self._cut, key=_arrived_at_ms)
