from __future__ import annotations

from typing import Any

import pytest

from proxy.kinesis import errors
from tests.unit.emulator.emulator_driver import START_SECONDS, START_WALL_MS, Emulator, shard_id

HALF = 2**127
MINUTE_MS = 60_000


def resharded() -> Emulator:
    """Return an emulator whose stream split shard 0 after one minute and merged the children after another."""
    emulator = Emulator()
    emulator.create()
    emulator.advance(MINUTE_MS)
    emulator.call("SplitShard", StreamName="orders", ShardToSplit=shard_id(0), NewStartingHashKey=str(HALF))
    emulator.advance(MINUTE_MS)
    emulator.call("MergeShards", StreamName="orders", ShardToMerge=shard_id(1), AdjacentShardToMerge=shard_id(2))
    return emulator


def indexes(emulator: Emulator, **members: Any) -> list[int]:  # noqa: ANN401 - JSON
    """Return the numbers of the shards listed."""
    return [int(shard["ShardId"].split("-")[1]) for shard in emulator.shards(**members)]


def at(after_ms: int) -> float:
    """Return a moment after the start as the API tells it."""
    return (START_WALL_MS + after_ms) / 1000


@pytest.mark.parametrize(
    ("shard_filter", "listed"),
    [
        (None, [0, 1, 2, 3]),
        ({"Type": "AT_LATEST"}, [3]),
        ({"Type": "AT_TRIM_HORIZON"}, [0]),
        ({"Type": "FROM_TRIM_HORIZON"}, [0, 1, 2, 3]),
        ({"Type": "AFTER_SHARD_ID", "ShardId": shard_id(1)}, [2, 3]),
        ({"Type": "AT_TIMESTAMP", "Timestamp": at(MINUTE_MS - 1)}, [0]),
        ({"Type": "AT_TIMESTAMP", "Timestamp": at(MINUTE_MS)}, [1, 2]),
        ({"Type": "FROM_TIMESTAMP", "Timestamp": at(MINUTE_MS)}, [1, 2, 3]),
        ({"Type": "FROM_TIMESTAMP", "Timestamp": at(2 * MINUTE_MS)}, [3]),
    ],
)
def test_shards_are_listed_by_filter(shard_filter: dict[str, object] | None, listed: list[int]) -> None:
    """Each type of ShardFilter as the API reference says."""
    emulator = resharded()
    assert indexes(emulator, **({} if shard_filter is None else {"ShardFilter": shard_filter})) == listed


@pytest.mark.parametrize("kind", ["AFTER_SHARD_ID", "AT_TIMESTAMP", "FROM_TIMESTAMP"])
def test_a_filter_that_lacks_its_member_is_an_invalid_argument(kind: str) -> None:
    """The member that its type needs is named."""
    with pytest.raises(errors.InvalidArgumentException, match=f"must be specified for a ShardFilter of type {kind}"):
        indexes(resharded(), ShardFilter={"Type": kind})


def test_shards_are_listed_in_pages() -> None:
    """Page by page every shard once, the filter kept by the token."""
    emulator = Emulator()
    emulator.create(shards=8)
    emulator.call("MergeShards", StreamName="orders", ShardToMerge=shard_id(6), AdjacentShardToMerge=shard_id(7))
    answer = emulator.call("ListShards", StreamName="orders", MaxResults=3, ShardFilter={"Type": "AT_LATEST"})
    listed = [answer["Shards"]]
    while "NextToken" in answer:
        answer = emulator.call("ListShards", NextToken=answer["NextToken"], MaxResults=3)
        listed.append(answer["Shards"])
    assert [len(page) for page in listed] == [3, 3, 1]
    assert [shard["ShardId"] for page in listed for shard in page] == [shard_id(index) for index in (*range(6), 8)]


def test_a_page_holds_a_thousand_shards() -> None:
    """Where no maximum is asked for."""
    emulator = Emulator(shards_max=1001)
    emulator.create(shards=1001)
    answer = emulator.call("ListShards", StreamName="orders")
    assert len(answer["Shards"]) == 1000
    assert len(emulator.call("ListShards", NextToken=answer["NextToken"])["Shards"]) == 1


def test_a_token_lives_for_five_minutes() -> None:
    """300 seconds pass, a millisecond more does not."""
    emulator = Emulator()
    emulator.create(shards=2)
    token = emulator.call("ListShards", StreamName="orders", MaxResults=1)["NextToken"]
    emulator.advance(300_000)
    emulator.call("ListShards", NextToken=token)
    emulator.advance(1)
    with pytest.raises(errors.ExpiredNextTokenException):
        emulator.call("ListShards", NextToken=token)


