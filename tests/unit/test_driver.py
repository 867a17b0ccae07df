from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
import structlog

from proxy.core.batch import Answer, Batch, Failure, Reply, Written
from proxy.core.buffer import Buffer
from proxy.core.limits import MIB, StreamLimits
from proxy.core.ordering import Ordering
from proxy.core.record import Record, State
from proxy.core.shard_map import Shard, StreamSummary
from proxy.driver import Driver
from proxy.metrics.labels import OTHER
from tests.support.virtual_time import VirtualTimeLoop, run
from tests.unit.core.builders import MS, SECOND, record_of, shard_id_of, shards_of, taken, unlimited

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from proxy.core.stream import Stream
    from proxy.kinesis.http import Reply as HttpReply
    from proxy.kinesis.http import Request

REFUSED = Failure("ConnectFailed", "connection refused", Written.NOT_SENT)


class FakeUpstream:
    """An upstream that does as it is told.

    Args:
        latency_seconds: how long a put takes.

    `puts` are the batches that it was given, in order; `answers` what it says to them, first come first served, then
    that all was taken.
    """

    region = "us-east-1"

    def __init__(self, latency_seconds: float = 0.01) -> None:
        self.latency_seconds = latency_seconds
        self.puts: list[Batch] = []
        self.puts_at_ns: list[int] = []
        self.answers: list[Reply | Exception] = []
        self.shards: list[Shard] | Failure = shards_of(1)
        self.summary: StreamSummary | Failure = StreamSummary("arn", 1)
        self.list_shards_calls = 0
        self.summary_calls = 0
        self.cancelled_puts = 0
        self._sequence_number = 0

    async def start(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """Nothing is open."""

    def ready(self) -> bool:
        """Whether puts could be sent."""
        return True

    async def put(self, batch: Batch) -> Reply:
        """Answer as told, after the latency."""
        self.puts.append(batch)
        self.puts_at_ns.append(now_ns())
        try:
            await asyncio.sleep(self.latency_seconds)
        except asyncio.CancelledError:
            self.cancelled_puts += 1
            raise
        answer = self.answers.pop(0) if self.answers else self._all_taken(batch)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the shards, or fail, as told."""
        del stream_name, stream_arn
        self.list_shards_calls += 1
        await asyncio.sleep(self.latency_seconds)
        return self.shards

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the summary, or fail, as told."""
        del stream_name, stream_arn
        self.summary_calls += 1
        await asyncio.sleep(self.latency_seconds)
        return self.summary

    async def forward(self, operation: str, request: Request) -> HttpReply:
        """Nothing is forwarded by a driver."""
        raise NotImplementedError

    def _all_taken(self, batch: Batch) -> Answer:
        results = []
        for _ in batch.records:
            self._sequence_number += 1
            results.append(taken(self._sequence_number))
        return Answer(results)


def loop_of() -> VirtualTimeLoop:
    """Return the running loop."""
    return cast("VirtualTimeLoop", asyncio.get_running_loop())


def now_ns() -> int:
    """Return virtual time."""
    return loop_of().clock_ns()


def driver_of(
    upstream: FakeUpstream, limits: StreamLimits | None = None, *, streams_max: int = 10, records_max: int = 10_000
) -> Driver:
    """Return a driver on the running loop's virtual time."""
    buffer = Buffer(records_max, 1024 * 1024 * 1024)
    return Driver(upstream, lambda _: limits or unlimited(), buffer, streams_max, loop_of().clock_ns, lambda: 0.5)


class Caller:
    """Appends records and remembers what it was told of them."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.told: list[Record] = []

    def put(self, *partition_keys: str, stream: str = "orders") -> list[Record]:
        """Append one record for each partition key."""
        records = [self.record(key) for key in partition_keys]
        assert self.driver.append(stream, None, records) == 0
        return records

    def record(self, partition_key: str) -> Record:
        """Return a record whose outcome this caller is told of."""
        return record_of(partition_key, received_at_ns=now_ns(), on_outcome=self.told.append)


def virtual(test: Callable[[], Coroutine[object, object, None]]) -> Callable[[], None]:
    """Run an asynchronous test on a virtual-time loop of its own."""

    def run_test() -> None:
        run(test())

    run_test.__name__, run_test.__doc__ = test.__name__, test.__doc__
    return run_test


def timers() -> list[asyncio.TimerHandle]:
    """Return the timers that are set."""
    scheduled: list[asyncio.TimerHandle] = loop_of()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


@virtual
async def test_appends_of_one_loop_iteration_share_a_batch() -> None:
    """What arrives in one go travels together."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    caller = Caller(driver)
    records = caller.put("a", "b") + caller.put("c") + caller.put("d")
    await asyncio.sleep(0.1)
    assert [batch.records for batch in upstream.puts] == [records]
    await driver.close()


@virtual
async def test_every_record_has_its_outcome_told_once() -> None:
    """With what the service assigned to it, retries or not."""
    upstream = FakeUpstream()
    upstream.answers = [REFUSED]
    driver = driver_of(upstream)
    caller = Caller(driver)
    records = caller.put("a", "b", "a")
    await asyncio.sleep(1)
    assert sorted(map(id, caller.told)) == sorted(map(id, records))
    assert [record.state for record in records] == [State.ACKNOWLEDGED] * 3
    assert {record.shard_id for record in records} == {shard_id_of(0)}
    assert [record.attempts for record in records] == [2, 2, 1]
    await driver.close()


@virtual
async def test_no_outcome_is_told_from_inside_append() -> None:
    """Not even of a record that is overdue when another one arrives."""
    upstream = FakeUpstream(latency_seconds=100)
    driver = driver_of(upstream, unlimited(delivery_timeout_ns=10 * MS, in_flight_max=1))
    caller = Caller(driver)
    caller.put("a")
    await asyncio.sleep(0.005)
    caller.put("b")
    loop_of().advance(1)
    caller.put("c")
    assert caller.told == []
    await asyncio.sleep(0)
    assert [record.partition_key for record in caller.told] == ["a", "b"]
    await driver.drain(0)


@virtual
async def test_an_expired_head_is_told_before_a_newer_record_of_its_key_goes() -> None:
    """Its caller has its answer first."""
    upstream = FakeUpstream()
    upstream.answers = [REFUSED]
    limits = unlimited(delivery_timeout_ns=50 * MS, backoff_base_ns=120 * MS, backoff_max_ns=120 * MS)
    driver = driver_of(upstream, limits)
    caller = Caller(driver)
    (old,) = caller.put("a")
    puts_when_told: list[int] = []
    old.on_outcome = lambda _: puts_when_told.append(len(upstream.puts))
    await asyncio.sleep(0.04)
    (new,) = caller.put("a")
    await asyncio.sleep(1)
    assert (old.state, new.state) == (State.EXPIRED, State.ACKNOWLEDGED)
    assert puts_when_told == [1]
    await driver.close()


@virtual
async def test_a_caller_may_append_when_it_is_told() -> None:
    """The new record goes with the next batch."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    caller = Caller(driver)
    first, second = caller.record("a"), caller.record("a")

    def append_second(record: Record) -> None:
        del record
        driver.append("orders", None, [second])

    first.on_outcome = append_second
    driver.append("orders", None, [first])
    await asyncio.sleep(1)
    assert caller.told == [second]
    await driver.close()


@virtual
async def test_a_caller_that_fails_when_it_is_told_costs_nobody_else_an_outcome() -> None:
    """Neither in its own stream nor in another."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    caller = Caller(driver)

    def fail(record: Record) -> None:
        raise RuntimeError(record.partition_key)

    bad = record_of("bad", on_outcome=fail)
    driver.append("orders", None, [bad])
    records = caller.put("a", "b") + caller.put("c", stream="other")
    await asyncio.sleep(1)
    assert sorted(map(id, caller.told)) == sorted(map(id, records))
    assert await driver.drain(SECOND) == 0


@virtual
async def test_a_defect_in_the_upstream_costs_a_retry() -> None:
    """It must not strand the records of its batch."""
    upstream = FakeUpstream()
    upstream.answers = [KeyError("a defect")]
    driver = driver_of(upstream)
    caller = Caller(driver)
    (record,) = caller.put("a")
    await asyncio.sleep(1)
    assert (record.state, record.attempts) == (State.ACKNOWLEDGED, 2)
    assert driver.streams["orders"].counters.unknown_outcomes == 1
    await driver.close()


@virtual
async def test_a_request_that_cancels_itself_costs_a_retry() -> None:
    """A client library may give up in this way."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    caller = Caller(driver)
    (record,) = caller.put("a")
    await asyncio.sleep(0.001)
    (put,) = [task for task in asyncio.all_tasks() if "put" in repr(task.get_coro())]
    put.cancel()
    await asyncio.sleep(1)
    assert (record.state, record.attempts) == (State.ACKNOWLEDGED, 2)
    await driver.close()


@virtual
async def test_there_is_one_task_for_a_batch_and_none_for_a_record() -> None:
    """Six hundred records are two requests and one map."""
    upstream = FakeUpstream(latency_seconds=1)
    driver = driver_of(upstream)
    before = len(asyncio.all_tasks())
    Caller(driver).put(*(f"k{number}" for number in range(600)))
    await asyncio.sleep(0.1)
    assert [len(batch.records) for batch in upstream.puts] == [500, 100]
    assert len(asyncio.all_tasks()) - before == 3
    await asyncio.sleep(2)
    assert len(asyncio.all_tasks()) == before
    await driver.close()


@virtual
async def test_one_timer_serves_all_streams() -> None:
    """However many records wait for however many instants."""
    upstream = FakeUpstream(latency_seconds=1)
    driver = driver_of(upstream, unlimited(shard_records_per_second=1, shard_burst_ns=SECOND))
    caller = Caller(driver)
    for number in range(10):
        caller.put("a", "b", "c", stream=f"stream-{number}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    latencies = driver.in_flight_requests + upstream.list_shards_calls + upstream.summary_calls
    assert len(timers()) - latencies == 1
    await driver.drain(0)


@virtual
async def test_instants_that_do_not_count_any_more_are_forgotten() -> None:
    """A stream is woken each linger, and each time for its records' deadline anew: those are minutes away."""
    driver = driver_of(FakeUpstream(latency_seconds=0.01), unlimited(delivery_timeout_ns=600 * SECOND))
    caller = Caller(driver)
    for number in range(2000):
        caller.put(f"key-{number}")
        await asyncio.sleep(0.001)
    assert len(driver._wakes) < 80
    await driver.drain(SECOND)
    assert {record.state for record in caller.told} == {State.ACKNOWLEDGED}
    assert len(caller.told) == 2000


@virtual
async def test_a_driver_with_nothing_to_do_sets_no_timer() -> None:
    """An idle proxy sleeps."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    Caller(driver).put("a")
    await asyncio.sleep(5)
    assert timers() == []
    await driver.close()


@virtual
async def test_what_lingers_goes_when_its_time_has_come() -> None:
    """Within a millisecond, since timers are counted in them."""
    upstream = FakeUpstream(latency_seconds=1)
    driver = driver_of(upstream, unlimited(linger_ns=5 * MS))
    caller = Caller(driver)
    started_at_ns = now_ns()
    caller.put("a")
    await asyncio.sleep(0)
    caller.put("b")
    await asyncio.sleep(0.1)
    (_, lingered_at_ns) = upstream.puts_at_ns
    assert 5 * MS <= lingered_at_ns - started_at_ns <= 6 * MS
    await driver.drain(0)


@virtual
async def test_the_map_is_fetched_once_for_many_records() -> None:
    """And the summary too."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    caller = Caller(driver)
    for number in range(100):
        caller.put(f"k{number}")
        await asyncio.sleep(0.02)
    assert (upstream.list_shards_calls, upstream.summary_calls) == (1, 1)
    assert driver.streams["orders"].open_shard_count == 1
    assert driver.summary("orders", None) == StreamSummary("arn", 1)
    await driver.close()


@virtual
async def test_records_are_delivered_although_nothing_can_be_learned_of_the_stream() -> None:
    """Both calls may be denied for ever; they are asked again, with a growing backoff."""
    upstream = FakeUpstream()
    upstream.shards = upstream.summary = Failure("AccessDeniedException", None, Written.REFUSED, 400)
    driver = driver_of(upstream)
    caller = Caller(driver)
    for number in range(100):
        caller.put(f"k{number}")
        await asyncio.sleep(0.1)
    assert len(caller.told) == 100
    assert {record.state for record in caller.told} == {State.ACKNOWLEDGED}
    assert 2 <= upstream.list_shards_calls <= 5
    assert 2 <= upstream.summary_calls <= 5
    assert driver.summary("orders", None) is None
    await driver.close()


@virtual
async def test_a_defect_while_the_map_is_fetched_is_a_failed_fetch() -> None:
    """It is tried again."""

    class Broken(FakeUpstream):
        async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
            shards = await super().list_shards(stream_name, stream_arn)
            if self.list_shards_calls == 1:
                raise KeyError("a defect")
            return shards

    upstream = Broken()
    driver = driver_of(upstream)
    caller = Caller(driver)
    for _ in range(30):
        caller.put("a")
        await asyncio.sleep(0.1)
    assert upstream.list_shards_calls == 2
    assert driver.streams["orders"].open_shard_count == 1
    await driver.close()


@virtual
async def test_a_stream_named_by_its_arn_is_addressed_by_its_arn() -> None:
    """The caller may have no right to any other name."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    driver.append("orders", "arn:aws:kinesis:us-east-1:123456789012:stream/orders", [record_of("a")])
    await asyncio.sleep(1)
    (batch,) = upstream.puts
    assert (batch.stream_name, batch.stream_arn) == (
        "orders",
        "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
    )
    await driver.close()


@virtual
async def test_a_stream_named_by_name_and_by_its_arn_is_one_once_our_account_is_known() -> None:
    """The summary tells it; from then on a key has one queue, whatever its callers call the stream."""
    arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
    upstream = FakeUpstream(latency_seconds=0.1)
    upstream.summary = StreamSummary(arn, 1)
    driver = driver_of(upstream)
    caller = Caller(driver)
    caller.put("a")
    await asyncio.sleep(2)
    caller.put("a")
    await asyncio.sleep(2)
    caller.put("a")
    driver.append("orders", arn, [record_of("a")])
    await asyncio.sleep(0.05)
    assert [len(batch.records) for batch in upstream.puts] == [1, 1, 1]
    await asyncio.sleep(1)
    assert [batch.stream_arn for batch in upstream.puts] == [None] * 4
    assert driver.summary("orders", arn) is driver.summary("orders", None)
    await driver.close()


@virtual
async def test_a_stream_of_another_region_does_not_exist_here() -> None:
    """The upstream could not find it either."""
    driver = driver_of(FakeUpstream())
    arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    record = record_of("a")
    assert driver.append("orders", arn, [record]) == 1
    assert record.error_code == "ResourceNotFoundException"
    assert record.error_message == "Stream orders under account 123456789012 not found."
    assert not driver.streams
    await driver.close()


@virtual
async def test_an_idle_stream_is_forgotten_for_a_new_one_and_its_counts_are_kept() -> None:
    """The one that nobody has asked for in the longest time."""
    upstream = FakeUpstream()
    driver = driver_of(upstream, streams_max=2)
    caller = Caller(driver)
    for stream in ("one", "two", "three"):
        caller.put("a", stream=stream)
        await asyncio.sleep(2)
    assert list(driver.streams) == ["two", "three"]
    assert driver.forgotten[OTHER].acknowledged_records == 1
    assert driver.forgotten[OTHER].received_records == 1
    await driver.close()


@virtual
async def test_a_busy_stream_is_never_forgotten() -> None:
    """A new one is turned away, in an error that its SDK retries."""
    upstream = FakeUpstream(latency_seconds=1)
    driver = driver_of(upstream, streams_max=1)
    caller = Caller(driver)
    caller.put("a", stream="one")
    await asyncio.sleep(0.1)
    record = caller.record("b")
    assert driver.append("two", None, [record]) == 1
    assert (record.state, record.error_code) == (State.REJECTED, "ProvisionedThroughputExceededException")
    assert list(driver.streams) == ["one"]
    await asyncio.sleep(5)
    caller.put("b", stream="two")
    await asyncio.sleep(5)
    assert len(caller.told) == 2
    await driver.close()


@virtual
async def test_an_outcome_is_told_although_a_new_stream_wants_the_place() -> None:
    """The new one asks between the answer and the telling of it."""
    upstream = FakeUpstream(latency_seconds=2)
    driver = driver_of(upstream, streams_max=1)
    caller = Caller(driver)
    (record,) = caller.put("a", stream="one")
    found: list[tuple[State, int]] = []

    def ask_when_answered() -> None:
        if record.state is State.IN_FLIGHT:
            asyncio.get_running_loop().call_soon(ask_when_answered)
            return
        found.append((record.state, len(caller.told)))
        driver.append("two", None, [record_of("b")])

    await asyncio.sleep(1.9)
    asyncio.get_running_loop().call_later(0.1, ask_when_answered)
    await asyncio.sleep(5)
    assert found == [(State.ACKNOWLEDGED, 0)]
    assert caller.told == [record]
    await driver.close()


@virtual
async def test_a_rejection_says_how_many_were_accepted_and_the_others_have_no_outcome() -> None:
    """The buffer is shared by all streams."""
    upstream = FakeUpstream()
    driver = driver_of(upstream, records_max=3)
    caller = Caller(driver)
    caller.put("a", "b", stream="one")
    assert driver.append("two", None, [caller.record(key) for key in "cde"]) == 2
    await asyncio.sleep(1)
    assert sorted(record.partition_key for record in caller.told) == ["a", "b", "c"]
    await driver.close()


@virtual
async def test_the_age_of_the_oldest_record_is_known() -> None:
    """Over all streams; nothing is no age."""
    upstream = FakeUpstream(latency_seconds=1)
    driver = driver_of(upstream)
    caller = Caller(driver)
    assert driver.oldest_record_age_ns() == 0
    caller.put("a", stream="one")
    await asyncio.sleep(0.2)
    caller.put("a", stream="two")
    await asyncio.sleep(0.1)
    assert abs(driver.oldest_record_age_ns() - 300 * MS) <= MS
    assert driver.in_flight_requests == 2
    await asyncio.sleep(5)
    assert driver.oldest_record_age_ns() == 0
    await driver.close()


@virtual
async def test_drain_of_a_driver_without_streams_returns_at_once() -> None:
    """There is nothing to wait for."""
    driver = driver_of(FakeUpstream())
    started_at_ns = now_ns()
    assert await driver.drain(10 * SECOND) == 0
    assert now_ns() == started_at_ns


@virtual
async def test_drain_waits_until_everything_is_delivered() -> None:
    """And no longer."""
    upstream = FakeUpstream(latency_seconds=0.2)
    driver = driver_of(upstream)
    caller = Caller(driver)
    caller.put("a", "a", "b")
    started_at_ns = now_ns()
    assert await driver.drain(10 * SECOND) == 0
    assert len(caller.told) == 3
    assert {record.state for record in caller.told} == {State.ACKNOWLEDGED}
    assert now_ns() - started_at_ns <= 402 * MS
    await driver.close()


@virtual
async def test_a_draining_driver_takes_no_more_records() -> None:
    """The caller is told at once, in an error that its SDK retries elsewhere."""
    driver = driver_of(FakeUpstream())
    caller = Caller(driver)
    caller.put("a")
    drain = asyncio.ensure_future(driver.drain(SECOND))
    await asyncio.sleep(0)
    record = record_of("b")
    assert driver.append("orders", None, [record]) == 1
    assert (record.error_code, record.error_message) == ("InternalFailure", "The proxy is shutting down.")
    assert await drain == 0
    await driver.close()


@virtual
async def test_a_draining_driver_asks_about_no_stream_any_more() -> None:
    """Nothing will be put into it."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    assert await driver.drain(SECOND) == 0
    driver.learn_about("orders", None)
    await asyncio.sleep(1)
    assert not driver.streams
    assert upstream.summary_calls == 0
    await driver.close()


@virtual
async def test_drain_gives_up_the_rest_when_its_time_is_over() -> None:
    """Every record has its outcome when it returns, and the count is told."""
    upstream = FakeUpstream(latency_seconds=100)
    driver = driver_of(upstream, unlimited(delivery_timeout_ns=60 * SECOND))
    caller = Caller(driver)
    records = caller.put("a", "a", "b")
    await asyncio.sleep(0.1)
    assert await driver.drain(SECOND) == 3
    assert sorted(map(id, caller.told)) == sorted(map(id, records))
    assert {(record.state, record.error_code) for record in records} == {(State.EXPIRED, "InternalFailure")}
    assert upstream.cancelled_puts == 1
    assert driver.buffer.records == 0
    await driver.close()


@virtual
async def test_a_request_cut_off_by_the_shutdown_is_told_in_words_that_hold_for_all() -> None:
    """A map has no records, and those of a put may be settled; of a record it is told that it was not delivered."""
    driver = driver_of(FakeUpstream(latency_seconds=100), unlimited(delivery_timeout_ns=60 * SECOND))
    (record,) = Caller(driver).put("a")
    await asyncio.sleep(0.1)
    with structlog.testing.capture_logs() as logs:
        await driver.drain(SECOND)
    told = [(entry["event"], entry["message"]) for entry in logs if entry.get("code") == "ShuttingDown"]
    text = "The proxy shut down before an answer came."
    assert sorted(told) == [("put_failed", text), ("shard_map_unavailable", text), ("stream_summary_unavailable", text)]
    assert record.error_message == "The proxy shut down before the record was delivered."
    await driver.close()


@virtual
async def test_requests_abandoned_together_end_in_the_order_in_which_they_were_sent() -> None:
    """So a run repeats itself: nothing depends on where in memory a task lies."""
    driver = driver_of(FakeUpstream(latency_seconds=100), unlimited(batch_records_max=1, in_flight_max=64))
    caller = Caller(driver)
    records = caller.put(*map(str, range(64)))
    await driver.drain(SECOND)
    assert caller.told == records
    await driver.close()


@virtual
async def test_drain_counts_only_what_was_not_delivered() -> None:
    """What got through in time is a success."""
    upstream = FakeUpstream(latency_seconds=0.4)
    driver = driver_of(upstream)
    caller = Caller(driver)
    caller.put("a", "a", "a", "b")
    assert await driver.drain(SECOND) == 1
    assert [record.state for record in caller.told].count(State.ACKNOWLEDGED) == 3
    await driver.close()


@virtual
async def test_drain_counts_the_records_that_expired_while_it_waited() -> None:
    """They were not delivered, although their callers were answered in time."""
    upstream = FakeUpstream()
    upstream.answers = [REFUSED] * 1000
    driver = driver_of(upstream)
    caller = Caller(driver)
    caller.put("a", "b")
    assert await driver.drain(10 * SECOND) == 2
    assert {record.state for record in caller.told} == {State.EXPIRED}
    await driver.close()


@pytest.mark.parametrize("margin_ns", [100, 500, 900, 1_000_500])
def test_a_batch_abandoned_before_its_task_began_has_its_outcome(margin_ns: int) -> None:
    """The timer that sends a batch and the one that ends the drain can fire in one iteration of the loop."""

    async def main() -> None:
        upstream = FakeUpstream(latency_seconds=100)
        driver = driver_of(upstream)
        caller = Caller(driver)
        caller.put("a")
        await asyncio.sleep(0.2)
        caller.put("lingers")
        assert await driver.drain(6 * MS - margin_ns) == 2
        assert [record.state for record in caller.told] == [State.EXPIRED] * 2
        assert driver.buffer.records == 0
        await driver.close()

    run(main())


@virtual
async def test_an_upstream_that_answers_in_the_face_of_its_cancellation_is_believed() -> None:
    """The record is in the stream."""

    class Stubborn(FakeUpstream):
        async def put(self, batch: Batch) -> Reply:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                return Answer([taken(1) for _ in batch.records])
            raise AssertionError("nobody cancelled it")

    driver = driver_of(Stubborn())
    caller = Caller(driver)
    caller.put("a", "a")
    assert await driver.drain(SECOND) == 1
    assert [record.state for record in caller.told] == [State.EXPIRED, State.ACKNOWLEDGED]
    await driver.close()


@virtual
async def test_close_ends_every_task_and_the_timer() -> None:
    """Nothing outlives the driver."""
    upstream = FakeUpstream(latency_seconds=100)
    driver = driver_of(upstream)
    before = asyncio.all_tasks()
    Caller(driver).put("a")
    await asyncio.sleep(0.1)
    await driver.drain(0)
    await driver.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert timers() == []


@virtual
async def test_a_defect_in_one_stream_does_not_stop_another() -> None:
    """Not even when both are advanced together."""

    class Broken:
        name = "broken"

        def poll(self, now_ns: int) -> list[Batch]:
            raise RuntimeError(f"a defect at {now_ns}")

    upstream = FakeUpstream()
    driver = driver_of(upstream)
    caller = Caller(driver)
    driver._touch(cast("Stream", Broken()))
    (record,) = caller.put("a", stream="well")
    await asyncio.sleep(5)
    assert caller.told == [record]
    await driver.close()


@virtual
async def test_a_stream_that_fails_does_not_hold_up_another() -> None:
    """Each has a gate of its own."""

    class Half(FakeUpstream):
        async def put(self, batch: Batch) -> Reply:
            reply = await super().put(batch)
            return REFUSED if batch.stream_name == "ill" else reply

    upstream = Half()
    driver = driver_of(upstream)
    caller = Caller(driver)
    for _ in range(20):
        caller.put("a", stream="ill")
        caller.put("a", stream="well")
        await asyncio.sleep(0.05)
    assert driver.streams["well"].counters.acknowledged_records == 20
    assert driver.streams["ill"].counters.acknowledged_records == 0
    assert await driver.drain(10 * SECOND) == 20
    await driver.close()


@virtual
async def test_a_stream_is_learned_about_although_nothing_is_queued_for_it() -> None:
    """Its summary is asked for once, whoever asks again."""
    upstream = FakeUpstream()
    driver = driver_of(upstream)
    driver.learn_about("orders", None)
    driver.learn_about("orders", None)
    await asyncio.sleep(1)
    driver.learn_about("orders", None)
    await asyncio.sleep(1)
    assert driver.summary("orders", None) == upstream.summary
    assert upstream.summary_calls == 1
    assert upstream.list_shards_calls == 0


@virtual
async def test_a_withdrawn_record_has_its_outcome_told_and_is_never_sent() -> None:
    """Later, from the event loop, like any other outcome."""
    upstream = FakeUpstream(latency_seconds=1)
    driver = driver_of(upstream)
    caller = Caller(driver)
    flying, waiting = caller.put("a", "a")
    await asyncio.sleep(0.1)
    driver.withdraw("orders", None, [flying, waiting])
    assert caller.told == []
    await asyncio.sleep(0)
    assert caller.told == [waiting]
    await asyncio.sleep(5)
    assert caller.told == [waiting, flying]
    assert [batch.records for batch in upstream.puts] == [[flying]]
    await driver.close()


@virtual
async def test_what_is_withdrawn_from_a_stream_that_is_not_known_is_nothing() -> None:
    """It has been forgotten: all of its records had their outcome."""
    driver = driver_of(FakeUpstream())
    driver.withdraw("orders", None, [record_of("a")])
    assert not driver.streams
    await driver.close()


@virtual
async def test_a_stream_that_nobody_has_used_for_long_is_forgotten() -> None:
    """And its counts are kept."""
    driver = driver_of(FakeUpstream(), unlimited(unused_ns=100 * SECOND))
    caller = Caller(driver)
    caller.put("a", stream="old")
    await asyncio.sleep(50)
    caller.put("a", stream="new")
    await asyncio.sleep(60)
    caller.put("a", stream="new")
    await asyncio.sleep(1)
    assert list(driver.streams) == ["new"]
    assert driver.forgotten[OTHER].acknowledged_records == 1
    await driver.close()


@virtual
async def test_a_key_that_its_order_holds_back_is_reported_now_and_then_and_never_by_name() -> None:
    """With the setting that would help."""
    driver = driver_of(
        FakeUpstream(latency_seconds=1), unlimited(admission_wait_ns=SECOND, delivery_timeout_ns=60 * SECOND)
    )
    caller = Caller(driver)
    with structlog.testing.capture_logs() as logs:
        for _ in range(8):
            driver.append("orders", None, [caller.record("secret") for _ in range(5)])
            await asyncio.sleep(2.5)
    (first, second) = [entry for entry in logs if entry["event"] == "partition_key_held_back"]
    assert first["hash_key"] == second["hash_key"] == f"{record_of('secret').hash_key:032x}"[:8]
    assert "ordering" in first["hint"]
    assert "secret" not in str(logs)
    await driver.drain(0)


@virtual
async def test_the_keys_that_stand_out_among_the_throttled_are_reported_now_and_then_and_never_by_name() -> None:
    """Of many keys that share a throttled shard, those that fill it."""
    driver = driver_of(FakeUpstream(), unlimited(shard_records_per_second=1, admission_wait_ns=SECOND))
    caller = Caller(driver)
    caller.put("first")
    await asyncio.sleep(1)  # until the shards are known nothing is refused
    with structlog.testing.capture_logs() as logs:
        for _ in range(100):
            driver.append("orders", None, [caller.record(key) for key in ("secret", "secret", "quiet", "still")])
            await asyncio.sleep(0.2)
    (first, second) = [entry for entry in logs if entry["event"] == "partition_keys_hot"]
    hottest, *others = first["keys"]
    assert hottest["hash_key"] == second["keys"][0]["hash_key"] == f"{record_of('secret').hash_key:032x}"[:8]
    assert hottest["share"] > max(other["share"] for other in others)
    assert hottest["shard_id"] is not None
    assert "secret" not in str(logs)
    await driver.drain(0)


@virtual
async def test_each_stream_has_the_limits_of_its_name() -> None:
    """What is promised about order can differ."""
    upstream = FakeUpstream()
    loose, strict = unlimited(ordering=Ordering.NONE), unlimited()
    buffer = Buffer(1_000, MIB)
    driver = Driver(
        upstream, lambda name: loose if name == "loose" else strict, buffer, 10, loop_of().clock_ns, lambda: 0.5
    )
    caller = Caller(driver)
    caller.put("a", "a", stream="loose")
    caller.put("a", "a", stream="strict")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert {batch.stream_name: len(batch.records) for batch in upstream.puts} == {"loose": 2, "strict": 1}
    await driver.drain(0)
