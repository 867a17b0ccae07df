"""One run: one producer, a process of its own, against a service of its own.

Each run has the same stream, limits and faults, and each producer is given the same records in the same order at the
same pace. A program that does not end is ended, and the run says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.core.hashing import hash_key_of
from tests.benchmarks.peers.aggregate import unpack
from tests.benchmarks.peers.program import REGION, Report, Task
from tests.benchmarks.peers.scoring import Score, score
from tests.support.kinesis_client import KinesisClient
from tests.support.processes import CREDENTIALS, Process, ProcessError, emulate, serve
from tests.support.producers import Ledger, Sending
from tests.support.readback import StoredShard, read_stream

if TYPE_CHECKING:
    from tests.support.processes import Setting

ROOT = Path(__file__).parents[3]
PYTHON = Path(__file__).parent / ".venv" / "bin" / "python"
STREAM_NAME = "peers"
SHARDS = 4
KEYS_OF_SHARD = 50
KEYS = SHARDS * KEYS_OF_SHARD
DATA_BYTES = 200
SEED = 20_260_101
PATIENCE_SECONDS = 60.0
# Past its patience a program has some seconds to write its report before it is ended.
GRACE_SECONDS = 15.0
# aiokpl gives a record 30 s by default (`record_ttl_ms`); so does the proxy here.
PROXY_SETTINGS: dict[str, Setting] = {"region": REGION, "delivery_timeout_ms": 30_000}
OUTPUT_SHOWN_CHARACTERS = 2_000


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


# Four shards take 4,000 records a second, and have a second's worth to begin with. Below that the pace is one that
# each producer can hold on one idle processor, so that goodput shows what the faults cost and not what Python does.
SCENARIOS = {
    "clean": Scenario("A: no fault, 40 % of the limits", 16_000, 1_600),
    "throttled": Scenario(
        "B: 5 % of the records throttled, latency 5 to 25 ms",
        16_000,
        1_600,
        ("throttle_ratio=0.05", "latency_ms=5", "latency_spread_ms=20"),
    ),
    "resets": Scenario(
        "C: 3 % of the answers lost after the write, 3 % status 500",
        16_000,
        1_600,
        ("reset_after_ratio=0.03", "request_error_ratio=0.03", "latency_ms=5"),
    ),
    "overload": Scenario("D: 150 % of the limits", 24_000, 6_000, ("latency_ms=5",)),
}
CONTESTANTS = {
    "aiokpl": Contestant("aiokpl, aggregating", "with_aiokpl"),
    "aiokpl-single": Contestant("aiokpl, one record each", "with_aiokpl", "single"),
    "async-kinesis": Contestant("async-kinesis", "with_async_kinesis"),
    "async-kinesis-499": Contestant("async-kinesis, batch_size=499", "with_async_kinesis", "499"),
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
        outcomes: what the producer reported of its records, with their number.
        load: processes that ran or wanted to, all over the machine, a minute's average; above the number of processors
            seconds and goodput say little.
    """

    contestant: str
    scenario: str
    score: Score
    seconds: float
    cpu_seconds: float
    proxy_cpu_seconds: float
    refused: int
    remark: str
    outcomes: dict[str, int]
    load: float

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


def run(contestant: Contestant, scenario: Scenario, proxy_settings: dict[str, Setting]) -> Row:
    """Run one producer against a service of its own.

    Args:
        contestant: the producer.
        scenario: what the service does, and what is offered.
        proxy_settings: beside `PROXY_SETTINGS`.
    """
    ledger, given = make_records(scenario.records)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        service = stack.enter_context(emulate(stream=[f"{STREAM_NAME}:{SHARDS}"], fault=list(scenario.faults)))
        proxy = None
        if contestant.through_proxy:
            proxy = stack.enter_context(serve(service.url, **{**PROXY_SETTINGS, **proxy_settings}))
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
        program = [str(PYTHON), "-m", f"tests.benchmarks.peers.{contestant.program}"]
        report, remark = run_program(program, task, PATIENCE_SECONDS + GRACE_SECONDS)
        proxy_cpu_seconds = proxy.cpu_seconds() - proxy_cpu_before if proxy else 0.0
        shards = asyncio.run(read_back(service.url))
        metrics = service.metrics()
        refused = metrics.total("kinesis_proxy_emulator_records_total") - metrics.total(
            "kinesis_proxy_emulator_records_total", outcome="accepted"
        )
    return Row(
        contestant.title,
        scenario.title,
        score(ledger, given, report.outcomes, unpack(shards)),
        report.seconds,
        report.cpu_seconds,
        proxy_cpu_seconds,
        int(refused),
        remark,
        dict(Counter(outcome or "none" for outcome in report.outcomes)),
        os.getloadavg()[0],
    )


def run_program(program: list[str], task: Task, timeout_seconds: float) -> tuple[Report, str]:
    """Run a program to its end, or end it; return its report and a remark if it did not end well.

    Args:
        program: its command line; the file of its task is added.
        task: what it is to do.
        timeout_seconds: after which it is ended; should exceed the task's patience.
    """
    task_file = Path(task.report_file).with_suffix(".task")
    task_file.write_text(json.dumps(asdict(task)), encoding="utf-8")
    remark = ""
    with Process(program[-1], [*program, str(task_file)], {**CREDENTIALS, "PYTHONPATH": str(ROOT)}) as process:
        try:
            process.wait(timeout_seconds)
        except ProcessError:
            remark = f"hung, ended after {timeout_seconds:.0f} s"
    report_file = Path(task.report_file)
    if not report_file.exists():
        output = process.output()[-OUTPUT_SHOWN_CHARACTERS:]
        seconds = timeout_seconds if remark else 0.0
        return Report([None] * len(task.records), seconds, error=output), remark or "ended without a report"
    report = Report(**json.loads(report_file.read_text(encoding="utf-8")))
    if not report.finished:
        remark = f"not finished after {report.seconds:.0f} s: {report.error or 'hung'}"
    return report, remark


async def read_back(url: str) -> list[StoredShard]:
    """Read the whole stream."""
    async with KinesisClient(url) as client:
        return await read_stream(client, STREAM_NAME)
