"""Other producers beside the proxy on the same throttled, faulty emulator: `make peers` prints tables in Markdown.

    python -m tests.benchmarks.peers [--only NAME] [--scenario NAME] [--set NAME=VALUE] [--json FILE]

What is counted is defined in `scoring.py`, what a run is in `runs.py`. Goodput is distinct records in the stream over
the time from the first record to the last outcome; it and the CPU-seconds depend on the machine, so only figures of one
run compare, and seconds only where the machine had nothing else to do: the load is shown. What has no outcome where
the remark says that the run was not finished was cut off by this benchmark, not dropped by the producer.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.peers.runs import CONTESTANTS, KEYS, PYTHON, SCENARIOS, Row, run

HEADER = (
    "| producer | inversions | inverted pairs | keys inverted | acknowledged, lost | reported failed (of them stored) "
    "| no outcome, not stored | duplicates | refused by the service | goodput, records/s | CPU-seconds | load "
    "| remark |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
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
        f"{found.inverted_keys} of {KEYS}",
        f"{found.lost:,}",
        f"{found.failed:,} ({found.failed_but_stored:,})",
        f"{found.silent:,}",
        f"{found.duplicates:,}",
        f"{row.refused:,}",
        f"{row.goodput:,.0f}",
        cpu,
        f"{row.load:.1f}",
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
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="a setting of the proxy")
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("the other producers are not installed: run tests/benchmarks/peers/install")
    proxy_settings = {name: value for name, _, value in (pair.partition("=") for pair in options.set)}
    rows: list[Row] = []
    for name in options.scenario or SCENARIOS:
        scenario = SCENARIOS[name]
        note(
            f"\n{scenario.title}: {scenario.records:,} records over {KEYS} keys, "
            f"{scenario.records_per_second:,} a second; {os.cpu_count()} processors\n\n{HEADER}"
        )
        for title in options.only or CONTESTANTS:
            rows.append(run(CONTESTANTS[title], scenario, proxy_settings))
            note(markdown(rows[-1]))
    if options.json:
        figures = [{**asdict(row), "goodput": row.goodput} for row in rows]
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
