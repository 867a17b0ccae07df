"""Where the CPU time of a record goes: the proxy under load, sampled by py-spy, by part of its way.

    python -m tests.benchmarks.parts [--seconds N]

py-spy looks at the process's stack so many times a second and leaves out the moments at which it waits. Each sample
belongs to the innermost of its frames that a part lays claim to, with all that this frame calls: C code has no frames
of its own. Shares of samples become microseconds by the CPU time per record of the same load without py-spy, just
before. A tracer stops the process to look, which costs it no CPU time of its own; a profiler that is told of every call
(cProfile) would cost Python's functions more than C's and distort the shares.

What the event loop does in C by itself is a part of its own: polling, reading sockets, and the writes that it puts off.
A write that it carries out at once is the caller's.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.measure import (
    BOTTOMLESS,
    ROOT,
    STREAM,
    UNLIMITED,
    WARM_UP_SECONDS,
    Subject,
    cost_of,
    put_record,
    put_records,
)
from tests.benchmarks.report import machine
from tests.support.processes import Process, ProcessError, emulate, serve

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks.load import Options
    from tests.support.processes import Service

RESULTS = ROOT / "build" / "parts.json"
PY_SPY = Path(__file__).parent / ".venv" / "bin" / "py-spy"
SAMPLES_PER_SECOND = 200
# py-spy needs some time to begin, and to write what it found.
MARGIN_SECONDS = 1.5
TIMEOUT_SECONDS = 30.0

PARSE, CORE, UPSTREAM, ANSWER, WRITE, LOOP, REST = (
    "parse, validate",
    "core, driver",
    "upstream: encode, send, decode",
    "answer: make",
    "answer: write",
    "event loop: poll, read",
    "rest",
)
PARTS = (PARSE, CORE, UPSTREAM, ANSWER, WRITE, LOOP, REST)
FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
# By the file of a frame, the first that fits; None leaves it to the caller's.
FILES = (
    ("proxy/core/counters.py", None),
    ("proxy/core/", CORE),
    ("proxy/driver.py", CORE),
    ("proxy/upstream/", UPSTREAM),
    ("proxy/frontend/answers.py", ANSWER),
    ("proxy/transport/head.py", ANSWER),
    ("proxy/transport/response.py", ANSWER),
    ("proxy/transport/reply.py", ANSWER),
    ("proxy/frontend/", PARSE),
    ("proxy/kinesis/", PARSE),
    ("proxy/transport/", PARSE),
    # only the upstream's client: the load stays in the lean lane
    ("aiohttp/", UPSTREAM),
    ("botocore/", UPSTREAM),
)
# Whatever is called below these belongs to the answer.
ANSWERING = ("settle (proxy/frontend/calls.py", "answer (proxy/frontend/calls.py")
# Beside handing over the bytes this does next to nothing.
WRITING = ("_reply", "proxy/transport/lean.py")
LOOPS = ("uvloop/", "asyncio/runners.py", "asyncio/base_events.py")
# A thread that waits for work, which py-spy takes for busy now and then.
IDLE = "_worker (concurrent/futures/thread.py"


def part_of(stack: str) -> str:
    """Return the part that a sample belongs to.

    Args:
        stack: its frames, the outermost first, as py-spy writes them: `function (file:line)`, with semicolons.
    """
    frames = [(found["function"], found["file"]) for frame in stack.split(";") if (found := FRAME.match(frame))]
    function, innermost = frames[-1]
    if function.endswith(WRITING[0]) and innermost == WRITING[1]:
        return WRITE
    for _, file in reversed(frames):
        part = next((part for place, part in FILES if place in file), None)
        if part is not None:
            return ANSWER if part is PARSE and any(place in stack for place in ANSWERING) else part
    return LOOP if any(place in innermost for place in LOOPS) else REST


def shares_of(lines: Iterable[str]) -> dict[str, float]:
    """Return each part's share of the samples, without those of idle threads.

    Args:
        lines: of py-spy's raw format: a stack, a blank, and how many samples had it.

    Raises:
        ProcessError: there is not one sample.
    """
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if stack and IDLE not in stack.rpartition(";")[2]:
            samples[part_of(stack)] += int(count)
    if not samples:
        raise ProcessError("py-spy took no sample")
    return {part: samples[part] / samples.total() for part in PARTS}


def sample(proxy: Service, load: Options, seconds: float) -> list[str]:
    """Load the proxy, and have py-spy look at it meanwhile; return its lines."""
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "raw"
        arguments = [str(PY_SPY), "record", "--pid", str(proxy.pid), "--format", "raw", "--output", str(target)]
        arguments += ["--rate", str(SAMPLES_PER_SECOND), "--duration", str(int(seconds))]
        with Process("py-spy", arguments) as spy:
            cost_of(Subject(proxy, load), seconds + MARGIN_SECONDS)
            if spy.wait(TIMEOUT_SECONDS) or not target.exists():
                raise ProcessError(f"py-spy could not look at the proxy:\n{spy.output()}")
            return target.read_text(encoding="utf-8").splitlines()


def main() -> None:
    """Sample both loads, print a table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=10, help="how long each load is sampled")
    options = parser.parse_args()
    if not PY_SPY.exists():
        sys.exit("py-spy is not installed: run `make profile`")
    found: dict[str, dict[str, float]] = {}
    with emulate(stream=[STREAM], **BOTTOMLESS) as upstream, serve(upstream.url, **UNLIMITED) as proxy:
        loads = {
            "PutRecord, 256 connections": put_record(proxy.port, 256),
            "PutRecords(500), 8 connections": put_records(proxy.port),
        }
        for title, load in loads.items():
            cost_of(Subject(proxy, load), WARM_UP_SECONDS)
            cost = cost_of(Subject(proxy, load), options.seconds / 2)
            shares = shares_of(sample(proxy, load, options.seconds))
            found[title] = {part: share * cost.cpu_us_per_record for part, share in shares.items()}
    lines = [f"| CPU µs of a record | {' | '.join(PARTS)} | all |", f"|---|{'---|' * (len(PARTS) + 1)}"]
    for title, parts in found.items():
        whole = sum(parts.values())
        cells = " | ".join(f"{cost:.1f} ({cost / whole:.0%})" for cost in parts.values())
        lines.append(f"| {title} | {cells} | {whole:.1f} |")
    where = machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()), "", *lines, sep="\n")  # noqa: T201 - the result
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": where, "cpu_us_per_record": found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
