"""Drives the pure emulator as a caller would, on literal clocks and without HTTP."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from proxy.emulator import writing
from proxy.emulator.clock import NS_PER_MS, Now
from proxy.emulator.model import Model
from proxy.emulator.operations import OPERATIONS
from proxy.emulator.settings import EmulatorSettings
from proxy.kinesis import operations, puts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.emulator.put_result import PutResult
    from proxy.emulator.stream import Refuse

# 2023-11-14T22:13:20Z
START_WALL_MS = 1_700_000_000_000
START_SECONDS = START_WALL_MS // 1000


class Emulator:
    """A model, a clock that moves when told, and calls in wire form.

    Args:
        settings: those of `EmulatorSettings` that differ from the defaults.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - settings are of several types
        self.model = Model(EmulatorSettings(**settings))
        self.now = Now(1_000_000_000, START_WALL_MS)

    def advance(self, ms: int) -> None:
        """Let both times move on."""
        self.now = Now(self.now.ns + ms * NS_PER_MS, self.now.wall_ms + ms)

    def call(self, operation: str, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Carry out an operation; one without output answers an empty object."""
        parsed = operations.parse(operation, json.dumps(members).encode())
        return OPERATIONS[operation](self.model, parsed, self.now) or {}

    def create(self, name: str = "orders", shards: int = 1, **members: Any) -> None:  # noqa: ANN401 - JSON
        """Make a stream."""
        self.call("CreateStream", StreamName=name, ShardCount=shards, **members)

    def put(self, key: str, data: bytes = b"data", stream: str = "orders", **members: Any) -> PutResult:  # noqa: ANN401 - JSON
        """Put one record by PutRecord."""
        body = {"StreamName": stream, **entry(key, data), **members}
        return writing.put_record(self.model, stream, puts.parse_put_record(json.dumps(body).encode()), self.now)

    def put_many(
        self, entries: Iterable[dict[str, str]], stream: str = "orders", refuse: Refuse | None = None, **members: bool
    ) -> list[PutResult]:
        """Put records by PutRecords."""
        body = {"StreamName": stream, "Records": list(entries), **members}
        put = puts.parse_put_records(json.dumps(body).encode())
        return writing.put_records(self.model, stream, put, self.now, refuse)

    def iterator(self, shard: int = 0, kind: str = "TRIM_HORIZON", stream: str = "orders", **members: Any) -> str:  # noqa: ANN401 - JSON
        """Get a shard iterator."""
        answer = self.call(
            "GetShardIterator", StreamName=stream, ShardId=shard_id(shard), ShardIteratorType=kind, **members
        )
        return str(answer["ShardIterator"])

    def read(self, iterator: str, limit: int = 10_000) -> list[Any]:
        """Read from an iterator to the tip or the end of its shard."""
        records = []
        while True:
            answer = self.call("GetRecords", ShardIterator=iterator, Limit=limit)
            records += answer["Records"]
            if "NextShardIterator" not in answer or not answer["Records"]:
                return records
            iterator = answer["NextShardIterator"]

    def read_shard(self, shard: int = 0, stream: str = "orders") -> list[bytes]:
        """Read the data of all that a shard keeps."""
        return [base64.b64decode(record.data) for record in self.read(self.iterator(shard, stream=stream))]

    def shards(self, stream: str = "orders", **members: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
        """List shards."""
        return list(self.call("ListShards", StreamName=stream, **members)["Shards"])


def entry(key: str | None, data: bytes = b"data", explicit_hash_key: str | None = None) -> dict[str, str]:
    """Return one record in wire form."""
    members = {"Data": base64.b64encode(data).decode()}
    if key is not None:
        members["PartitionKey"] = key
    if explicit_hash_key is not None:
        members["ExplicitHashKey"] = explicit_hash_key
    return members


def shard_id(index: int) -> str:
    """Return a shard's name."""
    return f"shardId-{index:012d}"
