"""The dashboard that whoever is woken opens first."""

from __future__ import annotations

from tests.support.dashboards.panels import GREEN, ORANGE, RED, YELLOW, Dashboard, Panel, Query, Row, stat
from tests.support.dashboards.shared import (
    HERE,
    LOST,
    OUTCOME_COLORS,
    PUTS,
    TURNED_AWAY,
    batching_panels,
    buffer_panels,
    order_panel,
    quantiles,
    rate,
    records_panels,
    shard_panels,
)


def overview() -> Dashboard:
    """Return the dashboard that whoever is woken opens first."""
    unserved = (
        f"(sum({rate('failed_records_total', f'{HERE}, {LOST}')})"
        f" + sum({rate('rejected_records_total', f'{HERE}, {TURNED_AWAY}')}))"
        f" / (sum({rate('received_records_total')})"
        f" + sum({rate('rejected_records_total', f'{HERE}, {TURNED_AWAY}')}) > 0)"
    )
    return Dashboard(
        "kinesis-proxy-overview",
        "kinesis-proxy / overview",
        "Is every record served, and if not, what is in the way. deploy/RUNBOOK.md says what to do.",
        (
            Row("Overview", (*_stats(unserved), *records_panels(HERE, HERE), *_calls(unserved))),
            Row("Buffer", (*buffer_panels(HERE), _buffer_used())),
            Row("Batching", batching_panels(HERE)),
            Row("Shards and throttling", shard_panels(HERE)),
            Row("Kinesis", _upstream()),
            Row("Errors", (*_errors(), order_panel(HERE))),
            Row("Runtime", _runtime()),
        ),
    )


def _stats(unserved: str) -> tuple[Panel, ...]:
    alerts = 'count(ALERTS{alertname=~"KinesisProxy.*", alertstate="firing", job=~"$job"}) or vector(0)'
    return (
        stat("Firing alerts", "Of the chosen jobs.", "locale", alerts, thresholds=((None, GREEN), (1, RED))),
        stat("Received", "Records that callers brought.", "recps", f"sum({rate('received_records_total')})"),
        stat(
            "Not served",
            "Share of the offered records that were rejected or lost. The objective is 0.1 % in a month.",
            "percentunit",
            unserved,
            thresholds=((None, GREEN), (0.001, YELLOW), (0.0144, RED)),
            no_value="no traffic",
        ),
        stat(
            "Lost",
            "Accepted records that were refused by Kinesis or expired, in the time shown.",
            "locale",
            f"sum(increase(kinesis_proxy_failed_records_total{{{HERE}, {LOST}}}[$__range]))",
            thresholds=((None, GREEN), (0.5, RED)),
        ),
        stat(
            "Oldest record",
            "Age of the oldest record without an outcome, of all instances.",
            "s",
            f"max(kinesis_proxy_buffer_oldest_record_age_seconds{{{HERE}}})",
            thresholds=((None, GREEN), (1, YELLOW), (2, RED)),
        ),
        stat(
            "Ready",
            "Share of the instances that take work.",
            "percentunit",
            f"1 - avg(max by (instance) (kinesis_proxy_not_ready{{{HERE}}}))",
            thresholds=((None, RED), (0.5, YELLOW), (1, GREEN)),
        ),
    )


def _calls(unserved: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Calls",
            "Answers to callers by operation and HTTP status. 400 is a rejection or the caller's mistake, 500 trouble "
            "upstream or a drain.",
            "reqps",
            (Query(f"sum by (operation, code) ({rate('http_requests_total')}) > 0", "{{operation}} {{code}}"),),
            colors={"/ 400$/": ORANGE, "/ 500$/": RED},
        ),
        Panel(
            "Put latency",
            "From a whole request to its answer: the time in the buffer and the request to Kinesis.",
            "s",
            quantiles("http_request_duration_seconds", f"{HERE}, {PUTS}"),
        ),
        Panel(
            "Not served",
            "Share of the offered records that were rejected or lost; above the line a month's budget burns.",
            "percentunit",
            (Query(unserved, "not served"),),
            thresholds=((None, GREEN), (0.001, RED)),
            colors={"not served": ORANGE},
        ),
    )


