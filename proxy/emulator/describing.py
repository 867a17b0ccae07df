"""The operations that tell about streams and shards.

Source: API references for members, page sizes and ShardFilter; texts as recorded by kinesalite, but for those marked
`[?]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.emulator import tokens
from proxy.emulator.clock import MS_PER_SECOND
from proxy.emulator.model import SERVING
from proxy.emulator.shard import index_of
from proxy.kinesis import errors, limits
from proxy.kinesis.stream_names import stream_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.emulator.clock import Now
    from proxy.emulator.model import Model
    from proxy.emulator.shard import Shard
    from proxy.emulator.stream import Stream

_SHARDS_PAGE = 1000
_DESCRIBED_SHARDS_PAGE = 100
_STREAMS_PAGE = 100
_TOKEN_LIFE_MS = limits.NEXT_TOKEN_LIFE_SECONDS * MS_PER_SECOND


def list_streams(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """List streams by name, a page at a time."""
    after = members.get("ExclusiveStartStreamName", "")
    if "NextToken" in members:
        after = _page(members["NextToken"], tokens.StreamsPage, now).after_name
    limit = members.get("Limit", _STREAMS_PAGE)
    streams = [stream for stream in model.streams(now) if stream.name > after]
    listed = streams[:limit]
    answer: dict[str, Any] = {
        "StreamNames": [stream.name for stream in listed],
        "HasMoreStreams": len(streams) > limit,
        "StreamSummaries": [_head(stream, now) for stream in listed],
    }
    if len(streams) > limit:
        answer["NextToken"] = tokens.encode(tokens.StreamsPage(listed[-1].name, now.wall_ms))
    return answer


def describe_stream(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """Describe a stream and a page of its shards."""
    stream = model.stream(stream_name_of(members), now)
    limit = members.get("Limit", _DESCRIBED_SHARDS_PAGE)
    shards = _shards_after(stream, members.get("ExclusiveStartShardId"))
    return {
        "StreamDescription": {
            **_head(stream, now),
            **_BODY,
            "Shards": [_shard(shard) for shard in shards[:limit]],
            "HasMoreShards": len(shards) > limit,
            "RetentionPeriodHours": model.settings.retention_hours,
        }
    }


def describe_stream_summary(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """Describe a stream without its shards."""
    stream = model.stream(stream_name_of(members), now)
    return {
        "StreamDescriptionSummary": {
            **_head(stream, now),
            **_BODY,
            "OpenShardCount": len(stream.topology.open_shards),
            "ConsumerCount": 0,
            "RetentionPeriodHours": model.settings.retention_hours,
            "MaxRecordSizeInKiB": stream.record_bytes_max // limits.KIB,
            "RecordDistributionStrategy": "AUTO" if stream.auto_distribution else "USER_PARTITION_KEY",
        }
    }


def list_shards(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """List a stream's shards, filtered, a page at a time."""
    if "NextToken" in members:
        if any(name in members for name in ("StreamName", "StreamARN", "StreamCreationTimestamp")):
            raise errors.InvalidArgumentException("NextToken and StreamName cannot be provided together.")
        page = _page(members["NextToken"], tokens.ShardsPage, now)
    elif "StreamName" in members or "StreamARN" in members:
        page = _first_page(model.stream(stream_name_of(members), now), members, now)
    else:
        raise errors.InvalidArgumentException("Either NextToken or StreamName should be provided.")
    stream = model.stream(page.stream_name, now)
    if stream.created_at_ms != page.created_at_ms:
        raise errors.stream_not_found(page.stream_name, model.settings.account_id)
    if stream.status(now) not in SERVING:
        raise model.not_active(stream, now)
    shards = [
        shard
        for shard in stream.topology.shards.values()
        if shard.index > page.after_index and _passes(shard, page, stream, now)
    ]
    limit = members.get("MaxResults", _SHARDS_PAGE)
    answer: dict[str, Any] = {"Shards": [_shard(shard) for shard in shards[:limit]]}
    if len(shards) > limit:
        following = tokens.ShardsPage(
            page.stream_name,
            page.created_at_ms,
            shards[limit - 1].index,
            page.filter_type,
            page.filter_ms,
            now.wall_ms,
        )
        answer["NextToken"] = tokens.encode(following)
    return answer


