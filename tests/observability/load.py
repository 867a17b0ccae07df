"""A bounded load of records at a steady rate, as a process of its own: `python -m tests.observability.load --help`.

Calls leave when they are due, whether or not earlier ones have been answered, up to a bound; nothing is tried again.
It ends by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import random
import time
from itertools import count

from tests.support.kinesis_client import KinesisClient, NoAnswer, ServiceError

TICK_SECONDS = 0.02
SECONDS_MAX = 1_800
CALLS_MAX = 400
PUT_RECORDS_SIZE = 10
# Then every other record comes in a PutRecords.
PUT_RECORDS_RATIO = 1 / (PUT_RECORDS_SIZE + 1)
KEYS = 2_000
HOT_KEY = "hot"
DICE = random.Random()  # noqa: S311 - no secrets


def make_record(hot_ratio: float) -> dict[str, str]:
    """Return a record of some 300 bytes, of the hot key now and then."""
    key = HOT_KEY if DICE.random() < hot_ratio else f"customer-{DICE.randrange(KEYS)}"
    return {"PartitionKey": key, "Data": base64.b64encode(os.urandom(300)).decode()}


async def call(client: KinesisClient, stream: str, records: list[dict[str, str]]) -> None:
    """Put one or several records, whatever is answered."""
    try:
        if len(records) == 1:
            await client.call("PutRecord", {"StreamName": stream, **records[0]})
        else:
            await client.call("PutRecords", {"StreamName": stream, "Records": records})
    except (ServiceError, NoAnswer):
        return


async def load(arguments: argparse.Namespace) -> None:
    """Keep the rate until the time is over."""
    started_at = time.monotonic()
    calls: set[asyncio.Task[None]] = set()
    sent = 0
    async with KinesisClient(arguments.url, timeout_seconds=10) as client:
        for turn in count():
            elapsed = time.monotonic() - started_at
            if elapsed >= min(arguments.seconds, SECONDS_MAX):
                break
            due = int(elapsed * arguments.rate) - sent
            sent += due
            while due > 0 and len(calls) < CALLS_MAX:
                size = min(due, PUT_RECORDS_SIZE) if DICE.random() < arguments.put_records_ratio else 1
                records = [make_record(arguments.hot_ratio) for _ in range(size)]
                task = asyncio.create_task(call(client, arguments.stream, records))
                calls.add(task)
                task.add_done_callback(calls.discard)
                due -= size
            await asyncio.sleep(max(0.0, started_at + (turn + 1) * TICK_SECONDS - time.monotonic()))
        if calls:
            await asyncio.wait(calls)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--stream", required=True)
    parser.add_argument("--rate", type=float, required=True, help="records a second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--put-records-ratio", type=float, default=PUT_RECORDS_RATIO, help="share of calls")
    parser.add_argument("--hot-ratio", type=float, default=0.0, help="share of records of one key")
    asyncio.run(load(parser.parse_args()))
