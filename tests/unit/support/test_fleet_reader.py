from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

from proxy.core.hashing import HASH_KEY_MAX
from tests.support.fleet_reader import StreamReader

if TYPE_CHECKING:
    from tests.support.fleet_verifier import ShardRange

HALF = 2**127


def shard(number: int, low: int, high: int, parents: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return a shard as ListShards and GetRecords describe it."""
    hash_keys = {"StartingHashKey": str(low), "EndingHashKey": str(high)}
    described: dict[str, Any] = {"ShardId": f"s{number}", "HashKeyRange": hash_keys}
    if parents:
        described["ParentShardId"] = f"s{parents[0]}"
        described["ParentShards"] = [f"s{parent}" for parent in parents]
    return described


class Stream:
    """Two shards, split and merged into a third and more, that answers as the service does.

    Args:
        answers: of GetRecords: for each shard, the records of each answer; the last one ends a closed shard.
        children: of the closed shards.
        listed: what ListShards tells.
    """

    def __init__(
        self,
        answers: dict[str, list[list[str]]],
        children: dict[str, list[dict[str, Any]]],
        listed: list[dict[str, Any]],
    ) -> None:
        self._answers = answers
        self._children = children
        self._listed = listed

    async def call(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a call."""
        await asyncio.sleep(0)
        if operation == "ListShards":
            return {"Shards": self._listed}
        if operation == "GetShardIterator":
            assert body["ShardIteratorType"] == "TRIM_HORIZON"
            return {"ShardIterator": f"{body['ShardId']}/0"}
        shard_id, _, position = body["ShardIterator"].partition("/")
        answers = self._answers[shard_id]
        names = answers[int(position)] if int(position) < len(answers) else []
        output: dict[str, Any] = {
            "Records": [
                {"SequenceNumber": name, "PartitionKey": "k", "Data": base64.b64encode(name.encode()).decode()}
                for name in names
            ],
            "MillisBehindLatest": 0 if int(position) >= len(answers) - 1 else 5,
        }
        if shard_id in self._children and int(position) >= len(answers) - 1:
            output["ChildShards"] = self._children[shard_id]
        else:
            output["NextShardIterator"] = f"{shard_id}/{int(position) + 1}"
        return output


async def read_all(stream: Stream) -> tuple[StreamReader, list[tuple[str, str]]]:
    """Read what is written of a stream, to its end."""
    found: list[tuple[str, str]] = []

    def on_record(of: ShardRange, sequence_number: str, partition_key: str, data: bytes) -> None:
        assert (partition_key, data.decode()) == ("k", sequence_number)
        found.append((of.shard_id, sequence_number))

    reader = StreamReader(stream, "fleet", on_record)
    reader.finish()
    await reader.run()
    return reader, found


async def test_every_open_shard_is_read_to_its_end() -> None:
    """More is asked for as long as something is behind."""
    stream = Stream(
        {"s0": [["1", "2"], ["3"]], "s1": [["4"], [], ["5"]]}, {}, [shard(0, 0, HALF - 1), shard(1, HALF, HASH_KEY_MAX)]
    )
    reader, found = await read_all(stream)
    assert sorted(found) == [("s0", "1"), ("s0", "2"), ("s0", "3"), ("s1", "4"), ("s1", "5")]
    assert (reader.records, reader.shard_ids) == (5, {"s0", "s1"})


async def test_a_merged_shard_is_read_once_and_behind_both_its_parents() -> None:
    """The parent that is finished first does not begin their child."""
    merged = shard(2, 0, HASH_KEY_MAX, (0, 1))
    stream = Stream(
        {"s0": [["1"]], "s1": [["2"], ["3"], ["4"]], "s2": [["5"]]},
        {"s0": [merged], "s1": [merged]},
        [shard(0, 0, HALF - 1), shard(1, HALF, HASH_KEY_MAX), merged],
    )
    _, found = await read_all(stream)
    assert found[-1] == ("s2", "5")
    assert len(found) == 5


async def test_both_halves_of_a_split_shard_are_read_behind_it() -> None:
    """Children that are listed from the start wait for their parent all the same."""
    halves = [shard(1, 0, HALF - 1, (0,)), shard(2, HALF, HASH_KEY_MAX, (0,))]
    stream = Stream(
        {"s0": [["1"], ["2"]], "s1": [["3"]], "s2": [["4"]]}, {"s0": halves}, [shard(0, 0, HASH_KEY_MAX), *halves]
    )
    _, found = await read_all(stream)
    assert found[:2] == [("s0", "1"), ("s0", "2")]
    assert sorted(found[2:]) == [("s1", "3"), ("s2", "4")]
