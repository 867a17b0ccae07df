"""Other producers beside the proxy on the same throttled, faulty emulator: `make peers` prints a table in Markdown.

    python -m tests.benchmarks.peers [--only NAME] [--scenario NAME] [--json FILE]

Each run has an emulator of its own, with the same stream, limits and faults, and each producer, a process of its own,
is given the same records in the same order at the same pace. What the table counts is defined in `scoring.py`.
Goodput is distinct records in the stream over the time from the first record to the last outcome; it and the
CPU-seconds depend on the machine, so only figures of one run compare. A run that does not end is ended, and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from proxy.core.hashing import hash_key_of
from tests.benchmarks.peers.aggregate import unpack
from tests.benchmarks.peers.program import REGION, Report, Task
from tests.benchmarks.peers.scoring import Score, score
from tests.support.kinesis_client import KinesisClient
from tests.support.processes import CREDENTIALS, Process, ProcessError, emulate, serve
from tests.support.producers import Ledger, Sending
from tests.support.readback import StoredShard, read_stream

ROOT = Path(__file__).parents[3]
PYTHON = Path(__file__).parent / ".venv" / "bin" / "python"
STREAM_NAME = "peers"
SHARDS = 4
KEYS_OF_SHARD = 50
DATA_BYTES = 200
SEED = 20_260_101
PATIENCE_SECONDS = 60.0
# Past its patience a program has some seconds to write its report before it is ended.
PROCESS_TIMEOUT_SECONDS = PATIENCE_SECONDS + 15.0
# aiokpl's `record_ttl_ms` by default: all give a record the same time.
DELIVERY_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the service does, and what is offered.

    Args:
        title: for the table.
        records: in all.
        records_per_second: their pace.
        faults: of the emulator, beside its shards' limits.
    """

    title: str
    records: int
    records_per_second: int
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contestant:
    """One producer in one configuration.

    Args:
        title: for the table.
        program: module beside this one.
        option: of the program.
        through_proxy: whether its endpoint is the proxy's.
    """

    title: str
    program: str
    option: str = ""
    through_proxy: bool = False


