"""One process or several: `make workers` prints tables in Markdown and writes the figures to build/workers.json.

    python -m tests.benchmarks.workers [--rounds N] [--seconds N] [--only TEXT] [--linger-ms N]

Four ways of using two cores take turns, behind the same load and before the same upstream:

- one process, as the proxy is;
- two that know nothing of each other, the connections spread over both: no hand-over can cost less. A key's records
  are in order only within one process, and each process has a share of each shard;
- two that own half of the hash keys each and hand over what is the other's (`hand_over.py`);
- a front that reads requests and hands all over to one owner of everything.

The main figure is CPU time of all processes for a record. How many records the processes could take with a core each
is computed from what the busiest of them spends; at the paced rate, where batches are small, it is no more than the
inverse of that. What two cores take with a load generator and an upstream on them is shown too, and what these spent;
it says little about workers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.core.hashing import HASH_KEY_MAX
from tests.benchmarks import hand_over_cost
from tests.benchmarks.hand_over_cost import LUMPS, HandOverCost
from tests.benchmarks.hand_over_worker import HANDED_OVER, Share
from tests.benchmarks.load import Options, Report
from tests.benchmarks.measure import (
    BOTTOMLESS,
    MICRO,
    ROOT,
    STREAM,
    UNLIMITED,
    WARM_UP_SECONDS,
    MeasurementError,
    Plan,
    batches_of,
    put_record,
    put_records,
)
from tests.benchmarks.report import machine
from tests.benchmarks.spread_load import Spread
from tests.support.fleet_books import put_faults
from tests.support.processes import CREDENTIALS, Process, ProcessError, Service, Setting, emulate, free_port, serve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = ROOT / "build" / "workers.json"
MEGA = 1e6
ONE, TWO, OWNERS, FRONT = "one process", "two, unaware", "two, keys owned", "front and owner"
HALF = (HASH_KEY_MAX + 1) // 2
# Less than any way is at its limit with on two cores.
PACED_PER_SECOND = 2_000
# What the real service takes, about.
UPSTREAM_MS = 10
COST_RECORDS = 60_000
HEADER = (
    "| | CPU of all, µs a record | ÷ one process (rounds) | busiest, µs | a core each: records/s | ÷ one process "
    "| records an upstream request | seen: records/s | p50, p99 ms | generator, upstream µs |"
)


class HandingOver(Service):
    """A process that is one of two workers; ready once entered, for which both must run.

    Args:
        upstream: its address.
        share: what it owns.
        settings: of the proxy.
    """

    def __init__(self, upstream: str, share: Share, settings: Mapping[str, Setting]) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        whole = {
            "listen": f"127.0.0.1:{self.port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "log_format": "json",
            "upstream": upstream,
            **settings,
        }
        arguments = [json.dumps(whole), json.dumps(asdict(share))]
        program = [sys.executable, "-m", "tests.benchmarks.hand_over_worker", *arguments]
        Process.__init__(self, "worker", program, CREDENTIALS)

    def handed_over(self) -> dict[str, int]:
        """Return what went to the other worker so far."""
        with urllib.request.urlopen(f"{self.admin_url}/status") as reply:  # noqa: S310 - loopback
            counts: dict[str, int] = json.load(reply)[HANDED_OVER]
        return counts


@dataclass(frozen=True, slots=True)
class Way:
    """One way of using the cores.

    Args:
        title: for the tables.
        processes: all of it.
        ports: where connections go, in turn.
    """

    title: str
    processes: Sequence[Service]
    ports: Sequence[int]

    def batches(self) -> tuple[float, float]:
        """Return upstream requests and the records in them so far."""
        each = [batches_of(process) for process in self.processes]
        return sum(requests for requests, _ in each), sum(records for _, records in each)

    def handed_over(self) -> dict[str, int]:
        """Return what was handed over so far: nothing where nobody does."""
        counts = [process.handed_over() for process in self.processes if isinstance(process, HandingOver)]
        return {name: sum(each[name] for each in counts) for name in (counts[0] if counts else ())}


@dataclass(frozen=True, slots=True)
class Round:
    """What one run under load came to, or the medians of several.

    Args:
        cpu_us: of all processes for a record.
        first_us: of the first process, for a record of all.
        busiest_us: of the busiest process, likewise.
        generator_us: of the load generator.
        upstream_us: of the upstream.
        records_per_second: seen.
        p50_ms: median of the latencies.
        p99_ms: likewise.
        fill: records in an upstream request.
        given: share of the records that were handed over.
        frame_records: records in a frame, one way.
        failed: records that were refused or lost.
    """

    cpu_us: float
    first_us: float
    busiest_us: float
    generator_us: float
    upstream_us: float
    records_per_second: float
    p50_ms: float
    p99_ms: float
    fill: float
    given: float
    frame_records: float
    failed: int

    @property
    def reachable_per_second(self) -> float:
        """Records a second with a core for each process."""
        return MICRO / self.busiest_us


def start(stack: ExitStack, upstream: str, settings: dict[str, Setting]) -> list[Way]:
    """Start everything."""
    directory = stack.enter_context(tempfile.TemporaryDirectory())
    shares = {
        OWNERS: ((0, HALF - 1), (HALF, HASH_KEY_MAX)),
        FRONT: ((HASH_KEY_MAX + 1, HASH_KEY_MAX + 1), (0, HASH_KEY_MAX)),
    }
    one = [stack.enter_context(serve(upstream, **settings))]
    two = [stack.enter_context(serve(upstream, **settings)) for _ in range(2)]
    ways = [Way(ONE, one, [one[0].port]), Way(TWO, two, [each.port for each in two])]
    for title, owned in shares.items():
        socket = str(Path(directory) / title)
        pair = [HandingOver(upstream, Share(socket, number == 0, *keys), settings) for number, keys in enumerate(owned)]
        for each in pair:
            stack.enter_context(each)
        ports = [pair[0].port] if title == FRONT else [each.port for each in pair]
        ways.append(Way(title, pair, ports))
    return ways


def generate(options: Options, ports: Sequence[int]) -> Spread:
    """Run the load generator in a process of its own."""
    arguments = [json.dumps(asdict(options)), json.dumps(list(ports))]
    program = [sys.executable, "-m", "tests.benchmarks.spread_load", *arguments]
    done = subprocess.run(program, cwd=ROOT, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this very program
    found = json.loads(done.stdout)
    return Spread(Report(**found["report"]), found["cpu_seconds"])


def run(way: Way, load: Options, upstream: Process) -> Round:
    """Load one way and return what it spent.

    Raises:
        MeasurementError: it took nothing.
    """
    requests_before, batched_before = way.batches()
    counts_before = way.handed_over()
    before = [process.cpu_seconds() for process in (*way.processes, upstream)]
    spread = generate(load, way.ports)
    *spent, spent_upstream = (
        process.cpu_seconds() - seconds for process, seconds in zip((*way.processes, upstream), before, strict=True)
    )
    report = spread.report
    if not report.records:
        raise MeasurementError(f"{way.title} took nothing: {report.first_failure}")
    requests, batched = way.batches()
    counts = {name: count - counts_before[name] for name, count in way.handed_over().items()}
    per_record = MICRO / report.records
    given = counts.get("records_given", 0)
    return Round(
        cpu_us=sum(spent) * per_record,
        first_us=spent[0] * per_record,
        busiest_us=max(spent) * per_record,
        generator_us=spread.cpu_seconds * per_record,
        upstream_us=spent_upstream * per_record,
        records_per_second=report.records / report.seconds,
        p50_ms=report.latency_p50 * 1e3,
        p99_ms=report.latency_p99 * 1e3,
        fill=(batched - batched_before) / (requests - requests_before),
        given=given / report.records,
        # a frame may hold records of one worker and outcomes for the other
        frame_records=2 * given / counts["frames"] if given else 0.0,
        failed=report.failed_records,
    )


def median_of(rounds: Sequence[Round]) -> Round:
    """Return the median of each figure, and all failures."""
    each = [asdict(one) for one in rounds]
    medians = {name: statistics.median(one[name] for one in each) for name in each[0]}
    return Round(**{**medians, "failed": sum(one.failed for one in rounds)})


def ratios_of(rounds: Sequence[Round], others: Sequence[Round]) -> list[float]:
    """Return CPU for a record as a multiple of another way's, in the rounds that were next to each other."""
    return [mine.cpu_us / other.cpu_us for mine, other in zip(rounds, others, strict=True)]


