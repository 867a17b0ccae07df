from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from proxy.admin import watch as watch_module
from proxy.admin.watch import (
    ANSWERS_PER_SECOND_MAX,
    SAMPLING_RATIO_MAX,
    TICK_SECONDS,
    Sources,
    TooManyViewersError,
    Watch,
    state_of,
)
from proxy.frontend.counters import FrontendCounters
from proxy.upstream.counters import Outcome, UpstreamCounters
from tests.support import virtual_time
from tests.unit.admin.admin_fakes import HeldUpstream, make_driver, make_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.virtual_time import VirtualTimeLoop


class Bench:
    """A watch over a driver whose upstream is held, on virtual time."""

    def __init__(self, clock: Callable[[], int] | None = None, streams_max: int = 100) -> None:
        self.loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
        self.upstream = HeldUpstream()
        self.driver = make_driver(self.upstream, streams_max=streams_max)
        self.frontend = FrontendCounters()
        self.requests = UpstreamCounters()
        sources = Sources(self.driver, self.frontend, self.requests, lambda: {"version": "1"})
        self.watch = Watch(sources, clock or self.loop.clock_ns)

    def now(self) -> dict[str, Any]:
        """Return the present."""
        return cast("dict[str, Any]", msgspec.json.decode(self.watch.now()))

    def history(self) -> dict[str, Any]:
        """Return the last minutes."""
        return cast("dict[str, Any]", msgspec.json.decode(self.watch.history()))

    def stream(self, identity: str) -> dict[str, Any]:
        """Return a stream."""
        body = self.watch.stream(identity)
        assert body is not None
        return cast("dict[str, Any]", msgspec.json.decode(body))

    async def deliver(self) -> None:
        """Have everything that is held delivered."""
        await asyncio.sleep(0.1)
        while self.upstream.held_records:
            self.upstream.answer()
            await asyncio.sleep(0.01)


def test_the_present_shows_each_stream_and_the_books_balance() -> None:
    """Rates, queue, flight and outcomes of the whole and of the streams, at one moment."""

    async def main() -> None:
        bench = Bench()
        bench.watch.start()
        bench.driver.append("orders", None, make_records("a", "b", "c"))
        bench.driver.append("clicks", None, make_records("x"))
        await bench.deliver()
        bench.driver.append("orders", None, make_records("d", "d"))
        bench.frontend.count_rejection("ProvisionedThroughputExceededException", 4)
        bench.frontend.count_request("PutRecords", 200, 0.02)
        bench.requests.started()
        bench.requests.ended("PutRecords", Outcome.PARTIAL, 5_000_000)
        await asyncio.sleep(1)
        now = bench.now()
        rows = {row["name"]: row for row in now["streams"]}
        assert sorted(rows) == ["clicks", "orders"]
        assert (rows["orders"]["queued"], rows["orders"]["in_flight"]) == (1, 1)
        assert rows["orders"]["rates"]["received"] == 5.0
        assert rows["orders"]["rates"]["delivered"] == 3.0
        assert rows["orders"]["shards"]["hottest"] == "shardId-000000000000"
        records = now["records"]
        assert records.pop("received") == sum(records.values()) == 6
        assert now["rejected"] == {"throughput_exceeded": 4}
        assert now["upstream"]["outcomes"]["partial"] == 1
        assert 10 < now["latencies_ms"]["call"]["p99"] < 25
        bench.watch.stop()

    virtual_time.run(main())


def test_a_stream_is_described_with_its_outcomes_errors_and_shards() -> None:
    """What a person sees who opens it."""

    async def main() -> None:
        bench = Bench()
        bench.watch.start()
        bench.driver.append("orders", None, make_records("a", "b"))
        await asyncio.sleep(0.1)
        bench.upstream.answer(None, "ValidationException")
        await asyncio.sleep(1)
        stream = bench.stream("orders")
        assert (stream["records"]["delivered"], stream["records"]["refused"]) == (1, 1)
        assert stream["errors"] == {"ValidationException": 1}
        assert [shard["shard_id"] for shard in stream["shards"]] == ["shardId-000000000000"]
        assert stream["arn"] == "arn:aws:kinesis:us-east-1:000000000000:stream/orders"
        assert bench.watch.stream("nobody") is None
        bench.watch.stop()

    virtual_time.run(main())


