"""An upstream that answers when it is told to, and a driver in front of it on virtual time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from proxy.core.batch import Answer, Failure, Written
from proxy.core.buffer import Buffer
from proxy.core.hashing import hash_key_of
from proxy.core.limits import MIB, StreamLimits
from proxy.core.record import Record
from proxy.core.shard_map import Shard, StreamSummary
from proxy.driver import Driver
from proxy.emulator.put_result import PutResult
from proxy.kinesis.http import Reply
from proxy.metrics.labels import StreamLabels

if TYPE_CHECKING:
    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.kinesis.http import Request
    from tests.support.virtual_time import VirtualTimeLoop


class HeldUpstream:
    """Holds every batch until `answer` is called."""

    region = "us-east-1"

    def __init__(self) -> None:
        self._held: list[tuple[Batch, asyncio.Future[PutReply]]] = []
        self._sequence = 10**55

    @property
    def held_records(self) -> int:
        """Records in flight."""
        return sum(len(batch.records) for batch, _ in self._held)

    async def start(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""

    def ready(self) -> bool:
        """Be ready always."""
        return True

    async def put(self, batch: Batch) -> PutReply:
        """Wait for `answer`."""
        future: asyncio.Future[PutReply] = asyncio.get_running_loop().create_future()
        self._held.append((batch, future))
        return await future

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the one shard."""
        del stream_name, stream_arn
        return [Shard(0, 2**128 - 1, "shardId-000000000000")]

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the summary of a stream with one shard."""
        del stream_arn
        return StreamSummary(f"arn:aws:kinesis:us-east-1:000000000000:stream/{stream_name}", 1)

    async def forward(self, operation: str, request: Request) -> Reply:
        """Answer nothing."""
        del operation, request
        return Reply(200, b"")

    def answer(self, *codes: str | None) -> None:
        """Answer the oldest batch: take its records, but those at the places of an error code."""
        batch, future = self._held.pop(0)
        results = []
        for place in range(len(batch.records)):
            self._sequence += 1
            code = codes[place] if place < len(codes) else None
            results.append(
                PutResult(error_code=code, error_message="told so")
                if code
                else PutResult(str(self._sequence), "shardId-000000000000")
            )
        future.set_result(Answer(results))

    def fail(self, code: str) -> None:
        """Fail the oldest batch as a whole."""
        self._held.pop(0)[1].set_result(Failure(code, None, Written.UNKNOWN))


UNLIMITED = StreamLimits(shard_records_per_second=0, shard_bytes_per_second=0)


def make_driver(
    upstream: HeldUpstream,
    limits: StreamLimits = UNLIMITED,
    /,
    *,
    records_max: int = 1_000,
    streams_max: int = 100,
    labels: StreamLabels | None = None,
) -> Driver:
    """Make a driver on the running virtual-time loop."""
    loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
    buffer, label_of = Buffer(records_max, 64 * MIB), (labels or StreamLabels()).label
    return Driver(upstream, lambda _: limits, buffer, streams_max, loop.clock_ns, lambda: 0.5, label_of=label_of)


def make_records(*partition_keys: str) -> list[Record]:
    """Make records of five bytes of data each, received now."""
    loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
    return [Record(key, "aGVsbG8=", 5 + len(key), hash_key_of(key), loop.clock_ns()) for key in partition_keys]
