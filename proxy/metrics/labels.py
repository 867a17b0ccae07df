"""Which values a label may have: never more than a fixed number, never a client's to choose."""

from __future__ import annotations

from proxy.core import verdicts
from proxy.core.verdicts import VERDICTS

# Beyond any sidecar's needs, and small beside what a Prometheus takes from one target.
STREAM_LABELS_MAX = 20
OTHER = "other"

ERROR_CODES = frozenset(VERDICTS)
# In every scrape from the start, so that the first of them shows as an increase. Fifty would be a sixth of all series;
# the others appear when they are met, and what they do to records is counted without them.
ERROR_CODES_SHOWN = (
    "AccessDeniedException",
    verdicts.CONNECT_FAILED,
    verdicts.CONNECTION_RESET,
    verdicts.CREDENTIALS_UNAVAILABLE,
    "ExpiredTokenException",
    verdicts.INTERNAL_FAILURE,
    "InvalidArgumentException",
    "KMSThrottlingException",
    "LimitExceededException",
    verdicts.MALFORMED_RESPONSE,
    verdicts.THROUGHPUT_EXCEEDED,
    verdicts.REQUEST_TIMEOUT,
    "ResourceNotFoundException",
    verdicts.SERVICE_UNAVAILABLE,
    "ThrottlingException",
    OTHER,
)


def error_code_label(code: str) -> str:
    """Return the code itself if it is on the closed list of those that the proxy knows."""
    return code if code in ERROR_CODES else OTHER


class StreamLabels:
    """Gives the first streams labels of their own and all others one together.

    Args:
        labels_max: streams with a label of their own.
    """

    __slots__ = ("_labels_max", "_named")

    def __init__(self, labels_max: int = STREAM_LABELS_MAX) -> None:
        self._labels_max = labels_max
        self._named: set[str] = set()

    def label(self, stream_name: str) -> str:
        """Return the label of a stream; it stays the same for good."""
        if stream_name not in self._named:
            if len(self._named) >= self._labels_max:
                return OTHER
            self._named.add(stream_name)
        return stream_name