def cost_nearest(costs: Mapping[int, HandOverCost], records: float) -> tuple[int, float]:
    """Return of the lumps measured the one that is most like a frame of so many records, and what a record costs."""
    size = min(costs, key=lambda lump: max(lump / records, records / lump))
    return size, costs[size].both


def cost_table(costs: Mapping[int, HandOverCost]) -> list[str]:
    """Return what handing over costs by itself."""
    titles = [f"{lump.calls} x {lump.records}" if lump.records > 1 else str(lump.calls) for lump in LUMPS]
    rows = [
        f"| {title} | {costs[lump.size].giver:.2f} | {costs[lump.size].owner:.2f} | {costs[lump.size].alone:.2f} "
        f"| **{costs[lump.size].both:.2f}** |"
        for title, lump in zip(titles, LUMPS, strict=True)
    ]
    return [
        "**Handing a record over and its outcome back, by itself: CPU in µs a record**",
        "",
        "| records in a turn | giver | owner | the same in one process | handing over adds |",
        "|---|---|---|---|---|",
        *rows,
    ]


def load_table(title: str, found: Mapping[str, Sequence[Round]], costs: Mapping[int, HandOverCost]) -> list[str]:
    """Return the table of one load."""
    lines = [
        f"**{title}**",
        "",
        HEADER,
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    one = median_of(found[ONE])
    for way, rounds in found.items():
        mine, ratios = median_of(rounds), ratios_of(rounds, found[ONE])
        scaling = statistics.median(
            other.busiest_us / each.busiest_us for each, other in zip(rounds, found[ONE], strict=True)
        )
        lines.append(
            f"| {way} | {mine.cpu_us:.2f} | {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {mine.busiest_us:.2f} | {mine.reachable_per_second:,.0f} | {scaling:.2f} | {mine.fill:.0f} "
            f"| {mine.records_per_second:,.0f} | {mine.p50_ms:.1f}, {mine.p99_ms:.1f} "
            f"| {mine.generator_us:.1f}, {mine.upstream_us:.1f} |"
            + (f" {mine.failed} records FAILED" if mine.failed else "")
        )
    two, owners = median_of(found[TWO]), median_of(found[OWNERS])
    size, each = cost_nearest(costs, owners.frame_records)
    computed = two.cpu_us + owners.given * each
    remark = (
        f"{owners.given:.0%} handed over, {owners.frame_records:.1f} records a frame. Computed for `{OWNERS}`: "
        f"{two.cpu_us:.2f} + {owners.given:.2f} x {each:.2f} (lumps of {size}) = {computed:.2f} µs, "
        f"{computed / one.cpu_us:.2f} of one process; measured {owners.cpu_us:.2f}."
    )
    if FRONT in found:
        parted = median_of(found[FRONT])
        owner_us = parted.cpu_us - parted.first_us
        remark += (
            f" Of `{FRONT}` the front spends {parted.first_us:.2f}, the owner {owner_us:.2f}: "
            f"with any number of fronts {one.cpu_us / owner_us:.2f} of one process at most."
        )
    return [*lines, "", remark]


def memory_table(idle: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> list[str]:
    """Return resident megabytes, idle and after all loads: summed, and with shared pages parted among their users."""
    rows = [
        f"| {way} | {idle[way][0]:.0f} | {idle[way][1]:.0f} | {after[way][0]:.0f} | {after[way][1]:.0f} |"
        for way in idle
    ]
    return [
        "**Memory of all processes, MB**",
        "",
        "| | idle: RSS | PSS | after all loads: RSS | PSS |",
        "|---|---|---|---|---|",
        *rows,
    ]


def memory_of(way: Way) -> tuple[float, float]:
    """Return the resident megabytes of all processes, and their sum with shared pages parted among their users."""
    resident = sum(process.resident_bytes() for process in way.processes)
    return resident / MEGA, sum(proportional_bytes(process.pid) for process in way.processes) / MEGA


def proportional_bytes(pid: int) -> int:
    """Return the proportional set size of a process (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


@dataclass(frozen=True, slots=True)
class Case:
    """One load.

    Args:
        title: of its table.
        load: what is sent; the port does not count.
        upstream_ms: what the upstream waits before it answers.
    """

    title: str
    load: Options
    upstream_ms: int = 0


MANY = put_record(0, 256)
LATER = f"upstream of {UPSTREAM_MS} ms"
CASES = (
    Case("PutRecord, 64 connections", put_record(0, 64)),
    Case("PutRecord, 256 connections", MANY),
    Case(f"PutRecord, 256 connections, {LATER}", MANY, UPSTREAM_MS),
    Case(
        f"PutRecord, 256 connections, {PACED_PER_SECOND:,} a second, {LATER}",
        replace(MANY, rate=PACED_PER_SECOND),
        UPSTREAM_MS,
    ),
    Case("PutRecords(500), 8 connections", put_records(0)),
    Case(f"PutRecords(500), 8 connections, {LATER}", put_records(0), UPSTREAM_MS),
)


def measure(plan: Plan, cases: Sequence[Case], settings: dict[str, Setting]) -> dict[str, Any]:
    """Measure these loads, print the tables as they are known, and return all figures."""
    costs: dict[int, HandOverCost] = {}
    for lump in LUMPS:
        rounds = [hand_over_cost.measure(lump, COST_RECORDS) for _ in range(plan.rounds)]
        costs[lump.size] = sorted(rounds, key=lambda cost: cost.both)[len(rounds) // 2]
    tell(cost_table(costs))
    figures: dict[str, Any] = {"hand_over": {size: asdict(cost) for size, cost in costs.items()}, "loads": {}}
    with ExitStack() as stack:
        upstream = stack.enter_context(emulate(stream=[STREAM], **BOTTOMLESS))
        ways = start(stack, upstream.url, settings)
        idle = {way.title: memory_of(way) for way in ways}
        for way in ways:
            generate(
                replace(put_record(0, len(way.ports)), seconds=WARM_UP_SECONDS), way.ports
            )  # there is a stream now
        for case in cases:
            put_faults(upstream, {"latency_ms": case.upstream_ms})
            found: dict[str, list[Round]] = {way.title: [] for way in ways}
            for way in ways:
                run(way, replace(case.load, seconds=WARM_UP_SECONDS), upstream)
            for _ in range(plan.rounds):
                for way in ways:
                    found[way.title].append(run(way, replace(case.load, seconds=plan.seconds), upstream))
            tell(load_table(case.title, found, costs))
            figures["loads"][case.title] = {way: [asdict(each) for each in rounds] for way, rounds in found.items()}
        after = {way.title: memory_of(way) for way in ways}
    tell(memory_table(idle, after))
    figures["memory_mb"] = {"idle": idle, "after": after}
    return figures


def tell(lines: Sequence[str]) -> None:
    """Print a table."""
    print("", *lines, sep="\n", flush=True)  # noqa: T201 - the result


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(prog="make workers ARGS=...", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    parser.add_argument("--only", default="", metavar="TEXT", help="only loads whose title begins so")
    parser.add_argument("--linger-ms", type=int, help="of all processes; the proxy's own by default")
    options = parser.parse_args()
    settings = UNLIMITED if options.linger_ms is None else {**UNLIMITED, "linger_ms": options.linger_ms}
    cases = [case for case in CASES if case.title.startswith(options.only)]
    plan = Plan(options.rounds, options.seconds)
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()), flush=True)  # noqa: T201 - the result
    try:
        figures = measure(plan, cases, settings)
    except (MeasurementError, ProcessError) as error:
        sys.exit(str(error))
    print(f"\n{plan.rounds} rounds of {plan.seconds:g} s; load average at the end {machine()['load average']}")  # noqa: T201 - the result
    RESULTS.parent.mkdir(exist_ok=True)
    document = {"machine": where, "settings": settings, "rounds": plan.rounds, "seconds": plan.seconds, **figures}
    RESULTS.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
