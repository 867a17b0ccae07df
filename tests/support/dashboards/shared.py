"""Expressions and panels that the dashboards have in common."""

from __future__ import annotations

from tests.support.dashboards.panels import BLUE, GREEN, ORANGE, PURPLE, RED, YELLOW, Panel, Query

HERE = 'job=~"$job", instance=~"$instance"'
STREAM = HERE + ', stream=~"$stream"'
LOST = 'reason=~"refused|expired"'
TURNED_AWAY = 'reason!~"invalid|denied|draining"'
PUTS = 'operation=~"PutRecords?"'

OUTCOME_COLORS = {
    "received": BLUE,
    "delivered": GREEN,
    "rejected": ORANGE,
    "lost": RED,
    "throttled": YELLOW,
    "withdrawn": BLUE,
    "refused": PURPLE,
    "expired": RED,
}


def rate(family: str, labels: str = HERE) -> str:
    """Return a counter's growth a second."""
    return f"rate(kinesis_proxy_{family}{{{labels}}}[$__rate_interval])"


def quantiles(family: str, labels: str = HERE) -> tuple[Query, ...]:
    """Return the middle and the tail of a histogram."""
    buckets = f"sum by (le) ({rate(family + '_bucket', labels)})"
    return tuple(Query(f"histogram_quantile({q}, {buckets})", f"p{100 * q:.0f}") for q in (0.5, 0.95, 0.99))


def mean(family: str, labels: str) -> str:
    """Return the mean of a histogram's observations by stream; nothing where there are none."""
    return (
        f"sum by (stream) ({rate(family + '_sum', labels)}) / (sum by (stream) ({rate(family + '_count', labels)}) > 0)"
    )


def of_used_streams(expr: str, labels: str) -> str:
    """Leave out streams that nothing has come for, as `other` mostly is."""
    return f"{expr} and on (stream) sum by (stream) (kinesis_proxy_received_records_total{{{labels}}}) > 0"


def records_panels(labels: str, refused_labels: str | None) -> tuple[Panel, ...]:
    """Return the panels of what becomes of records; who was turned away is not known by stream."""
    queries = [
        Query(f"sum({rate('received_records_total', labels)})", "received"),
        Query(f"sum({rate('delivered_records_total', labels)})", "delivered"),
        Query(f"sum({rate('failed_records_total', f'{labels}, {LOST}')})", "lost"),
    ]
    if refused_labels is not None:
        queries.append(Query(f"sum({rate('rejected_records_total', f'{refused_labels}, {TURNED_AWAY}')})", "rejected"))
    return (
        Panel(
            "Records",
            "What callers bring and what Kinesis takes. Received and delivered lie on each other while all is well. "
            + ("Rejected ones were" if refused_labels else "Rejected ones, in the overview, were")
            + " never received, and SDKs try them again; lost ones were received.",
            "recps",
            tuple(queries),
            colors=OUTCOME_COLORS,
            width=12,
        ),
        Panel(
            "Data",
            "Data and partition keys. A shard takes 1 MiB/s.",
            "binBps",
            (
                Query(f"sum({rate('received_bytes_total', labels)})", "received"),
                Query(f"sum({rate('delivered_bytes_total', labels)})", "delivered"),
            ),
            colors=OUTCOME_COLORS,
            width=12,
        ),
    )


def buffer_panels(labels: str) -> tuple[Panel, ...]:
    """Return the panels of what is held."""
    return (
        Panel(
            "Records held",
            "Accepted records without an outcome. In flight is what requests carry; queued waits for its key, its "
            "shard's rate, or a full batch.",
            "short",
            (Query(f"sum by (state) (kinesis_proxy_buffer_records{{{labels}}})", "{{state}}"),),
            stacked=True,
            width=6,
        ),
        Panel(
            "Oldest record",
            "Age of the oldest record without an outcome. At the delivery timeout it expires.",
            "s",
            (
                Query(
                    of_used_streams(
                        f"max by (stream) (kinesis_proxy_buffer_oldest_record_age_seconds{{{labels}}})", labels
                    ),
                    "{{stream}}",
                ),
                Query(f"min(kinesis_proxy_delivery_timeout_seconds{{{HERE}}})", "delivery timeout"),
            ),
            colors={"delivery timeout": RED},
            limits=("delivery timeout",),
            width=6,
        ),
        Panel(
            "Time in the buffer",
            "From a record's arrival to its first attempt: what batching and waiting for the shard cost.",
            "s",
            quantiles("record_buffer_time_seconds", labels),
            width=6,
        ),
    )


