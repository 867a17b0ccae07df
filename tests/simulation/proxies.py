"""One proxy of a run: the real frontend and the real driver, looked at after each of their moves."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

from proxy.core.buffer import Buffer
from proxy.core.limits import MILLISECOND_NS, SECOND_NS
from proxy.core.ordering import Ordering
from proxy.driver import Driver
from proxy.frontend.calls import UndeliveredLimits
from proxy.frontend.handler import Frontend, FrontendSettings
from tests.simulation.account import TIMER_GRACE_NS, Account
from tests.simulation.network import Network
from tests.simulation.promises import Rule
from tests.support.invariants import check_after_poll, check_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.record import Record
    from proxy.core.stream import Stream
    from proxy.kinesis.http import Reply, Request
    from tests.simulation.world import World

# A recount costs as much as all keys and lanes of a stream; it is done once so much else has been done.
RECOUNT_SHARE = 0.3
CHEAP_LANES_MAX = 64
DRAIN_GRACE_NS = 3 * MILLISECOND_NS
ANSWER_SECONDS = 1.0


class ObservedDriver(Driver):
    """The driver, with every acceptance noted and every stream checked after it has been advanced.

    Args:
        world: of the run.
        account: what is noted.
        network, random: as the driver's.
    """

    def __init__(self, world: World, account: Account, network: Network, random: Callable[[], float]) -> None:
        scenario = world.scenario
        buffer = Buffer(scenario.buffer_records_max, scenario.buffer_bytes_max)
        super().__init__(network, scenario.limits_of, buffer, scenario.streams_max, world.clock, random)
        self._scenario = scenario
        self._account = account
        self._promises = world.promises
        self._credit = 0.0

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Append, and note what was accepted."""
        for record in records:
            self._account.watched(record)
        rejected = super().append(stream_name, stream_arn, records)
        stream = self._directory.find(stream_name, stream_arn)
        self._account.took(stream_name, records, rejected, kept=stream is not None and stream._queues.keeps_order)
        return rejected

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Withdraw, and note of which records that was asked."""
        self._account.withdrawing(records)
        super().withdraw(stream_name, stream_arn, records)
        self._account.withdrew(records)

    def _answered(self, stream: Stream, batch: Batch, task: asyncio.Task[PutReply]) -> None:
        self._account.returned(batch)
        failed = task.cancelled() or task.exception() is not None
        self._account.ended(batch, None if failed else task.result())
        super()._answered(stream, batch, task)

    def _report_defect(self, event: str, stream: Stream, error: BaseException, now_ns: int) -> None:
        del now_ns
        self._promises.note(Rule.DEFECT, f"{event} of {stream.name}: {error!r}").__cause__ = error

    def _advance(self, stream: Stream, now_ns: int) -> None:
        super()._advance(stream, now_ns)
        self._check(stream, now_ns)

    def _pump(self) -> None:
        super()._pump()
        if self._wakes:
            latest_ns = max(self._wakes[0][0], self._clock()) + TIMER_GRACE_NS
            holds = self._timer is not None and self._timer.when() * SECOND_NS <= latest_ns
            self._require(holds, Rule.IDLE, "the driver's timer is set for when the first stream asks to be polled")

    def _check(self, stream: Stream, now_ns: int) -> None:
        """Check a stream, cheaply each time and by a full recount now and then."""
        require, buffer = self._require, self.buffer
        self._account.check_waits()
        share = max(1, int(buffer.records_max * self._scenario.limits.stream_buffer_ratio))
        require(stream.open_records <= share, Rule.BOUNDS, "records of one stream")
        require(stream.in_flight_requests <= self._scenario.limits.in_flight_max, Rule.BOUNDS, "requests in flight")
        require(buffer.records <= buffer.records_max, Rule.BOUNDS, "records buffered")
        require(buffer.bytes <= buffer.bytes_max, Rule.BOUNDS, "bytes buffered")
        require(len(self.streams) <= self._scenario.streams_max, Rule.BOUNDS, "streams")
        opened = sum([each.open_records for each in self.streams.values()])
        require(buffer.records == opened, Rule.BOOKS, f"{buffer.records} buffered, {opened} open")
        # other streams may have outcomes that are not told yet: so may one of that name that is known by its ARN
        # or that was made anew in the moment in which this one was forgotten
        unanswered, opened = self._account.open_by_stream[stream.name], stream.open_records
        if [each for each in self.streams.values() if each.name == stream.name] == [stream]:
            require(unanswered == opened, Rule.BOOKS, f"{unanswered} without an outcome, {opened} open")
        lanes = len(stream.lanes)
        if lanes <= CHEAP_LANES_MAX or self._affords(lanes / CHEAP_LANES_MAX):
            self._held(Rule.IDLE, lambda: check_after_poll(stream, now_ns, self._scenario.limits.linger_ns))
        if self._affords(stream.open_records + lanes):
            self.recount(stream)

    def recount(self, stream: Stream) -> None:
        """Recount a stream's books from its records."""
        flying = [r for batch in self._account.batches if batch.stream_name == stream.name for r in batch.records]
        self._held(Rule.BOOKS, lambda: check_stream(stream, flying))

    def _affords(self, cost: float) -> bool:
        """Whether so much else has been done that a check of this cost is due."""
        self._credit += 1
        if self._credit < cost * RECOUNT_SHARE:
            return False
        self._credit = 0
        return True

    def _require(self, holds: bool, rule: Rule, detail: str) -> None:  # noqa: FBT001 - the question itself
        if not holds:
            raise self._promises.note(rule, detail)

    def _held(self, rule: Rule, check: Callable[[], Any]) -> None:
        try:
            check()
        except AssertionError as error:
            raise self._promises.note(rule, str(error).partition("\n")[0]) from error


