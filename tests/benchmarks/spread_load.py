"""The load generator, its connections spread evenly over several ports, as a kernel would over workers of one port.

    python -m tests.benchmarks.spread_load '{"port": 0, "connections": 64, "seconds": 5.0}' '[4567, 4568]'

Prints one JSON object: the report, and the CPU time of the generator itself.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING

import uvloop

from tests.benchmarks.generator import Generator
from tests.benchmarks.load import Options, Report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.benchmarks.http1_load import Http1Sender
    from tests.benchmarks.http2_load import Http2Sender


@dataclass(frozen=True, slots=True)
class Spread:
    """What came of a load that was spread.

    Args:
        report: of all connections together.
        cpu_seconds: that the generator used between the first request and the last answer.
    """

    report: Report
    cpu_seconds: float


class SpreadGenerator(Generator):
    """Opens one connection after the other, each to the next port.

    Args:
        options: what to send; `port` does not count.
        ports: of the servers.
    """

    def __init__(self, options: Options, ports: Iterable[int]) -> None:
        super().__init__(options)
        self._ports = cycle(ports)

    async def connect(self) -> Http1Sender | Http2Sender:
        """Open a connection to the next port."""
        self._options = replace(self._options, port=next(self._ports))
        return await super().connect()


async def generate(options: Options, ports: Iterable[int]) -> Spread:
    """Send over connections that stay until the time is over and every answer is there."""
    generator = SpreadGenerator(options, ports)
    run = generator.run
    senders = [await generator.connect() for _ in range(options.connections)]
    started_at, cpu_before = time.perf_counter(), time.process_time()
    run.end_at = started_at + options.seconds
    for sender in senders:
        run.next_send(sender)
    if options.rate:
        await run.pace()
    await run.done.wait()
    cpu_seconds = time.process_time() - cpu_before
    return Spread(run.summary(started_at), cpu_seconds)


def main() -> None:
    """Run with the options and ports of the command line and print what came of it."""
    spread = uvloop.run(generate(Options(**json.loads(sys.argv[1])), json.loads(sys.argv[2])))
    print(json.dumps(asdict(spread)))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
