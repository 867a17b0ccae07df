"""How many instructions a record takes inside the proxy: `make instructions` prints them beside the figures kept.

    python -m tests.benchmarks.instructions [--only NAME] [--tree DIRECTORY] [--keep]

Processor time wavers by a third on a machine that others share; instructions, counted by valgrind's cachegrind, do not.
`record_path` runs twice, for few and for many records, and the difference is divided by theirs: neither start-up nor
imports count. Sockets, parsers of HTTP and the upstream's encoding are not in it. The figures kept are for one build of
Python and of the program, compiled or not; with another there is nothing to compare with, until `--keep` writes it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.benchmarks.measure import ROOT
from tests.benchmarks.record_path import CASES

KEPT = Path(__file__).with_suffix(".json")
FEW, MANY = 2_000, 6_000
REFERENCES = re.compile(r"I\s+refs:\s+([\d,]+)")
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
# The environment is part of the stack, so it is always the same.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.defpath, "LC_ALL": "C"}


class CountError(Exception):
    """The program did not run, or nothing was counted."""


def build(tree: Path) -> str:
    """Name the Python and the kind of program that the figures are for."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    kind = "compiled" if any(tree.glob("proxy/core/stream.*.so")) else "interpreted"
    return f"{python}, {platform.python_compiler()}, {platform.machine()}, {kind}"


def instructions_of(output: str) -> int:
    """Find the count in what valgrind says.

    Raises:
        CountError: there is none.
    """
    found = REFERENCES.search(output)
    if found is None:
        raise CountError(f"valgrind counted nothing:\n{output}")
    return int(found[1].replace(",", ""))


def count(tree: Path, case: str, records: int) -> int:
    """Run a case under valgrind and return its instructions, start-up and all.

    Raises:
        CountError: it did not end well.
    """
    program = [*VALGRIND, sys.executable, "-m", "tests.benchmarks.record_path", case, str(records)]
    done = subprocess.run(program, cwd=tree, env=ENVIRONMENT, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise CountError(done.stderr)
    return instructions_of(done.stderr)


def per_record(tree: Path, case: str) -> int:
    """Return the instructions of one record."""
    return round((count(tree, case, MANY) - count(tree, case, FEW)) / (MANY - FEW))


def change(now: int, kept: int | None) -> str:
    """Say by how much a figure differs from the one kept."""
    return "–" if kept is None else f"{100 * (now - kept) / kept:+.2f} %"  # noqa: RUF001 - a dash


def kept_figures(text: str, built: str) -> dict[str, int]:
    """Return the figures kept for a build; none if there are none."""
    return dict(json.loads(text).get(built, {}))


def main() -> None:
    """Count, print, and keep the figures if that is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=CASES, action="append", help="one case; may be repeated")
    parser.add_argument("--tree", type=Path, default=ROOT, help="of the program, if not this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep", action="store_true", help=f"write the figures to {KEPT.name}, to be compared with")
    options = parser.parse_args()
    if shutil.which(VALGRIND[0]) is None:
        sys.exit("valgrind is not installed (on Debian: apt-get install valgrind)")
    built, cases = build(options.tree), options.only or list(CASES)
    text = KEPT.read_text(encoding="utf-8") if KEPT.exists() else "{}"
    kept = kept_figures(text, built)
    if not kept:
        sys.stderr.write(f"the figures kept are for {', and '.join(json.loads(text)) or 'no build'}, not for {built}\n")
    with ThreadPoolExecutor(options.jobs) as threads:
        try:
            found = dict(zip(cases, threads.map(partial(per_record, options.tree), cases), strict=True))
        except CountError as error:
            sys.exit(str(error))
    lines = ["| instructions of a record | now | kept | change |", "|---|---|---|---|"]
    for case, now in found.items():
        before = kept.get(case)
        lines.append(f"| {case} | {now:,} | {'–' if before is None else f'{before:,}'} | {change(now, before)} |")  # noqa: RUF001
    print(f"{built}\n", *lines, sep="\n")  # noqa: T201 - the result
    if options.keep:
        figures = json.loads(text) | {built: kept | found}
        KEPT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
