"""The declared inputs; expected texts as kinesalite recorded them, members that were added since left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.kinesis import operations
from proxy.kinesis.errors import SerializationException, ValidationException
from proxy.kinesis.operations import KNOWN_OPERATIONS, OPERATIONS, parse

NAME_129 = "a" * 129
PATTERN = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"


def at(path: str, value: str, *constraints: str) -> list[str]:
    """Return the texts of a member's violations."""
    shown = value if value == "null" else f"'{value}'"
    return [f"Value {shown} at '{path}' failed to satisfy constraint: {constraint}" for constraint in constraints]


def empty(path: str) -> list[str]:
    """Return the texts for an empty name."""
    return at(path, "", PATTERN, "Member must have length greater than or equal to 1")


def null(path: str) -> list[str]:
    """Return the text for a member that is missing."""
    return at(path, "null", "Member must not be null")


@pytest.mark.parametrize(
    ("operation", "members", "expected"),
    [
        ("CreateStream", {}, null("streamName")),
        (
            "CreateStream",
            {"StreamName": "", "ShardCount": 0},
            [*at("shardCount", "0", "Member must have value greater than or equal to 1"), *empty("streamName")],
        ),
        (
            "CreateStream",
            {"StreamName": "a", "MaxRecordSizeInKiB": 1023, "StreamModeDetails": {}, "RecordDistributionStrategy": "X"},
            [
                *null("streamModeDetails.streamMode"),
                *at("maxRecordSizeInKiB", "1023", "Member must have value greater than or equal to 1024"),
                *at(
                    "recordDistributionStrategy", "X", "Member must satisfy enum value set: [AUTO, USER_PARTITION_KEY]"
                ),
            ],
        ),
        ("DeleteStream", {"StreamName": ""}, empty("streamName")),
        (
            "DescribeStream",
            {"StreamName": "", "Limit": 0, "ExclusiveStartShardId": ""},
            [
                *at("limit", "0", "Member must have value greater than or equal to 1"),
                *empty("exclusiveStartShardId"),
                *empty("streamName"),
            ],
        ),
        (
            "GetRecords",
            {"ShardIterator": "", "Limit": 10001},
            [
                *at("limit", "10001", "Member must have value less than or equal to 10000"),
                *at("shardIterator", "", "Member must have length greater than or equal to 1"),
            ],
        ),
        ("GetShardIterator", {}, [*null("shardId"), *null("shardIteratorType")]),
        (
            "GetShardIterator",
            {"StreamName": "", "ShardIteratorType": "", "ShardId": "", "StartingSequenceNumber": ""},
            [
                *empty("shardId"),
                *at(
                    "shardIteratorType",
                    "",
                    "Member must satisfy enum value set: "
                    "[AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]",
                ),
                *at(
                    "startingSequenceNumber",
                    "",
                    r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,128})",
                ),
                *empty("streamName"),
            ],
        ),
        (
            "ListShards",
            {"NextToken": "", "MaxResults": 10001, "ShardFilter": {}},
            [
                *at("maxResults", "10001", "Member must have value less than or equal to 10000"),
                *at("nextToken", "", "Member must have length greater than or equal to 1"),
                *null("shardFilter.type"),
            ],
        ),
        (
            "ListStreams",
            {"Limit": 0, "ExclusiveStartStreamName": ""},
            [
                *at("limit", "0", "Member must have value greater than or equal to 1"),
                *empty("exclusiveStartStreamName"),
            ],
        ),
        ("MergeShards", {}, [*null("shardToMerge"), *null("adjacentShardToMerge")]),
        ("SplitShard", {}, [*null("newStartingHashKey"), *null("shardToSplit")]),
        (
            "SplitShard",
            {"StreamName": NAME_129, "ShardToSplit": NAME_129, "NewStartingHashKey": "01"},
            [
                *at(
                    "newStartingHashKey",
                    "01",
                    r"Member must satisfy regular expression pattern: 0|([1-9]\d{0,38})",
                ),
                *at("streamName", NAME_129, "Member must have length less than or equal to 128"),
                *at("shardToSplit", NAME_129, "Member must have length less than or equal to 128"),
            ],
        ),
        ("UpdateMaxRecordSize", {}, null("maxRecordSizeInKiB")),
        (
            "UpdateMaxRecordSize",
            {"MaxRecordSizeInKiB": 1023},
            at("maxRecordSizeInKiB", "1023", "Member must have value greater than or equal to 1024"),
        ),
        ("UpdateStreamMode", {}, [*null("streamARN"), *null("streamModeDetails")]),
        (
            "UpdateStreamRecordDistributionStrategy",
            {"RecordDistributionStrategy": "X"},
            [
                *null("streamARN"),
                *at(
                    "recordDistributionStrategy",
                    "X",
                    "Member must satisfy enum value set: [AUTO, USER_PARTITION_KEY]",
                ),
            ],
        ),
        ("UpdateShardCount", {}, [*null("targetShardCount"), *null("scalingType")]),
        (
            "UpdateShardCount",
            {"TargetShardCount": 0, "ScalingType": "X"},
            [
                *at("targetShardCount", "0", "Member must have value greater than or equal to 1"),
                *at("scalingType", "X", "Member must satisfy enum value set: [UNIFORM_SCALING]"),
            ],
        ),
    ],
)
def test_violations_are_the_services(operation: str, members: dict[str, Any], expected: list[str]) -> None:
    """All of an operation's violations, in the service's order and words."""
    with pytest.raises(ValidationException) as refusal:
        parse(operation, json.dumps(members).encode())
    plural = "s" if len(expected) > 1 else ""
    assert refusal.value.message == f"{len(expected)} validation error{plural} detected: {'; '.join(expected)}"


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("CreateStream", {"StreamName": "a", "ShardCount": 1, "Tags": {"team": "blue"}}),
        ("DescribeLimits", {}),
        ("ListStreams", {}),
        ("ListShards", {"StreamName": "a", "ShardFilter": {"Type": "AT_LATEST"}}),
        ("GetShardIterator", {"ShardId": "shardId-0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.5}),
        ("PutRecord", {"Data": ""}),
        ("PutRecords", {"Records": [{"Data": "YQ==", "PartitionKey": "a"}], "DryRun": True}),
    ],
)
def test_good_input_comes_back_as_it_was(operation: str, members: dict[str, Any]) -> None:
    """Wire names and values, blobs still base64."""
    assert parse(operation, json.dumps(members).encode()) == members


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_operation_checks_that_its_body_can_be_read(operation: str) -> None:
    """Malformed JSON is malformed for all."""
    with pytest.raises(SerializationException):
        parse(operation, b"{")


