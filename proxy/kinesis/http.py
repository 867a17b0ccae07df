"""Transport-neutral HTTP values: what a transport hands to a handler and gets back.

Must never know: aiohttp, h2, sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    """One complete inbound request.

    Args:
        method: upper case.
        target: path with query, as received.
        headers: case-insensitive mapping of what was received (a CIMultiDictProxy or alike). Over HTTP/2 the
            pseudo-headers are among them, as `:authority`, and `host` only if it was sent.
        body: the whole body as received.
        on_gone: set by a handler that wants to know when the client has left without the answer.
        gone: whether it has.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    on_gone: Callable[[], None] | None = None
    gone: bool = False

    def leave(self) -> None:
        """Note that the client has left, before the whole answer was written; for the transport to call."""
        if not self.gone:
            self.gone = True
            if self.on_gone is not None:
                self.on_gone()


@dataclass(slots=True)
class Reply:
    """One complete answer; Content-Length and Date are the transport's to add.

    Args:
        status: HTTP status.
        body: the whole body.
        headers: all other headers.
        pace_bytes_per_second: 0 sends the body at once; else the transport sends it that slowly (a fault to inject).
    """

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    pace_bytes_per_second: int = 0


class AbortConnection(Exception):  # noqa: N818 - an order to the transport, not an error
    """Raised by a handler: reset the connection without an answer (a fault to inject)."""


Handler = Callable[[Request], Awaitable[Reply]]

# Answers a put by calling what it is given, once; returns False where it cannot, and has done nothing then.
PutStarter = Callable[[Request, Callable[[Reply], None]], bool]
