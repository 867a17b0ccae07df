"""Which partition keys meet most of a stream's throttles: a hint for whoever has to find the hot one.

Decides whom to remember, in a bounded place: the space-saving sketch. It is told of a record only when that was
throttled, refused at the door or held back behind its own key, so records that go through cost nothing. Counts halve
every minute, so that old heat fades.

Keys are known by their hash keys alone. Must never know: partition keys, data, who reads it.

Source: Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and top-k elements in data streams", 2005.
"""

from __future__ import annotations

from typing import NamedTuple

from proxy.core.limits import SECOND_NS

# Whatever meets more than one in 64 of the troubles has a place for certain.
KEYS_MAX = 64
HALF_LIFE_NS = 60 * SECOND_NS
# Counts of an hour ago are 60 halvings away: nothing is left of any count that fits a day.
HALVINGS_MAX = 64
# Below these a count tells nothing.
TROUBLES_MIN = 100
SHARE_MIN = 0.02


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
        # by hash key: a count that is never too low, and by how much it may be too high
        self._counts: dict[int, tuple[int, int]] = {}
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
        known = counts.get(hash_key)
        if known is not None:
            counts[hash_key] = (known[0] + 1, known[1])
            return
        least = 0
        if len(counts) >= KEYS_MAX:
            # the newcomer may have been there before and been forgotten, at most as often as the least that is known
            coldest = min(counts, key=counts.__getitem__)
            least, _ = counts.pop(coldest)
        counts[hash_key] = (least + 1, least)

    def top(self, keys_max: int, now_ns: int) -> list[HotKey]:
        """Return the keys that stand out, the hottest first; none while there is too little to tell by.

        Where keys meet trouble evenly none stands out: then the shard is hot, and not a key.
        """
        self._fade(now_ns)
        self._told_total = self.total
        if self.total < TROUBLES_MIN:
            return []
        certain = ((hash_key, count - excess) for hash_key, (count, excess) in self._counts.items())
        hot = [HotKey(hash_key, records, records / self.total) for hash_key, records in certain]
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
        faded = {hash_key: (count >> by, excess >> by) for hash_key, (count, excess) in self._counts.items()}
        self._counts = {hash_key: counts for hash_key, counts in faded.items() if counts[0]}
