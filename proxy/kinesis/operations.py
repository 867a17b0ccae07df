"""The operations' inputs, declared: member, type, constraints, in the service's order of checks.

Source: API model of 2026 for members and constraints; the order of members, and the texts, as kinesalite recorded them.
Two patterns of the model have since gained `^(…)$`; the texts keep the recorded form [?].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.kinesis import limits
from proxy.kinesis.codecs import JSON
from proxy.kinesis.stream_names import STREAM_ARN_MATCHER, STREAM_ARN_PATTERN, STREAM_NAME_PATTERN
from proxy.kinesis.validation import Kind, Shape, validate

if TYPE_CHECKING:
    from proxy.kinesis.codecs import Codec

HASH_KEY_PATTERN = r"0|([1-9]\d{0,38})"
SEQUENCE_NUMBER_PATTERN = r"0|([1-9]\d{0,128})"

_BOOLEAN = Shape(Kind.BOOLEAN)
_TIMESTAMP = Shape(Kind.TIMESTAMP)
_HASH_KEY = Shape(Kind.STRING, pattern=HASH_KEY_PATTERN)
_SEQUENCE_NUMBER = Shape(Kind.STRING, pattern=SEQUENCE_NUMBER_PATTERN)
_PARTITION_KEY = Shape(Kind.STRING, length=(1, limits.PARTITION_KEY_CHARACTERS_MAX))
_DATA = Shape(Kind.BLOB, required=True, length=(None, limits.DATA_BYTES_MAX))
_NEXT_TOKEN = Shape(Kind.STRING, length=(1, limits.NEXT_TOKEN_CHARACTERS_MAX))
_PAGE = Shape(Kind.INTEGER, values=(1, 10_000))


def _name(*, required: bool = False) -> Shape:
    return Shape(
        Kind.STRING,
        required=required,
        pattern=STREAM_NAME_PATTERN,
        length=(1, limits.STREAM_NAME_CHARACTERS_MAX),
    )


def _choice(*choices: str, required: bool = False) -> Shape:
    return Shape(Kind.STRING, required=required, choices=choices)


def _arn(*, required: bool = False) -> Shape:
    return Shape(
        Kind.STRING,
        required=required,
        pattern=STREAM_ARN_PATTERN,
        matcher=STREAM_ARN_MATCHER,
        length=(1, limits.STREAM_ARN_CHARACTERS_MAX),
    )


_STREAM = {
    "StreamName": _name(),
    "StreamARN": _arn(),
    "StreamId": Shape(Kind.STRING, pattern="[a-z0-9]{20}-[a-z0-9]{3}", length=(1, limits.STREAM_ID_CHARACTERS_MAX)),
}
_ENTRY = Shape(
    Kind.STRUCTURE,
    required=True,
    members={"PartitionKey": _PARTITION_KEY, "ExplicitHashKey": _HASH_KEY, "Data": _DATA},
)

_RECORD_KIB = (limits.RECORD_BYTES_DEFAULT // limits.KIB, limits.RECORD_BYTES_MAX // limits.KIB)
_MODE = {"StreamMode": _choice("PROVISIONED", "ON_DEMAND", required=True)}
_STRATEGIES = ("AUTO", "USER_PARTITION_KEY")

_MEMBERS: dict[str, dict[str, Shape]] = {
    "CreateStream": {
        "ShardCount": Shape(Kind.INTEGER, values=(1, 100_000)),
        "StreamName": _name(required=True),
        "StreamModeDetails": Shape(Kind.STRUCTURE, members=_MODE),
        "Tags": Shape(Kind.MAP, length=(1, 200), key_length=(1, 128), item_length=(0, 256), item=Shape(Kind.STRING)),
        "WarmThroughputMiBps": Shape(Kind.INTEGER, values=(0, None)),
        "MaxRecordSizeInKiB": Shape(Kind.INTEGER, values=_RECORD_KIB),
        "RecordDistributionStrategy": _choice(*_STRATEGIES),
    },
    "DeleteStream": {"EnforceConsumerDeletion": _BOOLEAN, **_STREAM},
    "DescribeLimits": {},
    "DescribeStream": {"Limit": _PAGE, "ExclusiveStartShardId": _name(), **_STREAM},
    "DescribeStreamSummary": _STREAM,
    "GetRecords": {
        "Limit": Shape(Kind.INTEGER, values=(1, limits.GET_RECORDS_LIMIT_MAX)),
        "ShardIterator": Shape(Kind.STRING, required=True, length=(1, limits.SHARD_ITERATOR_CHARACTERS_MAX)),
        "StreamARN": _STREAM["StreamARN"],
        "StreamId": _STREAM["StreamId"],
        "DryRun": _BOOLEAN,
    },
    "GetShardIterator": {
        "ShardId": _name(required=True),
        "ShardIteratorType": _choice(
            "AFTER_SEQUENCE_NUMBER",
            "LATEST",
            "AT_TIMESTAMP",
            "AT_SEQUENCE_NUMBER",
            "TRIM_HORIZON",
            required=True,
        ),
        "StartingSequenceNumber": _SEQUENCE_NUMBER,
        **_STREAM,
        "Timestamp": _TIMESTAMP,
        "DryRun": _BOOLEAN,
    },
    "ListShards": {
        "ExclusiveStartShardId": _name(),
        "MaxResults": _PAGE,
        "NextToken": _NEXT_TOKEN,
        "StreamCreationTimestamp": _TIMESTAMP,
        "ShardFilter": Shape(
            Kind.STRUCTURE,
            members={
                "Type": _choice(
                    "AFTER_SHARD_ID",
                    "AT_TRIM_HORIZON",
                    "FROM_TRIM_HORIZON",
                    "AT_LATEST",
                    "AT_TIMESTAMP",
                    "FROM_TIMESTAMP",
                    required=True,
                ),
                "ShardId": _name(),
                "Timestamp": _TIMESTAMP,
            },
        ),
        **_STREAM,
    },
    "ListStreams": {"Limit": _PAGE, "ExclusiveStartStreamName": _name(), "NextToken": _NEXT_TOKEN},
    "MergeShards": {
        "ShardToMerge": _name(required=True),
        "AdjacentShardToMerge": _name(required=True),
        **_STREAM,
    },
    "PutRecord": {
        "SequenceNumberForOrdering": _SEQUENCE_NUMBER,
        "PartitionKey": _PARTITION_KEY,
        "ExplicitHashKey": _HASH_KEY,
        "Data": _DATA,
        **_STREAM,
        "DryRun": _BOOLEAN,
    },
    "PutRecords": {
        "Records": Shape(
            Kind.LIST,
            required=True,
            length=(1, limits.RECORDS_PER_REQUEST_MAX),
            item=_ENTRY,
            # the recorded text; the hash code after the @ is that of the service's own object
            shown_as="com.amazonaws.kinesis.v20131202.PutRecordsRequestEntry@c965e310",
        ),
        **_STREAM,
        "DryRun": _BOOLEAN,
    },
    "SplitShard": {
        "NewStartingHashKey": Shape(Kind.STRING, required=True, pattern=HASH_KEY_PATTERN),
        **_STREAM,
        "ShardToSplit": _name(required=True),
    },
    "UpdateMaxRecordSize": {
        "StreamARN": _STREAM["StreamARN"],
        "StreamId": _STREAM["StreamId"],
        "MaxRecordSizeInKiB": Shape(Kind.INTEGER, required=True, values=_RECORD_KIB),
    },
    "UpdateShardCount": {
        "TargetShardCount": Shape(Kind.INTEGER, required=True, values=(1, None)),
        "ScalingType": _choice("UNIFORM_SCALING", required=True),
        **_STREAM,
    },
    "UpdateStreamMode": {
        "StreamARN": _arn(required=True),
        "StreamId": _STREAM["StreamId"],
        "StreamModeDetails": Shape(Kind.STRUCTURE, required=True, members=_MODE),
        "WarmThroughputMiBps": Shape(Kind.INTEGER, values=(0, None)),
    },
    "UpdateStreamRecordDistributionStrategy": {
        "StreamARN": _arn(required=True),
        "StreamId": _STREAM["StreamId"],
        "RecordDistributionStrategy": _choice(*_STRATEGIES, required=True),
    },
}

_INPUTS = {operation: Shape(Kind.STRUCTURE, members=members) for operation, members in _MEMBERS.items()}

# What `parse` knows: the operations that the emulator offers.
OPERATIONS = frozenset(_INPUTS)

# Every operation of the API of 2026: what a target may name.
KNOWN_OPERATIONS = OPERATIONS | {
    "AddTagsToStream",
    "CreateChannel",
    "DecreaseStreamRetentionPeriod",
    "DeleteChannel",
    "DeleteResourcePolicy",
    "DeregisterStreamConsumer",
    "DescribeAccountSettings",
    "DescribeChannel",
    "DescribeStreamConsumer",
    "DisableEnhancedMonitoring",
    "EnableEnhancedMonitoring",
    "GetResourcePolicy",
    "IncreaseStreamRetentionPeriod",
    "ListChannels",
    "ListStreamConsumers",
    "ListTagsForResource",
    "ListTagsForStream",
    "PutResourcePolicy",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "StartStreamEncryption",
    "StopStreamEncryption",
    "SubscribeToShard",
    "TagResource",
    "UntagResource",
    "UpdateAccountSettings",
    "UpdateChannel",
    "UpdateStreamWarmThroughput",
}


def parse(operation: str, body: bytes, codec: Codec = JSON) -> dict[str, Any]:
    """Decode an operation's body, check types, then constraints; blobs are base64.

    Args:
        operation: one of `OPERATIONS`.
        body: as received.
        codec: the body's format.

    Returns:
        The known members that are present and not null, under their wire names.

    Raises:
        SerializationException: the body is no object in its format, or a member has the wrong type.
        ValidationException: constraints are violated; the message lists them.
    """
    return validate(_INPUTS[operation], codec.decode(body))
