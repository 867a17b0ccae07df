"""What the proxy adds to latency: a fixed rate, straight to an upstream that takes 10 ms and through the proxy.

At 20 requests a second a record meets no other; at 100 there is nearly always another one in flight, so that it waits
for company as long as `linger_ms` says.
"""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.benchmarks.measure import (
    BOTTOMLESS,
    MILLI,
    STREAM,
    UNLIMITED,
    WARM_UP_SECONDS,
    Plan,
    generate,
    put_record,
)
from tests.benchmarks.report import Row
from tests.support.processes import emulate, serve

if TYPE_CHECKING:
    from tests.benchmarks.load import Report

UPSTREAM_LATENCY_MS = 10
SECTION = f"Latency added, upstream of {UPSTREAM_LATENCY_MS} ms"
CONNECTIONS = 64
RATES = (20, 100, 1_000)
# What counts as quiet.
QUIET_PER_SECOND_MAX = 100
P50_MS_MAX, P99_MS_MAX = 1.0, 3.0


def measure(plan: Plan) -> list[Row]:
    """Send at each rate, straight and through the proxy."""
    rows: list[Row] = []
    faults = [f"latency_ms={UPSTREAM_LATENCY_MS}"]
    with (
        emulate(stream=[STREAM], fault=faults, **BOTTOMLESS) as upstream,
        serve(upstream.url, **UNLIMITED) as proxy,
    ):
        for rate in RATES:
            reports: dict[int, list[Report]] = {upstream.port: [], proxy.port: []}
            for port in reports:
                generate(replace(put_record(port, CONNECTIONS), rate=rate, seconds=WARM_UP_SECONDS))
            for _ in range(plan.rounds):
                for port, of_one in reports.items():
                    load = replace(put_record(port, CONNECTIONS), rate=rate, seconds=plan.seconds)
                    of_one.append(generate(load))
            rows += rows_of(rate, reports[upstream.port], reports[proxy.port])
    return rows


def rows_of(rate: int, direct: list[Report], through: list[Report]) -> list[Row]:
    """Return what the proxy added: the difference of the rounds' medians, quantile by quantile."""
    quiet = rate <= QUIET_PER_SECOND_MAX
    rows = []
    for quantile, most in (("p50", P50_MS_MAX), ("p99", P99_MS_MAX)):
        straight, proxied = (
            MILLI * statistics.median(getattr(report, f"latency_{quantile}") for report in reports)
            for reports in (direct, through)
        )
        failed = sum(report.failed_records for report in through)
        rows.append(
            Row(
                SECTION,
                f"{quantile} at {rate:,} PutRecord/s",
                proxied - straight,
                "ms",
                most if quiet else None,
                remarks=f"{proxied:.1f} - {straight:.1f} ms" + (f"; {failed} records FAILED" if failed else ""),
            )
        )
    return rows
