"""What a run leaves behind: a hash of all its events, and counts of what happened in it."""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b


class Trace:
    """Every event of a run, hashed: two runs of one seed are the same exactly if their hashes are.

    `counts` has a count of everything worth telling; `events` is the number of events hashed.
    """

    def __init__(self) -> None:
        self.events = 0
        self.counts: Counter[str] = Counter()
        self._hash = blake2b(digest_size=16)

    def note(self, now_ns: int, event: str, *facts: object) -> None:
        """Take in one event."""
        self.events += 1
        self._hash.update(f"{now_ns} {event} {facts}\n".encode())

    def digest(self) -> str:
        """Return the hash of all events so far."""
        return self._hash.hexdigest()
