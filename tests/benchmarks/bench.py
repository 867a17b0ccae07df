"""What a record costs: `make bench` prints a table in Markdown and writes the same figures to build/bench.json.

    python -m tests.benchmarks.bench [--rounds N] [--seconds N]

The proxy, its upstream (the emulator, which keeps nothing and limits nothing), the load generator and the yardstick
are processes of their own. CPU time is the kernel's account of one process between the first and the last request, so
it does not matter who else shares the machine; latencies and rates do depend on that and are printed for orientation.
Yardstick and proxy take turns, round by round, and the median of the rounds is shown: only figures of one run compare.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.generator import Options, Report
from tests.support.processes import Independent, emulate, free_port, serve

if TYPE_CHECKING:
    from tests.support.processes import Process, Service

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "bench.json"
STREAM_NAME = "bench"
SHARDS = 16
WARM_UP_SECONDS = 1.0
UPSTREAM_LATENCY_MS = 10
LATENCY_CONNECTIONS = 64
LATENCY_RATES = (100, 1_000)
MICRO = 1e6
MILLI = 1e3
MEBI = 1024 * 1024
# The limits of shards are not what is measured here.
UNLIMITED: dict[str, int] = {"shard_records_per_second": 0, "shard_bytes_per_second": 0}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    title: str
    connections: int
    records_per_call: int


CASES = (
    Case("PutRecord, 64 connections", 64, 1),
    Case("PutRecord, 256 connections", 256, 1),
    Case("PutRecords(500), 8 connections", 8, 500),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one server spent on one run."""

    cpu_us_per_record: float
    cpu_us_per_request: float
    records_per_second: float
    failed: int


@dataclass(frozen=True, slots=True)
class Row:
    """One case: the medians of all rounds."""

    title: str
    bare: Cost
    proxy: Cost
    upstream_records_per_request: float

    @property
    def ratio(self) -> float:
        """CPU time of the proxy for a request, as a multiple of the yardstick's."""
        return self.proxy.cpu_us_per_request / self.bare.cpu_us_per_request


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """Latency at a fixed rate, straight to the upstream and through the proxy."""

    rate: int
    direct_p50_ms: float
    direct_p99_ms: float
    proxy_p50_ms: float
    proxy_p99_ms: float


def generate(options: Options) -> Report:
    """Run the load generator in a process of its own."""
    arguments = [sys.executable, "-m", "tests.benchmarks.generator", json.dumps(asdict(options))]
    done = subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - this very program
    return Report(**json.loads(done.stdout))


def cost_of(server: Process, port: int, case: Case, seconds: float) -> Cost:
    """Load a server and return what it spent."""
    options = Options(port, case.connections, seconds, STREAM_NAME, records_per_call=case.records_per_call)
    before = server.cpu_seconds()
    report = generate(options)
    spent_us = (server.cpu_seconds() - before) * MICRO
    if not report.records:
        raise SystemExit(f"{server.name} took nothing: {report.first_failure}")
    return Cost(
        spent_us / report.records,
        spent_us / report.requests,
        report.records / report.seconds,
        report.failed_records,
    )


def median_of(costs: list[Cost]) -> Cost:
    """Return the median of each figure, and all failures."""
    return Cost(
        statistics.median(cost.cpu_us_per_record for cost in costs),
        statistics.median(cost.cpu_us_per_request for cost in costs),
        statistics.median(cost.records_per_second for cost in costs),
        sum(cost.failed for cost in costs),
    )


def bare_server(case: Case) -> Independent:
    """Start the yardstick."""
    port = free_port()
    program = [sys.executable, "-m", "tests.benchmarks.bare_server", str(port), str(case.records_per_call)]
    return Independent("bare aiohttp", port, program)


def batches_of(proxy: Service) -> tuple[float, float]:
    """Return upstream requests and the records in them, so far."""
    metrics = proxy.metrics()
    return metrics.total("kinesis_proxy_batch_records_count"), metrics.total("kinesis_proxy_batch_records_sum")


