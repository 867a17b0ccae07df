from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from proxy.emulator import topology
from proxy.kinesis import errors
from tests.unit.emulator.emulator_driver import START_WALL_MS, Emulator, entry, shard_id

RING = 2**128
HALF = RING // 2
QUARTER = RING // 4


ORDERS_ARN = "arn:aws:kinesis:us-east-1:000000000000:stream/orders"


def summary_of(emulator: Emulator) -> dict[str, Any]:
    """Describe the stream without its shards."""
    summary: dict[str, Any] = emulator.call("DescribeStreamSummary", StreamName="orders")["StreamDescriptionSummary"]
    return summary


def split(emulator: Emulator, shard: int, at: int) -> None:
    """Split a shard."""
    emulator.call("SplitShard", StreamName="orders", ShardToSplit=shard_id(shard), NewStartingHashKey=str(at))


def merge(emulator: Emulator, lower: int, upper: int) -> None:
    """Merge two shards."""
    emulator.call(
        "MergeShards", StreamName="orders", ShardToMerge=shard_id(lower), AdjacentShardToMerge=shard_id(upper)
    )


def rescale(emulator: Emulator, target: int) -> dict[str, object]:
    """Update the shard count."""
    return emulator.call(
        "UpdateShardCount", StreamName="orders", TargetShardCount=target, ScalingType="UNIFORM_SCALING"
    )


def lineage(emulator: Emulator) -> dict[str, tuple[str | None, str | None]]:
    """Return each shard's parents."""
    return {
        shard["ShardId"]: (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
        for shard in emulator.shards()
    }


def open_ranges(emulator: Emulator) -> list[tuple[int, int]]:
    """Return the ranges of the open shards, ascending."""
    return sorted(
        (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]))
        for shard in emulator.shards(ShardFilter={"Type": "AT_LATEST"})
    )


def test_a_new_stream_is_divided_evenly_and_covers_the_ring() -> None:
    """As the service divides: equal widths, the last shard ends at 2^128-1."""
    emulator = Emulator()
    emulator.create(shards=3)
    third = RING // 3
    assert open_ranges(emulator) == [(0, third - 1), (third, 2 * third - 1), (2 * third, RING - 1)]


def test_a_split_closes_the_parent_and_opens_two_children() -> None:
    """The parent has an ending sequence number; the children meet at the hash key given."""
    emulator = Emulator()
    emulator.create(shards=2)
    split(emulator, 0, QUARTER)
    parent, other, lower, upper = emulator.shards()
    assert "EndingSequenceNumber" in parent["SequenceNumberRange"]
    assert "EndingSequenceNumber" not in other["SequenceNumberRange"]
    assert lower["HashKeyRange"] == {"StartingHashKey": "0", "EndingHashKey": str(QUARTER - 1)}
    assert upper["HashKeyRange"] == {"StartingHashKey": str(QUARTER), "EndingHashKey": str(HALF - 1)}
    assert lineage(emulator)[shard_id(2)] == lineage(emulator)[shard_id(3)] == (shard_id(0), None)


def test_a_merge_closes_both_parents_and_opens_one_child() -> None:
    """The child names both, the lower one first."""
    emulator = Emulator()
    emulator.create(shards=2)
    merge(emulator, 0, 1)
    assert open_ranges(emulator) == [(0, RING - 1)]
    assert lineage(emulator)[shard_id(2)] == (shard_id(0), shard_id(1))


def test_records_follow_the_open_shards() -> None:
    """After a split a key goes to the child that owns it, and the parent keeps what it had."""
    emulator = Emulator()
    emulator.create()
    emulator.put("a", b"before", ExplicitHashKey="0")
    split(emulator, 0, HALF)
    assert emulator.put("a", b"low", ExplicitHashKey="0").shard_id == shard_id(1)
    assert emulator.put("a", b"high", ExplicitHashKey=str(HALF)).shard_id == shard_id(2)
    assert [emulator.read_shard(index) for index in range(3)] == [[b"before"], [b"low"], [b"high"]]


def test_a_childs_sequence_numbers_are_above_its_parents_even_within_one_second() -> None:
    """However fast shards are split and merged, and also where the low digit of the shard index starts anew."""
    emulator = Emulator()
    emulator.create()
    numbers = []
    for parent in range(0, 20, 2):
        numbers.append(int(emulator.put("a", ExplicitHashKey=str(RING - 1)).sequence_number or 0))
        ends = [int(shard["SequenceNumberRange"].get("EndingSequenceNumber", 0)) for shard in emulator.shards()]
        split(emulator, parent, RING - 2 ** (100 - parent))
        starts = [int(shard["SequenceNumberRange"]["StartingSequenceNumber"]) for shard in emulator.shards()]
        assert min(starts[-2:]) > max([*ends, *numbers])
    merge(emulator, 19, 20)
    numbers.append(int(emulator.put("a", ExplicitHashKey=str(RING - 1)).sequence_number or 0))
    assert numbers == sorted(set(numbers))