def batching_panels(labels: str) -> tuple[Panel, ...]:
    """Return the panels of requests and what they carry."""
    return (
        Panel(
            "Records per request",
            "Mean. Kinesis takes up to 500. Near 1 nothing is saved: little traffic, or few keys in strict order.",
            "short",
            (Query(mean("batch_records", labels), "{{stream}}"),),
        ),
        Panel(
            "Data per request",
            "Mean. Kinesis takes up to 10 MiB.",
            "bytes",
            (Query(mean("batch_bytes", labels), "{{stream}}"),),
        ),
        Panel(
            "Requests with records",
            "Put requests to Kinesis.",
            "reqps",
            (Query(of_used_streams(f"sum by (stream) ({rate('batch_records_count', labels)})", labels), "{{stream}}"),),
        ),
    )


def shard_panels(labels: str) -> tuple[Panel, ...]:
    """Return the panels of shards and throttling."""
    limit = ((None, GREEN), (0.9, RED))
    throttled = (
        f"sum by (stream) ({rate('throttled_records_total', labels)})"
        f" / (sum by (stream) ({rate('batch_records_sum', labels)}) > 0)"
    )
    return (
        Panel(
            "Busiest shard",
            "Share of its limits that the busiest shard of a stream is sent by one instance. Near 100 % the next step "
            "is rejecting. /status has every shard, and the hottest keys.",
            "percentunit",
            (
                Query(
                    of_used_streams(f"max by (stream) (kinesis_proxy_shard_utilization_ratio{{{labels}}})", labels),
                    "{{stream}}",
                ),
            ),
            thresholds=limit,
            width=6,
        ),
        Panel(
            "Rate allowed",
            "Share of its limits that an instance allows itself for its worst shard. It falls with throttles and "
            "recovers without them; with n instances on a shard it is about 1/n when all are busy.",
            "percentunit",
            (
                Query(
                    of_used_streams(f"min by (stream) (kinesis_proxy_shard_rate_limit_ratio{{{labels}}})", labels),
                    "{{stream}}",
                ),
            ),
            maximum=1,
            width=6,
        ),
        Panel(
            "Throttled records",
            "Share of the records sent that Kinesis throttled; they are sent again. Above 1 % for long, others write "
            "to the same shards.",
            "percentunit",
            (Query(throttled, "{{stream}}"),),
            thresholds=((None, GREEN), (0.01, RED)),
            width=6,
        ),
        Panel(
            "Shards",
            "Open shards by the newest map, and how many are sent nothing for a moment after a throttle or an error.",
            "short",
            (
                Query(f"max by (stream) (kinesis_proxy_stream_open_shards{{{labels}}}) > 0", "{{stream}}"),
                Query(f"sum(kinesis_proxy_shards_backing_off{{{labels}}})", "backing off"),
            ),
            colors={"backing off": ORANGE},
            decimals=0,
            width=6,
        ),
    )


def order_panel(labels: str) -> Panel:
    """Return the panel of what should not happen to order and to delivery."""
    families = {
        "unknown_outcome_records_total": "sent again, may have been written",
        "late_acknowledgements_total": "written after they expired",
        "order_inversions_total": "passed by a younger one of their key",
        "sequence_regressions_total": "sequence number fell",
        "mispredicted_records_total": "landed in another shard",
    }
    return Panel(
        "Order and duplicates",
        "Possible duplicates, and records whose order is not as sent. Inversions happen only where ordering is call or "
        "relaxed; other shards only while a stream is resharded.",
        "recps",
        tuple(Query(f"sum({rate(family, labels)})", legend) for family, legend in families.items()),
        colors={
            "sequence number fell": RED,
            "landed in another shard": BLUE,
            "passed by a younger one of their key": ORANGE,
        },
    )
