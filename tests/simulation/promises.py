"""What the simulation holds the proxy to, by name, and what happens when one of it is broken: the run ends there."""

from __future__ import annotations

import asyncio
from enum import StrEnum


class Rule(StrEnum):
    """The promises, each under the name that a failing run prints."""

    ORDER = "the records of a key reach the stream in the order in which the proxy took them"
    ONE_OUTCOME = "each accepted record has one outcome"
    TRUTH = "a success names a place where the service wrote that very record"
    CAUSE = "a record is refused only for its own fault, or for what every record of its stream meets"
    EXPIRY = "a record expires at its deadline or when its proxy gives up, and not before"
    LATE = "no record is without its outcome for long after its deadline"
    BOUNDS = "buffers, requests in flight, streams and batches stay within their limits"
    LIMITS = "no shard is sent more than its rate, one burst and one record"
    KEY_TWICE = "no key is twice in flight"
    IDLE = "nothing waits while it may go"
    BOOKS = "received = acknowledged + refused + expired + withdrawn + open, recounted from the records"
    ANSWER = "each call gets one answer, in the form that the service gives"
    WITHDRAWAL = "what its client left behind is taken back if it waits, and only then"
    JOIN = "an attempt at a call that is open, or whose answer reached nobody, writes nothing twice"
    SEQUENCE = "the sequence numbers of a key increase"
    FINISH = "after the faults end everything finishes"
    ALIVE = "once the service is well a new record is acknowledged"
    MAP = "once the service is well a shard map that is contradicted is replaced by the true one"
    SUMMARY = "once the service is well a stream's summary that is out of date is replaced"
    PACE = "a request that fails again and again is sent less and less often"
    DRAIN = "a drain ends in its time, with an outcome for every record"
    DEFECT = "nothing raises where nothing may"


class BrokenPromiseError(AssertionError):
    """A promise was broken.

    Args:
        rule: which one.
        detail: by what.
    """

    def __init__(self, rule: Rule, detail: str) -> None:
        super().__init__(rule, detail)  # as they are, so that it can be carried from one process to another
        self.rule = rule
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.rule.name}: {self.rule} -- {self.detail}"


class Promises:
    """Remembers the first broken promise, and stops the run at it."""

    def __init__(self) -> None:
        self.broken: BrokenPromiseError | None = None
        self._stop: asyncio.Future[None] | None = None

    def stopped(self) -> asyncio.Future[None]:
        """Return a future that is done when a promise has been broken."""
        if self._stop is None:
            self._stop = asyncio.get_running_loop().create_future()
        return self._stop

    def note(self, rule: Rule, detail: str) -> BrokenPromiseError:
        """Note a broken promise, and return it to be raised where raising reaches anybody."""
        error = BrokenPromiseError(rule, detail)
        if self.broken is None:
            self.broken = error
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(None)
        return error
