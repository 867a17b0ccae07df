"""Follows a stream as a consumer does, while it is written: every shard from its oldest record, children after parents.

Must never know: who wrote, what is promised.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Protocol

from tests.support.fleet_verifier import ShardRange

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.25
# Few enough that whoever takes the records gets to other things in between.
GET_RECORDS_LIMIT = 500


class Caller(Protocol):
    """Who calls the service; `KinesisClient` does."""

    async def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """Call an operation and return its output."""


class StreamReader:
    """Reads one stream until it is told that nothing more is written, and then to its end.

    Args:
        client: of the service itself.
        stream_name: an existing stream.
        on_record: called for each record: its shard, sequence number, partition key and data.
    """

    def __init__(
        self, client: Caller, stream_name: str, on_record: Callable[[ShardRange, str, str, bytes], None]
    ) -> None:
        self.records = 0
        self._client = client
        self._stream_name = stream_name
        self._on_record = on_record
        self._written = asyncio.Event()
        self._started: set[str] = set()
        self._finished: set[str] = set()

    @property
    def shard_ids(self) -> set[str]:
        """The shards that were read."""
        return set(self._started)

    def finish(self) -> None:
        """Say that everything is written: what is behind is still read."""
        self._written.set()

    async def run(self) -> None:
        """Read; ends when every shard is read to its end after `finish`."""
        output = await self._client.call("ListShards", {"StreamName": self._stream_name})
        async with asyncio.TaskGroup() as tasks:
            for shard in output["Shards"]:
                if "ParentShardId" not in shard:
                    self._start(tasks, shard)

    def _start(self, tasks: asyncio.TaskGroup, shard: dict[str, Any]) -> None:
        hash_keys = shard["HashKeyRange"]
        name = ShardRange(shard["ShardId"], int(hash_keys["StartingHashKey"]), int(hash_keys["EndingHashKey"]))
        self._started.add(name.shard_id)
        tasks.create_task(self._follow(tasks, name))

    async def _follow(self, tasks: asyncio.TaskGroup, shard: ShardRange) -> None:
        start = {"StreamName": self._stream_name, "ShardId": shard.shard_id, "ShardIteratorType": "TRIM_HORIZON"}
        iterator = (await self._client.call("GetShardIterator", start))["ShardIterator"]
        while iterator is not None:
            # Looked at before reading: what was written until then is in the answer, or more is said to be behind.
            written = self._written.is_set()
            output = await self._client.call("GetRecords", {"ShardIterator": iterator, "Limit": GET_RECORDS_LIMIT})
            for record in output["Records"]:
                data = base64.b64decode(record["Data"])
                self._on_record(shard, record["SequenceNumber"], record["PartitionKey"], data)
            self.records += len(output["Records"])
            iterator = output.get("NextShardIterator")
            if iterator is not None and not output["MillisBehindLatest"]:
                if written:
                    break
                await asyncio.sleep(POLL_SECONDS)
        self._finished.add(shard.shard_id)
        for child in output.get("ChildShards", ()):
            # A merged shard has two parents, and is begun when the second of them is finished.
            if child["ShardId"] not in self._started and self._finished.issuperset(child["ParentShards"]):
                self._start(tasks, child)
