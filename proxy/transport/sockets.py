"""What is done to a connection beyond its protocol: reset it, and notice that its client takes nothing any more."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from proxy.transport.limits import HttpLimits

# With SO_LINGER on and zero seconds, closing sends a reset instead of an orderly end.
_LINGER_ZERO = struct.pack("ii", 1, 0)


def reset(transport: asyncio.Transport | None) -> None:
    """Cut a connection without an orderly end; None is one that is gone already."""
    if transport is not None and not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        transport.abort()


class StuckWatch:
    """Notices that a client does not take what was written for it, also while the connection is being closed."""

    __slots__ = ("_limits", "_since")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._since = 0.0

    def is_stuck(self, transport: asyncio.Transport, now: float, *, writable: bool) -> bool:
        """Return whether it has been so for longer than the limits allow."""
        if not writable:
            patience = self._limits.body_seconds
        elif transport.is_closing():
            patience = self._limits.closing_seconds
        else:
            self._since = 0.0
            return False
        self._since = self._since or now
        return now - self._since > patience