def test_partition_keys_and_data_are_in_no_answer() -> None:
    """Neither while records wait nor after errors that name them."""

    async def main() -> None:
        bench = Bench()
        bench.watch.start()
        records = make_records("customer-4711", "customer-4711", "customer-4712")
        bench.driver.append("orders", None, records)
        await asyncio.sleep(1.2)
        bodies = [bench.watch.now(), bench.watch.history(), bench.watch.stream("orders") or b""]
        bench.upstream.answer("ValidationException")
        await asyncio.sleep(6)
        bodies += [bench.watch.now(), bench.watch.history(), bench.watch.stream("orders") or b""]
        for body in bodies:
            assert b"customer" not in body
            assert records[0].data.encode() not in body
            assert f"{records[0].hash_key:032x}".encode() not in body
            assert str(records[0].hash_key).encode() not in body
        bench.watch.stop()

    virtual_time.run(main())


def test_all_viewers_of_a_tick_share_one_answer() -> None:
    """However many look, the streams are read once a tick."""

    async def main() -> None:
        reads = 0

        def about() -> dict[str, Any]:
            nonlocal reads
            reads += 1
            return {}

        bench = Bench()
        bench.watch = Watch(Sources(bench.driver, bench.frontend, bench.requests, about), bench.loop.clock_ns)
        bench.watch.start()
        bodies = {bench.watch.now() for _ in range(10)}
        assert (len(bodies), reads) == (1, 1)
        await asyncio.sleep(TICK_SECONDS)
        bench.watch.now()
        assert reads == 2
        bench.watch.stop()

    virtual_time.run(main())


def test_more_viewers_than_the_page_may_cost_are_asked_to_wait() -> None:
    """Answers a second are bounded, and come again with time."""

    async def main() -> None:
        bench = Bench()
        bench.watch.start()
        for _ in range(ANSWERS_PER_SECOND_MAX):
            bench.watch.now()
        with pytest.raises(TooManyViewersError):
            bench.watch.now()
        with pytest.raises(TooManyViewersError):
            bench.watch.history()
        with pytest.raises(TooManyViewersError):
            bench.watch.stream("orders")
        await asyncio.sleep(0.1)
        bench.watch.now()
        bench.watch.stop()

    virtual_time.run(main())


def test_samples_that_take_long_come_less_often() -> None:
    """Sampling takes half a percent of the time at the most, whatever there is to sample."""

    async def main() -> None:
        cost_ns = 0
        bench = Bench()

        def cost_clock() -> int:
            nonlocal cost_ns
            cost_ns += 20_000_000
            return cost_ns

        sources = Sources(bench.driver, bench.frontend, bench.requests, dict)
        watch = Watch(sources, bench.loop.clock_ns, cost_clock)
        began_at = bench.loop.time()
        watch.start()
        assert watch._timer is not None
        assert watch._timer.when() - began_at == pytest.approx(0.02 / SAMPLING_RATIO_MAX)
        assert SAMPLING_RATIO_MAX < 0.02 / TICK_SECONDS
        watch.stop()

    virtual_time.run(main())


