"""A lean load generator for PutRecord and PutRecords: raw asyncio protocols, requests built before they are needed.

    python -m tests.benchmarks.generator '{"port": 4567, "connections": 64, "seconds": 5.0}'

It runs as a process of its own, so that its CPU time is not counted as the server's, and prints one JSON object. What
can be asked of it is in `load.Options`.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import uvloop

from tests.benchmarks.http1_load import Http1Sender
from tests.benchmarks.http2_load import Http2Sender, header_blocks
from tests.benchmarks.load import Options, Report, Run
from tests.benchmarks.request_pool import Requests, headers_of, http1_request
from tests.support.fault_server import TLS_IDENTITY

if TYPE_CHECKING:
    from collections.abc import Callable


class Generator:
    """Opens connections and has them send.

    Args:
        options: what to send.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tasks: set[asyncio.Task[None]] = set()
        self._tls = ssl.create_default_context(cafile=str(TLS_IDENTITY)) if options.tls else None
        self._make: Callable[[], Http1Sender | Http2Sender]
        if options.protocol == "http2":
            bodies = Requests(options, lambda _, body: body)
            self.run = Run(options, bodies, self._renew)
            blocks = header_blocks(headers_of(options, "PutRecord", bodies.next()))
            self._make = partial(Http2Sender, self.run, blocks)
        else:
            self.run = Run(options, Requests(options, partial(http1_request, options)), self._renew)
            self._make = partial(Http1Sender, self.run)

    async def connect(self) -> Http1Sender | Http2Sender:
        """Open a connection."""
        loop = asyncio.get_running_loop()
        name = None if self._tls is None else "localhost"
        port = self._options.port
        return (await loop.create_connection(self._make, "127.0.0.1", port, ssl=self._tls, server_hostname=name))[1]

    def _renew(self) -> None:
        task = asyncio.get_running_loop().create_task(self._go_on())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go_on(self) -> None:
        try:
            self.run.next_send(await self.connect())
        except OSError as error:
            self.run.broken(repr(error))


async def generate(options: Options) -> Report:
    """Send until the time is over and every answer is there."""
    generator = Generator(options)
    run = generator.run
    shared = options.protocol == "http2" and not options.fresh
    senders = [await generator.connect() for _ in range(1 if shared else options.connections)]
    if shared:
        senders *= options.connections
    started_at = time.perf_counter()
    run.end_at = started_at + options.seconds
    for sender in senders:
        run.next_send(sender)
    if options.rate:
        await run.pace()
    await run.done.wait()
    return run.summary(started_at)


def main() -> None:
    """Run with the options of the command line and print the report."""
    options = Options(**json.loads(sys.argv[1]))
    report = uvloop.run(generate(options))
    print(json.dumps(asdict(report)))  # noqa: T201 - the program's result


if __name__ == "__main__":
    main()