def test_a_new_childs_number_serves_for_ordering_at_once() -> None:
    """A stream that splits in its first second issues no number of the future."""
    emulator = Emulator()
    emulator.create()
    split(emulator, 0, HALF)
    number = emulator.put("a").sequence_number
    emulator.put("a", SequenceNumberForOrdering=number)


@pytest.mark.parametrize("at", [0, 1, RING - 1])
def test_a_split_must_leave_both_children_room(at: int) -> None:
    """Beyond one plus the start, below the end."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.InvalidArgumentException, match="is not both greater than one plus"):
        split(emulator, 0, at)
    assert len(emulator.shards()) == 1


@pytest.mark.parametrize(("lower", "upper"), [(1, 0), (0, 2), (0, 0)])
def test_only_neighbours_in_order_are_merged(lower: int, upper: int) -> None:
    """The first must end where the second starts."""
    emulator = Emulator()
    emulator.create(shards=3)
    with pytest.raises(errors.InvalidArgumentException, match="are not an adjacent pair"):
        merge(emulator, lower, upper)


def test_closed_and_missing_shards_cannot_be_reshaped() -> None:
    """Each with the error that says which shard."""
    emulator = Emulator()
    emulator.create(shards=2)
    split(emulator, 0, QUARTER)
    with pytest.raises(errors.InvalidArgumentException, match=r"shardId-000000000000 .* is closed"):
        split(emulator, 0, QUARTER // 2)
    with pytest.raises(errors.InvalidArgumentException, match=r"shardId-000000000000 .* is closed"):
        merge(emulator, 0, 1)
    with pytest.raises(errors.ResourceNotFoundException, match="Could not find shard shardId-000000000009"):
        split(emulator, 9, QUARTER)
    with pytest.raises(errors.ResourceNotFoundException, match="Could not find shard nonsense in stream orders"):
        emulator.call("SplitShard", StreamName="orders", ShardToSplit="nonsense", NewStartingHashKey="5")


def test_doubling_the_shard_count_splits_every_shard() -> None:
    """With true lineage, and the answer tells both counts."""
    emulator = Emulator()
    emulator.create(shards=2)
    answer = rescale(emulator, 4)
    assert (answer["CurrentShardCount"], answer["TargetShardCount"]) == (2, 4)
    assert open_ranges(emulator) == [(QUARTER * n, QUARTER * (n + 1) - 1) for n in range(4)]
    assert (
        list(lineage(emulator).values()) == [(None, None)] * 2 + [(shard_id(0), None)] * 2 + [(shard_id(1), None)] * 2
    )


def test_halving_the_shard_count_merges_neighbours() -> None:
    """With true lineage."""
    emulator = Emulator()
    emulator.create(shards=4)
    rescale(emulator, 2)
    assert open_ranges(emulator) == [(0, HALF - 1), (HALF, RING - 1)]
    assert list(lineage(emulator).values())[4:] == [(shard_id(0), shard_id(1)), (shard_id(2), shard_id(3))]


def test_any_shard_count_is_reached_through_short_lived_shards() -> None:
    """From two to three: the open shards cover the ring without gap or overlap at each end."""
    emulator = Emulator()
    emulator.create(shards=2)
    rescale(emulator, 3)
    ranges = open_ranges(emulator)
    assert len(ranges) == 3
    assert ranges[0][0] == 0
    assert ranges[-1][1] == RING - 1
    assert all(ended + 1 == started for (_, ended), (started, _) in pairwise(ranges))


@pytest.mark.parametrize(("current", "target"), [(2, 5), (1, 3), (4, 1), (5, 2)])
def test_the_shard_count_at_most_doubles_or_halves(current: int, target: int) -> None:
    """The service's default limits."""
    emulator = Emulator()
    emulator.create(shards=current)
    with pytest.raises(errors.LimitExceededException, match="current open shard count"):
        rescale(emulator, target)


