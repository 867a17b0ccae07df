"""One proxy's upstream: the way to the service and back, with everything that can happen on it.

An exchange takes some time each way, or ends by the proxy's request timeout. Exchanges overtake one another.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from proxy.core import verdicts
from proxy.core.batch import Answer, Failure, Written
from tests.simulation.service import REGION, seconds

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.shard_map import Shard, StreamSummary
    from proxy.kinesis.http import Reply, Request
    from tests.simulation.account import Account
    from tests.simulation.world import World

SLOW_SECONDS = (1.0, 8.0)
FETCH_TIMEOUT_SECONDS = 10.0
PROMPT_SECONDS = (0.001, 0.002)  # each way, once the faults have ended


class Network:
    """A `proxy.ports.Upstream`.

    Args:
        world: of the run.
        account: told what is sent, and what the service writes of it.
        name: of the proxy, for its dice.
    """

    region = REGION

    def __init__(self, world: World, account: Account, name: str) -> None:
        self._scenario = world.scenario
        self._service = world.service
        self._account = account
        self._random = Random(f"network {world.scenario.seed} {name}")  # noqa: S311 - a simulation, not a secret

    async def start(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    def ready(self) -> bool:
        """Always."""
        return True

    async def forward(self, operation: str, request: Request) -> Reply:
        """Not simulated: no client sends what is forwarded."""
        raise NotImplementedError

    def put(self, batch: Batch) -> Coroutine[None, None, PutReply]:
        """Note that a request leaves, at this instant, and return what becomes of it."""
        self._account.sent(batch)
        return self._exchange(batch)

    async def _exchange(self, batch: Batch) -> PutReply:
        faults, happens = self._service.faults, self._service.happens
        timeout = seconds(batch.timeout_ns)
        if happens(faults.unconnected, "unconnected"):
            await asyncio.sleep(min(self._way(), timeout))
            return Failure(verdicts.CONNECT_FAILED, "connection refused", Written.NOT_SENT)
        there, back = self._way(), self._way()
        black_hole = happens(faults.black_hole, "black hole") or self._in_black_hole(batch)
        if there >= timeout or (black_hole and self._random.random() < 0.5):
            return await self._no_answer(timeout)
        await asyncio.sleep(there)
        if happens(faults.reset_before, "reset before the write"):
            return Failure(verdicts.CONNECTION_RESET, "before the write", Written.UNKNOWN)
        reply = self._service.put(batch, self._account.written)
        if black_hole or there + back >= timeout:
            return await self._no_answer(timeout - there)
        await asyncio.sleep(back)
        return self._received(batch, reply)

    def _received(self, batch: Batch, reply: PutReply) -> PutReply:
        """Return what arrives of an answer."""
        faults, happens = self._service.faults, self._service.happens
        if happens(faults.reset_after, "reset after the write"):
            return Failure(verdicts.CONNECTION_RESET, "after the write", Written.UNKNOWN)
        if happens(faults.malformed, "malformed answer"):
            return Failure(verdicts.MALFORMED_RESPONSE, "no JSON", Written.UNKNOWN, 200)
        if isinstance(reply, Failure):
            self._account.refused(batch, reply)
            return reply
        return self._miscounted(batch, reply)

    async def _no_answer(self, rest_seconds: float) -> Failure:
        await asyncio.sleep(rest_seconds)
        return Failure(verdicts.REQUEST_TIMEOUT, "no answer", Written.UNKNOWN)

    def _miscounted(self, batch: Batch, answer: Answer) -> Answer:
        """Return the answer, or one with a wrong number of results."""
        results = answer.results
        if self._service.happens(self._service.faults.short, "short answer"):
            return Answer(results[: self._random.randrange(len(results))])
        if self._service.happens(self._service.faults.long, "long answer"):
            return Answer([*results, results[-1]])
        self._account.order.answered(batch)
        return answer

    def _in_black_hole(self, batch: Batch) -> bool:
        return self._service.streams[batch.stream_name].stretch == "hole"

    def _way(self) -> float:
        """Draw the seconds of one way."""
        if self._service.well:
            return self._random.uniform(*PROMPT_SECONDS)
        if self._service.happens(self._service.faults.slow, "slow"):
            return self._random.uniform(*SLOW_SECONDS)
        low, high = self._scenario.latency_ms
        return self._random.uniform(low, high) / 1000

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Fetch the open shards."""
        del stream_arn
        await self._fetch_pause()
        shards = self._service.list_shards(stream_name)
        await asyncio.sleep(self._way())
        return shards

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Fetch the summary."""
        del stream_arn
        await self._fetch_pause()
        return self._service.describe_stream_summary(stream_name)

    async def _fetch_pause(self) -> None:
        slow = self._service.happens(self._service.faults.map_slow, "map slow")
        await asyncio.sleep(self._random.uniform(1, FETCH_TIMEOUT_SECONDS) if slow else self._way())