def test_a_listing_needs_a_stream_or_a_token_and_not_both() -> None:
    """In the service's words; a token that was not issued is invalid."""
    emulator = Emulator()
    emulator.create(shards=2)
    token = emulator.call("ListShards", StreamName="orders", MaxResults=1)["NextToken"]
    with pytest.raises(errors.InvalidArgumentException, match="Either NextToken or StreamName should be provided"):
        emulator.call("ListShards")
    with pytest.raises(errors.InvalidArgumentException, match="cannot be provided together"):
        emulator.call("ListShards", StreamName="orders", NextToken=token)
    with pytest.raises(errors.InvalidArgumentException, match="Invalid NextToken"):
        emulator.call("ListShards", NextToken="nonsense")


def test_listing_goes_on_after_a_shard_that_need_not_exist() -> None:
    """ExclusiveStartShardId is a place in the order; a text that is no shard id is refused."""
    emulator = Emulator()
    emulator.create(shards=3)
    assert indexes(emulator, ExclusiveStartShardId=shard_id(0)) == [1, 2]
    assert indexes(emulator, ExclusiveStartShardId=shard_id(99)) == []
    with pytest.raises(errors.InvalidArgumentException):
        indexes(emulator, ExclusiveStartShardId="nonsense")


def test_a_token_ends_with_its_stream() -> None:
    """A stream made anew under the same name is another stream."""
    emulator = Emulator()
    emulator.create(shards=2)
    token = emulator.call("ListShards", StreamName="orders", MaxResults=1)["NextToken"]
    emulator.call("DeleteStream", StreamName="orders")
    emulator.advance(1)
    emulator.create(shards=2)
    with pytest.raises(errors.ResourceNotFoundException):
        emulator.call("ListShards", NextToken=token)


def test_a_stream_is_named_by_its_arn_as_well() -> None:
    """The ARN that descriptions tell leads back to the stream."""
    emulator = Emulator(region="eu-west-1", account_id="123456789012")
    emulator.create()
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    described = emulator.call("DescribeStreamSummary", StreamARN=arn)["StreamDescriptionSummary"]
    assert (described["StreamName"], described["StreamARN"]) == ("orders", arn)


def test_the_summary_tells_what_a_producer_needs() -> None:
    """Open shards, the largest record, the distribution of records."""
    emulator = resharded()
    summary = emulator.call("DescribeStreamSummary", StreamName="orders")["StreamDescriptionSummary"]
    assert summary == {
        "StreamName": "orders",
        "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/orders",
        "StreamStatus": "ACTIVE",
        "StreamModeDetails": {"StreamMode": "PROVISIONED"},
        "StreamCreationTimestamp": START_SECONDS,
        "RetentionPeriodHours": 24,
        "EnhancedMonitoring": [{"ShardLevelMetrics": []}],
        "EncryptionType": "NONE",
        "OpenShardCount": 1,
        "ConsumerCount": 0,
        "MaxRecordSizeInKiB": 1024,
        "RecordDistributionStrategy": "USER_PARTITION_KEY",
    }
    emulator.create("auto", MaxRecordSizeInKiB=5000, RecordDistributionStrategy="AUTO")
    summary = emulator.call("DescribeStreamSummary", StreamName="auto")["StreamDescriptionSummary"]
    assert (summary["MaxRecordSizeInKiB"], summary["RecordDistributionStrategy"]) == (5000, "AUTO")


def test_a_description_holds_a_page_of_shards() -> None:
    """HasMoreShards says whether to go on, after the last one told."""
    emulator = Emulator()
    emulator.create(shards=5)
    first = emulator.call("DescribeStream", StreamName="orders", Limit=3)["StreamDescription"]
    assert (len(first["Shards"]), first["HasMoreShards"]) == (3, True)
    rest = emulator.call("DescribeStream", StreamName="orders", ExclusiveStartShardId=first["Shards"][-1]["ShardId"])
    assert [shard["ShardId"] for shard in rest["StreamDescription"]["Shards"]] == [shard_id(3), shard_id(4)]
    assert rest["StreamDescription"]["HasMoreShards"] is False


def test_streams_are_listed_in_pages_by_name() -> None:
    """By token or by the last name, whichever the caller uses."""
    emulator = Emulator()
    for name in ("c", "a", "b"):
        emulator.create(name)
    answer = emulator.call("ListStreams", Limit=2)
    assert (answer["StreamNames"], answer["HasMoreStreams"]) == (["a", "b"], True)
    assert [summary["StreamStatus"] for summary in answer["StreamSummaries"]] == ["ACTIVE", "ACTIVE"]
    for members in ({"NextToken": answer["NextToken"]}, {"ExclusiveStartStreamName": "b"}):
        rest = emulator.call("ListStreams", **members)
        assert (rest["StreamNames"], rest["HasMoreStreams"]) == (["c"], False)
        assert "NextToken" not in rest