def test_documents_that_take_long_to_make_are_made_less_often() -> None:
    """Viewers get the last one while two percent of the time are used up, or are asked to wait if there is none."""

    async def main() -> None:
        bench = Bench()
        cost_ns = made = 0

        def about() -> dict[str, Any]:
            nonlocal made, cost_ns
            made += 1
            cost_ns += 150_000_000
            return {"made": made}

        sources = Sources(bench.driver, bench.frontend, bench.requests, about)
        bench.watch = Watch(sources, bench.loop.clock_ns, lambda: cost_ns)
        bench.watch.sample()
        told = []
        for _ in range(20):
            told.append(bench.now()["about"]["made"])
            bench.watch.sample()
            bench.loop.advance(1)
        assert told == [1] * 3 + [2] * 8 + [3] * 7 + [4] * 2
        with pytest.raises(TooManyViewersError):
            bench.watch.history()

    virtual_time.run(main())


def test_a_viewer_may_miss_some_points() -> None:
    """The present brings the newest points along; the last minutes are there for whoever comes late."""

    async def main() -> None:
        bench = Bench()
        bench.watch.start()
        bench.driver.append("orders", None, make_records("a"))
        await bench.deliver()
        await asyncio.sleep(20.5)
        history, now = bench.history(), bench.now()
        assert history["tick"] == now["tick"] == len(history["points"]) == 20
        assert now["points"] == history["points"][-len(now["points"]) :]
        assert history["ages_seconds"] == list(range(19, -1, -1))
        assert len(history["names"]) == len(history["points"][0])
        assert len(history["streams"]["orders"]) == history["stream_tick"] == 4
        bench.watch.stop()

    virtual_time.run(main())


def test_shards_are_surveyed_for_the_busiest_streams_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes looked at are bounded; a stream beyond has no figures of its shards, and opening it shows them."""
    monkeypatch.setattr(watch_module, "LANES_SURVEYED_MAX", 1)

    async def main() -> None:
        bench = Bench()
        bench.watch.start()
        bench.driver.append("quiet", None, make_records("a"))
        bench.driver.append("busy", None, make_records("a", "b", "c"))
        await bench.deliver()
        await asyncio.sleep(1)
        rows = {row["name"]: row for row in bench.now()["streams"]}
        assert rows["busy"]["shards"] is not None
        assert rows["quiet"]["shards"] is None
        assert len(bench.stream("quiet")["shards"]) == 1
        bench.watch.stop()

    virtual_time.run(main())


def test_a_forgotten_stream_leaves_the_page_but_stays_in_the_sums() -> None:
    """Its counts are not lost, and no rate becomes negative."""

    async def main() -> None:
        bench = Bench(streams_max=1)
        bench.watch.start()
        bench.driver.append("old", None, make_records("a", "b"))
        await bench.deliver()
        await asyncio.sleep(1)
        bench.driver.append("new", None, make_records("a"))
        await bench.deliver()
        assert bench.now()["streams"] == []
        await asyncio.sleep(1)
        now = bench.now()
        assert [row["name"] for row in now["streams"]] == ["new"]
        assert now["records"]["received"] == 3
        received = bench.history()["names"].index("received")
        assert [point[received] for point in now["points"]] == [2.0, 1.0]
        bench.watch.stop()

    virtual_time.run(main())


@pytest.mark.parametrize(
    ("rates", "at_limit", "open_records", "state"),
    [
        ({"failed": 1, "throttled": 1}, 1, 1, "failing"),
        ({"throttled": 1}, 1, 1, "throttled"),
        ({"received": 1}, 1, 0, "at limit"),
        ({"received": 1}, 0, 0, "flowing"),
        ({}, 0, 1, "flowing"),
        ({}, 0, 0, "idle"),
    ],
)
def test_a_stream_is_named_by_the_worst_that_is_true_of_it(
    rates: dict[str, float], at_limit: int, open_records: int, state: str
) -> None:
    """One word, by which rows can be sorted."""
    all_rates = {"failed": 0.0, "throttled": 0.0, "received": 0.0, "delivered": 0.0, **rates}
    assert state_of(all_rates, {"at_limit": at_limit}, open_records) == state
    assert state_of(all_rates, None, open_records) == ("flowing" if state == "at limit" else state)
