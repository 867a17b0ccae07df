"""Counts what became of the records that a producer was given: pure.

The words, all about one run:

- the *first occurrence* of a record is its first place in its shard, as a consumer reads it; later ones are duplicates;
- an *inversion* is a record whose first occurrence comes after that of a record of its key which the producer was given
  later (readback's own count), so a key in order has none, and one record that comes too late counts once however many
  it lets pass; *inverted pairs* counts each two records of a key whose first occurrences are the wrong way round;
- *lost*: reported as in the stream, and not there; *silent*: reported neither as there nor as failed, and not there;
- *failed*: reported as failed; *failed but stored*: those of them that are in the stream all the same.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.benchmarks.peers.program import ACKNOWLEDGED
from tests.support.readback import sending_of, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.producers import Ledger, Sending
    from tests.support.readback import StoredShard


@dataclass(frozen=True, slots=True)
class Score:
    """What became of the records of one run; the module's text defines the words.

    Args:
        given: records.
        distinct: of them in the stream.
        acknowledged: reported as in the stream.
        inversions: records.
        inverted_pairs: pairs of records.
        inverted_keys: keys with an inversion.
        lost: records.
        failed: records.
        failed_but_stored: records.
        silent: records.
        duplicates: occurrences after the first of a record.
        foreign: records in the stream that were not given so.
        misrouted: records in a shard that does not own their key.
    """

    given: int
    distinct: int
    acknowledged: int
    inversions: int
    inverted_pairs: int
    inverted_keys: int
    lost: int
    failed: int
    failed_but_stored: int
    silent: int
    duplicates: int
    foreign: int
    misrouted: int


def score(
    ledger: Ledger, given: Sequence[Sending], outcomes: Sequence[str | None], shards: Sequence[StoredShard]
) -> Score:
    """Hold the stream against what the producer was given and what it reported.

    Args:
        ledger: of the records given; an ordinal is a record's place among those of its key.
        given: the same records, in the order of the outcomes.
        outcomes: for each record `ACKNOWLEDGED`, the error reported, or None.
        shards: as `read_stream` returns them, aggregates unpacked.
    """
    verdict = verify(ledger, shards)
    first_occurrences = _first_occurrences(ledger, shards)
    stored = {(key, ordinal) for key, ordinals in first_occurrences.items() for ordinal in ordinals}
    pairs = {key: inverted_pairs(ordinals) for key, ordinals in first_occurrences.items()}
    told = [
        (outcome, (sending.partition_key, sending.ordinal) in stored)
        for sending, outcome in zip(given, outcomes, strict=True)
    ]
    failed = [is_stored for outcome, is_stored in told if outcome not in {ACKNOWLEDGED, None}]
    return Score(
        given=len(given),
        distinct=len(stored),
        acknowledged=sum(outcome == ACKNOWLEDGED for outcome, _ in told),
        inversions=verdict.inversions,
        inverted_pairs=sum(pairs.values()),
        inverted_keys=sum(count > 0 for count in pairs.values()),
        lost=told.count((ACKNOWLEDGED, False)),
        failed=len(failed),
        failed_but_stored=sum(failed),
        silent=told.count((None, False)),
        duplicates=verdict.duplicates,
        foreign=verdict.foreign,
        misrouted=verdict.misrouted,
    )


def inverted_pairs(ordinals: Sequence[int]) -> int:
    """Count the pairs in which the higher ordinal comes first."""
    before: list[int] = []
    pairs = 0
    for ordinal in ordinals:
        pairs += len(before) - bisect_right(before, ordinal)
        insort(before, ordinal)
    return pairs


def _first_occurrences(ledger: Ledger, shards: Sequence[StoredShard]) -> dict[str, list[int]]:
    """Return the ordinals of each key in the order of their first occurrences."""
    ordered: dict[str, dict[int, None]] = {}
    for shard in shards:
        for record in shard.records:
            sending = sending_of(ledger, record)
            if sending is not None:
                ordered.setdefault(sending.partition_key, {}).setdefault(sending.ordinal)
    return {key: list(ordinals) for key, ordinals in ordered.items()}
