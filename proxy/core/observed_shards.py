"""The shards of a stream as its answers show them, while nothing better can be had.

Each answer tells where a hash key lies: an accepted record by its shard id, a throttled one by the shard that the
message names. A shard's span is the range between the least and the greatest hash key seen in it. Open shards never
overlap; so what lies within the span of another shard shows that the other one is closed, split or merged, and it is
forgotten. Hash keys between the spans belong to nobody yet, and the spans grow.

A map that was fetched before it could not be fetched any more is where the spans begin.

Source: PutRecords API reference ("Rate exceeded for shard shardId-000000000001 in stream ...").

Must never know: why the map cannot be fetched.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final

from proxy.core.shard_map import Shard

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHARD_OF_MESSAGE: Final = re.compile(r"\bfor shard (shardId-\d{1,20})\b")


class ObservedShards:
    """Spans of hash keys by shard.

    Args:
        shards: where to begin.

    `changed` is set by what is new, and cleared by whoever has taken it over.
    """

    __slots__ = ("_lows", "_spans", "changed")

    def __init__(self, shards: Iterable[Shard] = ()) -> None:
        self._spans = sorted(shards, key=lambda shard: shard.starting_hash_key)
        self._lows = [span.starting_hash_key for span in self._spans]
        self.changed = False

    @property
    def shards(self) -> list[Shard]:
        """The spans that are known, as shards; there may be gaps between them."""
        return list(self._spans)

    def observe(self, hash_key: int, shard_id: str) -> None:
        """Learn that a hash key lies in a shard."""
        index = bisect_right(self._lows, hash_key) - 1
        if index >= 0:
            span = self._spans[index]
            if hash_key <= span.ending_hash_key and span.shard_id == shard_id:
                return
        self._extend(hash_key, shard_id)
        self.changed = True

    def _extend(self, hash_key: int, shard_id: str) -> None:
        """Stretch a shard's span to a hash key, over the spans of shards that are therefore closed."""
        low = high = hash_key
        kept: list[Shard] = []
        for span in self._spans:
            if span.shard_id == shard_id:
                low, high = min(low, span.starting_hash_key), max(high, span.ending_hash_key)
            else:
                kept.append(span)
        kept = [span for span in kept if span.ending_hash_key < low or span.starting_hash_key > high]
        at = bisect_left([span.starting_hash_key for span in kept], low)
        kept.insert(at, Shard(low, high, shard_id))
        self._spans = kept
        self._lows = [span.starting_hash_key for span in kept]


def shard_id_of_message(message: str | None) -> str | None:
    """Return the shard that a throttle message names, or None."""
    found = None if message is None else _SHARD_OF_MESSAGE.search(message)
    return None if found is None else found[1]