# Four shards take 4,000 records a second, and have a second's worth to begin with.
SCENARIOS = {
    "clean": Scenario("A: no fault, 60 % of the limits", 24_000, 2_400),
    "throttled": Scenario(
        "B: 5 % of the records throttled, latency 5 to 25 ms",
        24_000,
        2_400,
        ("throttle_ratio=0.05", "latency_ms=5", "latency_spread_ms=20"),
    ),
    "resets": Scenario(
        "C: 3 % of the answers lost after the write, 3 % status 500",
        24_000,
        2_400,
        ("reset_after_ratio=0.03", "request_error_ratio=0.03", "latency_ms=5"),
    ),
    "overload": Scenario("D: 150 % of the limits", 30_000, 6_000, ("latency_ms=5",)),
}
CONTESTANTS = {
    "aiokpl": Contestant("aiokpl, aggregating", "with_aiokpl"),
    "aiokpl-single": Contestant("aiokpl, one record each", "with_aiokpl", "single"),
    "async-kinesis": Contestant("async-kinesis", "with_async_kinesis"),
    "proxy": Contestant("proxy", "with_sdk", through_proxy=True),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Args:
        score: what became of the records.
        seconds: from the first record to the last outcome.
        cpu_seconds: of the producer's process meanwhile.
        proxy_cpu_seconds: of the proxy's process; 0 without a proxy.
        refused: records that the service throttled or failed, which had to be sent again.
        remark: how the run ended, if not as it should.
        errors: the errors reported of records, with their number.
    """

    contestant: str
    scenario: str
    score: Score
    seconds: float
    cpu_seconds: float
    proxy_cpu_seconds: float
    refused: int
    remark: str
    errors: dict[str, int]

    @property
    def goodput(self) -> float:
        """Distinct records in the stream a second."""
        return self.score.distinct / self.seconds if self.seconds else 0.0


def keys_of_shards() -> list[str]:
    """Return as many keys for each shard as for the others, so that all have the same load."""
    room = [KEYS_OF_SHARD] * SHARDS
    keys: list[str] = []
    number = 0
    while any(room):
        key = f"customer-{number}"
        number += 1
        shard = hash_key_of(key) * SHARDS >> 128
        if room[shard]:
            room[shard] -= 1
            keys.append(key)
    return keys


def make_records(count: int) -> tuple[Ledger, list[Sending]]:
    """Make the records of a run, the same for each."""
    ledger, dice, keys = Ledger(), random.Random(SEED), keys_of_shards()  # noqa: S311 - a seeded choice
    return ledger, [ledger.send(dice.choice(keys), DATA_BYTES) for _ in range(count)]


def run(contestant: Contestant, scenario: Scenario) -> Row:
    """Run one producer against a service of its own."""
    ledger, given = make_records(scenario.records)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        service = stack.enter_context(emulate(stream=[f"{STREAM_NAME}:{SHARDS}"], fault=list(scenario.faults)))
        proxy = None
        if contestant.through_proxy:
            proxy = stack.enter_context(serve(service.url, region=REGION, delivery_timeout_ms=DELIVERY_TIMEOUT_MS))
        task = Task(
            endpoint=(proxy or service).url,
            stream_name=STREAM_NAME,
            records=[(sending.partition_key, sending.data.decode()) for sending in given],
            records_per_second=scenario.records_per_second,
            patience_seconds=PATIENCE_SECONDS,
            report_file=str(Path(directory) / "report"),
            option=contestant.option,
        )
        proxy_cpu_before = proxy.cpu_seconds() if proxy else 0.0
        report, remark = run_program(contestant.program, task)
        proxy_cpu_seconds = proxy.cpu_seconds() - proxy_cpu_before if proxy else 0.0
        shards = asyncio.run(read_back(service.url))
        metrics = service.metrics()
        refused = metrics.total("kinesis_proxy_emulator_records_total") - metrics.total(
            "kinesis_proxy_emulator_records_total", outcome="accepted"
        )
    errors: dict[str, int] = {}
    for outcome in report.outcomes:
        errors[outcome or "none"] = errors.get(outcome or "none", 0) + 1
    return Row(
        contestant.title,
        scenario.title,
        score(ledger, given, report.outcomes, unpack(shards)),
        report.seconds,
        report.cpu_seconds,
        proxy_cpu_seconds,
        int(refused),
        remark,
        errors,
    )


def run_program(program: str, task: Task) -> tuple[Report, str]:
    """Run a program to its end, or end it; return its report and a remark if it did not end well."""
    task_file = Path(task.report_file).with_suffix(".task")
    task_file.write_text(json.dumps(asdict(task)), encoding="utf-8")
    arguments = [str(PYTHON), "-m", f"tests.benchmarks.peers.{program}", str(task_file)]
    remark = ""
    with Process(program, arguments, {**CREDENTIALS, "PYTHONPATH": str(ROOT)}) as process:
        try:
            process.wait(PROCESS_TIMEOUT_SECONDS)
        except ProcessError:
            remark = f"hung, ended after {PROCESS_TIMEOUT_SECONDS:.0f} s"
    report_file = Path(task.report_file)
    if not report_file.exists():
        note(process.output()[-2_000:])
        seconds = PROCESS_TIMEOUT_SECONDS if remark else 0.0
        return Report([None] * len(task.records), seconds), remark or "ended without a report"
    report = Report(**json.loads(report_file.read_text(encoding="utf-8")))
    if not report.finished:
        remark = f"not finished after {report.seconds:.0f} s: {report.error or 'hung'}"
    return report, remark


async def read_back(url: str) -> list[StoredShard]:
    """Read the whole stream."""
    async with KinesisClient(url) as client:
        return await read_stream(client, STREAM_NAME)


HEADER = (
    "| producer | inversions | inverted pairs | keys inverted | acknowledged, lost | reported failed (of them stored) "
    "| lost in silence | duplicates | refused by the service | goodput, records/s | CPU-seconds | remark |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def markdown(row: Row) -> str:
    """Lay a run out for a reader."""
    found = row.score
    odd = [f"{count} {kind}" for kind in ("foreign", "misrouted") if (count := getattr(found, kind))]
    cpu = f"{row.cpu_seconds:.1f}"
    if row.proxy_cpu_seconds:
        cpu = f"{row.cpu_seconds + row.proxy_cpu_seconds:.1f} = client {cpu} + proxy {row.proxy_cpu_seconds:.1f}"
    cells = (
        row.contestant,
        f"{found.inversions:,}",
        f"{found.inverted_pairs:,}",
        f"{found.inverted_keys} of {SHARDS * KEYS_OF_SHARD}",
        f"{found.lost:,}",
        f"{found.failed:,} ({found.failed_but_stored:,})",
        f"{found.silent:,}",
        f"{found.duplicates:,}",
        f"{row.refused:,}",
        f"{row.goodput:,.0f}",
        cpu,
        "; ".join([row.remark, *odd] if row.remark else odd),
    )
    return f"| {' | '.join(cells)} |"


def note(text: str) -> None:
    """Print at once: a run takes its time."""
    print(text, flush=True)  # noqa: T201 - the program's result


def main() -> None:
    """Run every producer in every scenario and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=CONTESTANTS, action="append", help="one producer; may be repeated")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="one scenario; may be repeated")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("the other producers are not installed: run tests/benchmarks/peers/install")
    rows: list[Row] = []
    for name in options.scenario or SCENARIOS:
        scenario = SCENARIOS[name]
        note(
            f"\n{scenario.title}: {scenario.records:,} records over {SHARDS * KEYS_OF_SHARD} keys, "
            f"{scenario.records_per_second:,} a second\n\n{HEADER}"
        )
        for title in options.only or CONTESTANTS:
            rows.append(run(CONTESTANTS[title], scenario))
            note(markdown(rows[-1]))
    if options.json:
        figures = [{**asdict(row), "goodput": row.goodput} for row in rows]
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