def measure_case(case: Case, proxy: Service, rounds: int, seconds: float) -> Row:
    """Let yardstick and proxy take turns."""
    bare_costs, proxy_costs = [], []
    with bare_server(case) as bare:
        cost_of(bare, bare.port, case, WARM_UP_SECONDS)
        cost_of(proxy, proxy.port, case, WARM_UP_SECONDS)
        requests_before, records_before = batches_of(proxy)
        for _ in range(rounds):
            bare_costs.append(cost_of(bare, bare.port, case, seconds))
            proxy_costs.append(cost_of(proxy, proxy.port, case, seconds))
        requests, records = batches_of(proxy)
    fill = (records - records_before) / (requests - requests_before)
    return Row(case.title, median_of(bare_costs), median_of(proxy_costs), fill)


def measure_latency(rate: int, upstream: Service, proxy: Service, seconds: float) -> LatencyRow:
    """Send at a fixed rate, straight and through the proxy."""
    reports = []
    for port in (upstream.port, proxy.port):
        generate(Options(port, LATENCY_CONNECTIONS, WARM_UP_SECONDS, STREAM_NAME, rate=rate))
        reports.append(generate(Options(port, LATENCY_CONNECTIONS, seconds, STREAM_NAME, rate=rate)))
    direct, through = reports
    return LatencyRow(
        rate,
        direct.latency_p50 * MILLI,
        direct.latency_p99 * MILLI,
        through.latency_p50 * MILLI,
        through.latency_p99 * MILLI,
    )


def machine() -> dict[str, str]:
    """Say where and with what this was measured."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("aiohttp", "uvloop", "msgspec", "kinesis-proxy")},
    }


def markdown(rows: list[Row], latencies: list[LatencyRow], memory: dict[str, float]) -> str:
    """Lay the figures out for a reader."""
    lines = [
        (
            "| load | bare aiohttp, CPU µs a request | proxy, CPU µs a request | CPU µs a record | ratio "
            "| records in an upstream request | records/s (bare, proxy) | failed |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.title} | {row.bare.cpu_us_per_request:.1f} | {row.proxy.cpu_us_per_request:.1f} "
        f"| {row.proxy.cpu_us_per_record:.2f} | {row.ratio:.2f} | {row.upstream_records_per_request:.1f} "
        f"| {row.bare.records_per_second:,.0f}, {row.proxy.records_per_second:,.0f} | {row.proxy.failed} |"
        for row in rows
    ]
    lines += [
        "",
        f"| PutRecord/s, upstream of {UPSTREAM_LATENCY_MS} ms | direct p50, p99 ms | through the proxy p50, p99 ms |",
        "|---|---|---|",
    ]
    lines += [
        f"| {row.rate} | {row.direct_p50_ms:.1f}, {row.direct_p99_ms:.1f} "
        f"| {row.proxy_p50_ms:.1f}, {row.proxy_p99_ms:.1f} |"
        for row in latencies
    ]
    lines += ["", "| memory of the proxy | MiB |", "|---|---|"]
    lines += [f"| {name} | {mebibytes:.0f} |" for name, mebibytes in memory.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    stream = f"{STREAM_NAME}:{SHARDS}"
    rows, memory = [], {}
    with (
        emulate(stream=[stream], retain="none", shard_limits=False) as upstream,
        serve(upstream.url, **UNLIMITED) as proxy,
    ):
        memory["idle"] = proxy.resident_bytes() / MEBI
        for case in CASES:
            rows.append(measure_case(case, proxy, options.rounds, options.seconds))
            memory[f"peak up to and with {case.title}"] = proxy.peak_resident_bytes() / MEBI
    faults = [f"latency_ms={UPSTREAM_LATENCY_MS}"]
    with (
        emulate(stream=[stream], retain="none", shard_limits=False, fault=faults) as upstream,
        serve(upstream.url, **UNLIMITED) as proxy,
    ):
        latencies = [measure_latency(rate, upstream, proxy, options.seconds) for rate in LATENCY_RATES]
    where = machine()
    text = markdown(rows, latencies, memory)
    print(", ".join(f"{name} {value}" for name, value in where.items()), text, sep="\n\n")  # noqa: T201 - the result
    RESULTS.parent.mkdir(exist_ok=True)
    figures = {
        "machine": where,
        "cost": [asdict(row) for row in rows],
        "latency": [asdict(row) for row in latencies],
        "memory_mib": memory,
    }
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