def test_an_on_demand_stream_scales_itself() -> None:
    """UpdateShardCount is for provisioned streams."""
    emulator = Emulator()
    emulator.call("CreateStream", StreamName="orders", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert len(emulator.shards()) == 4
    with pytest.raises(errors.ValidationException, match="ON_DEMAND"):
        rescale(emulator, 8)


def test_a_stream_takes_larger_records_when_it_is_told_to() -> None:
    """After a while in which it is being updated, and is as it was."""
    emulator = Emulator(create_delay_ms=100)
    emulator.create()
    emulator.advance(100)
    emulator.call("UpdateMaxRecordSize", StreamARN=ORDERS_ARN, MaxRecordSizeInKiB=2048)
    large = b"x" * (2 * 1024 * 1024 - 1)
    with pytest.raises(errors.ValidationException):
        emulator.put("k", large)
    with pytest.raises(errors.ResourceInUseException):
        emulator.call("UpdateMaxRecordSize", StreamARN=ORDERS_ARN, MaxRecordSizeInKiB=1024)
    emulator.advance(100)
    assert emulator.put("k", large).error_code is None
    assert summary_of(emulator)["MaxRecordSizeInKiB"] == 2048


def test_a_stream_changes_its_mode_and_keeps_its_shards() -> None:
    """It goes on as it is, and can be scaled by its owner only while it is provisioned."""
    emulator = Emulator()
    emulator.create(shards=2)
    emulator.call("UpdateStreamMode", StreamARN=ORDERS_ARN, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    assert summary_of(emulator)["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    with pytest.raises(errors.ValidationException, match="ON_DEMAND"):
        rescale(emulator, 4)
    emulator.call("UpdateStreamMode", StreamARN=ORDERS_ARN, StreamModeDetails={"StreamMode": "PROVISIONED"})
    rescale(emulator, 4)
    assert len(open_ranges(emulator)) == 4


def test_an_on_demand_stream_can_be_told_to_ignore_its_keys() -> None:
    """From the next record on, and to heed them again; a provisioned one cannot."""
    emulator = Emulator()
    emulator.create(shards=2)
    strategy = {"StreamARN": ORDERS_ARN, "RecordDistributionStrategy": "AUTO"}
    with pytest.raises(errors.InvalidArgumentException, match="PROVISIONED"):
        emulator.call("UpdateStreamRecordDistributionStrategy", **strategy)
    emulator.call("UpdateStreamMode", StreamARN=ORDERS_ARN, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    emulator.call("UpdateStreamRecordDistributionStrategy", **strategy)
    assert {emulator.put("k").shard_id for _ in range(2)} == {shard_id(0), shard_id(1)}
    emulator.call(
        "UpdateStreamRecordDistributionStrategy", **strategy | {"RecordDistributionStrategy": "USER_PARTITION_KEY"}
    )
    assert len({emulator.put("k").shard_id for _ in range(4)}) == 1


def test_a_provisioned_stream_needs_a_shard_count() -> None:
    """It is refused in the words of validation."""
    with pytest.raises(errors.ValidationException, match="Value null at 'shardCount'"):
        Emulator().call("CreateStream", StreamName="orders")


def test_a_stream_is_made_once() -> None:
    """A second CreateStream is told that the name is taken."""
    emulator = Emulator()
    emulator.create()
    with pytest.raises(errors.ResourceInUseException) as caught:
        emulator.create()
    assert caught.value.message == "Stream orders under account 000000000000 already exists."


def test_open_shards_are_limited_over_all_streams() -> None:
    """At the limit nothing grows; merging makes room."""
    emulator = Emulator(shards_max=4)
    emulator.create(shards=3)
    with pytest.raises(errors.LimitExceededException) as caught:
        emulator.create("other", shards=2)
    assert "Current shard count for the account: 3. Limit: 4." in (caught.value.message or "")
    emulator.create("other", shards=1)
    with pytest.raises(errors.LimitExceededException):
        split(emulator, 0, 1000)
    with pytest.raises(errors.LimitExceededException):
        rescale(emulator, 4)
    merge(emulator, 0, 1)
    split(emulator, 3, 1000)
    assert emulator.call("DescribeLimits") == {
        "ShardLimit": 4,
        "OpenShardCount": 4,
        "OnDemandStreamCount": 0,
        "OnDemandStreamCountLimit": 4,
    }


def test_a_stream_under_creation_counts_towards_the_limit() -> None:
    """Its shards are not there yet, but they will be."""
    emulator = Emulator(shards_max=4, create_delay_ms=1000)
    emulator.create(shards=4)
    with pytest.raises(errors.LimitExceededException):
        emulator.create("other")


def test_a_deleted_stream_is_gone_with_its_records() -> None:
    """Its name is free again, and it starts empty."""
    emulator = Emulator()
    emulator.create()
    emulator.put("a")
    emulator.call("DeleteStream", StreamName="orders")
    assert emulator.model.retention.kept_records == 0
    with pytest.raises(errors.ResourceNotFoundException):
        emulator.put("a")
    emulator.create()
    assert emulator.read_shard() == []


def test_a_stream_takes_its_time_where_a_delay_is_set() -> None:
    """CREATING has no shards and takes no records; ACTIVE comes at the instant, not before."""
    emulator = Emulator(create_delay_ms=500)
    emulator.create(shards=2)
    assert status(emulator) == "CREATING"
    assert emulator.call("DescribeStream", StreamName="orders")["StreamDescription"]["Shards"] == []
    with pytest.raises(errors.ResourceNotFoundException):
        emulator.put("a")
    with pytest.raises(errors.ResourceInUseException, match="not ACTIVE, instead in state CREATING"):
        emulator.shards()
    emulator.advance(499)
    assert status(emulator) == "CREATING"
    emulator.advance(1)
    assert status(emulator) == "ACTIVE"
    assert len(emulator.shards()) == 2


def test_a_stream_under_change_takes_records_into_its_old_shards() -> None:
    """UPDATING lasts for the delay; another change meanwhile is refused."""
    emulator = Emulator(create_delay_ms=500)
    emulator.create()
    emulator.advance(500)
    split(emulator, 0, HALF)
    assert status(emulator) == "UPDATING"
    assert emulator.put("a").shard_id == shard_id(0)
    with pytest.raises(errors.ResourceInUseException, match="not ACTIVE, instead in state UPDATING"):
        split(emulator, 0, HALF)
    emulator.advance(500)
    assert emulator.put("a").shard_id == shard_id(1)
    assert status(emulator) == "ACTIVE"


def test_a_stream_being_deleted_is_told_until_it_is_gone() -> None:
    """DELETING takes no records and gives up a change under way."""
    emulator = Emulator(create_delay_ms=500)
    emulator.create()
    emulator.advance(500)
    split(emulator, 0, HALF)
    emulator.call("DeleteStream", StreamName="orders")
    assert status(emulator) == "DELETING"
    with pytest.raises(errors.ResourceNotFoundException):
        emulator.put("a")
    emulator.advance(500)
    assert emulator.call("ListStreams")["StreamNames"] == []


def test_closed_shards_are_forgotten_after_the_retention_period() -> None:
    """A day after it was closed a shard is no longer listed, once the stream is reshaped again."""
    emulator = Emulator()
    emulator.create()
    emulator.put("a")
    split(emulator, 0, HALF)
    emulator.advance(86_400_001)
    assert [shard["ShardId"] for shard in emulator.shards()] == [shard_id(1), shard_id(2)]
    split(emulator, 1, QUARTER)
    stream = emulator.model.stream("orders", emulator.now)
    assert sorted(stream.topology.shards) == [1, 2, 3, 4]


def test_closed_shards_without_records_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is reshaped without end does not grow without end."""
    monkeypatch.setattr(topology, "CLOSED_SHARDS_MAX", 6)
    emulator = Emulator()
    emulator.create(shards=2)
    for _ in range(10):
        rescale(emulator, 4)
        rescale(emulator, 2)
    stream = emulator.model.stream("orders", emulator.now)
    assert len(stream.topology.open_shards) == 2
    assert len(stream.topology.shards) <= 2 + 6 + 6


def test_a_closed_shard_with_records_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are closed after it, what it keeps can be read."""
    monkeypatch.setattr(topology, "CLOSED_SHARDS_MAX", 2)
    emulator = Emulator()
    emulator.create(shards=2)
    emulator.put("a", b"kept", ExplicitHashKey="0")
    for _ in range(5):
        rescale(emulator, 4)
        rescale(emulator, 2)
    assert emulator.read_shard(0) == [b"kept"]


def test_a_split_starts_with_full_limits_and_keeps_neighbours_as_they_are() -> None:
    """A child has a limit of its own."""
    emulator = Emulator(shard_records_per_second=2)
    emulator.create()
    emulator.put_many([entry("a", explicit_hash_key="0")] * 2)
    split(emulator, 0, HALF)
    codes = [result.error_code for result in emulator.put_many([entry("a", explicit_hash_key="0")] * 3)]
    assert codes == [None, None, "ProvisionedThroughputExceededException"]


def status(emulator: Emulator) -> str:
    """Return the stream's status."""
    summary = emulator.call("DescribeStreamSummary", StreamName="orders")["StreamDescriptionSummary"]
    assert summary["StreamCreationTimestamp"] == START_WALL_MS / 1000
    return str(summary["StreamStatus"])
