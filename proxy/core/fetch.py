"""When something that the service knows about a stream is to be fetched, and which news about it still counts.

    UNKNOWN ──wanted──> DUE ──started──> FETCHING ──learned──> KNOWN ──doubt, or wanted when it is old──> DUE
                         ^                  │
                         └─backoff, failed──┘

What is known goes on serving while it is fetched anew. A doubt that is older than what is known (a response to a
request that was sent before it was learned) is ignored. There is never more than one fetch under way.

Must never know: how it is fetched, or what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.core.backoff import Backoff

AGE_SPREAD: Final = 30  # times the backoff's base: those who learned it together do not ask together for ever


class Fetch:
    """The timing of one thing to know.

    Args:
        backoff: how long to wait after a fetch failed.
        age_min_ns: what is younger is not fetched again; also the least wait after a failure.
        age_max_ns: what is older, give or take a spread, is fetched again when it is wanted; None: however old.

    `due_at_ns` is the instant at which a fetch should start, None while nothing is wanted or a fetch is under way.
    """

    __slots__ = (
        "_age_max_ns",
        "_age_min_ns",
        "_backoff",
        "_failures",
        "_learned_at_ns",
        "_old_at_ns",
        "due_at_ns",
        "under_way",
    )

    def __init__(self, backoff: Backoff, age_min_ns: int, age_max_ns: int | None = None) -> None:
        self._backoff = backoff
        self._age_min_ns = age_min_ns
        self._age_max_ns = age_max_ns
        self._old_at_ns: int | None = None
        self._failures = 0
        self._learned_at_ns: int | None = None
        self.due_at_ns: int | None = None
        self.under_way = False

    def want(self, now_ns: int, *, spread: bool = False) -> None:
        """Ask for it where it is unknown or old: at once, or spread over a backoff's base."""
        if self._learned_at_ns is not None and (self._old_at_ns is None or now_ns < self._old_at_ns):
            return
        if self.due_at_ns is None and not self.under_way:
            self.due_at_ns = now_ns + (self._backoff.spread_ns() if spread else 0)

    def want_younger(self, age_ns: int, now_ns: int) -> None:
        """Ask for it, at once, where it is unknown or was learned longer ago than this."""
        learned_at_ns = self._learned_at_ns
        if (learned_at_ns is None or now_ns - learned_at_ns > age_ns) and self.due_at_ns is None and not self.under_way:
            self.due_at_ns = now_ns

    def is_older_than(self, sent_at_ns: int) -> bool:
        """Whether it was known when a request was sent, so that the response can contradict it."""
        return self._learned_at_ns is not None and sent_at_ns >= self._learned_at_ns

    def doubt(self, sent_at_ns: int, now_ns: int) -> None:
        """Ask for it anew because a response to a request sent at `sent_at_ns` contradicted it."""
        if self._learned_at_ns is None:
            self.want(now_ns)
        elif self.is_older_than(sent_at_ns) and self.due_at_ns is None and not self.under_way:
            # spread: many proxies find out about a resharding in the same moment
            self.due_at_ns = max(now_ns, self._learned_at_ns + self._age_min_ns) + self._backoff.spread_ns()

    def start(self, now_ns: int) -> bool:
        """Whether a fetch must start now; once True, `learned` or `failed` must follow."""
        if self.due_at_ns is None or self.due_at_ns > now_ns:
            return False
        self.due_at_ns = None
        self.under_way = True
        return True

    def learned(self, now_ns: int) -> None:
        """Note that the fetch brought it."""
        self.under_way = False
        self._learned_at_ns = now_ns
        self._failures = 0
        if self._age_max_ns is not None:
            self._old_at_ns = now_ns + self._age_max_ns + AGE_SPREAD * self._backoff.spread_ns()

    def failed(self, now_ns: int) -> None:
        """Note that the fetch failed: it is tried again after a backoff, for as long as it takes."""
        self.under_way = False
        self._failures += 1
        self.due_at_ns = now_ns + self._age_min_ns + self._backoff.wait_ns(self._failures)
