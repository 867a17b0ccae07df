"""The listener: HTTP/1.1 and HTTP/2, plain or in TLS, on one address and in front of one handler.

Decides how many connections there are and for how long; which protocol one speaks is its `Arrival`'s finding.

Must never know: operations, streams, upstreams.
"""

from __future__ import annotations

import asyncio
import random
import time
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import structlog

from proxy.log import Occasional
from proxy.transport.arrival import Arrival
from proxy.transport.exchanges import Exchanges
from proxy.transport.http1 import Http1Server
from proxy.transport.http2 import Http2Connection, Http2Server
from proxy.transport.lean import LeanConnection
from proxy.transport.plain import Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.kinesis.http import Handler, PutStarter
    from proxy.transport.arrival import Connection
    from proxy.transport.http1 import Http1Connection
    from proxy.transport.limits import HttpLimits
    from proxy.transport.tls import ServerTls

log = structlog.get_logger(__name__)

# How long the last answers may take to leave once their handlers are done or given up.
_FLUSH_SECONDS = 0.5
_BACKLOG = 1024
# Connections that began together are not to end together.
_AGE_JITTER = 0.2
_SWEPT_AT_ONCE = 100
_NEVER = float("inf")
_REPEATED_EVENT_INTERVAL_NS = 10_000_000_000

C = TypeVar("C", bound="Connection")


class HttpServer:
    """Serves one handler on one address.

    Args:
        handler: answers each request.
        limits: of connections and requests.
        tls: makes connections secure; None leaves them plain.
        random_share: 0..1, for jitter.
        start_put: answers puts without a task, in the lean lane; None does without one.

    Call `start`, and at the end `stop_listening` (answers then ask the client to close) and `close`.
    """

    def __init__(
        self,
        handler: Handler,
        limits: HttpLimits,
        tls: ServerTls | None = None,
        random_share: Callable[[], float] = random.random,
        start_put: PutStarter | None = None,
    ) -> None:
        self.limits = limits
        self.shapes = Shapes()
        self.connections_refused = 0
        self._tls = tls
        self._random_share = random_share
        self._start_put = start_put
        self._exchanges = Exchanges(handler, limits)
        self._http1 = Http1Server(self._exchanges, limits, self.lost)
        self._http2 = Http2Server(self._exchanges, limits, self.lost)
        self._connections: set[Connection] = set()
        self._occasional = Occasional(_REPEATED_EVENT_INTERVAL_NS)
        self._loop = asyncio.get_running_loop()
        self._listener: asyncio.Server | None = None
        self._sweeping: asyncio.Handle | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port that is or was listened on; the system's choice where 0 was asked for."""
        return self._port

    @property
    def scheme(self) -> str:
        """How an address of the server begins."""
        return "http" if self._tls is None else "https"

    @property
    def certificate_expires_at_seconds(self) -> float | None:
        """When the certificate that new connections are shown expires, since the epoch; None without one."""
        return None if self._tls is None else self._tls.expires_at_seconds

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def requests_in_progress(self) -> int:
        """How many requests have no answer yet."""
        return self._exchanges.in_progress

    @property
    def malformed_requests(self) -> int:
        """How many requests were no HTTP; each cost its connection."""
        return self._exchanges.malformed

    async def start(self, host: str, port: int) -> None:
        """Listen on the address; port 0 lets the system choose."""
        self._listener = await self._loop.create_server(self._arrive, host, port, backlog=_BACKLOG)
        self._port = self._listener.sockets[0].getsockname()[1]
        self._sweep_later()

    async def stop_listening(self) -> None:
        """Take no new connections; every answer from now on asks its client to close.

        Idle connections stay open until `close`: a request that is on its way when the drain begins gets an answer.
        """
        if self._exchanges.draining:
            return
        self._exchanges.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            if isinstance(connection, Http2Connection):
                connection.retire()

    async def close(self, timeout_seconds: float) -> None:
        """Wait for requests in progress, at most that long, and close every connection."""
        await self.stop_listening()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._exchanges.ended()
        except TimeoutError:
            log.warning("requests_abandoned", requests=self.requests_in_progress)
        await asyncio.gather(*(connection.end(_FLUSH_SECONDS) for connection in self._connections))
        if self._sweeping is not None:
            self._sweeping.cancel()

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False if there are too many."""
        if len(self._connections) >= self.limits.connections_max:
            self.connections_refused += 1
            return False
        self._connections.add(connection)
        return True

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)

    def refused(self, reason: str, client: str) -> None:
        """Log that a client speaks otherwise than the port, the first for a reason at once and then now and again."""
        held_back = self._occasional.admit((reason,), time.monotonic_ns())
        if held_back is not None:
            log.warning("client_refused", reason=reason, client=client, held_back=held_back)

    def speaks_http1(self, arrival: Arrival) -> LeanConnection | Http1Connection:
        """Make the protocol that takes over from an arrival."""
        retires_at, start_put = self._retires_at(), self._start_put
        if start_put is None:
            return self._replace(arrival, self._http1.connection(retires_at))
        return self._replace(arrival, LeanConnection(self, start_put, self._exchanges, self.limits, retires_at))

    def speaks_unusual_http1(self, connection: LeanConnection) -> Http1Connection:
        """Make the protocol that takes over from the lean lane."""
        successor = self._http1.connection(connection.retires_at)
        successor.retiring = connection.retiring
        return self._replace(connection, successor)

    def speaks_http2(self, arrival: Arrival) -> Http2Connection:
        """Make the protocol that takes over from an arrival."""
        return self._replace(arrival, self._http2.connection(self._retires_at()))

    def _replace(self, predecessor: Connection, connection: C) -> C:
        self._connections.discard(predecessor)
        self._connections.add(connection)
        return connection

    def _arrive(self) -> Arrival:
        return Arrival(self, None if self._tls is None else self._tls.context)

    def _retires_at(self) -> float:
        """Roll the instant from which a new connection is asked to go."""
        if not self.limits.age_seconds:
            return _NEVER
        return self._loop.time() + self.limits.age_seconds * (1 - _AGE_JITTER * self._random_share())

    def _sweep_later(self) -> None:
        self._sweeping = self._loop.call_later(self.limits.sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        if self._tls is not None:
            self._tls.refresh(now)
        self._sweep_some(iter(list(self._connections)), now)

    def _sweep_some(self, connections: Iterator[Connection], now: float) -> None:
        """Look at some connections, and then let others be served: to cut ten thousand at once takes a second."""
        more = False
        for connection in islice(connections, _SWEPT_AT_ONCE):
            more = True
            connection.sweep(now)
        if more:
            self._sweeping = self._loop.call_soon(self._sweep_some, connections, now)
        else:
            self._sweep_later()
