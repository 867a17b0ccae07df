"""When the next request of a stream may start.

Like Nagle's algorithm, so that a quiet stream pays no waiting and a busy one fills its batches: what is ready goes when
nothing of the stream is in flight, or when a full batch is ready, or when the last request went a linger ago; never
more than `in_flight_max` requests at once. So a busy stream sends a request each linger, with all that came meanwhile,
and a record that comes after a pause waits for no company, which would not come. After a request that failed as a whole
the gate stays shut for a backoff, and then lets one request at a time through until one is answered: that one finds out
whether the trouble is over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.core.backoff import Backoff
    from proxy.core.limits import StreamLimits

_SMOOTHING: Final = 8


class Gate:
    """Requests in flight, linger and backoff of one stream.

    Args:
        limits: see `StreamLimits`.
        backoff: how long to stay shut.

    `round_trip_ns` is what a request takes of late until it is answered, smoothed; 0 until one was.
    """

    __slots__ = (
        "_backoff",
        "_backoff_until_ns",
        "_failed_at_ns",
        "_failures",
        "_limits",
        "_linger_until_ns",
        "_started_at_ns",
        "in_flight_requests",
        "round_trip_ns",
    )

    def __init__(self, limits: StreamLimits, backoff: Backoff) -> None:
        self._limits = limits
        self._backoff = backoff
        self._failures = 0  # in a row
        self._failed_at_ns = 0
        self._backoff_until_ns = 0
        self._linger_until_ns: int | None = None  # None while nothing is ready
        self._started_at_ns = 0
        self.in_flight_requests = 0
        self.round_trip_ns = 0

    @property
    def in_flight_max(self) -> int:
        """Requests that may be in flight now."""
        return 1 if self._failures else self._limits.in_flight_max

    def may_start(self, now_ns: int) -> bool:
        """Whether any request may start now."""
        return self.in_flight_requests < self.in_flight_max and now_ns >= self._backoff_until_ns

    def may_go(self, now_ns: int, ready_keys: int) -> bool:
        """Whether what is ready should go now instead of waiting for company; there must be something ready."""
        return (
            not self.in_flight_requests
            or ready_keys >= self._limits.batch_records_max
            or (self._linger_until_ns is not None and now_ns >= self._linger_until_ns)
        )

    def linger(self, now_ns: int, *, waited: bool) -> None:
        """Note that something is ready; `waited` when it has already waited long enough, for tokens or a backoff."""
        if waited:
            self._linger_until_ns = now_ns
        elif self._linger_until_ns is None:
            self._linger_until_ns = max(now_ns, self._started_at_ns + self._limits.linger_ns)

    def emptied(self) -> None:
        """Note that nothing is ready any more."""
        self._linger_until_ns = None

    def started(self, now_ns: int) -> None:
        """Count a request out."""
        self.in_flight_requests += 1
        self._started_at_ns = now_ns

    @property
    def answer_ns(self) -> int:
        """How long before its deadline a record must be sent, for its answer to come in time.

        More than a round trip, since some take longer; but where round trips come near to a record's life, it is sent
        for three quarters of that all the same: nothing else would show that they have become shorter.
        """
        return min(self.round_trip_ns + self.round_trip_ns // 4, self._limits.delivery_timeout_ns // 4)

    def returned(self, sent_at_ns: int, now_ns: int, *, answered: bool) -> None:
        """Count a request back in, and learn how long one takes (RFC 6298's smoothing) if it was answered."""
        self.in_flight_requests -= 1
        if answered:
            took_ns = now_ns - sent_at_ns
            self.round_trip_ns += (took_ns - self.round_trip_ns) // (_SMOOTHING if self.round_trip_ns else 1)

    def succeeded(self) -> None:
        """Open up: the service has answered a request."""
        self._failures = 0

    def failed(self, sent_at_ns: int, now_ns: int, retry_after_ns: int = 0) -> None:
        """Shut for a backoff: a request failed as a whole.

        Args:
            sent_at_ns: when the request was sent. Requests that were in flight together meet one and the same trouble:
                only a request sent after the last failure makes it another one.
            now_ns: the present.
            retry_after_ns: how long the service asks to wait at the least. It is not believed beyond half of a record's
                life: all that came meanwhile would fail.
        """
        retry_after_ns = min(retry_after_ns, self._limits.delivery_timeout_ns // 2)
        if retry_after_ns:
            self._backoff_until_ns = max(self._backoff_until_ns, now_ns + retry_after_ns)
        if self._failures and sent_at_ns < self._failed_at_ns:
            return
        self._failures += 1
        self._failed_at_ns = now_ns
        self._backoff_until_ns = max(self._backoff_until_ns, now_ns + self._backoff.wait_ns(self._failures))

    def opens_at_ns(self, *, anything_ready: bool, anything_split: bool, lanes_wake_ns: int | None) -> int | None:
        """Return when a request could start if nothing else happens; None if only an event can change that.

        Args:
            anything_ready: whether a lane may give records now.
            anything_split: whether a part of a refused batch waits to be sent.
            lanes_wake_ns: when the first waiting lane may give records.
        """
        if self.in_flight_requests >= self.in_flight_max:
            return None
        if anything_split or (anything_ready and not self.in_flight_requests):
            return self._backoff_until_ns
        instants = [instant for instant in (self._linger_until_ns, lanes_wake_ns) if instant is not None]
        return max(min(instants), self._backoff_until_ns) if instants else None
