"""All proxies of a run, in their places: who serves where, what is open over all of them, and since when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.proxies import SimulatedProxy

if TYPE_CHECKING:
    from tests.simulation.world import World


class Fleet:
    """Proxies, each in a place that a new one takes over after it.

    Args:
        world: of the run.

    `busy_ns` is the time during which any record was open.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._trace = world.trace
        self._clock = world.clock
        self._made = 0
        self._closing = False
        self._open = 0
        self._busy_since_ns = 0
        self.busy_ns = 0
        self.places: list[SimulatedProxy] = [self._make() for _ in range(world.scenario.proxies)]

    def _make(self) -> SimulatedProxy:
        self._made += 1
        return SimulatedProxy(self._world, f"proxy-{self._made}", self._open_changed)

    @property
    def serving(self) -> list[SimulatedProxy]:
        """The proxies that take calls."""
        return [proxy for proxy in self.places if proxy.serving]

    async def restart(self, place: int) -> None:
        """Shut a place's proxy down and put a new one there."""
        proxy = self.places[place]
        if not proxy.serving:
            return
        self._trace.counts["fault shutdown"] += 1
        self._trace.note(self._clock(), "stop", proxy.name)
        await proxy.stop()
        self._trace.note(self._clock(), "stopped", proxy.name)
        if not self._closing:
            self.places[place] = self._make()

    async def stop(self) -> None:
        """Shut all down at once, and put no new ones there."""
        self._closing = True
        self._trace.note(self._clock(), "stop all")
        await asyncio.gather(*(proxy.stop() if proxy.serving else proxy.stopped.wait() for proxy in self.places))

    def _open_changed(self, by: int) -> None:
        if not self._open:
            self._busy_since_ns = self._clock()
        self._open += by
        if not self._open:
            self.busy_ns += self._clock() - self._busy_since_ns
