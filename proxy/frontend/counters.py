"""What the frontend counts: plain numbers, read at scrape time.

Must never know: prometheus, names of metric families.
"""

from __future__ import annotations

from typing import Final

from proxy.core.counters import LATENCY_BOUNDS_SECONDS, Histogram
from proxy.kinesis.operations import KNOWN_OPERATIONS

# The label of every request that names no operation of the service: labels come from closed lists, never from callers.
UNKNOWN_OPERATION: Final = "unknown"

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

    `requests` counts by operation and HTTP status. `rejected_records` counts records that were answered without being
    queued, by reason; a call that is refused as invalid or denied counts as one, since its records may not even be
    readable. `joined_requests` counts attempts that joined a call. `abandoned_requests` counts puts that are not
    answered, since their clients have left; `requests` does without these.
    """

    __slots__ = ("abandoned_requests", "joined_requests", "rejected_records", "request_seconds", "requests")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.joined_requests = 0
        self.abandoned_requests = 0
        self.rejected_records = dict.fromkeys(REJECTION_REASONS, 0)
        self.request_seconds = {
            operation: Histogram(LATENCY_BOUNDS_SECONDS) for operation in (*sorted(KNOWN_OPERATIONS), UNKNOWN_OPERATION)
        }

    def count_request(self, operation: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        answered = (operation, status)
        self.requests[answered] = self.requests.get(answered, 0) + 1
        self.request_seconds[operation].observe(seconds)

    def count_rejection(self, code: str, records: int) -> None:
        """Count records that were not queued, by the error code of their answer."""
        self.rejected_records[REASON_OF_CODE.get(code, INTERNAL_FAILURE)] += records
