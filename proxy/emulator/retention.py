"""How much the whole emulator remembers: records, bytes and age, over all streams; the oldest go first.

Must never know: streams, shards, sequence numbers.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

    from proxy.emulator.record_log import RecordLog, StoredRecord


class Retention:
    """The order in which records arrived, and the bounds on what is kept of them.

    Args:
        records_max: records kept over all streams; 0 keeps none.
        bytes_max: data and partition keys kept over all streams; 0 keeps none.
        age_ms_max: how long a record is kept at most.

    The bounds hold after each `enforce`; within one put they are exceeded by no more than that put.
    """

    __slots__ = ("_arrivals", "age_ms_max", "bytes_max", "kept_bytes", "records_max")

    def __init__(self, records_max: int, bytes_max: int, age_ms_max: int) -> None:
        self.records_max = records_max
        self.bytes_max = bytes_max
        self.age_ms_max = age_ms_max
        self.kept_bytes = 0
        # One entry for each record kept, in order of arrival: the log that holds it.
        self._arrivals: deque[RecordLog] = deque()

    @property
    def kept_records(self) -> int:
        """Number of records kept."""
        return len(self._arrivals)

    def keep(self, log: RecordLog, record: StoredRecord) -> int:
        """Append a record to a log, if any are kept, and return its ordinal."""
        if not self.records_max or not self.bytes_max:
            return log.skip()
        self._arrivals.append(log)
        self.kept_bytes += record.size_bytes
        return log.append(record)

    def enforce(self, wall_ms: int) -> None:
        """Forget the oldest records until all bounds hold."""
        arrivals = self._arrivals
        while arrivals and (
            len(arrivals) > self.records_max
            or self.kept_bytes > self.bytes_max
            or arrivals[0].oldest().arrived_at_ms <= wall_ms - self.age_ms_max
        ):
            log = arrivals.popleft()
            self.kept_bytes -= log.oldest().size_bytes
            log.forget_oldest()

    def drop(self, logs: Container[RecordLog]) -> None:
        """Forget every record of some logs, as of a deleted stream."""
        kept: deque[RecordLog] = deque()
        for log in self._arrivals:
            if log in logs:
                self.kept_bytes -= log.oldest().size_bytes
                log.forget_oldest()
            else:
                kept.append(log)
        self._arrivals = kept
