from __future__ import annotations

import pytest

from proxy.core.hashing import HASH_KEY_MAX
from tests.benchmarks.peers.program import ACKNOWLEDGED
from tests.benchmarks.peers.scoring import Score, inverted_pairs, score
from tests.support.producers import Ledger
from tests.support.readback import StoredRecord, StoredShard


def score_of(given: str, stream: str, outcomes: dict[str, str | None] | None = None) -> Score:
    """Score a run in which one-letter keys were given in turn and the stream reads `a0 b0 a1`.

    Args:
        given: keys, in the order in which the producer was given their records.
        stream: key and ordinal of each record in the only shard.
        outcomes: of the records that were not acknowledged.
    """
    ledger = Ledger()
    sendings = [ledger.send(key, 20) for key in given]
    told = {f"{sending.partition_key}{sending.ordinal}": sending for sending in sendings}
    shard = StoredShard("shardId-000000000000", 0, HASH_KEY_MAX)
    for number, name in enumerate(stream.split()):
        shard.records.append(StoredRecord(str(number), told[name].partition_key, told[name].data))
    reported = [(outcomes or {}).get(name, ACKNOWLEDGED) for name in told]
    return score(ledger, sendings, reported, [shard])


def test_a_stream_as_it_was_given_has_nothing_to_count() -> None:
    """Keys may interleave in any way."""
    found = score_of("aabb", "b0 a0 b1 a1")
    assert found == Score(
        given=4,
        distinct=4,
        acknowledged=4,
        inversions=0,
        inverted_pairs=0,
        inverted_keys=0,
        lost=0,
        failed=0,
        failed_but_stored=0,
        silent=0,
        duplicates=0,
        foreign=0,
        misrouted=0,
    )


def test_a_record_that_lets_three_of_its_key_pass_is_one_inversion_and_three_pairs() -> None:
    """What comes too late counts, not what it let pass."""
    found = score_of("aaaabb", "a1 b0 a2 a3 a0 b1")
    assert (found.inversions, found.inverted_pairs, found.inverted_keys) == (1, 3, 1)


def test_inversions_are_counted_key_by_key() -> None:
    """Each key has an order of its own."""
    found = score_of("aabbcc", "a1 a0 b1 b0 c0 c1")
    assert (found.inversions, found.inverted_pairs, found.inverted_keys) == (2, 2, 2)


def test_only_the_first_occurrence_has_a_place_in_the_order() -> None:
    """A repetition is a duplicate, wherever it lies."""
    found = score_of("aaa", "a0 a1 a0 a2 a2 a1")
    assert (found.inversions, found.inverted_pairs, found.duplicates, found.distinct) == (0, 0, 3, 3)


def test_an_acknowledged_record_that_is_not_in_the_stream_is_lost() -> None:
    """It is neither a failure nor silent."""
    found = score_of("aab", "a0 b0")
    assert (found.lost, found.failed, found.silent, found.distinct) == (1, 0, 0, 2)


def test_a_reported_failure_is_no_loss() -> None:
    """Its caller knows; that one may be in the stream all the same is counted."""
    found = score_of("aab", "a0 b0", {"a0": "Expired", "a1": "Expired"})
    assert (found.acknowledged, found.lost, found.failed, found.failed_but_stored) == (1, 0, 2, 1)


def test_a_record_of_which_nothing_was_said_is_a_silent_loss_only_if_it_is_missing() -> None:
    """In the stream, nothing is lost."""
    found = score_of("aabb", "a0 b0 b1", {"a0": None, "a1": None, "b0": None})
    assert (found.silent, found.lost, found.failed, found.acknowledged) == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("ordinals", "pairs"),
    [([], 0), ([7], 0), ([0, 1, 2], 0), ([2, 1, 0], 3), ([1, 0, 3, 2], 2), ([3, 0, 1, 2], 3), ([0, 9, 4], 1)],
)
def test_every_pair_in_the_wrong_order_is_counted_once(ordinals: list[int], pairs: int) -> None:
    """Gaps between ordinals mean nothing."""
    assert inverted_pairs(ordinals) == pairs
