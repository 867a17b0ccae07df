"""Many seeds, over several processes, and what became of them all.

    python -m tests.simulation --hours 10000 --from-seed 0 --jobs 2
    python -m tests.simulation --seed 39                             repeats one; --dense its short form

Tells which promise a seed breaks, and the command that repeats it, and goes on; the exit code says whether any did.
"""

from __future__ import annotations

import argparse
import time
import traceback
from collections import Counter
from itertools import count
from multiprocessing import get_context
from typing import TYPE_CHECKING

from tests.simulation.focus import scenario_for
from tests.simulation.run import Result, Simulation
from tests.simulation.scenario import Scenario
from tests.support.planted_bugs import BUGS, planted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PROGRESS_SECONDS = 30.0


def say(text: object) -> None:
    """Print at once, for whoever follows the output."""
    print(text, flush=True)  # noqa: T201 - a command


class Total:
    """What all runs add up to."""

    def __init__(self) -> None:
        self.seeds = 0
        self.events = 0
        self.counts: Counter[str] = Counter()
        self.hours: Counter[str] = Counter()
        self.cpu_seconds = 0.0
        self.failed: list[Result] = []

    def add(self, result: Result, cpu_seconds: float) -> None:
        """Take in one run."""
        self.seeds += 1
        self.events += result.events
        self.counts.update(result.counts)
        self.hours.update(result.hours)
        self.cpu_seconds += cpu_seconds
        if result.broken is not None:
            self.failed.append(result)

    @property
    def virtual_hours(self) -> float:
        """Hours of all phases."""
        return sum(hours for kind, hours in self.hours.items() if kind != "open")

    def line(self) -> str:
        """Return the progress in a line."""
        records = self.counts["records accepted"]
        return (
            f"{self.virtual_hours:,.0f} virtual hours, {self.seeds:,} seeds, {records:,} records, "
            f"{self.events:,} events, {len(self.failed)} broken"
        )

    def report(self) -> str:
        """Return everything, as lines."""
        lines = [f"{'total':40} {self.line()}"]
        kinds = {"burst": "bursts", "trickle": "trickles", "idle": "idle gaps", "open": "with a record open"}
        lines += [f"{'virtual hours of ' + text:40} {self.hours[kind]:>14,.2f}" for kind, text in kinds.items()]
        lines.append(f"{'CPU seconds':40} {self.cpu_seconds:>14,.1f}")
        lines += [f"{name:40} {number:>14,}" for name, number in sorted(self.counts.items())]
        return "\n".join(lines)


def run_seed(seed: int) -> tuple[Result, float]:
    """Run one seed; return what it leaves behind and the CPU time that it took."""
    return _run(Scenario.drawn(seed))


def _run(scenario: Scenario) -> tuple[Result, float]:
    began = time.process_time()
    result = Simulation(scenario).run()
    return result, time.process_time() - began


def _results(seeds: Iterable[int], jobs: int) -> Iterator[tuple[Result, float]]:
    """Run seeds, in this process or in others, in their order."""
    if jobs == 1:
        yield from map(run_seed, seeds)
        return
    with get_context("spawn").Pool(jobs, maxtasksperchild=200) as pool:
        yield from pool.imap(run_seed, seeds)


def run_one(scenario: Scenario, bug: str | None) -> int:
    """Run one scenario, tell everything of it, and return the exit code."""
    with planted(bug):
        result, cpu_seconds = _run(scenario)
    total = Total()
    total.add(result, cpu_seconds)
    say(scenario)
    say(total.report())
    say(f"{'trace':40} {result.digest}")
    if result.broken is None:
        return 0
    traceback.print_exception(result.broken)
    return 1


def run_many(seeds: Iterable[int], hours: float, jobs: int) -> int:
    """Run seeds until so many virtual hours are reached; return the exit code."""
    total = Total()
    told_at = began = time.monotonic()
    for result, cpu_seconds in _results(seeds, jobs):
        total.add(result, cpu_seconds)
        if result.broken is not None:
            say(f"seed {result.seed}: {result.broken}\n  repeat: python -m tests.simulation --seed {result.seed}")
        if time.monotonic() - told_at > PROGRESS_SECONDS:
            told_at = time.monotonic()
            say(f"{told_at - began:6.0f} s  {total.line()}")
        if total.virtual_hours >= hours:
            break
    say(total.report())
    say(f"{'seconds':40} {time.monotonic() - began:>14,.1f}")
    if total.failed:
        say(f"broken seeds: {', '.join(str(result.seed) for result in total.failed)}")
    return 1 if total.failed else 0


def find_bug(bug: str, seeds: Iterable[int]) -> int:
    """Run seeds with a planted bug until one shows it; return the exit code."""
    began = time.process_time()
    for seed in seeds:
        with planted(bug):
            result, _ = _run(scenario_for(bug, seed))
        if result.broken is not None:
            took = time.process_time() - began
            say(f"{bug}: seed {seed}, {result.broken.rule.name} after {took:.1f} s of CPU: {result.broken.detail}")
            return 0
    say(f"{bug}: not found")
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--hours", type=float, default=100, help="virtual hours to run")
    parser.add_argument("--from-seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="run this seed alone, and tell everything of it")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant a bug, and look for the first dense seed to show it")
    parser.add_argument("--dense", action="store_true", help="with --seed: the short scenario, with all faults")
    chosen = parser.parse_args(arguments)
    if chosen.seed is not None:
        dense = scenario_for(chosen.bug or "", chosen.seed)
        return run_one(dense if chosen.dense else Scenario.drawn(chosen.seed), chosen.bug)
    seeds = count(chosen.from_seed)
    if chosen.bug:
        return find_bug(chosen.bug, (next(seeds) for _ in range(200)))
    return run_many(seeds, chosen.hours, chosen.jobs)
