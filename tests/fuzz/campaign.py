"""Fuzzes the surfaces one after another and says what came of it: `make fuzz`.

Led by coverage where atheris is installed (`make fuzz` installs it beside this file; it exists for Linux on x86-64),
and by blind change of the seeds elsewhere. What coverage has taught is kept in `corpus/`, and a later run begins with
it; a case that breaks a contract is written to `found/` and shown.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
import traceback
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz.mutation import cases
from tests.fuzz.surfaces import SURFACES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALLED = HERE / ".atheris"
CORPUS = HERE / "corpus"
FOUND = HERE / "found"

CASES = 400_000
CASE_BYTES_MAX = 2_048
# What a case may take, and the process; beyond them it is a finding.
CASE_SECONDS_MAX = 10
MEMORY_MIB_MAX = 1_024
# A connection costs as much as many bodies: it gets a smaller part of the cases.
PARTS = {"http1_bytes": 1, "http2_frames": 1}
PARTS_OF_THE_OTHERS = 3

_DONE = re.compile(r"Done (\d+) runs")
_COVERED = re.compile(r"cov: (\d+)")


class Result(NamedTuple):
    """What fuzzing one surface brought; `edges` is None where coverage was not measured."""

    cases: int
    edges: int | None
    held: bool


def main() -> int:
    """Run the campaign; return 1 if a contract was broken."""
    options = _options()
    chosen = options.surface or list(SURFACES)
    parts = {name: PARTS.get(name, PARTS_OF_THE_OTHERS) for name in chosen}
    is_guided = find_spec("atheris") is not None or (INSTALLED / "atheris").is_dir()
    if not is_guided:
        sys.stdout.write("atheris is not installed: cases are made blindly\n")
    run = _guided if is_guided else _blind
    sys.stdout.write(f"{'surface':14}{'cases':>10}{'seconds':>9}{'edges':>7}\n")
    total, held = 0, True
    for name in chosen:
        began = time.perf_counter()
        result = run(name, options.cases * parts[name] // sum(parts.values()), options.seed)
        seconds = time.perf_counter() - began
        edges = "" if result.edges is None else result.edges
        verdict = "" if result.held else "  BROKEN"
        sys.stdout.write(f"{name:14}{result.cases:>10}{seconds:>9.1f}{edges:>7}{verdict}\n")
        sys.stdout.flush()
        total += result.cases
        held = held and result.held
    sys.stdout.write(f"{'in all':14}{total:>10}\n")
    return 0 if held else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fuzz every surface that hostile bytes can reach.", allow_abbrev=False)
    parser.add_argument("--cases", type=int, default=CASES, help=f"in all [default: {CASES}]")
    parser.add_argument("--seed", type=int, default=1, help="of the choice of cases [default: 1]")
    parser.add_argument(
        "--surface", action="append", choices=list(SURFACES), help="only this one; may be given repeatedly"
    )
    return parser.parse_args()


def _guided(name: str, count: int, seed: int) -> Result:
    """Let libFuzzer fuzz a surface in a process of its own."""
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    FOUND.mkdir(exist_ok=True)
    for case in SURFACES[name].seeds:
        (corpus / sha256(case).hexdigest()[:40]).write_bytes(case)
    words = CORPUS / f"{name}.words"
    lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in SURFACES[name].words if word]
    words.write_text("".join(lines), encoding="ascii")
    command = [sys.executable, "-m", "tests.fuzz.guided", name]
    command += [f"-runs={count}", f"-seed={seed}", f"-max_len={CASE_BYTES_MAX}", f"-dict={words}"]
    command += [f"-timeout={CASE_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MIB_MAX}", f"-artifact_prefix={FOUND}/{name}-"]
    path = os.pathsep.join([str(INSTALLED), *filter(None, [os.environ.get("PYTHONPATH")])])
    ended = subprocess.run(  # noqa: S603 - our own program
        [*command, str(corpus)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    done = _DONE.search(ended.stdout)
    if ended.returncode or done is None:
        sys.stdout.write(ended.stdout[-8_000:])
        return Result(0, None, held=False)
    return Result(int(done[1]), max(map(int, _COVERED.findall(ended.stdout)), default=0), held=True)


def _blind(name: str, count: int, seed: int) -> Result:
    """Check cases made of the seeds alone, in this process."""
    done = 0
    with SURFACES[name].opened() as check:
        for case in cases(SURFACES[name], Random(f"{name} {seed}"), count):  # noqa: S311 - repeatable, not secret
            try:
                check(case)
            except Exception:  # noqa: BLE001 - every one is a finding
                FOUND.mkdir(exist_ok=True)
                (FOUND / f"{name}-{sha256(case).hexdigest()[:40]}").write_bytes(case)
                sys.stdout.write(f"{case!r}\n{traceback.format_exc()}")
                return Result(done, None, held=False)
            done += 1
    return Result(done, None, held=True)


if __name__ == "__main__":
    sys.exit(main())
