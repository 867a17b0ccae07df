"""The records through the AWS SDK (aiobotocore) by a careful producer; its endpoint is the proxy's.

Theory of operation: keys are spread over lanes, each with one PutRecords outstanding that carries what is waiting, in
its order. What failed is sent again, in its order, before anything younger of the lane; after 30 s it is reported as
failed. Nothing here knows of the proxy.
"""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from tests.benchmarks.peers.program import ACKNOWLEDGED, REGION, Run, main

LANES = 16
RECORDS_PER_CALL_MAX = 500
# As many as async-kinesis queues by default.
OUTSTANDING_MAX = 10_000
# As aiokpl.
RECORD_PATIENCE_SECONDS = 30.0
BACKOFF_FIRST_SECONDS = 0.05
BACKOFF_MAX_SECONDS = 1.0


class Lane:
    """Sends the records of its keys, one call at a time.

    Args:
        client: of aiobotocore.
        run: whose records they are.
        room: released for each record that has its outcome.
    """

    def __init__(self, client: Any, run: Run, room: asyncio.Semaphore) -> None:  # noqa: ANN401 - made at run time
        self.queue: asyncio.Queue[tuple[int, float]] = asyncio.Queue()
        self._client = client
        self._run = run
        self._room = room

    async def send(self) -> None:
        """Send what is queued, until cancelled."""
        while True:
            batch = [await self.queue.get()]
            while len(batch) < RECORDS_PER_CALL_MAX and not self.queue.empty():
                batch.append(self.queue.get_nowait())
            attempt = 0
            while batch:
                errors = await self._put([index for index, _ in batch])
                batch = self._enter(batch, errors)
                if batch:
                    ceiling = min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2**attempt)
                    await asyncio.sleep(ceiling * random.random())  # noqa: S311 - jitter
                    attempt += 1

    async def _put(self, indexes: list[int]) -> list[str | None]:
        """Make one call and return each record's error, or None where it is in the stream."""
        records = self._run.task.records
        entries = [{"Data": records[index][1].encode(), "PartitionKey": records[index][0]} for index in indexes]
        try:
            answer = await self._client.put_records(StreamName=self._run.task.stream_name, Records=entries)
        except ClientError as error:
            return [str(error.response["Error"]["Code"])] * len(indexes)
        except BotoCoreError as error:
            return [type(error).__name__] * len(indexes)
        return [result.get("ErrorCode") for result in answer["Records"]]

    def _enter(self, batch: list[tuple[int, float]], errors: list[str | None]) -> list[tuple[int, float]]:
        """Enter the outcomes of a call and return what is to be sent again."""
        again = []
        now = time.monotonic()
        for (index, given_at), error in zip(batch, errors, strict=True):
            if error is not None and now - given_at < RECORD_PATIENCE_SECONDS:
                again.append((index, given_at))
                continue
            self._run.report.outcomes[index] = ACKNOWLEDGED if error is None else error
            self._room.release()
            self.queue.task_done()
        return again


async def produce(run: Run) -> None:
    """Put all records and enter each one's outcome."""
    room = asyncio.Semaphore(OUTSTANDING_MAX)
    config = AioConfig(max_pool_connections=LANES)
    async with (
        get_session().create_client(
            "kinesis", region_name=REGION, endpoint_url=run.task.endpoint, config=config
        ) as client,
        asyncio.TaskGroup() as tasks,
    ):
        lanes = [Lane(client, run, room) for _ in range(LANES)]
        sending = [tasks.create_task(lane.send()) for lane in lanes]
        async for index, partition_key, _ in run.paced():
            await room.acquire()
            lanes[zlib.crc32(partition_key.encode()) % LANES].queue.put_nowait((index, time.monotonic()))
        for lane in lanes:
            await lane.queue.join()
        run.settled()
        for task in sending:
            task.cancel()


if __name__ == "__main__":
    main(produce)
