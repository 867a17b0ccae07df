"""Many proxies on one stream, by real processes: `make fleet` prints what it found and fails if a promise was broken.

Usage: `python -m tests.integration.fleet [--seconds N] [--proxies N] [--shards N] [--overload X] [--set NAME=VALUE]`

Uncoordinated proxies in front of one emulator, three times the load that its shards take, from clients that retry as
SDKs do; throttles, resets, latency and 500s for stretches, a split and a merge. Every record is read back while it
runs. Order, outcomes and books decide the exit code; use, throttled share, fairness and times are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from tests.support.fleet_plan import DATA_BYTES, SEED, FleetOptions, clients_of
from tests.support.fleet_report import broken_promises, markdown
from tests.support.fleet_run import Fleet

SECONDS = 600.0


def _options() -> FleetOptions:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the clients send")
    parser.add_argument("--proxies", type=int, default=8)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--overload", type=float, default=3.0, help="what is sent, in multiples of what shards take")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--data-bytes", type=int, default=DATA_BYTES)
    parser.add_argument("--generators", type=int, default=1, help="processes that the clients live in")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of every proxy")
    given = parser.parse_args()
    settings = dict(pair.split("=", 1) for pair in given.set)
    options = FleetOptions(
        given.seconds,
        given.proxies,
        given.shards,
        given.overload,
        given.seed,
        given.data_bytes,
        given.generators,
        settings,
    )
    try:
        clients_of(options)
    except ValueError as error:
        parser.error(str(error))
    return options


async def fleet(options: FleetOptions) -> list[str]:
    """Run the fleet, print its report and return what was broken."""
    task = asyncio.current_task()
    assert task is not None
    # Its children are ended by the way out, which a signal must not cut short.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    run = await Fleet(options, _progress).run()
    broken = broken_promises(run)
    _print(markdown(run))
    return broken


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - how far it is


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the program's result


def main() -> None:
    """Run; the exit code is 1 if a promise was broken."""
    broken = asyncio.run(fleet(_options()))
    if broken:
        sys.exit("broken:\n" + "\n".join(broken[:40]))


if __name__ == "__main__":
    main()
