"""What becomes of a request behind any transport: it is counted, answered or refused.

A refusal is a 400 in the service's words, since every SDK reads that as what it is; a 413 or 431 means nothing to them.

Must never know: connections, versions of HTTP, operations.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.kinesis.errors import (
    InvalidArgumentException,
    ProvisionedThroughputExceededException,
    records_too_large,
)
from proxy.kinesis.front_door import error_reply
from proxy.kinesis.limits import BODY_BYTES_MAX, KIB, REQUEST_BYTES_MAX

if TYPE_CHECKING:
    from proxy.kinesis.http import Handler, Reply, Request
    from proxy.transport.limits import HttpLimits


# No put's answer is so large: what is may be asked for again.
_ANSWER_DUE_BYTES = 256 * KIB


class Exchanges:
    """All requests of one server, over all of its connections.

    Args:
        handler: answers each request.
        limits: of the server.

    A transport calls `begin` and `end` around each request, `hold` and `release` around a body that it collects,
    `admit_answer` and `release_answer` around an answer that it writes.
    """

    def __init__(self, handler: Handler, limits: HttpLimits) -> None:
        self.handler = handler
        self._bodies_bytes_max = limits.bodies_bytes_max
        self._bodies_bytes = 0
        self._answers_bytes = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.in_progress = 0
        self.malformed = 0
        self.draining = False

    def begin(self) -> None:
        """Count a request."""
        if not self.in_progress:
            self._idle.clear()
        self.in_progress += 1

    def end(self) -> None:
        """Count it as answered, or given up."""
        self.in_progress -= 1
        if not self.in_progress:
            self._idle.set()

    async def ended(self) -> None:
        """Wait until no request is in progress."""
        await self._idle.wait()

    def hold(self, size_bytes: int) -> bool:
        """Count a part of a body; False, and nothing counted, if more is held than may be."""
        if self._bodies_bytes + size_bytes > self._bodies_bytes_max:
            return False
        self._bodies_bytes += size_bytes
        return True

    def release(self, size_bytes: int) -> None:
        """Give back what was held."""
        self._bodies_bytes -= size_bytes

    def admit_answer(self, request: Request, reply: Reply) -> Reply:
        """Count an answer until its client has taken it, and return it, or a refusal where too much waits to be taken.

        One that may be a put's is given whatever waits: its records are written.
        """
        if self._answers_bytes >= self._bodies_bytes_max and len(reply.body) > _ANSWER_DUE_BYTES:
            reply = no_room_reply(request)
        self._answers_bytes += len(reply.body)
        return reply

    def release_answer(self, reply: Reply) -> None:
        """Give back what was counted for an answer."""
        self._answers_bytes -= len(reply.body)


def too_large_reply(request: Request, limit_bytes: int) -> Reply:
    """Answer a body that is over the limit: in the service's words where it would not take such a body either."""
    if limit_bytes >= BODY_BYTES_MAX:
        return error_reply(request, records_too_large(REQUEST_BYTES_MAX))
    text = f"The request's body exceeds {limit_bytes} bytes, the most that the proxy takes (request_bytes_max)."
    return error_reply(request, InvalidArgumentException(text))


def no_room_reply(request: Request) -> Reply:
    """Answer a request for whose body, or answer, there is no room among the others; SDKs try it again."""
    return error_reply(
        request, ProvisionedThroughputExceededException("The proxy holds as many requests as it may. Try again later.")
    )