class SimulatedProxy:
    """One proxy process, from its start to its end.

    Args:
        world: of the run.
        name: no two have the same.
        open_changed: told by how much the number of open records changes.
    """

    def __init__(self, world: World, name: str, open_changed: Callable[[int], None]) -> None:
        self.name = name
        self.serving = True
        self.stopped = asyncio.Event()
        self._scenario = world.scenario
        self._service = world.service
        self._promises = world.promises
        self._standstills = world.standstills
        self.clock = world.clock
        self.account = Account(world, name, open_changed)
        network = Network(world, self.account, name)
        random = Random(f"proxy {world.scenario.seed} {name}").random  # noqa: S311 - a simulation, not a secret
        self.driver = ObservedDriver(world, self.account, network, random)
        undelivered = UndeliveredLimits(calls_max=world.scenario.undelivered_calls_max)
        settings = FrontendSettings(frozenset(), "forwarded_operations", undelivered=undelivered)
        self.frontend = Frontend(self.driver, network, settings, world.clock)
        self._handlers: dict[asyncio.Task[Reply], None] = {}

    @property
    def open_calls(self) -> int:
        """Requests without an answer."""
        return len(self._handlers)

    def request(self, request: Request, data: Iterable[str]) -> asyncio.Task[Reply]:
        """Send a request, with records of these data, on a connection of its own; an answer takes no time to arrive."""
        self.account.invocation_ids.update(dict.fromkeys(data, request.headers["amz-sdk-invocation-id"]))
        task = asyncio.get_running_loop().create_task(self.frontend.handle(request))
        self._handlers[task] = None
        task.add_done_callback(self._handlers.pop)
        return task

    def cut(self, request: Request, data: Iterable[str]) -> None:
        """Cut the connection of a request: its client has left, as the transport then says.

        Args:
            request: whose answer has not arrived as a whole.
            data: of its records.
        """
        request.leave()
        self.account.left(data)
        self.check_calls()

    def check_calls(self) -> None:
        """Check the bounds on what is kept of calls."""
        calls, limit = self.frontend._calls, self._scenario.undelivered_calls_max
        if calls.undelivered > min(limit, calls.known):
            raise self._promises.note(Rule.BOUNDS, f"{calls.undelivered} calls undelivered of {calls.known}")

    def _check_counts(self) -> None:
        """Check that the proxy knows of every inversion, and of none where there can be none."""
        streams, order = self.driver.streams.values(), self.account.order
        counters = [*self.driver.forgotten.values(), *(stream.counters for stream in streams)]
        counted = sum(each.order_inversions for each in counters)
        if counted < order.inversions:
            raise self._promises.note(Rule.ORDER, f"{self.name} counts {counted} inversions of {order.inversions}")
        for stream in streams:
            simulated = self._service.streams[stream.name]
            strict = simulated.shape.ordering is Ordering.STRICT and not simulated.was_auto
            if strict and (stream.counters.order_inversions or stream.counters.sequence_regressions):
                raise self._promises.note(
                    Rule.ORDER, f"{self.name} counts inversions in {stream.name}, which is strict"
                )

    async def stop(self) -> None:
        """Shut down as `serve` does: take nothing new, drain, let the answers out, close."""
        self.serving = False
        self.frontend.draining = True
        began_at_ns = self.clock()
        timeout_ns = self._scenario.drain_timeout_ms * MILLISECOND_NS
        ends = asyncio.get_running_loop().call_later(self._scenario.drain_timeout_ms / 1000, self._give_up)
        await self.driver.drain(timeout_ns)
        ends.cancel()
        took_ns = self.clock() - began_at_ns - self._standstills.since_ns(began_at_ns)
        if took_ns > timeout_ns + DRAIN_GRACE_NS:
            raise self._promises.note(Rule.DRAIN, f"{self.name} took {took_ns} ns")
        if self.account.open_records or self.driver.buffer.records or self.driver.buffer.bytes:
            raise self._promises.note(Rule.DRAIN, f"{self.account.open_records} records of {self.name} have no outcome")
        if self._handlers:
            await asyncio.wait(list(self._handlers), timeout=ANSWER_SECONDS)
        if self._handlers:
            raise self._promises.note(Rule.ANSWER, f"{len(self._handlers)} calls to {self.name} get no answer")
        await self.driver.close()
        self._check_counts()
        self.stopped.set()

    def _give_up(self) -> None:
        self.account.given_up = True
