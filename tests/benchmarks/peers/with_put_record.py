"""The records through the AWS SDK (aiobotocore), a `put_record` each, so many at a time: the plainest producer.

The SDK's own retries are left as they are; a record whose call fails all the same is reported as failed. Order is not
kept.
"""

from __future__ import annotations

import asyncio

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from tests.benchmarks.peers.program import ACKNOWLEDGED, REGION, Run, main

AT_ONCE = 64


async def produce(run: Run) -> None:
    """Put all records and enter each one's outcome."""
    outcomes, stream_name = run.report.outcomes, run.task.stream_name
    config = AioConfig(max_pool_connections=AT_ONCE)
    records: asyncio.Queue[tuple[int, str, bytes] | None] = asyncio.Queue(AT_ONCE)
    async with get_session().create_client(
        "kinesis", region_name=REGION, endpoint_url=run.task.endpoint, config=config
    ) as client:

        async def put_each() -> None:
            while (record := await records.get()) is not None:
                index, partition_key, data = record
                try:
                    await client.put_record(StreamName=stream_name, PartitionKey=partition_key, Data=data)
                except ClientError as error:
                    outcomes[index] = str(error.response["Error"]["Code"])
                except BotoCoreError as error:
                    outcomes[index] = type(error).__name__
                else:
                    outcomes[index] = ACKNOWLEDGED

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(put_each())
            async for index, partition_key, data in run.paced():
                await records.put((index, partition_key, data.encode()))
            for _ in range(AT_ONCE):
                await records.put(None)
        run.settled()


if __name__ == "__main__":
    main(produce)
