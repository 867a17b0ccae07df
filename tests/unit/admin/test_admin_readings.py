from __future__ import annotations

from math import inf

from proxy.admin.health import Health
from proxy.admin.readings import read_frontend, read_listener, read_process, read_upstream
from proxy.core.counters import Histogram
from proxy.frontend.counters import FrontendCounters
from proxy.metrics.labels import OTHER
from proxy.transport.limits import HttpLimits
from proxy.upstream.counters import PUT_RECORDS, Outcome, UpstreamCounters


class FakeListener:
    """An HTTP server with made-up numbers."""

    limits = HttpLimits(request_bytes_max=1, connections_max=100)
    connections = 3
    connections_refused = 1
    requests_in_progress = 2
    malformed_requests = 4
    certificate_expires_at_seconds: float | None = None


def test_the_listeners_numbers_are_read() -> None:
    """Each number goes to the family of its name."""
    assert read_listener(FakeListener()) == {
        "http_connections": {(): 3},
        "http_connections_limit": {(): 100},
        "http_connections_refused_total": {(): 1},
        "http_requests_in_progress": {(): 2},
        "http_malformed_requests_total": {(): 4},
        "tls_certificate_expiry_timestamp_seconds": {(): inf},
    }


def test_operations_other_than_puts_share_a_label() -> None:
    """A histogram for each of forty operations would cost more series than all else together."""
    counters = FrontendCounters()
    counters.count_request("PutRecord", 200, 0.002)
    counters.count_request("ListShards", 200, 0.002)
    counters.count_request("DescribeStream", 400, 0.002)
    counters.count_request("unknown", 400, 0.002)
    readings = read_frontend(counters)
    requests = readings["http_requests_total"]
    assert requests["PutRecord", "200"] == 1
    assert requests[OTHER, "200"] == 1
    assert requests[OTHER, "400"] == 2
    durations = readings["http_request_duration_seconds"]
    assert set(durations) == {("PutRecord",), ("PutRecords",), (OTHER,)}
    others = durations[OTHER,]
    assert isinstance(others, Histogram)
    assert sum(others.counts) == 3


def test_the_statuses_that_alerts_look_for_are_there_from_the_start() -> None:
    """The first failure must show as an increase from zero."""
    requests = read_frontend(FrontendCounters())["http_requests_total"]
    assert requests["PutRecord", "500"] == requests["PutRecords", "400"] == 0


def test_reading_changes_nothing() -> None:
    """Two scrapes of the same state show the same."""
    counters = FrontendCounters()
    counters.count_request("ListShards", 200, 0.002)
    first, second = read_frontend(counters), read_frontend(counters)
    assert first["http_requests_total"] == second["http_requests_total"]
    histograms = [readings["http_request_duration_seconds"][OTHER,] for readings in (first, second)]
    assert [histogram.counts for histogram in histograms if isinstance(histogram, Histogram)] == [
        [0, 0, 1] + 12 * [0]
    ] * 2


def test_upstream_requests_are_read_by_operation_and_outcome() -> None:
    """Each outcome of each operation is there; credentials that are not known to expire never do."""
    counters = UpstreamCounters()
    counters.started()
    counters.started()
    counters.ended(PUT_RECORDS, Outcome.PARTIAL, 3_000_000)
    readings = read_upstream(counters)
    assert readings["upstream_requests_total"]["PutRecords", "partial"] == 1
    assert readings["upstream_requests_total"]["PutRecords", "unknown"] == 0
    assert readings["upstream_requests_in_flight"] == {(): 1}
    assert readings["credentials_expiry_timestamp_seconds"] == {(): inf}
    counters.credentials_expire_at_seconds = 1_900_000_000.0
    assert read_upstream(counters)["credentials_expiry_timestamp_seconds"] == {(): 1_900_000_000.0}


def test_the_process_tells_its_state() -> None:
    """An alert can tell a shutdown from a failure, and why work is refused."""
    health = Health(lambda: False)
    health.drains()
    assert read_process("1.2.3", "serve", health, lag_seconds=0.01) == {
        "event_loop_lag_seconds": {(): 0.01},
        "not_ready": {("starting",): 0, ("draining",): 1, ("no_credentials",): 1, ("buffer_full",): 0},
        "draining": {(): 1},
        "build_info": {("1.2.3", "serve"): 1},
    }
