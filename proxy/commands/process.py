"""What every running command shares: its signals, listening, and errors that a person can mend."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import socket
from typing import TYPE_CHECKING, Any

import structlog

from proxy.config.describe import flag_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy.config import Address

log = structlog.get_logger(__name__)

# Between two looks for cycles among the youngest objects.
GC_ALLOCATIONS = 20_000


class CommandError(Exception):
    """The command cannot go on until its user changes something; the text says what, first of all which setting."""


def log_what_nobody_caught() -> None:
    """Log exceptions that end in the event loop like any other event."""

    def report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        log.error("unexpected_error", where=context["message"], exc_info=context.get("exception"))

    asyncio.get_running_loop().set_exception_handler(report)


def spare_what_start_up_made() -> None:
    """Take what exists now, nearly all for good, out of the collector's way.

    A full collection goes through all of it, the AWS SDK's models above all: 50 ms in which no caller is answered. And
    look for cycles less often than after 700 allocations: a call and its records make dozens and leave none.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, *gc.get_threshold()[1:])


class Signals:
    """SIGTERM and SIGINT: the first asks to stop in order, the second to stop at once.

    SIGHUP, which comes when a terminal is closed, and often twice, asks to stop in order; unless it is ignored, as
    under nohup.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self._received, signal.SIGHUP)

    def _received(self, number: signal.Signals) -> None:
        (self.hurry if self.stop.is_set() and number is not signal.SIGHUP else self.stop).set()
        log.info("signal_received", signal=number.name, hurry=self.hurry.is_set())


async def listen(name: str, address: Address, start: Awaitable[None]) -> None:
    """Start a listener.

    Raises:
        CommandError: the address cannot be listened on; the text names its setting.
    """
    try:
        await start
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "is in use by another program"
        elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            reason = "is no address of this machine"
        elif error.errno == errno.EACCES:
            reason = "needs more rights than the program has"
        else:
            reason = f"cannot be listened on ({error.strerror or error})"
        raise CommandError(f"{name} {address} {reason}: choose another with {flag_of(name)}") from error
