"""A load of many careful producers on one stream, and the stream's resharding under it.

Half of the producers call PutRecord; the other half PutRecords, whose entries come in runs of one key.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.kinesis_client import KinesisClient, ServiceError
from tests.support.producers import Habits, Ledger, Producer, Quota

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Service

POLL_SECONDS = 0.05
RECORDS_PER_CALL = 50
PAYLOAD_BYTES = 100
RECEIVED = "kinesis_proxy_received_records_total"


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    Args:
        records: so many are to be acknowledged.
        partition_keys: shared out among the producers.
        producers: concurrent clients, each with one call outstanding.
        records_per_call: entries of a PutRecords call.
        run_of_key: so many entries in a row have one key.
        data_bytes: size of a payload.
        seed: of keys and jitter.
    """

    records: int
    partition_keys: int = 2_000
    producers: int = 64
    records_per_call: int = 10
    run_of_key: int = 2
    data_bytes: int = 100
    seed: int = 20_131_202


async def produce(url: str, stream_name: str, load: Load, ledger: Ledger | None = None) -> Ledger:
    """Run every producer to its end and return what they sent and were told.

    Args:
        url: the endpoint.
        stream_name: an existing stream.
        load: what to send.
        ledger: entered while it runs, for those who watch; a new one where None.
    """
    ledger = Ledger() if ledger is None else ledger
    quota = Quota(load.records)
    async with KinesisClient(url) as client, asyncio.TaskGroup() as tasks:
        for number in range(load.producers):
            keys = [f"k{key}" for key in range(number, load.partition_keys, load.producers)]
            habits = Habits(data_bytes=load.data_bytes)
            if number % 2:
                habits = Habits(load.records_per_call, load.run_of_key, load.data_bytes)
            chance = random.Random(load.seed * 1_000 + number)  # noqa: S311 - a seeded load, no secret
            producer = Producer(client, stream_name, keys, ledger, habits, chance)
            tasks.create_task(producer.run(quota))
    return ledger


async def produce_in_waves(proxy: Service, stream_name: str, partition_keys: list[str], waves: int) -> Ledger:
    """Send records of every key again and again, without waiting for outcomes but for their arrival.

    Each wave is sent when the proxy's books show that it has received the one before. So a key's records arrive in a
    known order although many of them are out.

    Args:
        proxy: it must take all that is sent.
        stream_name: an existing stream.
        partition_keys: each has one record in each wave.
        waves: how many.
    """
    ledger = Ledger()
    calls = [
        partition_keys[start : start + RECORDS_PER_CALL] for start in range(0, len(partition_keys), RECORDS_PER_CALL)
    ]
    async with KinesisClient(proxy.url) as client, asyncio.TaskGroup() as tasks:
        producer = Producer(client, stream_name, partition_keys, ledger, Habits(), random.Random())  # noqa: S311
        for _ in range(waves):
            for keys in calls:
                tasks.create_task(producer.put([ledger.send(key, PAYLOAD_BYTES) for key in keys]))
            await when(lambda: proxy.metrics().total(RECEIVED) >= ledger.sent())
    return ledger


async def create_stream(client: KinesisClient, stream_name: str, shards: int) -> None:
    """Create a stream and wait until it takes records."""
    await client.call("CreateStream", {"StreamName": stream_name, "ShardCount": shards})
    await _until_active(client, stream_name)


async def split_and_merge(client: KinesisClient, stream_name: str) -> None:
    """Split the first open shard in the middle of its range, then merge the last two: one parent twice, two once."""
    shards = await _open_shards(client, stream_name)
    start, end, shard_id = shards[0]
    middle = str((start + end + 1) // 2)
    await client.call("SplitShard", {"StreamName": stream_name, "ShardToSplit": shard_id, "NewStartingHashKey": middle})
    await _until_active(client, stream_name)
    left, right = (await _open_shards(client, stream_name))[-2:]
    await client.call(
        "MergeShards", {"StreamName": stream_name, "ShardToMerge": left[2], "AdjacentShardToMerge": right[2]}
    )
    await _until_active(client, stream_name)


async def when(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that the load brings about."""
    while not condition():  # noqa: ASYNC110 - what is watched tells nobody
        await asyncio.sleep(POLL_SECONDS)


async def _open_shards(client: KinesisClient, stream_name: str) -> list[tuple[int, int, str]]:
    output = await client.call("ListShards", {"StreamName": stream_name})
    return sorted(
        (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]), shard["ShardId"])
        for shard in output["Shards"]
        if "EndingSequenceNumber" not in shard["SequenceNumberRange"]
    )


async def _until_active(client: KinesisClient, stream_name: str) -> None:
    while True:
        with contextlib.suppress(ServiceError):
            output = await client.call("DescribeStreamSummary", {"StreamName": stream_name})
            if output["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE":
                return
        await asyncio.sleep(POLL_SECONDS)
