"""One of two workers that hand records over: the proxy as `serve` makes it, with `HandOver` before its driver.

    python -m tests.benchmarks.hand_over_worker '{"listen": "127.0.0.1:4567", …}' '{"socket": "/…", …}'

Settings of the proxy, and a `Share`, both as JSON. What was handed over stands in /status.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from proxy import log
from proxy.commands.listener import http_limits
from proxy.commands.process import Signals, log_what_nobody_caught, spare_what_start_up_made
from proxy.commands.serve import Service, frontend_settings
from proxy.config import ServeSettings, load
from proxy.frontend.handler import Frontend
from proxy.transport.server import HttpServer
from tests.benchmarks.hand_over import HandOver, Link

if TYPE_CHECKING:
    from collections.abc import Callable

HANDED_OVER = "handed_over"
POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Share:
    """What one of two workers is to own.

    Args:
        socket: path of the Unix socket between them.
        listens: whether this one makes the socket; the other one connects.
        first_hash_key: of the range that it owns.
        last_hash_key: likewise.
    """

    socket: str
    listens: bool
    first_hash_key: int
    last_hash_key: int


class Worker(Service):
    """The parts of a serving proxy that is one of two.

    Args:
        settings: valid ones.
        share: what it owns.
    """

    def __init__(self, settings: ServeSettings, share: Share) -> None:
        super().__init__(settings)
        self._share = share
        self._hand_over = HandOver(self._driver, share.first_hash_key, share.last_hash_key)
        self._frontend = Frontend(self._hand_over, self._upstream, frontend_settings(settings), self._clock)
        self._server = HttpServer(self._frontend.handle, http_limits(settings), start_put=self._frontend.start)

    async def start(self) -> None:
        """Find the other worker first."""
        if self._share.listens:
            await asyncio.get_running_loop().create_unix_server(self._link, self._share.socket)
        else:
            await connected(self._link, self._share.socket)
        await self._hand_over.joined.wait()
        await super().start()

    def _link(self) -> Link:
        return Link(self._hand_over)

    def _about(self) -> dict[str, Any]:
        return {**super()._about(), HANDED_OVER: asdict(self._hand_over.counts)}


async def connected(make: Callable[[], Link], socket: str) -> None:
    """Connect as soon as somebody listens."""
    while True:
        try:
            await asyncio.get_running_loop().create_unix_connection(make, socket)
        except (FileNotFoundError, ConnectionRefusedError):
            await asyncio.sleep(POLL_SECONDS)
        else:
            return


async def work(settings: ServeSettings, share: Share) -> None:
    """Serve until a signal comes, then drain."""
    log_what_nobody_caught()
    signals = Signals()
    worker = Worker(settings, share)
    try:
        await worker.start()
        spare_what_start_up_made()
        await signals.stop.wait()
        await worker.drain(signals.hurry)
    finally:
        await worker.close()


def main() -> None:
    """Run with the settings and the share of the command line."""
    settings = load(ServeSettings, json.loads(sys.argv[1])).settings
    log.configure(settings.log_format, settings.log_level)
    uvloop.run(work(settings, Share(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
