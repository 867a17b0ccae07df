"""The operations that make, remove and reshape streams: checks in the service's order and words.

Source: API references; texts as recorded by kinesalite, but for those marked `[?]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.emulator.settings import StreamSpec
from proxy.kinesis import errors, limits
from proxy.kinesis.stream_names import stream_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.emulator.clock import Now
    from proxy.emulator.model import Model
    from proxy.emulator.shard import Shard

# What the service gives a new on-demand stream.
_ON_DEMAND_SHARDS = 4


def create_stream(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Make a stream of equal shards."""
    on_demand = members.get("StreamModeDetails", {}).get("StreamMode") == "ON_DEMAND"
    shard_count = members.get("ShardCount", _ON_DEMAND_SHARDS if on_demand else None)
    if shard_count is None:
        raise errors.ValidationException(  # [?]
            "1 validation error detected: Value null at 'shardCount' failed to satisfy constraint: "
            "Member must not be null"
        )
    record_kib_max = members.get("MaxRecordSizeInKiB", limits.RECORD_BYTES_DEFAULT // limits.KIB)
    spec = StreamSpec(
        name=members["StreamName"],
        shard_count=shard_count,
        on_demand=on_demand,
        record_bytes_max=record_kib_max * limits.KIB,
        auto_distribution=members.get("RecordDistributionStrategy") == "AUTO",
    )
    model.create_stream(spec, now)


def delete_stream(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Remove a stream, whatever its status, with its records."""
    model.existing_stream(stream_name_of(members), now).delete(now)


def split_shard(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Split one open shard in two."""
    stream = model.active_stream(stream_name_of(members), now)
    shard = model.shard(stream, members["ShardToSplit"])
    model.admit_shards(1, now)
    _refuse_closed(model, stream.name, shard)
    new_starting_hash_key = members["NewStartingHashKey"]
    if not shard.starting_hash_key + 1 < int(new_starting_hash_key) < shard.ending_hash_key:
        raise errors.InvalidArgumentException(
            f"NewStartingHashKey {new_starting_hash_key} used in SplitShard() on shard {shard.shard_id} "
            f"in stream {stream.name} under account {model.settings.account_id} is not both greater than one plus "
            f"the shard's StartingHashKey {shard.starting_hash_key} and less than the shard's EndingHashKey "
            f"{shard.ending_hash_key}."
        )
    stream.split(shard, int(new_starting_hash_key), now)


def merge_shards(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Merge two open shards, the lower one first, whose ranges adjoin."""
    stream = model.active_stream(stream_name_of(members), now)
    lower = model.shard(stream, members["ShardToMerge"])
    upper = model.shard(stream, members["AdjacentShardToMerge"])
    for shard in (lower, upper):
        _refuse_closed(model, stream.name, shard)
    if lower.ending_hash_key + 1 != upper.starting_hash_key:
        raise errors.InvalidArgumentException(
            f"Shards {lower.shard_id} and {upper.shard_id} in stream {stream.name} "
            f"under account {model.settings.account_id} are not an adjacent pair of shards eligible for merging"
        )
    stream.merge(lower, upper, now)


def update_shard_count(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """Split and merge until the stream has so many equal shards: at most double, at least half of what it has."""
    stream = model.active_stream(stream_name_of(members), now)
    current = len(stream.topology.open_shards)
    target = members["TargetShardCount"]
    if stream.on_demand:
        raise errors.ValidationException("UpdateShardCount is not supported for streams in ON_DEMAND mode.")  # [?]
    if target > current * 2:
        raise errors.LimitExceededException(  # [?]
            "UpdateShardCount cannot scale over double your current open shard count. "
            f"Current open shard count: {current} Target shard count: {target}"
        )
    if target * 2 < current:
        raise errors.LimitExceededException(  # [?]
            "UpdateShardCount cannot scale below half your current open shard count. "
            f"Current open shard count: {current} Target shard count: {target}"
        )
    model.admit_shards(target - current, now)
    stream.rescale(target, now)
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "CurrentShardCount": current,
        "TargetShardCount": target,
    }


def update_max_record_size(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Have a stream take larger records, or only smaller ones."""
    stream = model.active_stream(stream_name_of(members), now)
    stream.change_record_limit(members["MaxRecordSizeInKiB"] * limits.KIB, now)


def update_stream_mode(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Have a stream scale itself, or leave that to its owner; its shards stay."""
    stream = model.active_stream(stream_name_of(members), now)
    stream.change_mode(on_demand=members["StreamModeDetails"]["StreamMode"] == "ON_DEMAND", now=now)


def update_stream_record_distribution_strategy(model: Model, members: Mapping[str, Any], now: Now) -> None:
    """Have an on-demand stream ignore its keys, or heed them; that takes no time."""
    stream = model.active_stream(stream_name_of(members), now)
    auto = members["RecordDistributionStrategy"] == "AUTO"
    if auto and not stream.on_demand:
        raise errors.InvalidArgumentException(  # [?]
            f"Record distribution strategy AUTO is not supported for stream {stream.name} "
            f"under account {model.settings.account_id}, which is in PROVISIONED mode."
        )
    stream.auto_distribution = auto


def describe_limits(model: Model, _members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """Tell the account's limits and how much of them is used."""
    return {
        "ShardLimit": model.settings.shards_max,
        "OpenShardCount": model.open_shard_count(now),
        "OnDemandStreamCount": sum(stream.on_demand for stream in model.streams(now)),
        "OnDemandStreamCountLimit": model.settings.shards_max,
    }


def _refuse_closed(model: Model, stream_name: str, shard: Shard) -> None:
    if shard.closed_at_ms is not None:
        raise errors.InvalidArgumentException(  # [?]
            f"Shard {shard.shard_id} in stream {stream_name} under account {model.settings.account_id} "
            "is closed and cannot be split or merged."
        )
