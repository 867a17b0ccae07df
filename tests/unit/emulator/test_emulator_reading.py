from __future__ import annotations

import pytest

from proxy.emulator import sequence_number
from proxy.kinesis import errors
from tests.unit.emulator.emulator_driver import START_SECONDS, START_WALL_MS, Emulator, entry, shard_id

HALF = 2**127


def emulator_with(records: int) -> tuple[Emulator, list[str]]:
    """Return an emulator with one shard, records one second apart, and their sequence numbers."""
    emulator = Emulator()
    emulator.create()
    numbers = []
    for number in range(records):
        numbers.append(emulator.put("a", b"%d" % number).sequence_number or "")
        emulator.advance(1000)
    return emulator, numbers


def numbers_from(emulator: Emulator, iterator: str) -> list[str]:
    """Return the sequence numbers of all records from an iterator on."""
    return [record.sequence_number for record in emulator.read(iterator)]


def test_trim_horizon_reads_every_record_in_order() -> None:
    """The sequence numbers read are those that were answered."""
    emulator, numbers = emulator_with(5)
    assert numbers_from(emulator, emulator.iterator(kind="TRIM_HORIZON")) == numbers


def test_latest_reads_only_what_comes_after() -> None:
    """Nothing of what was there."""
    emulator, _ = emulator_with(2)
    latest = emulator.iterator(kind="LATEST")
    number = emulator.put("a").sequence_number
    assert numbers_from(emulator, latest) == [number]


