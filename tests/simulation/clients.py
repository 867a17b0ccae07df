"""Clients that behave as the SDKs do: one id over the tries of a call, waits between them, and little patience."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from proxy.core.hashing import hash_key_of
from proxy.core.record import Record
from tests.simulation.calls import CallMade, Producer, read_reply, request_of

if TYPE_CHECKING:
    from proxy.kinesis.http import Reply, Request
    from tests.simulation.calls import Answered
    from tests.simulation.fleet import Fleet
    from tests.simulation.proxies import SimulatedProxy
    from tests.simulation.scenario import Habits
    from tests.simulation.service import SimulatedStream
    from tests.simulation.world import World

BACKOFF_SECONDS_MAX = 20.0
SHARED_ID = "configured for ever"
CUT_WITHIN_SECONDS = 1.0
NOBODY_SERVES_SECONDS = 0.5


class Client:
    """One producer with its SDK.

    Args:
        world: of the run.
        fleet: whom it may call.
        number: which one it is.
    """

    def __init__(self, world: World, fleet: Fleet, number: int) -> None:
        scenario = world.scenario
        self._habits: Habits = scenario.habits[number]
        self._scenario = scenario
        self._service = world.service
        self._fleet = fleet
        self._promises = world.promises
        self._trace = world.trace
        self._number = number
        self._random = Random(f"client {scenario.seed} {number}")  # noqa: S311 - a simulation, not a secret
        self._producer = Producer(scenario, self._random, number)
        self._proxy: SimulatedProxy | None = None
        self._calls = 0
        self.stopping = False  # nothing is tried again any more

    @property
    def busy(self) -> bool:
        """Whether it has as many calls under way as it may."""
        return self._calls >= self._habits.calls_max

    def _stops(self) -> bool:
        return self.stopping

    async def call(self) -> None:
        """Make one call, with all that follows from its answers."""
        self._calls += 1
        try:
            stream = self._random.choice(list(self._service.streams.values()))
            made = self._producer.call(self._habits.records_max)
            if not self._scenario.frontend:
                await self._append(made, stream)
                return
            for _ in range(1 + self._habits.resends):
                answered = await self._tries(made, stream)
                if answered is None or not answered.failed or self.stopping or not self._habits.resends:
                    return
                made = CallMade(answered.failed, made.single, made.ordered)
                await self._back_off(1, 0)
                if self._stops():
                    return
        finally:
            self._calls -= 1

    async def _tries(self, made: CallMade, stream: SimulatedStream) -> Answered | None:
        """Try one call under one invocation id; None if its client has given up without an answer."""
        habits, counts = self._habits, self._trace.counts
        invocation_id = SHARED_ID if habits.shares_id else f"{self._random.getrandbits(128):032x}"
        answered: Answered | None = None
        counts["calls"] += 1
        for attempt in range(1, habits.tries + 1):
            proxy = self._connected()
            if proxy is None:
                counts["attempts unconnected"] += 1
                await asyncio.sleep(NOBODY_SERVES_SECONDS)
                if self._stops():
                    break
                continue
            counts["attempts"] += 1
            request = request_of(made, stream, invocation_id, attempt, habits.tries)
            reply = await self._exchange(proxy, request, made)
            if reply is not None:
                answered = read_reply(reply, made, stream, self._promises)
                counts[f"answer {reply.status} {answered.code or ''}".rstrip()] += 1
                if not answered.retry:
                    return answered
            else:
                answered = None  # what an earlier attempt was told says nothing of this one
                if self._random.random() < habits.vanishes:
                    counts["clients vanished"] += 1
                    return None
            if self.stopping or attempt == habits.tries:
                break
            await self._back_off(attempt, 0 if answered is None else answered.retry_after_seconds)
            if self._stops():
                break
        return answered

    async def _exchange(self, proxy: SimulatedProxy, request: Request, made: CallMade) -> Reply | None:
        """Wait for an answer as long as this client does; None when the connection is cut before."""
        data = [item.data for item in made.items]
        task = proxy.request(request, data)
        timeout = self._habits.timeout_seconds
        cut = self._random.random() < self._habits.cut
        if cut:
            timeout = min(timeout, self._random.uniform(0, CUT_WITHIN_SECONDS))
        await asyncio.wait((task,), timeout=timeout)
        if not task.done():
            self._trace.counts["connections cut" if cut else "client timeouts"] += 1
            self._proxy = None
            proxy.cut(request, data)
            return None
        if cut and self._random.random() < 0.5:
            self._trace.counts["answers lost"] += 1
            self._proxy = None
            proxy.cut(request, ())
            return None
        return task.result()

    def _connected(self) -> SimulatedProxy | None:
        """Return the proxy that this client's connection leads to, a new one where it is no more."""
        if self._proxy is None or not self._proxy.serving:
            serving = self._fleet.serving
            self._proxy = self._random.choice(serving) if serving else None
        return self._proxy

    async def _back_off(self, attempt: int, retry_after_seconds: float) -> None:
        if retry_after_seconds and self._habits.heeds_retry_after:
            self._trace.counts["retry-after heeded"] += 1
            await asyncio.sleep(retry_after_seconds)
            return
        most = min(self._habits.backoff_seconds * 2 ** (attempt - 1), BACKOFF_SECONDS_MAX)
        await asyncio.sleep(self._random.random() * most)

    async def _append(self, made: CallMade, stream: SimulatedStream) -> None:
        """Hand the records to the driver as the put path does, without the rest of a call."""
        proxy = self._connected()
        if proxy is None:
            return
        records = [
            Record(
                item.partition_key,
                item.data,
                item.size_bytes,
                hash_key_of(item.partition_key, item.explicit_hash_key),
                proxy.clock(),
                item.explicit_hash_key,
                "1" if made.ordered else None,
            )
            for item in made.items
        ]
        self._trace.counts["appends"] += 1
        proxy.driver.append(stream.name, None, records)
        if self._random.random() < self._habits.vanishes:
            await asyncio.sleep(self._random.uniform(0, CUT_WITHIN_SECONDS))
            proxy.driver.withdraw(stream.name, None, records)
