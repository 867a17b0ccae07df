"""A light load for the page: PutRecords at a steady rate to several streams, in a process of its own.

    python -m tests.page.load '{"url": "http://127.0.0.1:4567", "rates": {"orders": 500}, "seconds": 30}'

`rates` is records a second of each stream.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import sys
import time
from dataclasses import dataclass

from tests.support.kinesis_client import KinesisClient, NoAnswer, ServiceError

CALLS_PER_SECOND_MAX = 20
# What the page must never show: the checks look for it.
PARTITION_KEY = "customer-4711"
DATA = b"card-number-4111"


@dataclass(frozen=True, slots=True)
class Load:
    """What to send.

    Args:
        url: of the proxy, on loopback.
        rates: records a second, by stream.
        seconds: how long.
    """

    url: str
    rates: dict[str, float]
    seconds: float


async def send(load: Load) -> None:
    """Send to all streams at once."""
    async with KinesisClient(load.url) as client, asyncio.TaskGroup() as group:
        for place, (stream_name, rate) in enumerate(load.rates.items()):
            group.create_task(_send_to(client, stream_name, rate, load.seconds, random.Random(place)))  # noqa: S311 - a load


async def _send_to(client: KinesisClient, stream_name: str, rate: float, seconds: float, dice: random.Random) -> None:
    calls_per_second = min(CALLS_PER_SECOND_MAX, max(0.2, rate / 5))
    records = max(1, round(rate / calls_per_second))
    data = base64.b64encode(DATA * 16).decode()
    end_at = time.monotonic() + seconds
    next_at = time.monotonic() + dice.random() / calls_per_second
    async with asyncio.TaskGroup() as group:
        while next_at < end_at:
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))
            entries = [
                {"PartitionKey": f"{PARTITION_KEY}-{dice.randrange(10_000)}", "Data": data} for _ in range(records)
            ]
            group.create_task(_call(client, {"StreamName": stream_name, "Records": entries}))
            next_at += 1 / calls_per_second


async def _call(client: KinesisClient, body: dict[str, object]) -> None:
    """Make one call; what is refused is part of the picture."""
    try:
        await client.call("PutRecords", body)
    except (ServiceError, NoAnswer):
        return


if __name__ == "__main__":
    asyncio.run(send(Load(**json.loads(sys.argv[1]))))