def _buffer_used() -> Panel:
    return Panel(
        "Buffer used",
        "Share of the room for records and for bytes that the fullest instance uses. At 100 % everything is rejected.",
        "percentunit",
        (
            Query(f"max(kinesis_proxy_buffer_bytes{{{HERE}}} / kinesis_proxy_buffer_limit_bytes{{{HERE}}})", "bytes"),
            Query(
                f"max(sum without (stream, state) (kinesis_proxy_buffer_records{{{HERE}}})"
                f" / kinesis_proxy_buffer_limit_records{{{HERE}}})",
                "records",
            ),
        ),
        thresholds=((None, GREEN), (0.8, RED)),
        maximum=1,
        width=6,
    )


def _upstream() -> tuple[Panel, ...]:
    return (
        Panel(
            "Requests to Kinesis by outcome",
            "partial: some records failed. unknown: sent, and no answer came. not_sent: no connection or no "
            "credentials.",
            "reqps",
            (Query(f"sum by (outcome) ({rate('upstream_requests_total')}) > 0", "{{outcome}}"),),
            colors={"ok": GREEN, "partial": YELLOW, "throttled": ORANGE, "error": RED, "unknown": "dark-red"},
        ),
        Panel(
            "Requests to Kinesis: duration",
            "Of put requests. Some 10 to 30 ms are usual in the same region.",
            "s",
            quantiles("upstream_request_duration_seconds"),
        ),
        Panel(
            "Requests in flight",
            "Requests to Kinesis without an answer, of the busiest instances.",
            "short",
            (Query(f"topk(10, kinesis_proxy_upstream_requests_in_flight{{{HERE}}})", "{{instance}}"),),
        ),
    )


def _errors() -> tuple[Panel, ...]:
    return (
        Panel(
            "Errors by code",
            "Errors that records met at Kinesis or on the way there; most are sent again. Not what callers see.",
            "recps",
            (Query(f"sum by (error_code) ({rate('record_errors_total')}) > 0", "{{error_code}}"),),
        ),
        Panel(
            "Failed and rejected",
            "refused, expired: accepted and lost. withdrawn: their client had left. The others were turned away at the "
            "door: nothing was accepted.",
            "recps",
            (
                Query(f"sum by (reason) ({rate('failed_records_total')}) > 0", "{{reason}}"),
                Query(f"sum by (reason) ({rate('rejected_records_total')}) > 0", "rejected: {{reason}}"),
            ),
            colors={**OUTCOME_COLORS, "/^rejected/": ORANGE},
        ),
    )


def _runtime() -> tuple[Panel, ...]:
    us = f"on (job, instance) kinesis_proxy_build_info{{{HERE}}}"
    return (
        Panel(
            "Event loop lag",
            "Longest delay of the event loop in the ten seconds before each scrape. Everything waits as long.",
            "s",
            (Query(f"topk(10, kinesis_proxy_event_loop_lag_seconds{{{HERE}}})", "{{instance}}"),),
        ),
        Panel(
            "CPU",
            "Cores used. An instance runs on one: at 100 % it can do no more.",
            "percentunit",
            (Query(f"topk(10, rate(process_cpu_seconds_total{{{HERE}}}[$__rate_interval]) and {us})", "{{instance}}"),),
            thresholds=((None, GREEN), (0.9, RED)),
        ),
        Panel(
            "Memory",
            "Resident memory.",
            "bytes",
            (Query(f"topk(10, process_resident_memory_bytes{{{HERE}}} and {us})", "{{instance}}"),),
        ),
        Panel(
            "Connections",
            "Open connections of clients. Beyond connections_max they are closed at once.",
            "short",
            (Query(f"topk(10, kinesis_proxy_http_connections{{{HERE}}})", "{{instance}}"),),
            decimals=0,
        ),
        Panel(
            "File descriptors",
            "Share of those that the process may open.",
            "percentunit",
            (
                Query(
                    f"topk(10, process_open_fds{{{HERE}}} / process_max_fds{{{HERE}}} and {us})",
                    "{{instance}}",
                ),
            ),
        ),
        Panel(
            "Instances",
            "What runs, and for how long.",
            "s",
            (
                Query(
                    f"(time() - process_start_time_seconds{{{HERE}}})"
                    f" * on (job, instance) group_left (version, command) kinesis_proxy_build_info{{{HERE}}}",
                    "",
                ),
            ),
            kind="table",
            columns={"instance": "Instance", "version": "Version", "Value": "Up for"},
        ),
    )
