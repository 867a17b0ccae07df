"""A connection before it has shown what it speaks: TLS comes first where it is asked for, then the first bytes decide.

An HTTP/2 client begins with a preface of 24 bytes that no HTTP/1.1 request can begin with, and it may arrive in pieces.
Whatever differs from it is HTTP/1.1, and is handed on with all that was read. On TLS the protocol may have been agreed
on before; a client that agreed on nothing is recognised by its preface as well.

Must never know: what the protocols do.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from proxy.transport.limits import HttpLimits

    _Handshake = Coroutine[asyncio.Future[None], None, asyncio.Transport | None]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# A TLS handshake's first byte, which is no beginning of HTTP.
TLS_BEGINS = b"\x16"

# What its client's owner can mend, by OpenSSL's names; who only leaves has no reason.
TLS_ON_PLAIN = "the client speaks TLS, and the port is plain: set tls_certificate_file, or let it use http"
_PLAIN_ON_TLS = "the client speaks no TLS, and the port does: let it use https"
_REASONS = {
    "HTTP_REQUEST": _PLAIN_ON_TLS,
    "WRONG_VERSION_NUMBER": _PLAIN_ON_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client shows no certificate, and tls_client_ca_file asks for one",
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate is not one that tls_client_ca_file vouches for",
    "UNSUPPORTED_PROTOCOL": "the client's versions of TLS are too old: it takes 1.2",
}


class Connection(Protocol):
    """One connection, as the server looks after it."""

    def sweep(self, now: float) -> None:
        """Cut what takes too long, by the loop's clock."""

    async def end(self, flush_seconds: float) -> None:
        """Close it, and give up what is not answered within a time."""


class Host(Protocol):
    """The server, as an arriving connection sees it."""

    limits: HttpLimits

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False if there are too many."""

    def speaks_http1(self, arrival: Arrival) -> asyncio.Protocol:
        """Make the protocol that takes over."""

    def speaks_http2(self, arrival: Arrival) -> asyncio.Protocol:
        """Make the protocol that takes over."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""

    def refused(self, reason: str, client: str) -> None:
        """Note that a client speaks otherwise than the port, and from which address."""


class Arrival(asyncio.Protocol):
    """A connection whose first bytes are still to come.

    Args:
        host: the server.
        context: makes TLS of it first; None leaves it plain.

    `_context` is forgotten when TLS is established.
    """

    __slots__ = ("_context", "_host", "_received", "_since", "_transport")

    _transport: asyncio.Transport

    def __init__(self, host: Host, context: ssl.SSLContext | None) -> None:
        self._host = host
        self._context = context
        self._received = b""
        self._since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many connections."""
        # uvloop's transports are none by inheritance
        self._transport = transport = cast("asyncio.Transport", transport)
        if not self._host.admit(self):
            transport.abort()
        elif self._context is not None:
            limits = self._host.limits
            self._shake_hands(
                asyncio.get_running_loop().start_tls(
                    transport,
                    self,
                    self._context,
                    server_side=True,
                    ssl_handshake_timeout=limits.header_seconds,
                    # in which the last answer's end is taken, too
                    ssl_shutdown_timeout=limits.closing_seconds,
                )
            )

    def _shake_hands(self, handshake: _Handshake, _: object = None) -> None:
        """Run the handshake up to its next wait.

        The first step sets TLS before this protocol. It cannot be left to a task, which begins a little later: by then
        uvloop may have read the client's first bytes.
        """
        try:
            waiter = handshake.send(None)
        except StopIteration as done:
            self._secured(done.value)
        except (OSError, asyncio.CancelledError) as error:
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
                self._refused(_REASONS.get(error.reason, f"TLS does not come about: {error.reason}"))
            self._host.lost(self)
        else:
            waiter.add_done_callback(partial(self._shake_hands, handshake))

    def _secured(self, transport: asyncio.Transport | None) -> None:
        if transport is None or transport.is_closing():
            self._host.lost(self)
            return
        self._transport = transport
        self._context = None
        if transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            self._become(self._host.speaks_http2(self))
        elif self._received:
            self._recognise()

    def data_received(self, data: bytes) -> None:
        """Take the first bytes."""
        self._received += data
        # asyncio gives what came with the end of the handshake before it tells of that end
        if self._context is None:
            self._recognise()

    def _refused(self, reason: str) -> None:
        peer = self._transport.get_extra_info("peername")
        self._host.refused(reason, str(peer[0]) if peer else "unknown")

    def _recognise(self) -> None:
        if self._received.startswith(TLS_BEGINS):
            self._refused(TLS_ON_PLAIN)
        beginning = self._received[: len(PREFACE)]
        if not PREFACE.startswith(beginning):
            self._become(self._host.speaks_http1(self))
        elif len(beginning) == len(PREFACE):
            self._become(self._host.speaks_http2(self))

    def _become(self, protocol: asyncio.Protocol) -> None:
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._received:
            protocol.data_received(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        del exc
        self._host.lost(self)

    def sweep(self, now: float) -> None:
        """Cut a connection that says nothing, or not enough."""
        limits = self._host.limits
        self._since = self._since or now
        if now - self._since > (limits.header_seconds if self._received else limits.idle_seconds):
            self._abort()

    async def end(self, flush_seconds: float) -> None:
        """Close it."""
        del flush_seconds
        self._abort()

    def _abort(self) -> None:
        self._transport.abort()
