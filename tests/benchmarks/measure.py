"""How CPU time is measured: a server is loaded by a generator, and the kernel's account of the server is read.

Every server, the generator and the upstream are processes of their own, so it does not count who else shares the
machine; but caches and hyperthreads are shared too, and a busy neighbour can double a CPU time. Therefore what is to be
compared takes turns in short rounds, is compared round by round, and the median of the rounds counts: only figures of
one run compare.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.load import Options, Report

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.processes import Process, Service, Setting

ROOT = Path(__file__).parents[2]
STREAM_NAME = "bench"
SHARDS = 16
STREAM = f"{STREAM_NAME}:{SHARDS}"
WARM_UP_SECONDS = 0.7
RECORDS_PER_CALL = 500
# Rounds into which one of a comparison is divided.
FINER = 3
PUT_RECORDS_CONNECTIONS = 8
MICRO = 1e6
MILLI = 1e3
# The limits of shards are not what is measured here.
UNLIMITED: dict[str, Setting] = {"shard_records_per_second": 0, "shard_bytes_per_second": 0}
# An upstream that keeps nothing and limits nothing.
BOTTOMLESS: dict[str, Setting] = {"retain": "none", "shard_limits": False}


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure.

    Args:
        rounds: of each measurement.
        seconds: of each round.
    """

    rounds: int
    seconds: float

    def finer(self) -> Plan:
        """Return as long a plan in shorter rounds."""
        return Plan(FINER * self.rounds, self.seconds / FINER)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one server spent on one run, or the medians of several runs."""

    cpu_us_per_record: float
    cpu_us_per_request: float
    records_per_second: float
    failed: int


@dataclass(frozen=True, slots=True)
class Subject:
    """A server, and the load that it is to bear.

    Args:
        server: whose CPU time counts.
        options: the load; `seconds` is the plan's to say.
    """

    server: Process
    options: Options


class MeasurementError(Exception):
    """A server took nothing."""


def generate(options: Options) -> Report:
    """Run the load generator in a process of its own."""
    arguments = [sys.executable, "-m", "tests.benchmarks.generator", json.dumps(asdict(options))]
    done = subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.PIPE)  # noqa: S603 - this very program
    return Report(**json.loads(done.stdout))


def cost_of(subject: Subject, seconds: float) -> Cost:
    """Load a server and return what it spent.

    Raises:
        MeasurementError: it took nothing.
    """
    before = subject.server.cpu_seconds()
    report = generate(replace(subject.options, seconds=seconds))
    spent_us = (subject.server.cpu_seconds() - before) * MICRO
    if not report.records:
        raise MeasurementError(f"{subject.server.name} took nothing: {report.first_failure}")
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


def take_turns(subjects: Mapping[str, Subject], plan: Plan) -> dict[str, list[Cost]]:
    """Measure all subjects round by round, each warmed up before, and return what each spent in each round."""
    for subject in subjects.values():
        cost_of(subject, WARM_UP_SECONDS)
    costs: dict[str, list[Cost]] = {name: [] for name in subjects}
    for _ in range(plan.rounds):
        for name, subject in subjects.items():
            costs[name].append(cost_of(subject, plan.seconds))
    return costs


@dataclass(frozen=True, slots=True)
class Ratio:
    """One cost as a multiple of another, in the rounds that were next to each other: the median and the extremes."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"rounds {self.lowest:.2f} to {self.highest:.2f}"


def ratio_of(costs: list[Cost], others: list[Cost]) -> Ratio:
    """Compare round by round, so that what disturbs the machine for some seconds disturbs both.

    Args:
        costs: by record.
        others: by request, which for the yardstick is what a record is for the proxy.
    """
    each = [mine.cpu_us_per_record / other.cpu_us_per_request for mine, other in zip(costs, others, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def batches_of(proxy: Service) -> tuple[float, float]:
    """Return upstream requests and the records in them, so far."""
    metrics = proxy.metrics()
    return metrics.total("kinesis_proxy_batch_records_count"), metrics.total("kinesis_proxy_batch_records_sum")


def put_record(port: int, connections: int) -> Options:
    """Return the load that most figures are about: PutRecord of 200 bytes over 100,000 keys."""
    return Options(port, connections, 0, STREAM_NAME)


def put_records(port: int) -> Options:
    """Return the same in calls of 500."""
    return Options(port, PUT_RECORDS_CONNECTIONS, 0, STREAM_NAME, records_per_call=RECORDS_PER_CALL)


def remark_on(cost: Cost) -> str:
    """Return what is to be said of a run in which records failed."""
    return f"; {cost.failed} records FAILED" if cost.failed else ""
