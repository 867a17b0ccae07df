"""Reads the listener's, the upstream's and the process's counters as metric readings."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from proxy.admin.health import OBSTACLES
from proxy.core.counters import LATENCY_BOUNDS_SECONDS, Histogram
from proxy.metrics.labels import OTHER

if TYPE_CHECKING:
    from proxy.admin.health import Health
    from proxy.frontend.counters import FrontendCounters
    from proxy.metrics.collector import Labels, Readings
    from proxy.transport.limits import HttpLimits
    from proxy.upstream.counters import UpstreamCounters

# All other operations share a label: a producer calls them now and then, and each would cost a histogram.
OPERATIONS_SHOWN = ("PutRecord", "PutRecords")
# In every scrape from the start, so that the first failure shows as an increase.
STATUSES_SHOWN = (200, 400, 500)


class Listener(Protocol):
    """What is read of an HTTP server."""

    @property
    def connections(self) -> int:
        """Open connections."""

    connections_refused: int

    @property
    def limits(self) -> HttpLimits:
        """The most that it allows."""

    @property
    def certificate_expires_at_seconds(self) -> float | None:
        """When the certificate that it shows expires, since the epoch; None without one."""

    @property
    def requests_in_progress(self) -> int:
        """Requests without an answer."""

    @property
    def malformed_requests(self) -> int:
        """Requests that were no HTTP."""


def read_listener(server: Listener) -> Readings:
    """Read an HTTP server."""
    expires_at = server.certificate_expires_at_seconds
    return {
        "http_connections": {(): server.connections},
        "http_connections_limit": {(): server.limits.connections_max},
        "http_connections_refused_total": {(): server.connections_refused},
        "http_requests_in_progress": {(): server.requests_in_progress},
        "http_malformed_requests_total": {(): server.malformed_requests},
        "tls_certificate_expiry_timestamp_seconds": {(): inf if expires_at is None else expires_at},
    }


def read_frontend(counters: FrontendCounters) -> Readings:
    """Read what the frontend answered."""
    operations = (*OPERATIONS_SHOWN, OTHER)
    answers: dict[Labels, float] = {
        (operation, str(status)): 0 for operation in operations for status in STATUSES_SHOWN
    }
    for (operation, status), count in counters.requests.items():
        labels: Labels = (_operation_label(operation), str(status))
        answers[labels] = answers.get(labels, 0) + count
    durations: dict[Labels, Histogram] = {(operation,): Histogram(LATENCY_BOUNDS_SECONDS) for operation in operations}
    for operation, histogram in counters.request_seconds.items():
        durations[_operation_label(operation),].add(histogram)
    return {
        "http_requests_total": answers,
        "http_request_duration_seconds": durations,
        "rejected_records_total": {(reason,): count for reason, count in counters.rejected_records.items()},
        "joined_requests_total": {(): counters.joined_requests},
        "abandoned_requests_total": {(): counters.abandoned_requests},
    }


def read_upstream(counters: UpstreamCounters) -> Readings:
    """Read what became of the requests to the upstream."""
    expires_at = counters.credentials_expire_at_seconds
    return {
        "upstream_requests_total": {
            (operation, outcome.value): count for (operation, outcome), count in counters.requests.items()
        },
        "upstream_request_duration_seconds": {(): counters.put_duration_seconds},
        "upstream_requests_in_flight": {(): counters.in_flight},
        "credentials_expiry_timestamp_seconds": {(): inf if expires_at is None else expires_at},
    }


def read_process(version: str, command: str, health: Health, lag_seconds: float) -> Readings:
    """Read what is true of the process as a whole."""
    obstacles = health.obstacles()
    return {
        "event_loop_lag_seconds": {(): lag_seconds},
        "not_ready": {(obstacle.replace(" ", "_"),): int(obstacle in obstacles) for obstacle in OBSTACLES},
        "draining": {(): int(health.draining)},
        "build_info": {(version, command): 1},
    }


def _operation_label(operation: str) -> str:
    return operation if operation in OPERATIONS_SHOWN else OTHER
