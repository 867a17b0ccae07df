"""What the producer programs of this benchmark have in common: the records, their pace, and the report.

A program reads its task from the file that it is given, puts the records in their order, none before it is due, and
writes a report. A producer that is slower than the pace falls behind and is not waited for: what was due meanwhile is
put as fast as it takes it. Time and CPU time run from the first record to the last outcome; start-up is not counted.

Needs the standard library alone, since each program runs in an environment without the project.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

REGION = "us-east-1"
# The outcome of a record of which the producer said that it is in the stream; another text is the error that it gave.
ACKNOWLEDGED = "acknowledged"
# A producer that was told to stop has so long to let go.
GRACE_SECONDS = 2.0
# A producer ahead of its pace sleeps at least so long: records are due in small lumps, and pacing costs little CPU.
TICK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Task:
    """What a program is to do.

    Args:
        endpoint: where to send, `http://host:port`.
        stream_name: an existing stream.
        records: partition key and data of each, in the order in which the producer is given them.
        records_per_second: their pace.
        patience_seconds: after this time the program ends, whatever has no outcome then.
        report_file: where the report goes.
        option: of this program.
    """

    endpoint: str
    stream_name: str
    records: list[tuple[str, str]]
    records_per_second: int
    patience_seconds: float
    report_file: str
    option: str = ""


@dataclass(slots=True)
class Report:
    """What a program did.

    Args:
        outcomes: for each record `ACKNOWLEDGED`, the error with which the producer reported its failure, or None if it
            said neither.
        seconds: from the first record to the last outcome.
        cpu_seconds: of this process meanwhile.
        finished: False if patience ended first.
        error: what ended the program early.
    """

    outcomes: list[str | None]
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    finished: bool = False
    error: str = ""


@dataclass(slots=True)
class Run:
    """One run of a program: hand each record of `paced` to the producer, enter outcomes, and call `settled`."""

    task: Task
    report: Report = field(init=False)
    _started_at: float = field(init=False)
    _cpu_at_start: float = field(init=False)

    def __post_init__(self) -> None:
        self.report = Report([None] * len(self.task.records))
        self.start()

    def start(self) -> None:
        """Let time and CPU time begin."""
        self._started_at, self._cpu_at_start = time.monotonic(), time.process_time()

    async def paced(self) -> AsyncIterator[tuple[int, str, str]]:
        """Yield index, partition key and data of each record, none before it is due."""
        self.start()
        for index, (partition_key, data) in enumerate(self.task.records):
            ahead = self._started_at + index / self.task.records_per_second - time.monotonic()
            if ahead > 0:
                await asyncio.sleep(max(ahead, TICK_SECONDS))
            yield index, partition_key, data

    def settled(self) -> None:
        """Note that every record has its outcome."""
        self.note_end()
        self.report.finished = True

    def note_end(self) -> None:
        """Let time and CPU time end."""
        self.report.seconds = time.monotonic() - self._started_at
        self.report.cpu_seconds = time.process_time() - self._cpu_at_start

    def write(self) -> None:
        """Write the report, whole or not at all."""
        path = Path(self.task.report_file)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self.report)), encoding="utf-8")
        partial.replace(path)


def main(produce: Callable[[Run], Awaitable[None]]) -> None:
    """Run a producer, write its report, and end, though the producer may hang."""
    task = Task(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    run = Run(task)

    async def bounded() -> None:
        try:
            async with asyncio.timeout(task.patience_seconds):
                await produce(run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the report says so
            run.report.error = repr(error)

    async def watched() -> None:
        # A producer that does not let go when it is cancelled must not hold up the report.
        asyncio.get_running_loop().call_later(task.patience_seconds + GRACE_SECONDS, _end, run)
        await bounded()

    asyncio.run(watched())
    _end(run)


def _end(run: Run) -> None:
    if not run.report.finished:
        run.note_end()
    run.write()
    # Not sys.exit: threads or tasks of a producer may be stuck.
    os._exit(0)
