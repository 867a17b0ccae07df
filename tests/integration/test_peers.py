"""The side by side with other producers ends, whatever they do; the producers themselves are left to `make peers`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.peers.program import ACKNOWLEDGED, Report, Task
from tests.benchmarks.peers.runs import run_program

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import asyncio
from tests.benchmarks.peers.program import main

async def produce(run):
    async for index, partition_key, data in run.paced():
        run.report.outcomes[index] = "acknowledged"
        {then}
    run.settled()

main(produce)
"""
DEAF = """while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass"""


def report_of(folder: Path, then: str, *, patience_seconds: float = 0.3) -> tuple[Report, str]:
    """Run a program that does `then` after its first record."""
    program = folder / "program.py"
    program.write_text(PROGRAM.format(then=then))
    records = [("a", "a/0/"), ("b", "b/0/")]
    task = Task("http://127.0.0.1:1", "peers", records, 1_000, patience_seconds, str(folder / "report"))
    return run_program([sys.executable, str(program)], task, 5.0)


def test_a_program_that_ends_is_reported_whole(tmp_path: Path) -> None:
    """Every record has its outcome, and there is nothing to remark."""
    report, remark = report_of(tmp_path, "pass", patience_seconds=30.0)
    assert (report.outcomes, report.finished, remark) == ([ACKNOWLEDGED, ACKNOWLEDGED], True, "")


@pytest.mark.parametrize("then", ["await asyncio.sleep(60)", DEAF])
def test_a_program_that_waits_for_ever_is_ended_with_what_it_knew(tmp_path: Path, then: str) -> None:
    """Also one that takes no notice of being cancelled."""
    report, remark = report_of(tmp_path, then)
    assert (report.outcomes, report.finished) == ([ACKNOWLEDGED, None], False)
    assert remark.startswith("not finished after")


def test_a_program_that_spins_is_killed(tmp_path: Path) -> None:
    """It never comes round to its own report."""
    report, remark = report_of(tmp_path, "exec('while True: pass')")
    assert (report.outcomes, remark) == ([None, None], "hung, ended after 5 s")


def test_a_program_that_raises_says_what(tmp_path: Path) -> None:
    """Its error is in the report."""
    report, remark = report_of(tmp_path, "raise ValueError('no such thing')")
    assert (report.outcomes, report.finished) == ([ACKNOWLEDGED, None], False)
    assert "no such thing" in remark


def test_a_program_that_dies_leaves_no_outcomes(tmp_path: Path) -> None:
    """What it printed is kept."""
    report, remark = report_of(tmp_path, "import os; print('farewell', flush=True); os._exit(3)")
    assert (report.outcomes, remark) == ([None, None], "ended without a report")
    assert "farewell" in report.error
