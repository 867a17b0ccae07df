"""What a connection, a request and all of them together may cost: every limit of the transports.

Must never know: where the values come from.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

# Timeouts are looked after by one timer for all connections, at least this often.
_SWEEP_SECONDS_MAX = 1.0
# So many times within the shortest timeout, that none is overrun by much.
_SWEEPS_PER_TIMEOUT = 4


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The limits of one server; sizes in bytes.

    Args:
        request_bytes_max: largest body that is handed on; a larger one is refused.
        bodies_bytes_max: bodies held at once, while they arrive and until they are answered, over all connections.
            A small body that came together with its headers does not count; HTTP/2's headers do. Large answers have as
            much again, until they are taken.
        header_bytes_max: largest sum of a request's headers.
        connections_max: a connection beyond this number is closed at once.
        streams_max: requests in progress on one HTTP/2 connection; more are refused.
        header_seconds: headers must arrive within this time, as must a TLS handshake.
        body_seconds: a body must arrive within this time, and a client take its answer.
        idle_seconds: a connection without a request is closed after this time.
        age_seconds: a connection older than this is asked to go, so that load balancers can spread; 0 lets it stay.
        linger_seconds: so long a connection that is to be closed still reads what its client sends, so that the client
            comes to read the answer.
    """

    request_bytes_max: int
    bodies_bytes_max: int = 128 * MIB
    header_bytes_max: int = 32 * KIB
    connections_max: int = 4096
    streams_max: int = 128
    header_seconds: float = 10
    body_seconds: float = 60
    idle_seconds: float = 75
    age_seconds: float = 600
    linger_seconds: float = 1

    @property
    def closing_seconds(self) -> float:
        """How long a client may take the rest of a last answer, when its connection is being closed."""
        return self.linger_seconds + self.header_seconds

    @property
    def sweep_seconds(self) -> float:
        """How often connections are looked at for what took too long."""
        timeouts = [self.header_seconds, self.body_seconds, self.idle_seconds, self.age_seconds]
        return min([_SWEEP_SECONDS_MAX, *(timeout / _SWEEPS_PER_TIMEOUT for timeout in timeouts if timeout)])
