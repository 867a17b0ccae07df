"""More load than the shards of a stream take, shard by shard, and what comes through in a stretch of time.

Each shard has producers of its own, whose keys all lie in it: a shard that is held up holds up its own producers alone,
and what the others then achieve is the proxy's doing.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING
from urllib.request import urlopen

from proxy.core.hashing import hash_key_of
from tests.support.kinesis_client import KinesisClient
from tests.support.producers import Habits, Ledger, Producer, Quota
from tests.support.proof import Books

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.processes import Service

STREAM_NAME = "orders"
SHARDS = 4
PRODUCERS_OF_SHARD = 8
KEYS_OF_PRODUCER = 100
RECORDS_PER_CALL = 50
ENDLESS = 10**9


@dataclass(slots=True)
class Saturation:
    """A running load: what the producers of each shard sent and were told, by the shard's number."""

    proxy: Service
    upstream: Service
    ledgers: list[Ledger] = field(default_factory=lambda: [Ledger() for _ in range(SHARDS)])


@dataclass(frozen=True, slots=True)
class Stretch:
    """What happened in a stretch of time.

    Args:
        seconds: its length.
        delivered: records that the proxy delivered.
        attempts: records that it sent upstream.
        throttled: records that the upstream throttled.
        taken: records that each shard took, by the shard's number.
    """

    seconds: float
    delivered: int
    attempts: int
    throttled: int
    taken: list[int]

    @property
    def goodput(self) -> float:
        """Delivered records a second."""
        return self.delivered / self.seconds

    @property
    def throttled_share(self) -> float:
        """Share of the records sent upstream that were throttled."""
        return self.throttled / self.attempts


def keys_of_shard(number: int, count_max: int) -> list[str]:
    """Return partition keys whose hash keys lie in one of the stream's equal shards."""
    keys: list[str] = []
    for ordinal in count():
        key = f"s{number}k{ordinal}"
        if hash_key_of(key) * SHARDS >> 128 == number:
            keys.append(key)
            if len(keys) == count_max:
                break
    return keys


@asynccontextmanager
async def saturated(proxy: Service, upstream: Service) -> AsyncIterator[Saturation]:
    """Run producers on every shard while the block runs; each ends with the call that is out."""
    saturation = Saturation(proxy, upstream)
    quota = Quota(ENDLESS)
    async with KinesisClient(proxy.url) as client, asyncio.TaskGroup() as tasks:
        for number, ledger in enumerate(saturation.ledgers):
            keys = keys_of_shard(number, PRODUCERS_OF_SHARD * KEYS_OF_PRODUCER)
            for start in range(PRODUCERS_OF_SHARD):
                chance = random.Random(number * 100 + start)  # noqa: S311 - a seeded load, no secret
                habits = Habits(records_per_call=RECORDS_PER_CALL)
                own = keys[start::PRODUCERS_OF_SHARD]
                producer = Producer(client, STREAM_NAME, own, ledger, habits, chance)
                tasks.create_task(producer.run(quota))
        try:
            yield saturation
        finally:
            quota.close()


async def stretch_of(saturation: Saturation, seconds: float) -> Stretch:
    """Watch for so long."""
    before, taken_before, started_at = *await _look(saturation), time.monotonic()
    await asyncio.sleep(seconds)
    after, taken_after, ended_at = *await _look(saturation), time.monotonic()
    return Stretch(
        ended_at - started_at,
        after.acknowledged - before.acknowledged,
        after.attempts - before.attempts,
        after.throttled - before.throttled,
        [later - earlier for earlier, later in zip(taken_before, taken_after, strict=True)],
    )


async def _look(saturation: Saturation) -> tuple[Books, list[int]]:
    books = Books.of(await asyncio.to_thread(saturation.proxy.metrics))
    return books, await asyncio.to_thread(_taken, saturation.upstream.admin_url)


def _taken(admin_url: str) -> list[int]:
    """Return how many records each shard has taken, as the emulator counts them."""
    with urlopen(f"{admin_url}/streams", timeout=5) as response:  # noqa: S310 - our own process on loopback
        document = json.load(response)
    (stream,) = [stream for stream in document["streams"] if stream["name"] == STREAM_NAME]
    return [shard["accepted_records"] for shard in stream["shards"]]
