"""When nothing ran: the machine stood still, as one does that is short of a processor, or was asleep."""

from __future__ import annotations


class Standstills:
    """All of a run."""

    def __init__(self) -> None:
        self._stretches: list[tuple[int, int]] = []

    def note(self, from_ns: int, until_ns: int) -> None:
        """Note one that is over."""
        self._stretches.append((from_ns, until_ns))

    def since_ns(self, instant_ns: int) -> int:
        """Return how much of the time since an instant was standstill: nobody can have been in time meanwhile."""
        return sum(max(0, until_ns - max(from_ns, instant_ns)) for from_ns, until_ns in self._stretches)
