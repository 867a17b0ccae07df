"""A request's body on its way: how far it has come decides whether the service can have acted on it.

Must never know: what it says, and whether anything came back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.payload import Payload

from proxy.upstream.pool import cut_off

if TYPE_CHECKING:
    import asyncio

    from aiohttp.abc import AbstractStreamWriter

# More at once would only be copied into the transport's buffer.
WRITE_BYTES_MAX = 256 * 1024


class Sending:
    """A body that knows whether its last byte was handed to the transport.

    Until then the service cannot have acted on the request: see `proxy.upstream.failures`.

    Args:
        content: the whole body.
    """

    __slots__ = ("content", "handed_over", "transport")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.handed_over = False
        self.transport: asyncio.Transport | None = None

    @property
    def begun(self) -> bool:
        """Whether there was a connection to write it to."""
        return self.transport is not None

    def cut_off(self) -> None:
        """Reset the connection that it was written to, so that no more of it goes out."""
        cut_off(self.transport)


class Body(Payload):
    """A body as aiohttp sends it.

    Args:
        sending: is told how far it has come.
    """

    def __init__(self, sending: Sending) -> None:
        super().__init__(sending.content)
        self._size = len(sending.content)
        self._sending = sending

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the body to the transport, in pieces that the peer's pace allows."""
        self._sending.transport = getattr(writer, "transport", None)  # only the abstract class lacks it
        rest = memoryview(self._value)
        while len(rest) > WRITE_BYTES_MAX:
            await writer.write(rest[:WRITE_BYTES_MAX])
            rest = rest[WRITE_BYTES_MAX:]
        # Not drained, for that could raise after the last byte has left.
        await writer.write(rest, drain=False)  # type: ignore[call-arg]  # only the abstract class lacks it
        self._sending.handed_over = True
