"""What is promised about the order of one partition key's records.

    mode      travels together in one request                     can be inverted
    strict    nothing of a key: one record in flight              never
    call      a key's records of one call, in the call's order    within a call, on partial failure
    relaxed   a key's records, in their order                     on partial failure
    none      anything                                            always

In `call` and `relaxed` a key still has at most one request in flight, and what comes back goes before everything
younger. PutRecords does not stop at a record that fails: a younger one of the same request can land before it. That is
the inversion, and it is counted.
"""

from __future__ import annotations

from enum import Enum


class Ordering(Enum):
    """How the records of one partition key may travel."""

    STRICT = "strict"
    CALL = "call"
    RELAXED = "relaxed"
    NONE = "none"

    @property
    def runs(self) -> bool:
        """Whether several records of a key may share a request that keeps their order."""
        return self in {Ordering.CALL, Ordering.RELAXED}