def _first_page(stream: Stream, members: Mapping[str, Any], now: Now) -> tokens.ShardsPage:
    shard_filter: Mapping[str, Any] = members.get("ShardFilter", {})
    filter_type = shard_filter.get("Type")
    after = members.get("ExclusiveStartShardId")
    filter_ms = 0
    if filter_type == "AFTER_SHARD_ID":
        after = _required(shard_filter, "ShardId", filter_type)
    elif filter_type in {"AT_TIMESTAMP", "FROM_TIMESTAMP"}:
        filter_ms = round(_required(shard_filter, "Timestamp", filter_type) * MS_PER_SECOND)
    return tokens.ShardsPage(
        stream.name, stream.created_at_ms, _index_after(after), filter_type, filter_ms, now.wall_ms
    )


def _required(shard_filter: Mapping[str, Any], name: str, filter_type: str) -> Any:  # noqa: ANN401 - a JSON member
    if name not in shard_filter:
        raise errors.InvalidArgumentException(f"{name} must be specified for a ShardFilter of type {filter_type}.")
    return shard_filter[name]


def _passes(shard: Shard, page: tokens.ShardsPage, stream: Stream, now: Now) -> bool:
    match page.filter_type:
        case "AT_LATEST":
            return shard.closed_at_ms is None
        case "AT_TRIM_HORIZON":
            return shard.was_open_at(stream.trim_horizon_ms(now))
        case "AT_TIMESTAMP":
            return shard.was_open_at(max(page.filter_ms, stream.trim_horizon_ms(now)))
        case "FROM_TIMESTAMP":
            return shard.closed_at_ms is None or shard.closed_at_ms > page.filter_ms
        case _:  # all within the retention, which is all that are remembered
            return shard.closed_at_ms is None or shard.closed_at_ms >= stream.trim_horizon_ms(now)


def _page(text: str, kind: type[tokens.Token], now: Now) -> tokens.Token:
    page = tokens.decode(text, kind)
    if page is None or page.issued_at_ms > now.wall_ms:
        raise errors.InvalidArgumentException("Invalid NextToken.")  # [?]
    if now.wall_ms - page.issued_at_ms > _TOKEN_LIFE_MS:
        raise errors.ExpiredNextTokenException("NextToken expired.")  # [?]
    return page


def _shards_after(stream: Stream, shard_id: str | None) -> list[Shard]:
    after_index = _index_after(shard_id)
    return [shard for shard in stream.topology.shards.values() if shard.index > after_index]


def _index_after(shard_id: str | None) -> int:
    """Return the number in a shard's id that need not exist; -1, before all, where none is given."""
    if shard_id is None:
        return -1
    index = index_of(shard_id)
    if index is None:
        raise errors.InvalidArgumentException(f"Invalid shard id {shard_id}.")  # [?]
    return index


_BODY = {"EnhancedMonitoring": [{"ShardLevelMetrics": []}], "EncryptionType": "NONE"}


def _head(stream: Stream, now: Now) -> dict[str, Any]:
    return {
        "StreamName": stream.name,
        "StreamARN": stream.arn,
        "StreamStatus": stream.status(now).value,
        "StreamModeDetails": {"StreamMode": "ON_DEMAND" if stream.on_demand else "PROVISIONED"},
        "StreamCreationTimestamp": stream.created_at_ms / MS_PER_SECOND,
    }


def _shard(shard: Shard) -> dict[str, Any]:
    numbers = {"StartingSequenceNumber": shard.starting_sequence_number}
    if shard.ending_sequence_number is not None:
        numbers["EndingSequenceNumber"] = shard.ending_sequence_number
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    return {
        "ShardId": shard.shard_id,
        **parents,
        "HashKeyRange": hash_key_range(shard),
        "SequenceNumberRange": numbers,
    }


def hash_key_range(shard: Shard) -> dict[str, str]:
    """Return the range as descriptions of shards tell it."""
    return {"StartingHashKey": str(shard.starting_hash_key), "EndingHashKey": str(shard.ending_hash_key)}
