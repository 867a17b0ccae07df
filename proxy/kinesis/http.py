"""Transport-neutral HTTP values: what a transport hands to a handler and gets back.

Must never know: aiohttp, h2, sockets.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


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


class Reply:
    """One complete answer; Content-Length and Date are the transport's to add.

    Args:
        status: HTTP status.
        body: the whole body.
        headers: all other headers.
        pace_bytes_per_second: 0 sends the body at once; else the transport sends it that slowly (a fault to inject).
        lines: headers besides, which hold no line break for certain, as HTTP/1.1 writes them (`name: value`, CR, LF).
            Whoever asks for `headers` finds them there.
    """

    __slots__ = ("_headers", "body", "lines", "pace_bytes_per_second", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        pace_bytes_per_second: int = 0,
        lines: str = "",
    ) -> None:
        self.status = status
        self.body = body
        self._headers = headers
        self.pace_bytes_per_second = pace_bytes_per_second
        self.lines = lines

    @property
    def headers(self) -> dict[str, str]:
        """All headers, to be read and changed."""
        if self._headers is None or self.lines:
            parted = [line.partition(": ") for line in self.lines.splitlines()]
            self._headers = {**{name: value for name, _, value in parted}, **(self._headers or {})}
            self.lines = ""
        return self._headers

    @property
    def other_headers(self) -> dict[str, str]:
        """The headers that are not in `lines`."""
        return self._headers or _NONE


_NONE: dict[str, str] = {}


class AbortConnection(Exception):  # noqa: N818 - an order to the transport, not an error
    """Raised by a handler: reset the connection without an answer (a fault to inject)."""


Handler = Callable[[Request], Awaitable[Reply]]

# Answers a put by calling what it is given, once; returns False where it cannot, and has done nothing then. What it
# needs of the request afterwards it must keep: body and headers are let go of.
PutStarter = Callable[[Request, Callable[[Reply], None]], bool]
