"""What the frontend counts: plain numbers, read at scrape time.

Must never know: prometheus, names of metric families.
"""

from __future__ import annotations

from typing import Final

from proxy.core.counters import LATENCY_BOUNDS_SECONDS, Histogram
from proxy.kinesis.operations import KNOWN_OPERATIONS

# The label of every request that names no operation of the service: labels come from closed lists, never from callers.
UNKNOWN_OPERATION: Final = "unknown"

_OK: Final = 200

INVALID: Final = "invalid"
DENIED: Final = "denied"
DRAINING: Final = "draining"
INTERNAL_FAILURE: Final = "internal_failure"
REASON_OF_CODE: Final = {
    "ProvisionedThroughputExceededException": "throughput_exceeded",
    "LimitExceededException": "limit_exceeded",
    "InternalFailure": INTERNAL_FAILURE,
}
REJECTION_REASONS: Final = (INVALID, DENIED, DRAINING, *REASON_OF_CODE.values())


class FrontendCounters:
    """Requests and what became of them; all only grow.

    `rejected_records` counts records that were answered without being queued, by reason; a call that is refused as
    invalid or denied counts as one, since its records may not even be readable. `joined_requests` counts attempts that
    joined a call. `abandoned_requests` counts puts that are not answered, since their clients have left; `requests`
    does without these.
    """

    __slots__ = ("_by_operation", "abandoned_requests", "joined_requests", "rejected_records")

    def __init__(self) -> None:
        self._by_operation = {operation: _Answered() for operation in (*sorted(KNOWN_OPERATIONS), UNKNOWN_OPERATION)}
        self.joined_requests = 0
        self.abandoned_requests = 0
        self.rejected_records = dict.fromkeys(REJECTION_REASONS, 0)

    @property
    def requests(self) -> dict[tuple[str, int], int]:
        """Answered requests by operation and HTTP status, where there are any."""
        return {
            (operation, status): count
            for operation, answered in self._by_operation.items()
            for status, count in ((_OK, answered.ok), *answered.others.items())
            if count
        }

    @property
    def request_seconds(self) -> dict[str, Histogram]:
        """How long requests took, by operation."""
        return {operation: answered.seconds for operation, answered in self._by_operation.items()}

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        answered = self._by_operation[operation]
        if status == _OK:
            answered.ok += 1
        else:
            answered.others[status] = answered.others.get(status, 0) + 1
        answered.seconds.observe(seconds)

    def count_rejection(self, code: str, records: int) -> None:
        """Count records that were not queued, by the error code of their answer."""
        self.rejected_records[REASON_OF_CODE.get(code, INTERNAL_FAILURE)] += records


class _Answered:
    """The requests for one operation that were answered."""

    __slots__ = ("ok", "others", "seconds")

    def __init__(self) -> None:
        self.ok = 0
        self.others: dict[int, int] = {}  # by status
        self.seconds = Histogram(LATENCY_BOUNDS_SECONDS)
