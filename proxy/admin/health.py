"""Whether the proxy should be given work, and if not, why.

Ready asks for what an outsider can help by sending work elsewhere or waiting. Alive asks only whether the event loop
turns, never for the service's health: a restart would not cure that, and loses what is queued.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.core.buffer import Buffer

STARTING = "starting"
DRAINING = "draining"
NO_CREDENTIALS = "no credentials"
BUFFER_FULL = "buffer full"
OBSTACLES = (STARTING, DRAINING, NO_CREDENTIALS, BUFFER_FULL)

# A buffer this full rejects the next burst.
FULL_RATIO = 0.95


class Health:
    """The state of the process as orchestrators ask for it.

    Args:
        upstream_ready: whether requests could be sent upstream.
        buffer: what is held; None where nothing is.
    """

    def __init__(self, upstream_ready: Callable[[], bool], buffer: Buffer | None = None) -> None:
        self._upstream_ready = upstream_ready
        self._buffer = buffer
        self._listening = False
        self._draining = False

    @property
    def draining(self) -> bool:
        """Whether the process is shutting down."""
        return self._draining

    def listening(self) -> None:
        """Note that clients are served."""
        self._listening = True

    def drains(self) -> None:
        """Note that the process is shutting down: it is not ready again."""
        self._draining = True

    def obstacles(self) -> list[str]:
        """Return why the proxy is not ready; nothing when it is."""
        obstacles: list[str] = []
        if self._draining:
            obstacles.append(DRAINING)
        elif not self._listening:
            obstacles.append(STARTING)
        if not self._upstream_ready():
            obstacles.append(NO_CREDENTIALS)
        buffer = self._buffer
        if buffer is not None and (
            buffer.records >= FULL_RATIO * buffer.records_max or buffer.bytes >= FULL_RATIO * buffer.bytes_max
        ):
            obstacles.append(BUFFER_FULL)
        return obstacles
