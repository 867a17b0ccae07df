"""The way of a record inside the proxy, over and over, for a profiler to count: no socket, no clock, no chance.

    python -m tests.benchmarks.record_path CASE RECORDS

A request goes into the frontend as the lean lane gives it there, through driver and core to an upstream that takes
everything at once, and its answer is encoded. Time is virtual: it moves by a fixed step from one lump of requests to
the next, at half of what the shards' limits allow. Two runs do exactly the same; the difference between two numbers of
records is what the records cost.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog
from multidict import CIMultiDict

from proxy.core.batch import Answer
from proxy.core.buffer import Buffer
from proxy.core.hashing import HASH_KEY_MAX
from proxy.core.limits import MIB, StreamLimits
from proxy.core.shard_map import Shard, StreamSummary
from proxy.driver import Driver
from proxy.frontend.handler import PUT_RECORD, PUT_RECORDS, Frontend, FrontendSettings
from proxy.kinesis.http import Reply, Request
from tests.support.virtual_time import VirtualTimeLoop, run

if TYPE_CHECKING:
    from proxy.core.batch import Batch

STREAM_NAME = "bench"
SHARDS = 16
DATA_BYTES = 200
LUMP_RECORDS = 500
RECORDS_PER_SECOND = SHARDS * 1_000 // 2
# All different, and as many as lumps can be told apart by.
LUMPS = 8
# The buckets of the shards start empty.
FILL_SECONDS = 1.0
GC_ALLOCATIONS = 20_000


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of load."""

    operation: str
    limits: StreamLimits


UNLIMITED = StreamLimits(shard_records_per_second=0, shard_bytes_per_second=0)
CASES = {
    "PutRecord, limits off": Case(PUT_RECORD, UNLIMITED),
    "PutRecord, limits on": Case(PUT_RECORD, StreamLimits()),
    "PutRecords(500), limits off": Case(PUT_RECORDS, UNLIMITED),
    "PutRecords(500), limits on": Case(PUT_RECORDS, StreamLimits()),
}


class Taken:
    """The result of a record that the service took."""

    __slots__ = ("encryption_type", "error_code", "error_message", "sequence_number", "shard_id")

    def __init__(self, shard_id: str, sequence_number: str) -> None:
        self.shard_id: str | None = shard_id
        self.sequence_number: str | None = sequence_number
        self.error_code: str | None = None
        self.error_message: str | None = None


class InstantUpstream:
    """Takes everything at once."""

    region = "us-east-1"

    def __init__(self) -> None:
        self._shards = shards()
        self._sequence_number = 10**55

    async def start(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """Nothing is open."""

    def ready(self) -> bool:
        """Whether puts could be sent."""
        return True

    async def put(self, batch: Batch) -> Answer:
        """Take all records, each in its shard."""
        results = []
        for record in batch.records:
            self._sequence_number += 1
            shard = self._shards[record.hash_key * SHARDS >> 128]
            results.append(Taken(shard.shard_id, str(self._sequence_number)))
        return Answer(results)

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard]:
        """Return the shards."""
        del stream_name, stream_arn
        return self._shards

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary:
        """Return the summary."""
        del stream_name, stream_arn
        return StreamSummary("arn:aws:kinesis:us-east-1:000000000000:stream/bench", SHARDS)

    async def forward(self, operation: str, request: Request) -> Reply:
        """Nothing is forwarded."""
        raise NotImplementedError


class Tally:
    """Counts answers, and insists that they are good."""

    def __init__(self) -> None:
        self.answers = 0

    def count(self, reply: Reply) -> None:
        """Take one answer."""
        if reply.status != 200:
            raise RuntimeError(f"a request was refused: {reply.body!r}")
        self.answers += 1


def shards() -> list[Shard]:
    """Return open shards that share the hash keys evenly."""
    starts = [((HASH_KEY_MAX + 1) * number + SHARDS - 1) // SHARDS for number in range(SHARDS)]
    ends = [start - 1 for start in starts[1:]] + [HASH_KEY_MAX]
    return [
        Shard(start, end, f"shardId-{number:012d}")
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]


def bodies(operation: str) -> list[list[bytes]]:
    """Return the bodies of the requests, lump by lump."""
    data = base64.b64encode(bytes(range(DATA_BYTES))).decode()
    lumps = []
    for lump in range(LUMPS):
        records = [{"Data": data, "PartitionKey": f"{lump * LUMP_RECORDS + n:07d}"} for n in range(LUMP_RECORDS)]
        if operation == PUT_RECORDS:
            documents = [{"StreamName": STREAM_NAME, "Records": records}]
        else:
            documents = [{"StreamName": STREAM_NAME, **record} for record in records]
        lumps.append([json.dumps(document, separators=(",", ":")).encode() for document in documents])
    return lumps


async def send(case: Case, records: int) -> int:
    """Send so many records, lump by lump, and return how many calls were answered."""
    loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
    upstream, tally = InstantUpstream(), Tally()
    buffer = Buffer(50_000, 64 * MIB)
    driver = Driver(upstream, lambda _: case.limits, buffer, 10, loop.clock_ns, lambda: 0.5)
    frontend = Frontend(driver, upstream, FrontendSettings(None, "forwarded_operations"), loop.clock_ns)
    headers = CIMultiDict(
        {"X-Amz-Target": f"Kinesis_20131202.{case.operation}", "Content-Type": "application/x-amz-json-1.1"}
    )
    lumps = bodies(case.operation)
    driver.learn_about(STREAM_NAME, None)
    await asyncio.sleep(FILL_SECONDS)
    # as `serve` does once it has started
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
    calls = 0
    for number in range(records // LUMP_RECORDS):
        for body in lumps[number % LUMPS]:
            calls += 1
            if not frontend.start(Request("POST", "/", headers, body), tally.count):
                raise RuntimeError("a put was left to the slow way")
        await asyncio.sleep(LUMP_RECORDS / RECORDS_PER_SECOND)
    await driver.drain(10**9)
    await driver.close()
    if tally.answers != calls:
        raise RuntimeError(f"{tally.answers} of {calls} calls were answered")
    return tally.answers


def main() -> None:
    """Run one case."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    run(send(CASES[sys.argv[1]], int(sys.argv[2])))


if __name__ == "__main__":
    main()
