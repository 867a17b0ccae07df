"""Which partition keys meet most of a stream's throttles: a hint for whoever has to find the hot one.

Decides whom to remember, in a bounded place: the sketch of Misra and Gries. Whoever comes when all places are taken
takes one off every count instead, and whose count is gone makes room; so a count is never too high, and too low by no
more than the total over the number of places. It is told of a record only when that was throttled, refused at the door
or held back behind its own key, so records that go through cost nothing. Counts halve every minute: old heat fades.

Rejected: space-saving, which also bounds each count's excess, and looks for the smallest count each time (5 us).

Keys are known by their hash keys alone. Must never know: partition keys, data, who reads it.

Source: Misra, Gries, "Finding repeated elements", 1982.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.core.limits import SECOND_NS

# Whatever meets more than one in 64 of the troubles is remembered for certain.
KEYS_MAX: Final = 64
HALF_LIFE_NS: Final = 60 * SECOND_NS
# Counts of an hour ago are 60 halvings away: nothing is left of any count that fits a day.
HALVINGS_MAX: Final = 64
# Below these a count tells nothing.
TROUBLES_MIN: Final = 100
SHARE_MIN: Final = 0.02


class HotKey(NamedTuple):
    """A key that meets many of the troubles.

    Args:
        hash_key: where it lies in the stream.
        records: at least so many of its records met trouble lately.
        share: of all troubles of the stream.
    """

    hash_key: int
    records: int
    share: float


class HotKeys:
    """The keys of one stream that meet the most trouble.

    `total` is how many troubles there were lately, faded like all counts.
    """

    __slots__ = ("_counts", "_faded_at_ns", "_told_total", "total")

    def __init__(self, now_ns: int) -> None:
        self._counts: dict[int, int] = {}  # by hash key
        self._faded_at_ns = now_ns
        self._told_total = 0
        self.total = 0

    @property
    def has_news(self) -> bool:
        """Whether enough has been noted since `top` was last asked to ask again."""
        return self.total >= self._told_total + TROUBLES_MIN

    def note(self, hash_key: int, now_ns: int) -> None:
        """Count a trouble that a key's record met."""
        if now_ns >= self._faded_at_ns + HALF_LIFE_NS:
            self._fade(now_ns)
        self.total += 1
        counts = self._counts
        count = counts.get(hash_key)
        if count is not None:
            counts[hash_key] = count + 1
        elif len(counts) < KEYS_MAX:
            counts[hash_key] = 1
        else:
            self._counts = {other: count - 1 for other, count in counts.items() if count > 1}

    def top(self, keys_max: int, now_ns: int) -> list[HotKey]:
        """Return the keys that stand out, the hottest first; none while there is too little to tell by.

        Where keys meet trouble evenly none stands out: then the shard is hot, and not a key.
        """
        self._fade(now_ns)
        self._told_total = self.total
        if self.total < TROUBLES_MIN:
            return []
        hot = [HotKey(hash_key, count, count / self.total) for hash_key, count in self._counts.items()]
        hot.sort(key=lambda key: (-key.records, key.hash_key))
        return [key for key in hot[:keys_max] if key.share >= SHARE_MIN]

    def _fade(self, now_ns: int) -> None:
        """Halve everything once for each half-life that has passed."""
        halvings = (now_ns - self._faded_at_ns) // HALF_LIFE_NS
        if not halvings:
            return
        self._faded_at_ns += halvings * HALF_LIFE_NS
        by = min(halvings, HALVINGS_MAX)
        self.total >>= by
        self._told_total >>= by
        self._counts = {hash_key: count >> by for hash_key, count in self._counts.items() if count >> by}
