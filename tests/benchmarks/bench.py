"""What a record costs: `make bench` prints tables in Markdown and writes the same figures to build/bench.json.

    python -m tests.benchmarks.bench [--only NAME] [--rounds N] [--seconds N]

How CPU time is measured stands in `measure.py`. Each figure stands beside its target, if it has one; the command
succeeds whether they are met or not, because a machine that is busy with something else misses some.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import costs, in_process, latency, memory, protocols, spread
from tests.benchmarks.measure import ROOT, MeasurementError, Plan
from tests.benchmarks.report import Row, as_json, machine, markdown
from tests.support.processes import ProcessError

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = ROOT / "build" / "bench.json"


class Bench:
    """The sections, in the order in which they are printed.

    Args:
        plan: how long each is measured.
        serving: the interpreter that is weighed and started; it should have what the image has, and no more.
    """

    def __init__(self, plan: Plan, serving: str = sys.executable) -> None:
        self._plan = plan
        self._costs: costs.Costs | None = None
        self.sections: dict[str, Callable[[], list[Row]]] = {
            "cost": lambda: self.costs().rows(),
            "producers": self._producers,
            "latency": lambda: latency.measure(plan),
            "memory": lambda: memory.measure(plan, serving),
            "protocols": lambda: protocols.measure(plan),
            "spread": lambda: spread.measure(plan),
        }

    def costs(self) -> costs.Costs:
        """Return what a record costs; measured once, whoever asks."""
        if self._costs is None:
            self._costs = costs.measure(self._plan)
        return self._costs

    def _producers(self) -> list[Row]:
        ours = self.costs()
        return in_process.measure(self._plan, ours.single[costs.MANY].cpu_us_per_record, ours.bulk.cpu_us_per_record)


def main() -> None:
    """Measure, print, and write the figures."""
    names = tuple(Bench(Plan(1, 1.0)).sections)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", choices=names, action="append", help="a section; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of one round")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE")
    parser.add_argument(
        "--serving", default=sys.executable, metavar="PYTHON", help="for memory: without other packages"
    )
    options = parser.parse_args()
    plan = Plan(options.rounds, options.seconds)
    bench, rows = Bench(plan, options.serving), list[Row]()
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()), flush=True)  # noqa: T201 - the result
    started_at = time.monotonic()
    for name in options.only or names:
        try:
            of_section = bench.sections[name]()
        except (MeasurementError, ProcessError) as error:
            sys.exit(f"{name}: {error}")
        print(markdown(of_section), flush=True)  # noqa: T201 - the result
        rows += of_section
    seconds = round(time.monotonic() - started_at)
    print(f"\n{plan.rounds} rounds of {plan.seconds:g} s, {seconds} s in all")  # noqa: T201 - the result
    options.json.parent.mkdir(exist_ok=True)
    figures = {"machine": where, "rounds": plan.rounds, "seconds": plan.seconds, "rows": as_json(rows)}
    options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
