"""One run of a scenario on virtual time: its phases and events, its end, and what it leaves behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

import structlog

from tests.simulation.clients import Client
from tests.simulation.fleet import Fleet
from tests.simulation.promises import BrokenPromiseError, Promises, Rule
from tests.simulation.recovery import check_recovery
from tests.simulation.service import STRETCHES, SimulatedService, seconds
from tests.simulation.standstill import Standstills
from tests.simulation.trace import Trace
from tests.simulation.world import World
from tests.support.virtual_time import DeadlockError, VirtualTimeLoop
from tests.support.virtual_time import run as run_virtually

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Coroutine, MutableMapping

    from tests.simulation.scenario import Phase, Scenario

DEFECT_METHODS = frozenset({"error", "exception", "critical"})
STRETCH_SECONDS = (0.05, 4.0)
STANDSTILL_SECONDS = (0.01, 5.0)
# What an exchange takes at the most once the service is well, and the timers around it.
WELL_SECONDS = 0.1


@dataclass(frozen=True)
class Result:
    """What a run leaves behind.

    Args:
        seed: of the scenario.
        digest: hash of all events.
        events: their number.
        counts: of everything worth telling.
        hours: virtual, by kind of phase, and `open` during which a record was.
        broken: the promise that was broken, or None.
    """

    seed: int
    digest: str
    events: int
    counts: Counter[str]
    hours: dict[str, float]
    broken: BrokenPromiseError | None


class Simulation:
    """A run.

    Args:
        scenario: what happens in it.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.promises = Promises()
        self.trace = Trace()
        self.hours: dict[str, float] = {"burst": 0.0, "trickle": 0.0, "idle": 0.0, "open": 0.0}
        self._random = Random(f"course {scenario.seed}")  # noqa: S311 - a simulation, not a secret
        self._tasks: dict[asyncio.Task[None], None] = {}

    def run(self) -> Result:
        """Run to the end, or to the first broken promise."""
        configured = structlog.get_config()
        structlog.configure(processors=[self._judge_log])
        try:
            run_virtually(self._main())
        except DeadlockError as error:
            self.promises.note(Rule.FINISH, str(error))
        except BrokenPromiseError:
            pass
        finally:
            structlog.configure(**configured)
        return Result(
            self.scenario.seed,
            self.trace.digest(),
            self.trace.events,
            self.trace.counts,
            self.hours,
            self.promises.broken,
        )

    async def _main(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.set_exception_handler(self._judge_loop)
        self.loop = loop
        clock = loop.clock_ns
        self.service = SimulatedService(self.scenario, self.trace, clock)
        self.standstills = Standstills()
        world = World(self.scenario, self.service, self.promises, self.trace, clock, self.standstills)
        self.fleet = Fleet(world)
        self.clients = [Client(world, self.fleet, number) for number in range(len(self.scenario.habits))]
        stopped = self.promises.stopped()
        course = loop.create_task(self._course())
        await asyncio.wait((course, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            course.result()
        course.cancel()

    async def _course(self) -> None:
        for phase in self.scenario.phases:
            self.trace.note(self.loop.clock_ns(), "phase", phase.kind, phase.seconds)
            self.hours[phase.kind] += phase.seconds / 3600
            if phase.kind == "burst":
                self._plan_events(phase)
            await self._load(phase)
        await (self._end_well() if self.scenario.ends_well else self._end_under_way())
        for proxy in self.fleet.places:
            if proxy.account.open_records:
                raise self.promises.note(Rule.FINISH, f"{proxy.account.open_records} records of {proxy.name}")
        self.hours["open"] = seconds(self.fleet.busy_ns) / 3600

    async def _load(self, phase: Phase) -> None:
        """Let clients call at random moments."""
        loop, random = self.loop, self._random
        ends_at = loop.time() + phase.seconds
        while phase.calls_per_second:
            at = loop.time() + random.expovariate(phase.calls_per_second)
            if at >= ends_at:
                break
            await asyncio.sleep(at - loop.time())
            client = random.choice(self.clients)
            if not client.busy:
                self._spawn(client.call())
        await asyncio.sleep(max(0.0, ends_at - loop.time()))

    def _plan_events(self, phase: Phase) -> None:
        """Have what the scenario has happen in a burst happen at random moments of it."""
        faults, random = self.scenario.faults, self._random
        for _ in range(faults.reshards):
            self._spawn(self._reshard(random.uniform(0, phase.seconds)))
        for _ in range(faults.strategies):
            self._spawn(self._change_strategy(random.uniform(0, phase.seconds)))
        for _ in range(faults.record_limits):
            self._spawn(self._change_record_limit(random.uniform(0, phase.seconds)))
        for _ in range(faults.standstills):
            self._spawn(self._stand_still(random.uniform(0, phase.seconds)))
        for _ in range(faults.ill_stretches):
            length = min(random.uniform(*STRETCH_SECONDS), phase.seconds)
            self._spawn(self._stretch(random.uniform(0, phase.seconds), length))
        for _ in range(faults.restarts):
            self._spawn(self._restart(random.uniform(0, phase.seconds)))

    async def _reshard(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self.service.reshard(self._random.choice(list(self.service.streams.values())))

    async def _change_strategy(self, delay: float) -> None:
        await asyncio.sleep(delay)
        stream = self._random.choice(list(self.service.streams.values()))
        self.service.change_strategy(stream, auto=not stream.auto)

    async def _change_record_limit(self, delay: float) -> None:
        await asyncio.sleep(delay)
        self.service.change_record_limit(self._random.choice(list(self.service.streams.values())))

    async def _stand_still(self, delay: float) -> None:
        await asyncio.sleep(delay)
        if self.service.well:  # an earlier one carried it over the end of the faults
            return
        began_at_ns = self.loop.clock_ns()
        self.loop.advance(self._random.uniform(*STANDSTILL_SECONDS))
        self.standstills.note(began_at_ns, self.loop.clock_ns())
        self.trace.counts["fault standstill"] += 1
        self.trace.note(self.loop.clock_ns(), "standstill", began_at_ns)

    async def _stretch(self, delay: float, length: float) -> None:
        await asyncio.sleep(delay)
        stream = self._random.choice(list(self.service.streams.values()))
        if stream.stretch is None:
            self.service.begin_stretch(stream, self._random.choice(STRETCHES))
            await asyncio.sleep(length)
            self.service.end_stretch(stream)

    async def _restart(self, delay: float) -> None:
        await asyncio.sleep(delay)
        await self.fleet.restart(self._random.randrange(len(self.fleet.places)))

    async def _end_well(self) -> None:
        """End the faults: everything must finish within a record's life and one request."""
        for stream in self.service.streams.values():
            if stream.stretch is not None:
                self.service.end_stretch(stream)
        self.service.well = True
        for client in self.clients:
            client.stopping = True
        limits = self.scenario.limits
        self.trace.note(self.loop.clock_ns(), "well")
        await asyncio.sleep(seconds(limits.delivery_timeout_ns + limits.response_grace_ns) + WELL_SECONDS)
        for proxy in self.fleet.places:
            left = proxy.account.open_records
            if left or (proxy.serving and proxy.open_calls):
                raise self.promises.note(Rule.FINISH, f"{left} records and {proxy.open_calls} calls of {proxy.name}")
            for known in proxy.driver.streams.values():
                proxy.driver.recount(known)
            proxy.check_calls()
        await check_recovery(self.fleet, self.service, self.promises)
        await self.fleet.stop()

    async def _end_under_way(self) -> None:
        """Shut everything down while it is busy."""
        for client in self.clients:
            client.stopping = True
        await self.fleet.stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks[task] = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.promises.note(Rule.DEFECT, repr(error)).__cause__ = error

    def _judge_log(self, logger: object, method: str, event: MutableMapping[str, Any]) -> NoReturn:
        """Drop every line, and take an error in the log for what it is."""
        del logger
        if method in DEFECT_METHODS:
            error = event.pop("exc_info", None)
            self.promises.note(Rule.DEFECT, f"logged: {event} {error!r}")
        raise structlog.DropEvent

    def _judge_loop(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        del loop
        error = context.get("exception")
        if not isinstance(error, BrokenPromiseError):
            self.promises.note(Rule.DEFECT, f"{context.get('message')}: {error!r}")


def virtual_hours(result: Result) -> float:
    """Return how long a run was, in virtual hours."""
    return sum(hours for kind, hours in result.hours.items() if kind != "open")
