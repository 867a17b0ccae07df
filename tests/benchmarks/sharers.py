"""How producers that know nothing of each other share a shard: `make sharers` prints tables in Markdown and a plot.

    python -m tests.benchmarks.sharers [--seeds N] [--workers N]

Every sender is the real core, on virtual time, in front of a simulated service (see `tests.support.sharers`). Our law
and those of fixed rates run side by side: the limit itself ("100 %"), and half as much again, which is the KPL's
default. All figures are written to build/sharers.json too.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from proxy.core.limits import StreamLimits
from proxy.core.rate_control import AdaptiveRate, FixedRate
from tests.support.sharers import SERVICES, Demand, Sharing, Simulation, figures_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.core.rate_control import RateControl

RESULTS = Path(__file__).parents[2] / "build" / "sharers.json"
KPL_RATIO = 1.5


def whole_limit(_now_ns: int) -> RateControl:
    """Make the law that uses the limit, whoever else there is."""
    return FixedRate(1.0)


def kpl_default(_now_ns: int) -> RateControl:
    """Make the law of the KPL's default, `RateLimit = 150` (percent of a shard's limit)."""
    return FixedRate(KPL_RATIO)


LAWS: dict[str, Callable[[int], RateControl]] = {
    "adaptive": AdaptiveRate,
    "100 %": whole_limit,
    "150 % (KPL)": kpl_default,
}
# Bytes a record: where records are scarce, where bytes are, and where there are few records to learn from.
LOADS = {"records": 100, "bytes": 2048, "large records": 8192}
SENDERS = (1, 2, 4, 16, 64)
SETTLED_SECONDS = 60  # a cold start, a newcomer and a departure have so long
MEASURED_SECONDS = 30
AFTER_SECONDS = 60  # by then the first senders have long found their shares
BRIEF_SECONDS = 10  # fixed rates have nothing to find; they are settled, and measured, for so long
LATER_SECONDS = 30  # how long is measured after a change and the minute that it may take
NEWCOMERS = (1, 4, 16)  # senders that are there already
DEPARTURES = ((2, 1), (4, 2), (16, 8), (16, 15))  # senders, and how many of them leave
STEP_SECONDS = 5  # over which the speed of a change is measured
NEAR_SHARE = 0.8
USE_WANTED = 0.98
MODEST = (50.0, 100.0, 150.0)  # what senders want that need less than their share, in thousandths of the limit
GREEDY = 3  # senders that want all
STRAY_RATIOS = (0.01, 0.05, 0.1)  # of the records, throttled at random
STRAY_SENDERS = (1, 4, 16)
SHUFFLED_SENDERS = (4, 16, 64)


Key = tuple[str, str, str, str, int, int, float]
Rows = dict[Key, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """One run, and which of its figures belong where."""

    table: str
    law: str
    service: str
    load: str
    senders: int
    changed: int = 0  # senders that leave
    stray_ratio: float = 0.0
    seed: int = 1

    @property
    def key(self) -> Key:
        """What the runs of several seeds have in common."""
        return (self.table, self.law, self.service, self.load, self.senders, self.changed, self.stray_ratio)

    @property
    def title(self) -> str:
        """What a person reads while it runs."""
        return f"{self.table}, {self.law}, {self.service}, bound by {self.load}, {self.senders} senders"


def cases(seeds: int) -> list[Case]:
    """Return every run: ours first, then those of the fixed rates."""
    found = []
    for seed in range(1, seeds + 1):
        for service in SERVICES:
            for load in LOADS:
                found += [Case("cold", law, service, load, n, seed=seed) for law in LAWS for n in SENDERS]
                found.append(Case("demands", "adaptive", service, load, len(MODEST) + GREEDY, seed=seed))
                found += [Case("newcomer", "adaptive", service, load, n + 1, seed=seed) for n in NEWCOMERS]
                found += [Case("departure", "adaptive", service, load, n, gone, seed=seed) for n, gone in DEPARTURES]
                found += [
                    Case("stray", "adaptive", service, load, n, stray_ratio=ratio, seed=seed)
                    for ratio, n in product(STRAY_RATIOS, STRAY_SENDERS)
                ]
            found += [Case("shuffled", "adaptive", service, "records", n, seed=seed) for n in SHUFFLED_SENDERS]
    return sorted(found, key=lambda case: (case.law != "adaptive", case.table, -case.senders))


def play(case: Case) -> dict[str, float]:
    """Run one case and return its figures."""
    plays = {"newcomer": _newcomer, "departure": _departure, "demands": _demands}
    return plays.get(case.table, _cold)(case)


def _simulate(case: Case, demands: Sequence[Demand], seconds: int) -> Simulation:
    sharing = Sharing(
        demands,
        SERVICES[case.service],
        LOADS[case.load],
        seconds,
        case.seed,
        StreamLimits(rate_control=LAWS[case.law]),
        case.stray_ratio,
        shuffled=case.table == "shuffled",
    )
    return Simulation(sharing).run()


def _cold(case: Case) -> dict[str, float]:
    """All start at once; measured when a minute is over."""
    adapts = case.law == "adaptive"
    settled, measured = (SETTLED_SECONDS, MEASURED_SECONDS) if adapts else (BRIEF_SECONDS, BRIEF_SECONDS)
    simulation = _simulate(case, [Demand()] * case.senders, settled + measured)
    figures = figures_of(simulation, settled, settled + measured)
    return {"use": figures.use, "throttled": figures.throttled, "fairness": figures.fairness}


def _newcomer(case: Case) -> dict[str, float]:
    """One comes when the others have settled; measured a minute later, and how soon it had its share."""
    demands = [Demand()] * (case.senders - 1) + [Demand(from_seconds=AFTER_SECONDS)]
    begin = AFTER_SECONDS + SETTLED_SECONDS
    simulation = _simulate(case, demands, begin + LATER_SECONDS)
    figures = figures_of(simulation, begin, begin + LATER_SECONDS)
    fair = simulation.sharing.limit_per_second / case.senders
    senders = simulation.senders
    lasting = _first_lasting(
        lambda t: all(NEAR_SHARE * fair <= fmean(sender.taken[t : t + 2 * STEP_SECONDS]) for sender in senders),
        range(AFTER_SECONDS, begin + LATER_SECONDS - 2 * STEP_SECONDS),
    )
    return {
        "use": figures.use,
        "throttled": figures.throttled,
        "fairness": figures.fairness,
        "share": fmean(senders[-1].taken[begin : begin + LATER_SECONDS]) / fair,
        "seconds": lasting,
    }


def _departure(case: Case) -> dict[str, float]:
    """Some leave when all have settled; measured a minute later, and how soon the shard was used again."""
    leaving = [Demand(until_seconds=AFTER_SECONDS)] * case.changed
    begin = AFTER_SECONDS + SETTLED_SECONDS
    simulation = _simulate(case, [Demand()] * (case.senders - case.changed) + leaving, begin + LATER_SECONDS)
    figures = figures_of(simulation, begin, begin + LATER_SECONDS)
    limit = simulation.sharing.limit_per_second
    senders = simulation.senders
    soon = _first_lasting(
        lambda t: sum(fmean(sender.taken[t : t + STEP_SECONDS]) for sender in senders) >= USE_WANTED * limit,
        range(AFTER_SECONDS, begin + LATER_SECONDS - STEP_SECONDS),
    )
    return {
        "use": figures.use,
        "throttled": figures.throttled,
        "fairness": figures.fairness,
        "seconds": soon,
    }


def _first_lasting(holds: Callable[[int], bool], seconds: range) -> float:
    """Return after how many seconds something first holds."""
    return next((float(second - seconds.start) for second in seconds if holds(second)), float("nan"))


def _demands(case: Case) -> dict[str, float]:
    """Some want less than a fair share, the others all; what each got, as a part of what max-min fairness gives it."""
    limit = Sharing([], SERVICES[case.service], LOADS[case.load]).limit_per_second
    modest = [wanted * limit / 1000 for wanted in MODEST]
    demands = [Demand(wanted) for wanted in modest] + [Demand()] * GREEDY
    simulation = _simulate(case, demands, SETTLED_SECONDS + MEASURED_SECONDS)
    figures = figures_of(simulation, SETTLED_SECONDS, SETTLED_SECONDS + MEASURED_SECONDS)
    span = slice(SETTLED_SECONDS, SETTLED_SECONDS + MEASURED_SECONDS)
    arrived = [fmean(sender.arrived[span]) for sender in simulation.senders[: len(modest)]]
    due = arrived + [(limit - sum(arrived)) / GREEDY] * GREEDY
    parts = [fmean(sender.taken[span]) / fair for sender, fair in zip(simulation.senders, due, strict=True)]
    return {
        "use": figures.use,
        "throttled": figures.throttled,
        "least_modest": min(parts[: len(modest)]),
        "least_greedy": min(parts[len(modest) :]),
        "most_greedy": max(parts[len(modest) :]),
    }


def trace(seed: int) -> dict[str, object]:
    """Play a cold start of four senders, a newcomer and a departure, and return all rates, second by second."""
    demands = [Demand(until_seconds=180)] + [Demand()] * 3 + [Demand(from_seconds=90)]
    traces: dict[str, object] = {}
    for name, service in SERVICES.items():
        simulation = Simulation(Sharing(demands, service, 100, 270, seed)).run()
        traces[name] = {
            "ratios": [sender.ratios for sender in simulation.senders],
            "taken": [sender.taken for sender in simulation.senders],
            "throttled": [sender.throttled for sender in simulation.senders],
        }
    return {"limit_per_second": 1000, "newcomer_at": 90, "departure_at": 180, "services": traces}


def main() -> None:
    """Run everything, print the tables."""
    parser = argparse.ArgumentParser(prog="make sharers ARGS=...", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each case, whose mean is shown")
    parser.add_argument("--workers", type=int, default=None, help="processes; one a CPU by default")
    options = parser.parse_args()
    runs = cases(options.seeds)
    found: dict[Key, list[dict[str, float]]] = {}
    with ProcessPoolExecutor(options.workers) as pool:
        traced = pool.submit(trace, 1)
        for count, (case, figures) in enumerate(zip(runs, pool.map(play, runs), strict=True), 1):
            found.setdefault(case.key, []).append(figures)
            sys.stderr.write(f"{count} of {len(runs)}: {case.title}: {_written(figures)}\n")
        RESULTS.parent.mkdir(exist_ok=True)
        rows = {key: _mean(figures) for key, figures in found.items()}
        document = {"rows": [[*key, figures] for key, figures in rows.items()], "trace": traced.result()}
    RESULTS.write_text(json.dumps(document), encoding="utf-8")
    tables = (
        _introduction(options.seeds),
        _cold_table(rows),
        *_change_tables(rows),
        _demands_table(rows),
        _stray_table(rows),
        _shuffled_table(rows),
    )
    for table in tables:
        sys.stdout.write("\n".join(table) + "\n\n")


def _written(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in figures.items())


def _mean(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(run[name] for run in runs) for name in runs[0]}


def _introduction(seeds: int) -> list[str]:
    loads = ", ".join(f"{size} (bound by {load})" for load, size in LOADS.items())
    return [f"One shard of 1000 records/s and 1 MiB/s; bytes a record: {loads}; means of {seeds} seed(s)."]


def _cold_table(rows: Rows) -> list[str]:
    brief = f"fixed rates: {BRIEF_SECONDS} to {2 * BRIEF_SECONDS} s"
    laws = [f"{law}: {what}" for law in LAWS for what in ("use", "throttled", "fairness")]
    table = [
        f"**From a cold start, {SETTLED_SECONDS} to {SETTLED_SECONDS + MEASURED_SECONDS} s** ({brief})",
        "",
        *_head("service", "bound by", "senders", *laws),
    ]
    for service, load in product(SERVICES, LOADS):
        for n in SENDERS:
            cells = " | ".join(_three(rows["cold", law, service, load, n, 0, 0.0]) for law in LAWS)
            table.append(f"| {service} | {load} | {n} | {cells} |")
    return table


def _change_tables(rows: Rows) -> Iterable[list[str]]:
    what = ("use", "throttled", "fairness")
    soon = f"all have {NEAR_SHARE} of a share after, s"
    share = f"its part of a fair share after {SETTLED_SECONDS} s"
    newcomer = ["**A newcomer to senders that have settled**", ""]
    newcomer += _head("service", "bound by", "senders", soon, share, *what)
    departure = ["**Senders leave**", ""]
    departure += _head("service", "bound by", "senders", f"use {USE_WANTED} again after, s", *what)
    for service, load in product(SERVICES, LOADS):
        for n in NEWCOMERS:
            row = rows["newcomer", "adaptive", service, load, n + 1, 0, 0.0]
            measured = f"{row['seconds']:.0f} | {row['share']:.2f} | {_three(row)}"
            newcomer.append(f"| {service} | {load} | {n} + 1 | {measured} |")
        for n, gone in DEPARTURES:
            row = rows["departure", "adaptive", service, load, n, gone, 0.0]
            departure.append(f"| {service} | {load} | {n} - {gone} | {row['seconds']:.0f} | {_three(row)} |")
    yield newcomer
    yield departure


def _demands_table(rows: Rows) -> list[str]:
    wanted = ", ".join(f"{each / 10:.0f} %" for each in MODEST)
    table = [
        f"**Unequal demands**: {wanted} of the limit, and {GREEDY} that want all; parts of what max-min fairness gives",
        "",
        *_head("service", "bound by", "modest, least", "greedy, least", "greedy, most", "use", "throttled"),
    ]
    for service, load in product(SERVICES, LOADS):
        row = rows["demands", "adaptive", service, load, len(MODEST) + GREEDY, 0, 0.0]
        parts = f"{row['least_modest']:.3f} | {row['least_greedy']:.2f} | {row['most_greedy']:.2f}"
        table.append(f"| {service} | {load} | {parts} | {row['use']:.3f} | {row['throttled']:.2%} |")
    return table


def _stray_table(rows: Rows) -> list[str]:
    most = "most there is"  # no sender sends more than the limit, and so much of it comes back
    table = [
        f"**Throttles at random**, from a cold start, {SETTLED_SECONDS} to {SETTLED_SECONDS + MEASURED_SECONDS} s",
        "",
        *_head("service", "bound by", "at random", "senders", most, "use", "throttled", "fairness"),
    ]
    for service, load, ratio, n in product(SERVICES, LOADS, STRAY_RATIOS, STRAY_SENDERS):
        row = rows["stray", "adaptive", service, load, n, 0, ratio]
        table.append(f"| {service} | {load} | {ratio:.0%} | {n} | {min(1, n * (1 - ratio)):.2f} | {_three(row)} |")
    return table


def _shuffled_table(rows: Rows) -> list[str]:
    table = [
        "**A service that judges the records of a request in another order than that of its answer**: at worst",
        "",
        *_head("service", "senders", "use", "throttled", "fairness"),
    ]
    for service, n in product(SERVICES, SHUFFLED_SENDERS):
        table.append(f"| {service} | {n} | {_three(rows['shuffled', 'adaptive', service, 'records', n, 0, 0.0])} |")
    return table


def _head(*titles: str) -> list[str]:
    return ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]


def _three(row: dict[str, float]) -> str:
    return f"{row['use']:.3f} | {row['throttled']:.2%} | {row['fairness']:.3f}"


if __name__ == "__main__":
    main()
