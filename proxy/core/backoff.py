"""How long to wait before the next try: exponential with full jitter.

Source: "Exponential Backoff And Jitter", AWS Architecture Blog (full jitter spreads contenders best).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_DOUBLINGS_MAX: Final = 32  # beyond any sensible cap; keeps the shift small


class Backoff:
    """Waits for one kind of trouble.

    Args:
        base_ns: bound of the first wait; doubles with each failure in a row.
        cap_ns: bound of every wait.
        random: uniform in [0, 1).
    """

    __slots__ = ("_base_ns", "_cap_ns", "_random")

    def __init__(self, base_ns: int, cap_ns: int, random: Callable[[], float]) -> None:
        self._base_ns = base_ns
        self._cap_ns = cap_ns
        self._random = random

    def wait_ns(self, failures: int) -> int:
        """Return a wait, uniform between 0 and min(cap, base * 2**(failures - 1)); `failures` in a row, at least 1."""
        ceiling_ns = min(self._cap_ns, self._base_ns << min(failures - 1, _DOUBLINGS_MAX))
        return int(self._random() * ceiling_ns)

    def spread_ns(self) -> int:
        """Return a wait, uniform between 0 and the base: so that many who begin together do not act together."""
        return int(self._random() * self._base_ns)
