from __future__ import annotations

import pytest

from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from tests.support.fleet_verifier import REMEMBERED, FleetVerifier, ShardRange
from tests.support.producers import payload_of

DATA_BYTES = 64
SHARD = ShardRange("shardId-000000000000", 0, HASH_KEY_MAX)
KEY = "c0k0"


class Written:
    """One shard, written record by record, each of which a verifier reads at once."""

    def __init__(self) -> None:
        self.verifier = FleetVerifier(DATA_BYTES)
        self._sequence = 100

    def read(self, ordinal: int, partition_key: str = KEY, shard: ShardRange = SHARD) -> str:
        """Write the next record and have it read; return its sequence number."""
        self._sequence += 1
        data = payload_of(partition_key, ordinal, DATA_BYTES)
        self.verifier.read(shard, str(self._sequence), partition_key, data)
        return str(self._sequence)

    def acknowledge(self, ordinal: int, sequence_number: str) -> None:
        """Hand in an acknowledgement."""
        self.verifier.acknowledged(KEY, ordinal, SHARD.shard_id, sequence_number)


@pytest.fixture
def written() -> Written:
    """Give each test a stream of its own."""
    return Written()


def test_what_was_written_as_promised_has_no_problem_and_leaves_nothing_held(written: Written) -> None:
    """Records and acknowledgements that meet, whichever comes first, are forgotten."""
    written.acknowledge(0, "101")
    for ordinal in range(10):
        sequence_number = written.read(ordinal)
        if ordinal:
            written.acknowledge(ordinal, sequence_number)
        assert written.verifier.held == 0
    verdict = written.verifier.finish({KEY: 10})
    assert verdict.problems == {}
    assert (verdict.acknowledged, verdict.stored, verdict.duplicates, verdict.unacknowledged) == (10, 10, 0, 0)


def test_an_acknowledged_record_that_is_never_read_is_lost(written: Written) -> None:
    """What is still awaited in the end is not in the stream."""
    written.read(0)
    written.acknowledge(0, "101")
    written.acknowledge(1, "102")
    assert written.verifier.awaited == 1
    assert written.verifier.finish({KEY: 2}).problems == {"lost": 1}


def test_an_acknowledgement_that_names_a_wrong_place_is_a_loss(written: Written) -> None:
    """A record is where its client was told, or it is lost to it, whether it was read before or after."""
    written.acknowledge(0, "999")
    written.read(0)
    written.read(1)
    written.acknowledge(1, "998")
    assert written.verifier.finish({KEY: 2}).problems == {"lost": 2}


def test_a_swapped_pair_is_an_inversion(written: Written) -> None:
    """A record that first occurs behind a younger one of its key is out of order."""
    for ordinal in (0, 2, 1, 3):
        written.acknowledge(ordinal, written.read(ordinal))
    assert written.verifier.finish({KEY: 4}).problems == {"inversions": 1}


@pytest.mark.parametrize("told_first", [True, False])
def test_a_late_record_is_an_inversion_only_if_its_client_was_told_of_it(
    written: Written,
    told_first: bool,  # noqa: FBT001 - both orders of the two
) -> None:
    """One that its client was told of is out of order, sooner or later; one that failed was merely overtaken."""
    written.acknowledge(2, written.read(2))
    if told_first:
        written.acknowledge(0, "102")
    sequence_number = written.read(0)
    if not told_first:
        written.acknowledge(0, sequence_number)
    written.read(1)
    assert written.verifier.finish({KEY: 3}).problems == {"inversions": 1}
    assert written.verifier.overtaken == 1


def test_ordinals_that_were_never_written_are_no_inversion(written: Written) -> None:
    """What was refused leaves a gap in its key's order."""
    for ordinal in (0, 7, REMEMBERED + 9):
        written.acknowledge(ordinal, written.read(ordinal))
    verdict = written.verifier.finish({KEY: REMEMBERED + 10})
    assert (verdict.problems, verdict.duplicates) == ({}, 0)


@pytest.mark.parametrize("acknowledged", [0, 1])
def test_a_repetition_is_counted_and_either_place_may_be_the_acknowledged_one(
    written: Written, acknowledged: int
) -> None:
    """A record written twice in a row is a duplicate; its client may have been told of the first or the second."""
    places = [written.read(0), written.read(0)]
    written.acknowledge(0, places[acknowledged])
    written.acknowledge(1, written.read(1))
    verdict = written.verifier.finish({KEY: 2})
    assert verdict.problems == {}
    assert (verdict.duplicates, verdict.late_duplicates, verdict.unacknowledged) == (1, 0, 0)


def test_the_acknowledgement_may_come_between_both_places_of_a_repetition(written: Written) -> None:
    """Told of the second place before that is read, a client is right all the same."""
    written.read(0)
    written.acknowledge(0, "102")
    written.read(0)
    verdict = written.verifier.finish({KEY: 1})
    assert (verdict.problems, verdict.duplicates, verdict.unacknowledged) == ({}, 1, 0)
    assert written.verifier.held == 0


def test_a_repetition_behind_a_younger_record_is_late(written: Written) -> None:
    """A repetition is told from a record out of order by having occurred before."""
    for ordinal in (0, 1):
        written.acknowledge(ordinal, written.read(ordinal))
    written.read(0)
    verdict = written.verifier.finish({KEY: 2})
    assert (verdict.problems, verdict.duplicates, verdict.late_duplicates) == ({}, 1, 1)


def test_a_repetition_too_far_behind_to_be_remembered_counts_as_an_inversion(written: Written) -> None:
    """Memory is bounded, and what cannot be told apart is not excused."""
    for ordinal in range(REMEMBERED + 1):
        written.acknowledge(ordinal, written.read(ordinal))
    written.read(0)
    assert written.verifier.finish({KEY: REMEMBERED + 1}).problems == {"inversions": 1}


def test_a_record_whose_client_was_not_told_is_unacknowledged(written: Written) -> None:
    """It is in the stream once, and nobody claims it."""
    written.read(0)
    verdict = written.verifier.finish({KEY: 1})
    assert (verdict.problems, verdict.unacknowledged) == ({}, 1)


def test_a_record_that_was_never_sent_is_foreign(written: Written) -> None:
    """An ordinal beyond those sent, another key's content and changed bytes are all nobody's."""
    written.read(3)
    written.verifier.read(SHARD, "200", "c1k0", payload_of(KEY, 0, DATA_BYTES))
    written.verifier.read(SHARD, "201", KEY, payload_of(KEY, 1, DATA_BYTES)[:-1] + b"!")
    written.verifier.read(SHARD, "202", KEY, b"anything")
    assert written.verifier.finish({KEY: 3}).problems == {"foreign": 4}


def test_a_record_in_a_shard_that_does_not_own_its_key_is_misrouted(written: Written) -> None:
    """The shard's hash keys must include the record's."""
    written.read(0, shard=ShardRange("shardId-000000000001", 0, hash_key_of(KEY) - 1))
    assert written.verifier.finish({KEY: 1}).problems == {"misrouted": 1}


def test_a_sequence_number_that_does_not_increase_within_its_shard_is_a_regression(written: Written) -> None:
    """The same number twice is one as well; another shard's numbers do not matter."""
    written.read(0)
    written.verifier.read(SHARD, "101", KEY, payload_of(KEY, 1, DATA_BYTES))
    written.verifier.read(
        ShardRange("shardId-000000000001", 0, HASH_KEY_MAX), "50", KEY, payload_of(KEY, 2, DATA_BYTES)
    )
    assert written.verifier.finish({KEY: 3}).problems == {"regressions": 1}
