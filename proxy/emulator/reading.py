"""The operations that read records: iterators and what they lead to.

A shard is read by ordinals. TRIM_HORIZON is ordinal 0 and means the oldest record kept at the moment of reading; a
closed shard ends with the answer that reaches its last record, which names the children instead of a next iterator.

Source: API references; texts and their order as recorded by kinesalite, but for those marked `[?]`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.emulator import sequence_number, tokens
from proxy.emulator.clock import MS_PER_SECOND
from proxy.emulator.describing import hash_key_range
from proxy.emulator.model import SERVING
from proxy.emulator.shard import index_of, shard_id_of
from proxy.kinesis import errors, limits
from proxy.kinesis.stream_names import stream_name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.emulator.clock import Now
    from proxy.emulator.model import Model
    from proxy.emulator.shard import Shard
    from proxy.emulator.stream import Stream

_ITERATOR_LIFE_MS = limits.SHARD_ITERATOR_LIFE_SECONDS * MS_PER_SECOND
_BY_SEQUENCE_NUMBER = frozenset({"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"})


class ReadRecord(msgspec.Struct, gc=False, omit_defaults=True, rename="pascal"):
    """One element of a GetRecords response."""

    sequence_number: str
    approximate_arrival_timestamp: float
    data: str
    partition_key: str = ""


def get_shard_iterator(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """Give out a place in a shard."""
    stream_name = stream_name_of(members)
    index = index_of(members["ShardId"])
    if index is None:
        raise errors.ResourceNotFoundException(
            f"Could not find shard {members['ShardId']} in stream {stream_name} "
            f"under account {model.settings.account_id}."
        )
    stream, shard = _shard(model, stream_name, index, now)
    ordinal = _ordinal(model, stream, shard, members, now)
    _refuse_dry_run(members)
    return {"ShardIterator": _iterator(stream, shard, ordinal, now)}


def get_records(model: Model, members: Mapping[str, Any], now: Now) -> dict[str, Any]:
    """Return the records from an iterator on, and where to go on."""
    iterator = _decoded(members["ShardIterator"], now)
    stream, shard = _shard(model, iterator.stream_name, iterator.shard_index, now)
    if stream.created_at_ms != iterator.created_at_ms:
        raise _no_such_shard(model, iterator.stream_name, iterator.shard_index)
    _refuse_dry_run(members)
    model.retention.enforce(now.wall_ms)
    ordinal, stored = shard.log.read(
        iterator.ordinal, members.get("Limit", limits.GET_RECORDS_LIMIT_MAX), limits.GET_RECORDS_BYTES_MAX
    )
    next_ordinal = ordinal + len(stored)
    at_tip = next_ordinal >= shard.log.next_ordinal
    answer: dict[str, Any] = {
        "Records": [
            ReadRecord(
                shard.sequence_number_of(number, record.arrived_at_ms),
                record.arrived_at_ms / MS_PER_SECOND,
                record.data,
                record.partition_key,
            )
            for number, record in enumerate(stored, ordinal)
        ],
        "MillisBehindLatest": 0 if at_tip or not stored else now.wall_ms - stored[-1].arrived_at_ms,
    }
    if at_tip and shard.closed_at_ms is not None:
        answer["ChildShards"] = [
            {"ShardId": child.shard_id, "ParentShards": child.parents, "HashKeyRange": hash_key_range(child)}
            for child in stream.topology.children_of(shard)
        ]
    else:
        answer["NextShardIterator"] = _iterator(stream, shard, next_ordinal, now)
    return answer


def _ordinal(model: Model, stream: Stream, shard: Shard, members: Mapping[str, Any], now: Now) -> int:
    kind = members["ShardIteratorType"]
    numbered = "StartingSequenceNumber" in members
    if numbered is not (kind in _BY_SEQUENCE_NUMBER) and kind != "AT_TIMESTAMP":
        also = "also a" if numbered else "no"
        raise errors.InvalidArgumentException(
            "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "
            "(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. "
            f"Request specified {kind} and {also} StartingSequenceNumber."
        )
    match kind:
        case "TRIM_HORIZON":
            return 0
        case "LATEST":
            return shard.log.next_ordinal
        case "AT_TIMESTAMP":
            return shard.log.ordinal_at(_timestamp_ms(members, now))
        case "AT_SEQUENCE_NUMBER":
            return _numbered(model, stream, shard, members["StartingSequenceNumber"])
        case _:
            return _numbered(model, stream, shard, members["StartingSequenceNumber"]) + 1


def _numbered(model: Model, stream: Stream, shard: Shard, text: str) -> int:
    """Return the ordinal that a sequence number of this very shard tells."""
    parsed = sequence_number.parse(text)
    used = (
        f"StartingSequenceNumber {text} used in GetShardIterator on shard {shard.shard_id} "
        f"in stream {stream.name} under account {model.settings.account_id} is invalid"
    )
    if parsed is None:
        raise errors.InvalidArgumentException(f"{used}.")
    if parsed.shard_index != shard.index:
        raise errors.InvalidArgumentException(
            f"Invalid StartingSequenceNumber. It encodes {shard_id_of(parsed.shard_index)}, "
            f"while it was used in a call to a shard with {shard.shard_id}"
        )
    if parsed.version != sequence_number.VERSION or parsed.shard_created_seconds != shard.created_seconds:
        raise errors.InvalidArgumentException(f"{used} because it did not come from this stream.")
    return parsed.ordinal


def _timestamp_ms(members: Mapping[str, Any], now: Now) -> int:
    if "Timestamp" not in members:
        raise errors.InvalidArgumentException(
            "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. "
            "Current request has no timestamp parameter."
        )
    timestamp_ms: int = round(members["Timestamp"] * MS_PER_SECOND)
    if timestamp_ms > now.wall_ms:
        raise errors.InvalidArgumentException(
            "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. "
            f"timestampInMillis: {timestamp_ms}, currentTimestampInMillis: {now.wall_ms}"
        )
    return timestamp_ms


def _shard(model: Model, stream_name: str, index: int, now: Now) -> tuple[Stream, Shard]:
    """Return a shard that can be read; to a reader, a missing stream is a missing shard."""
    try:
        stream = model.stream(stream_name, now)
    except errors.ResourceNotFoundException:
        raise _no_such_shard(model, stream_name, index) from None
    if stream.status(now) not in SERVING or index not in stream.topology.shards:
        raise _no_such_shard(model, stream_name, index)
    return stream, stream.topology.shards[index]


def _no_such_shard(model: Model, stream_name: str, index: int) -> errors.ResourceNotFoundException:
    return errors.ResourceNotFoundException(
        f"Shard {shard_id_of(index)} in stream {stream_name} under account {model.settings.account_id} does not exist"
    )


def _refuse_dry_run(members: Mapping[str, Any]) -> None:
    if members.get("DryRun"):
        raise errors.DryRunOperationException(errors.DRY_RUN)


def _iterator(stream: Stream, shard: Shard, ordinal: int, now: Now) -> str:
    return tokens.encode(tokens.ShardIterator(stream.name, stream.created_at_ms, shard.index, ordinal, now.wall_ms))


def _decoded(text: str, now: Now) -> tokens.ShardIterator:
    iterator = tokens.decode(text, tokens.ShardIterator)
    if iterator is None or iterator.issued_at_ms > now.wall_ms:
        raise errors.InvalidArgumentException("Invalid ShardIterator.")
    if now.wall_ms - iterator.issued_at_ms > _ITERATOR_LIFE_MS:
        raise errors.ExpiredIteratorException(
            f"Iterator expired. The iterator was created at time {_told(iterator.issued_at_ms)} "
            f"while right now it is {_told(now.wall_ms)} which is further in the future than the "
            f"tolerated delay of {_ITERATOR_LIFE_MS} milliseconds."
        )
    return iterator


def _told(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / MS_PER_SECOND, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