def test_known_operations_are_those_of_the_api() -> None:
    """Every operation that an SDK of today can call is known."""
    loaders = pytest.importorskip("botocore.loaders")
    model = loaders.Loader().load_service_model("kinesis", "service-2")
    assert set(model["operations"]) == KNOWN_OPERATIONS


def test_members_are_those_of_the_api() -> None:
    """Every declared input has exactly the members of today's model."""
    loaders = pytest.importorskip("botocore.loaders")
    model = loaders.Loader().load_service_model("kinesis", "service-2")
    for operation in OPERATIONS:
        shape = model["operations"][operation].get("input", {}).get("shape")
        members = set(model["shapes"][shape]["members"]) if shape else set()
        assert set(operations._INPUTS[operation].members) == members, operation


@pytest.mark.timeout(20, method="signal")  # matching lets no other thread run
@pytest.mark.parametrize("part", [":kinesis:", ":kinesis::123456789012:stream/"])
def test_long_arn_is_refused_in_linear_time(part: str) -> None:
    """The model's pattern alone would take minutes, in which nobody else is served; the time-out tells."""
    text = f"arn:aws{part * 200_000} "
    with pytest.raises(ValidationException, match=r"at 'streamARN' .* length less than or equal to 2048$"):
        parse("PutRecord", json.dumps({"Data": "", "StreamARN": text}).encode())
