"""Producers that work inside their program, beside the proxy: CPU time of their process for each record.

Theirs is all that a record costs the program; beside ours the program still makes its calls, which cost what its SDK
costs. They run in the environment of `make peers`, with the same records, against the same upstream, unpaced.
"""

from __future__ import annotations

import random
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.measure import BOTTOMLESS, MICRO, STREAM, STREAM_NAME, MeasurementError
from tests.benchmarks.peers.program import ACKNOWLEDGED, Task
from tests.benchmarks.peers.runs import PYTHON, run_program
from tests.benchmarks.report import Row
from tests.support.processes import emulate

if TYPE_CHECKING:
    from tests.benchmarks.measure import Plan
    from tests.benchmarks.peers.program import Report

SECTION = "Producers in the program itself: their CPU per record ÷ ours"
DATA_BYTES = 200
PARTITION_KEYS = 100_000
PATIENCE_SECONDS = 30.0
GRACE_SECONDS = 15.0
UNPACED_PER_SECOND = 1_000_000
SINGLE_RATIO_MIN, BULK_RATIO_MIN = 5.0, 12.0
SEED = 1


@dataclass(frozen=True, slots=True)
class Producer:
    """One producer.

    Args:
        title: for the table.
        program: module of the peers.
        option: of the program.
        records: that it is given, some seconds' worth.
        batches: whether it batches by itself, and so is held against our PutRecords too.
    """

    title: str
    program: str
    option: str
    records: int
    batches: bool = True


PRODUCERS = (
    Producer("aiobotocore put_record", "with_put_record", "", 3_000, batches=False),
    Producer("aiokpl, one record each", "with_aiokpl", "single", 15_000),
    Producer("aiokpl, aggregating", "with_aiokpl", "", 15_000),
    Producer("async-kinesis", "with_async_kinesis", "499", 15_000),
)


def measure(plan: Plan, single_us: float, bulk_us: float) -> list[Row]:
    """Run each producer once a round.

    Args:
        plan: its rounds.
        single_us: CPU time of the proxy for a record by PutRecord, in the same run.
        bulk_us: likewise by PutRecords.
    """
    if not PYTHON.exists():
        remarks = "not installed: `make peers` installs it"
        return [row for producer in PRODUCERS for row in rows_of(producer, None, single_us, bulk_us, remarks)]
    costs: dict[Producer, list[float]] = {producer: [] for producer in PRODUCERS}
    failed = dict.fromkeys(PRODUCERS, 0)
    with emulate(stream=[STREAM], **BOTTOMLESS) as upstream:
        for _ in range(plan.rounds):
            for producer in PRODUCERS:
                report = produce(producer, upstream.url)
                failed[producer] += sum(outcome != ACKNOWLEDGED for outcome in report.outcomes)
                costs[producer].append(MICRO * report.cpu_seconds / producer.records)
    return [
        row
        for producer in PRODUCERS
        for row in rows_of(
            producer,
            statistics.median(costs[producer]),
            single_us,
            bulk_us,
            f"; {failed[producer]} records FAILED" if failed[producer] else "",
        )
    ]


def produce(producer: Producer, upstream_url: str) -> Report:
    """Run a producer once.

    Raises:
        MeasurementError: it did not finish.
    """
    dice = random.Random(SEED)  # noqa: S311 - a seeded load, no secret
    data = "x" * DATA_BYTES
    with tempfile.TemporaryDirectory() as directory:
        task = Task(
            endpoint=upstream_url,
            stream_name=STREAM_NAME,
            records=[(f"{dice.randrange(PARTITION_KEYS):07d}", data) for _ in range(producer.records)],
            records_per_second=UNPACED_PER_SECOND,
            patience_seconds=PATIENCE_SECONDS,
            report_file=str(Path(directory) / "report"),
            option=producer.option,
        )
        program = [str(PYTHON), "-m", f"tests.benchmarks.peers.{producer.program}"]
        report, remark = run_program(program, task, PATIENCE_SECONDS + GRACE_SECONDS)
    if remark:
        raise MeasurementError(f"{producer.title}: {remark}\n{report.error}")
    return report


def rows_of(producer: Producer, theirs_us: float | None, single_us: float, bulk_us: float, remarks: str) -> list[Row]:
    """Return a producer's rows: beside our PutRecord and, if it batches, beside our PutRecords."""
    against = [("PutRecord", single_us, SINGLE_RATIO_MIN)]
    if producer.batches:
        against.append(("PutRecords", bulk_us, BULK_RATIO_MIN))
    return [
        Row(
            SECTION,
            f"{producer.title} ÷ ours by {operation}",
            None if theirs_us is None else theirs_us / ours_us,
            target=least,
            at_least=True,
            remarks=remarks if theirs_us is None else f"{theirs_us:.0f} ÷ {ours_us:.2f} µs{remarks}",
        )
        for operation, ours_us, least in against
    ]
