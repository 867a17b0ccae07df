"""The dashboard of one stream."""

from __future__ import annotations

from tests.support.dashboards.panels import GREEN, RED, YELLOW, Dashboard, Panel, Query, Row, stat, variable
from tests.support.dashboards.shared import (
    HERE,
    LOST,
    OUTCOME_COLORS,
    STREAM,
    batching_panels,
    buffer_panels,
    order_panel,
    rate,
    records_panels,
    shard_panels,
)


def stream() -> Dashboard:
    """Return the dashboard of one stream."""
    return Dashboard(
        "kinesis-proxy-stream",
        "kinesis-proxy / stream",
        "One stream: what comes, what waits, what its shards take.",
        (
            Row("Records", (*_stream_stats(), *records_panels(STREAM, None))),
            Row("Buffer", (*buffer_panels(STREAM), _keys())),
            Row("Batching", batching_panels(STREAM)),
            Row("Shards and throttling", shard_panels(STREAM)),
            Row("Errors", (_failed(), order_panel(STREAM), _retries())),
        ),
        (
            variable(
                "stream",
                "Stream",
                f"label_values(kinesis_proxy_received_records_total{{{HERE}}}, stream)",
                several=False,
            ),
        ),
    )


def _stream_stats() -> tuple[Panel, ...]:
    return (
        stat("Received", "Records that callers brought.", "recps", f"sum({rate('received_records_total', STREAM)})"),
        stat("Delivered", "Records that Kinesis took.", "recps", f"sum({rate('delivered_records_total', STREAM)})"),
        stat(
            "Lost",
            "Accepted records that were refused by Kinesis or expired, in the time shown.",
            "locale",
            f"sum(increase(kinesis_proxy_failed_records_total{{{STREAM}, {LOST}}}[$__range]))",
            thresholds=((None, GREEN), (0.5, RED)),
        ),
        stat(
            "Open shards",
            "By the newest map; 0 while it is unknown.",
            "locale",
            f"max(kinesis_proxy_stream_open_shards{{{STREAM}}})",
            thresholds=((None, YELLOW), (1, GREEN)),
        ),
        stat(
            "Busiest shard",
            "Share of its limits that it is sent by one instance.",
            "percentunit",
            f"max(kinesis_proxy_shard_utilization_ratio{{{STREAM}}})",
            thresholds=((None, GREEN), (0.7, YELLOW), (0.9, RED)),
        ),
        stat(
            "Rate allowed",
            "Share of its limits that an instance allows itself for its worst shard.",
            "percentunit",
            f"min(kinesis_proxy_shard_rate_limit_ratio{{{STREAM}}})",
            thresholds=((None, YELLOW), (0.5, GREEN)),
        ),
    )


def _keys() -> Panel:
    return Panel(
        "Partition keys",
        "Keys with a record without an outcome. In strict order each has one record in flight: with as many "
        "records held as keys nothing waits for its order.",
        "short",
        (Query(f"sum(kinesis_proxy_partition_keys{{{STREAM}}})", "keys"),),
        width=6,
    )


def _failed() -> Panel:
    return Panel(
        "Records that failed",
        "refused, expired: accepted and lost. withdrawn: their client had left.",
        "recps",
        (Query(f"sum by (reason) ({rate('failed_records_total', STREAM)})", "{{reason}}"),),
        colors=OUTCOME_COLORS,
    )


def _retries() -> Panel:
    return Panel(
        "Records sent again",
        "After a throttle, an error or a lost connection.",
        "recps",
        (
            Query(f"sum({rate('record_retries_total', STREAM)})", "sent again"),
            Query(f"sum({rate('throttled_records_total', STREAM)})", "throttled"),
        ),
        colors=OUTCOME_COLORS,
    )
