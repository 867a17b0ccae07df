from __future__ import annotations

import pytest

from proxy.core.hashing import HASH_KEY_MAX, hash_key_of
from tests.support.producers import Ledger, Sending, name_of, payload_of
from tests.support.readback import StoredRecord, StoredShard, Verdict, parents_first, verify

HALF = 2**127
KEYS = [f"key-{number}" for number in range(8)]


class Written:
    """A stream of two shards in which every sending of a ledger was written and acknowledged as it should be."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.low = StoredShard("shardId-000000000000", 0, HALF - 1)
        self.high = StoredShard("shardId-000000000001", HALF, HASH_KEY_MAX)
        for _ in range(3):
            for key in KEYS:
                sending = self.ledger.send(key, 64)
                self.write(sending)

    def shard_of(self, partition_key: str) -> StoredShard:
        """Return the shard that owns a key."""
        return self.low if hash_key_of(partition_key) < HALF else self.high

    def write(self, sending: Sending) -> None:
        """Append a sending to its shard and acknowledge it."""
        shard = self.shard_of(sending.partition_key)
        number = str(100 + len(shard.records))
        shard.records.append(StoredRecord(number, sending.partition_key, sending.data))
        sending.shard_id, sending.sequence_number = shard.shard_id, number

    def verdict(self) -> Verdict:
        """Read the stream and judge it."""
        return verify(self.ledger, [self.low, self.high])


@pytest.fixture
def written() -> Written:
    """Give each test a faithful stream of its own to spoil."""
    return Written()


def test_a_faithful_stream_has_no_problem(written: Written) -> None:
    """What was written as promised is found so."""
    verdict = written.verdict()
    assert verdict.problems == {}
    assert (verdict.acknowledged, verdict.stored, verdict.duplicates) == (24, 24, 0)


def test_a_lost_record_is_found(written: Written) -> None:
    """An acknowledged record that is not in the stream is lost."""
    del written.low.records[4]
    assert written.verdict().problems == {"lost": 1}


def test_a_swapped_pair_is_found(written: Written) -> None:
    """Two records of one key in the wrong order are an inversion, even when each is where it was acknowledged."""
    first, second = written.ledger.by_key[KEYS[0]][1:3]
    records = written.shard_of(KEYS[0]).records
    places = {record.sequence_number: place for place, record in enumerate(records)}
    assert first.sequence_number is not None
    assert second.sequence_number is not None
    one, other = places[first.sequence_number], places[second.sequence_number]
    records[one] = StoredRecord(records[one].sequence_number, KEYS[0], second.data)
    records[other] = StoredRecord(records[other].sequence_number, KEYS[0], first.data)
    first.sequence_number, second.sequence_number = second.sequence_number, first.sequence_number
    assert written.verdict().problems == {"inversions": 1}


def test_a_wrong_sequence_number_is_found(written: Written) -> None:
    """A record whose producer was told another sequence number counts as lost: nobody could find it."""
    written.ledger.by_key[KEYS[0]][0].sequence_number = "999"
    assert written.verdict().problems == {"lost": 1}


def test_a_wrong_shard_id_is_found(written: Written) -> None:
    """A record whose producer was told another shard counts as lost."""
    sending = written.ledger.by_key[KEYS[0]][0]
    sending.shard_id = "shardId-000000000007"
    assert written.verdict().problems == {"lost": 1}


def test_one_place_acknowledged_twice_is_found(written: Written) -> None:
    """Two records cannot both be under one sequence number."""
    first, second = written.ledger.by_key[KEYS[0]][:2]
    second.sequence_number = first.sequence_number
    assert written.verdict().problems == {"lost": 1}


@pytest.mark.parametrize(
    "data",
    [b"not ours", payload_of("another-key", 0, 64), payload_of(KEYS[0], 3, 64), payload_of(KEYS[0], 0, 63)],
    ids=["no name", "unknown key", "ordinal never sent", "other bytes"],
)
def test_a_foreign_record_is_found(written: Written, data: bytes) -> None:
    """What nobody sent, or not so, has no place in the stream."""
    written.shard_of(KEYS[0]).records.append(StoredRecord("900", KEYS[0], data))
    assert written.verdict().problems == {"foreign": 1}


def test_a_record_under_another_key_is_foreign(written: Written) -> None:
    """The partition key is part of what was sent."""
    records = written.shard_of(KEYS[0]).records
    records.append(StoredRecord("900", KEYS[1], written.ledger.by_key[KEYS[0]][0].data))
    assert written.verdict().problems == {"foreign": 1}


def test_a_record_in_a_shard_that_does_not_own_its_key_is_found(written: Written) -> None:
    """Routing follows the MD5 of the key, wherever the server put the record."""
    sending = written.ledger.send(KEYS[0], 64)
    stranger = written.low if written.shard_of(KEYS[0]) is written.high else written.high
    stranger.records.append(StoredRecord("900", KEYS[0], sending.data))
    sending.shard_id, sending.sequence_number = stranger.shard_id, "900"
    assert written.verdict().problems["misrouted"] == 1


def test_a_sequence_number_that_does_not_increase_is_found(written: Written) -> None:
    """Within a shard sequence numbers increase."""
    key = KEYS[0]
    sending = written.ledger.send(key, 64)
    shard = written.shard_of(key)
    shard.records.append(StoredRecord("100", key, sending.data))
    assert written.verdict().problems["regressions"] == 1


def test_a_repetition_in_turn_is_counted_and_no_problem(written: Written) -> None:
    """A retry whose first attempt was written all the same repeats the record before the next of its key."""
    shard = written.shard_of(KEYS[0])
    sending = written.ledger.send(KEYS[0], 64)
    written.write(sending)
    shard.records.append(StoredRecord("900", KEYS[0], sending.data))
    sending.sequence_number = "900"
    verdict = written.verdict()
    assert (verdict.problems, verdict.duplicates, verdict.late_duplicates) == ({}, 1, 0)


def test_a_repetition_after_a_later_record_of_its_key_is_counted_as_late(written: Written) -> None:
    """One record of a key at a time in flight leaves no room for a late repetition."""
    sending = written.ledger.by_key[KEYS[0]][0]
    written.shard_of(KEYS[0]).records.append(StoredRecord("900", KEYS[0], sending.data))
    assert written.verdict().late_duplicates == 1


def test_a_written_record_whose_producer_heard_no_answer_is_counted(written: Written) -> None:
    """An unknown outcome may leave a record behind: counted, no problem."""
    sending = written.ledger.send(KEYS[0], 64)
    written.write(sending)
    sending.shard_id = sending.sequence_number = None
    verdict = written.verdict()
    assert (verdict.problems, verdict.unacknowledged) == ({}, 1)


def test_parents_are_read_before_their_children() -> None:
    """Order across a split or a merge runs from the parent to the child."""
    child = StoredShard("shardId-000000000000", 0, HALF, ("shardId-000000000002", "shardId-000000000003"))
    left = StoredShard("shardId-000000000002", 0, 5, ("shardId-000000000001",))
    right = StoredShard("shardId-000000000003", 6, HALF)
    # The grandparent has left the stream, as shards do after their retention.
    assert [shard.shard_id[-1] for shard in parents_first([child, left, right])] == ["2", "3", "0"]


def test_a_payload_names_its_key_and_ordinal() -> None:
    """What is read back can be told apart by its own words."""
    data = payload_of("key-1", 12, 100)
    assert len(data) == 100
    assert name_of(data) == ("key-1", 12)
    assert payload_of("key-1", 13, 100)[10:] != data[10:]
