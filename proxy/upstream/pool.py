"""The connections to the upstream: kept for the next request, and not trusted further than they deserve.

Decides three things that aiohttp leaves open:

- A connection on which bytes came while it was idle is not used again: they would be taken for the answer to the next
  request, and a record could be acknowledged that was never written.
- When one falls silent, the idle ones beside it can be ended too: what swallowed it has likely swallowed them, and each
  would cost another request its time.
- What is given up is reset, not closed. An orderly close still delivers what waits in buffers: a record could reach
  the stream after its retry, and after what followed. And it waits, without an end, for a peer that does not read.

Must never know: requests, what an answer means.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    import asyncio

    from aiohttp import ClientTimeout
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

# More endpoints than that are not known at once either.
KEYS_MAX = 1024
# SO_LINGER with no time: what is unsent is thrown away, in the kernel too.
_NO_LINGER = struct.pack("ii", 1, 0)


class Pool(aiohttp.TCPConnector):
    """aiohttp's pool, with the caution that the module speaks of."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's own
        super().__init__(**settings)
        self._keys: dict[URL, ConnectionKey] = {}

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:  # noqa: ASYNC109 - aiohttp's name
        """Return a connection for aiohttp's client, and note under which key it will be kept."""
        key = req.connection_key  # connecting through an HTTP proxy changes the request's
        connection = await super().connect(req, traces, timeout)
        if len(self._keys) >= KEYS_MAX:
            self._keys.clear()
        self._keys[req.url] = key
        return connection

    async def idle(self, url: URL) -> Connection | None:
        """Return an idle connection on which requests to a URL can be written as they are; None if there is none."""
        key = self._keys.get(url)
        if key is None or key.proxy is not None:  # a proxy wants the whole URL
            return None
        return await self._get(key, [])

    def drop_idle(self) -> None:
        """End all connections that no request uses."""
        for connections in self._conns.values():
            for protocol, _ in connections:
                protocol.abort()

    async def close(self, *, abort_ssl: bool = False) -> None:
        """End all connections at once, those too that a peer does not read."""
        for protocol in self._acquired:
            cut_off(protocol.transport)
        await super().close(abort_ssl=abort_ssl)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        """Return an idle connection on which nothing came since it was released."""
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        return None


def cut_off(transport: asyncio.Transport | None) -> None:
    """Reset a connection: nothing more of what was written to it goes out. One that has ended stays as it is."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # of a connection that its peer has reset uvloop's socket has no descriptor any more, and says ValueError
        with contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
