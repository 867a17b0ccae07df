"""What became of the requests that went upstream, in plain ints that the metrics module reads at scrape time.

Must never know: prometheus, names of metric families.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING

from proxy.core.batch import Written
from proxy.core.counters import LATENCY_BOUNDS_SECONDS, Histogram
from proxy.core.verdicts import verdict_of

if TYPE_CHECKING:
    from proxy.core.batch import Failure

PUT_RECORD = "PutRecord"
PUT_RECORDS = "PutRecords"
LIST_SHARDS = "ListShards"
DESCRIBE_STREAM_SUMMARY = "DescribeStreamSummary"
# One name for every forwarded operation: clients choose those, and a label's values must not be theirs to choose.
FORWARD = "Forward"

OPERATIONS = (PUT_RECORD, PUT_RECORDS, LIST_SHARDS, DESCRIBE_STREAM_SUMMARY, FORWARD)
PUTS = frozenset({PUT_RECORD, PUT_RECORDS})


class Outcome(Enum):
    """What became of one request; the closed set that metrics label with."""

    OK = "ok"
    PARTIAL = "partial"  # taken, but some of its records failed
    THROTTLED = "throttled"  # refused as a whole, to be sent later
    REFUSED = "refused"  # any other 4xx
    ERROR = "error"  # 5xx
    UNKNOWN = "unknown"  # no answer, or none that can be read
    NOT_SENT = "not_sent"


def outcome_of(failure: Failure) -> Outcome:
    """Return the outcome that a failed request is counted under."""
    if failure.written is Written.NOT_SENT:
        return Outcome.NOT_SENT
    if failure.written is Written.REFUSED:
        return Outcome.THROTTLED if verdict_of(failure.code, failure.status).throttled else Outcome.REFUSED
    return Outcome.ERROR if failure.status >= HTTPStatus.INTERNAL_SERVER_ERROR else Outcome.UNKNOWN


class UpstreamCounters:
    """Counters of all requests to the upstream, and gauges of now.

    `requests` has every pair of operation and outcome from the start, so that the first failure shows as an increase.
    `put_duration_seconds` covers PutRecords and PutRecord alone: reads would drown them.
    `credentials_expire_at_seconds` is seconds since the epoch, or None while there is nothing that expires.
    """

    __slots__ = ("credentials_expire_at_seconds", "in_flight", "put_duration_seconds", "requests")

    def __init__(self) -> None:
        self.requests: dict[tuple[str, Outcome], int] = {
            (operation, outcome): 0 for operation in OPERATIONS for outcome in Outcome
        }
        self.put_duration_seconds = Histogram(LATENCY_BOUNDS_SECONDS)
        self.in_flight = 0
        self.credentials_expire_at_seconds: float | None = None

    def started(self) -> None:
        """Note that a request is on its way; `ended` or `abandoned` must follow."""
        self.in_flight += 1

    def ended(self, operation: str, outcome: Outcome, duration_ns: int) -> None:
        """Note what became of a request that `started`."""
        self.in_flight -= 1
        self.requests[operation, outcome] += 1
        if operation in PUTS:
            self.put_duration_seconds.observe(duration_ns / 1e9)

    def abandoned(self) -> None:
        """Note that a request that `started` was cancelled by our side: it has no outcome."""
        self.in_flight -= 1