def test_a_sequence_number_is_read_at_or_after() -> None:
    """AT includes its record, AFTER does not."""
    emulator, numbers = emulator_with(4)
    at = emulator.iterator(kind="AT_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    after = emulator.iterator(kind="AFTER_SEQUENCE_NUMBER", StartingSequenceNumber=numbers[1])
    assert numbers_from(emulator, at) == numbers[1:]
    assert numbers_from(emulator, after) == numbers[2:]


def test_a_shards_starting_sequence_number_is_before_all_records() -> None:
    """AT and AFTER it read everything."""
    emulator, numbers = emulator_with(2)
    start = emulator.shards()[0]["SequenceNumberRange"]["StartingSequenceNumber"]
    for kind in ("AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"):
        assert numbers_from(emulator, emulator.iterator(kind=kind, StartingSequenceNumber=start)) == numbers


@pytest.mark.parametrize(("after_ms", "first"), [(0, 0), (1, 1), (1000, 1), (2000, 2), (2001, 3)])
def test_a_timestamp_is_read_from_its_first_record(after_ms: int, first: int) -> None:
    """The first record that arrived then or later."""
    emulator, numbers = emulator_with(3)
    iterator = emulator.iterator(kind="AT_TIMESTAMP", Timestamp=(START_WALL_MS + after_ms) / 1000)
    assert numbers_from(emulator, iterator) == numbers[first:]


def test_pages_follow_one_another_without_gap_or_repetition() -> None:
    """Limit by limit, to the tip."""
    emulator, numbers = emulator_with(7)
    assert [record.sequence_number for record in emulator.read(emulator.iterator(), limit=3)] == numbers


def test_an_answer_holds_at_most_ten_mebibytes() -> None:
    """The eleventh MiB comes with the next call."""
    emulator = Emulator(shard_bytes_per_second=0)
    emulator.create()
    for _ in range(11):
        emulator.put("a", b"x" * (1024 * 1024 - 1))
    answer = emulator.call("GetRecords", ShardIterator=emulator.iterator())
    assert len(answer["Records"]) == 10
    assert len(emulator.read(answer["NextShardIterator"])) == 1


def test_a_record_is_read_with_its_members() -> None:
    """Data, key and time as they were put."""
    emulator = Emulator()
    emulator.create()
    emulator.advance(1234)
    emulator.put("schlüssel", b"hello")
    (record,) = emulator.read(emulator.iterator())
    assert (record.data, record.partition_key) == ("aGVsbG8=", "schlüssel")
    assert record.approximate_arrival_timestamp == START_SECONDS + 1.234


def test_how_far_behind_a_reader_is() -> None:
    """Zero at the tip, else the age of the last record returned."""
    emulator, _ = emulator_with(3)
    assert emulator.call("GetRecords", ShardIterator=emulator.iterator(), Limit=1)["MillisBehindLatest"] == 3000
    assert emulator.call("GetRecords", ShardIterator=emulator.iterator())["MillisBehindLatest"] == 0


def test_an_open_shard_always_leads_on() -> None:
    """An empty answer has an iterator that reads what comes."""
    emulator = Emulator()
    emulator.create()
    answer = emulator.call("GetRecords", ShardIterator=emulator.iterator())
    assert (answer["Records"], answer["MillisBehindLatest"]) == ([], 0)
    assert "ChildShards" not in answer
    emulator.put("a")
    assert len(emulator.read(answer["NextShardIterator"])) == 1


def test_a_closed_shard_ends_and_names_its_children() -> None:
    """With the answer that reaches its last record there is no next iterator."""
    emulator = Emulator()
    emulator.create()
    emulator.put("a", b"1")
    emulator.put("a", b"2")
    emulator.call("SplitShard", StreamName="orders", ShardToSplit=shard_id(0), NewStartingHashKey=str(HALF))
    first = emulator.call("GetRecords", ShardIterator=emulator.iterator(), Limit=1)
    assert "ChildShards" not in first
    last = emulator.call("GetRecords", ShardIterator=first["NextShardIterator"], Limit=1)
    assert "NextShardIterator" not in last
    assert last["ChildShards"] == [
        {
            "ShardId": shard_id(1),
            "ParentShards": (shard_id(0),),
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": str(HALF - 1)},
        },
        {
            "ShardId": shard_id(2),
            "ParentShards": (shard_id(0),),
            "HashKeyRange": {"StartingHashKey": str(HALF), "EndingHashKey": str(2**128 - 1)},
        },
    ]


def test_an_iterator_from_before_a_split_reads_to_the_end() -> None:
    """What was given out for an open shard serves the closed one."""
    emulator = Emulator()
    emulator.create()
    iterator = emulator.iterator()
    emulator.put("a", b"1")
    emulator.call("SplitShard", StreamName="orders", ShardToSplit=shard_id(0), NewStartingHashKey=str(HALF))
    answer = emulator.call("GetRecords", ShardIterator=iterator)
    assert len(answer["Records"]) == 1
    assert "NextShardIterator" not in answer


def test_a_reader_overtaken_by_retention_goes_on_with_the_oldest_record_kept() -> None:
    """It misses what is gone and nothing else."""
    emulator = Emulator(retention_records_max=2)
    emulator.create()
    iterator = emulator.iterator()
    numbers = [emulator.put("a").sequence_number for _ in range(5)]
    assert numbers_from(emulator, iterator) == numbers[3:]


def test_records_are_read_for_a_day() -> None:
    """The retention period is honoured without a put in between."""
    emulator, numbers = emulator_with(2)
    emulator.advance(86_400_000 - 2000)
    assert numbers_from(emulator, emulator.iterator()) == numbers[1:]


def test_an_iterator_lives_for_five_minutes() -> None:
    """300 seconds pass, a millisecond more does not."""
    emulator = Emulator()
    emulator.create()
    iterator = emulator.iterator()
    emulator.advance(300_000)
    emulator.call("GetRecords", ShardIterator=iterator)
    emulator.advance(1)
    with pytest.raises(errors.ExpiredIteratorException) as caught:
        emulator.call("GetRecords", ShardIterator=iterator)
    assert caught.value.message == (
        "Iterator expired. The iterator was created at time Tue Nov 14 22:13:20 UTC 2023 while right now it is "
        "Tue Nov 14 22:18:20 UTC 2023 which is further in the future than the tolerated delay of 300000 milliseconds."
    )


def test_an_iterator_that_was_not_issued_is_invalid() -> None:
    """In the service's words."""
    with pytest.raises(errors.InvalidArgumentException, match=r"^Invalid ShardIterator\.$"):
        Emulator().call("GetRecords", ShardIterator="AAAAAAAAAAE=")


def test_an_iterator_ends_with_its_stream() -> None:
    """A stream made anew under the same name is another stream."""
    emulator = Emulator()
    emulator.create()
    iterator = emulator.iterator()
    emulator.call("DeleteStream", StreamName="orders")
    message = "Shard shardId-000000000000 in stream orders under account 000000000000 does not exist"
    with pytest.raises(errors.ResourceNotFoundException, match=message):
        emulator.call("GetRecords", ShardIterator=iterator)
    emulator.advance(1)
    emulator.create()
    with pytest.raises(errors.ResourceNotFoundException, match=message):
        emulator.call("GetRecords", ShardIterator=iterator)


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        (
            "shardId-000000000009",
            "Shard shardId-000000000009 in stream orders under account 000000000000 does not exist",
        ),
        ("shardId-x", "Could not find shard shardId-x in stream orders under account 000000000000."),
        ("9999999999", "Could not find shard 9999999999 in stream orders under account 000000000000."),
    ],
)
def test_a_missing_shard_is_named(shard: str, message: str) -> None:
    """A shard that does not exist, and a text that is no shard id."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.ResourceNotFoundException) as caught:
        emulator.call("GetShardIterator", StreamName="orders", ShardId=shard, ShardIteratorType="LATEST")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"kind": "AT_SEQUENCE_NUMBER"}, "Request specified AT_SEQUENCE_NUMBER and no StartingSequenceNumber."),
        ({"kind": "LATEST", "StartingSequenceNumber": "1"}, "LATEST and also a StartingSequenceNumber."),
        ({"kind": "AT_TIMESTAMP"}, "Current request has no timestamp parameter."),
        (
            {"kind": "AT_TIMESTAMP", "Timestamp": START_SECONDS + 1},
            f"timestampInMillis: {START_WALL_MS + 1000}, currentTimestampInMillis: {START_WALL_MS}",
        ),
        (
            {"kind": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": str(2**129)},
            "on shard shardId-000000000000 in stream orders under account 000000000000 is invalid.",
        ),
        (
            {
                "kind": "AT_SEQUENCE_NUMBER",
                "StartingSequenceNumber": sequence_number.compose(sequence_number.base_of(1, 0), 1, 1),
            },
            "is invalid because it did not come from this stream.",
        ),
        (
            {
                "kind": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": sequence_number.compose(sequence_number.base_of(1, 3), 1, 1),
            },
            "It encodes shardId-000000000003, while it was used in a call to a shard with shardId-000000000000",
        ),
    ],
)
def test_an_iterator_that_makes_no_sense_is_an_invalid_argument(members: dict[str, str], message: str) -> None:
    """Each mistake in the service's words."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.InvalidArgumentException) as caught:
        emulator.iterator(**members)  # type: ignore[arg-type] # the members' types differ by case
    assert message in (caught.value.message or "")


def test_a_dry_run_reads_nothing() -> None:
    """Also for reads."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.DryRunOperationException):
        emulator.iterator(DryRun=True)
    with pytest.raises(errors.DryRunOperationException):
        emulator.call("GetRecords", ShardIterator=emulator.iterator(), DryRun=True)


def test_a_record_without_key_is_read_without_one() -> None:
    """Streams of automatic distribution take records that have none."""
    emulator = Emulator()
    emulator.create(RecordDistributionStrategy="AUTO")
    emulator.put_many([entry(None)])
    assert [record.partition_key for record in emulator.read(emulator.iterator())] == [""]
