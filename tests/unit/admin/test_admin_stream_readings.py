from __future__ import annotations

import asyncio
from hashlib import md5
from typing import TYPE_CHECKING, cast

from proxy.admin.pulse import Pulse
from proxy.admin.status import describe_records, describe_streams
from proxy.admin.stream_readings import read_streams
from proxy.core.counters import Histogram
from proxy.core.limits import StreamLimits
from proxy.core.verdicts import VERDICTS
from proxy.metrics.labels import ERROR_CODES_SHOWN, OTHER, StreamLabels
from tests.support import virtual_time
from tests.unit.admin.admin_fakes import HeldUpstream, make_driver, make_records

if TYPE_CHECKING:
    from proxy.core.traffic import Traffic
    from proxy.driver import Driver
    from proxy.metrics.collector import Readings


def total(readings: Readings, family: str, *labels: str) -> float:
    """Add up a family's values whose labels include these."""
    values = [value for key, value in readings[family].items() if set(labels) <= set(key)]
    assert values, f"no sample {family}{labels}"
    return sum(value for value in values if not isinstance(value, Histogram))


def readings_of(driver: Driver, labels: StreamLabels | None = None) -> Readings:
    """Read all streams now."""
    loop = cast("virtual_time.VirtualTimeLoop", asyncio.get_running_loop())
    return read_streams(driver, labels or StreamLabels(), loop.clock_ns())


def check_balance(driver: Driver, readings: Readings) -> None:
    """Check received = delivered + failed + queued + in flight, in the metrics and in the status."""
    outcomes = total(readings, "delivered_records_total") + total(readings, "failed_records_total")
    assert total(readings, "received_records_total") == outcomes + total(readings, "buffer_records")
    records = describe_records(driver)
    assert records.pop("received") == sum(records.values())
    assert records["queued"] + records["in_flight"] == total(readings, "buffer_records") == driver.buffer.records


def test_every_record_is_in_one_place_of_the_metrics_at_any_moment() -> None:
    """The balance holds while records wait, fly, fail, return, are refused, expire and are delivered."""

    async def main() -> None:
        upstream, labels = HeldUpstream(), StreamLabels()
        driver = make_driver(upstream)

        def read() -> Readings:
            readings = readings_of(driver, labels)
            check_balance(driver, readings)
            return readings

        assert total(read(), "received_records_total") == 0
        assert driver.append("orders", None, make_records("a", "b", "c", "d", "d")) == 0
        assert total(read(), "buffer_records", "orders", "queued") == 5
        await asyncio.sleep(0.2)
        readings = read()
        assert total(readings, "buffer_records", "orders", "in_flight") == upstream.held_records == 4
        assert total(readings, "buffer_records", "orders", "queued") == 1
        assert 0.19 < total(readings, "buffer_oldest_record_age_seconds") < 0.21
        upstream.answer(None, "ProvisionedThroughputExceededException", "ValidationException", None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        readings = read()
        assert total(readings, "delivered_records_total", "orders") == 2
        assert total(readings, "failed_records_total", "orders", "refused") == 1
        assert total(readings, "record_retries_total", "orders") == 1
        assert total(readings, "record_errors_total", "ProvisionedThroughputExceededException") == 1
        await asyncio.sleep(0.2)
        upstream.fail("ConnectionReset")
        await asyncio.sleep(5)
        upstream.fail("ConnectionReset")
        await asyncio.sleep(0.1)
        readings = read()
        assert total(readings, "failed_records_total", "orders", "expired") == 2
        left = make_records("e")
        driver.append("orders", None, left)
        driver.withdraw("orders", None, left)
        await asyncio.sleep(0.1)
        readings = read()
        assert total(readings, "failed_records_total", "orders", "withdrawn") == 1
        assert total(readings, "buffer_records") == 0
        assert total(readings, "buffer_oldest_record_age_seconds") == 0
        await driver.close()

    virtual_time.run(main())


def test_streams_beyond_the_cap_share_a_label() -> None:
    """A client that names many streams does not make as many series."""

    async def main() -> None:
        upstream, labels = HeldUpstream(), StreamLabels(labels_max=2)
        driver = make_driver(upstream)
        for name in ("first", "second", "third", "fourth"):
            driver.append(name, None, make_records("a"))
        readings = readings_of(driver, labels)
        assert readings["received_records_total"] == {(OTHER,): 2, ("first",): 1, ("second",): 1}
        check_balance(driver, readings)
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_a_stream_named_in_two_ways_has_one_label() -> None:
    """By name and by ARN it is the same stream to whoever watches it."""

    async def main() -> None:
        driver = make_driver(HeldUpstream())
        driver.append("orders", None, make_records("a"))
        driver.append("orders", "arn:aws:kinesis:us-east-1:000000000000:stream/orders", make_records("b"))
        readings = readings_of(driver)
        assert readings["received_records_total"]["orders",] == 2
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_a_forgotten_stream_keeps_its_place_in_the_sums() -> None:
    """Totals over all streams never fall."""

    async def main() -> None:
        upstream, labels = HeldUpstream(), StreamLabels()
        driver = make_driver(upstream, streams_max=1)
        driver.append("first", None, make_records("a"))
        await asyncio.sleep(0.2)
        upstream.answer()
        await asyncio.sleep(0.2)
        driver.append("second", None, make_records("a"))
        readings = readings_of(driver, labels)
        assert list(driver.streams) == ["second"]
        assert total(readings, "received_records_total") == 2
        check_balance(driver, readings)
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_the_counts_of_a_forgotten_stream_stay_under_its_label() -> None:
    """Under another they would pass for records of now: failures of long ago would fire alerts."""

    async def main() -> None:
        upstream, labels = HeldUpstream(), StreamLabels()
        driver = make_driver(upstream, streams_max=1, labels=labels)
        driver.append("first", None, make_records("a", "b"))
        await asyncio.sleep(0.2)
        upstream.answer(None, "ResourceNotFoundException")
        await asyncio.sleep(0.2)
        before = readings_of(driver, labels)
        driver.append("second", None, make_records("a"))
        await asyncio.sleep(0.2)
        upstream.answer()
        await asyncio.sleep(0.2)
        after = readings_of(driver, labels)
        assert list(driver.streams) == ["second"]
        for family in ("received_records_total", "delivered_records_total", "failed_records_total"):
            for name in ("first", OTHER):
                assert total(after, family, name) == total(before, family, name), f"{family} of {name}"
        driver.append("first", None, make_records("a"))
        assert total(readings_of(driver, labels), "received_records_total", "first") == 3
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_an_error_code_that_nobody_knows_is_counted_as_other() -> None:
    """What the service invents does not make series; the usual codes have theirs from the start, rare ones when met."""

    async def main() -> None:
        upstream = HeldUpstream()
        driver = make_driver(upstream)
        codes = readings_of(driver)["record_errors_total"]
        assert set(codes) == {(code,) for code in ERROR_CODES_SHOWN}
        assert set(ERROR_CODES_SHOWN) <= {*VERDICTS, OTHER}
        assert not any(codes.values())
        driver.append("orders", None, make_records("a"))
        await asyncio.sleep(0.2)
        upstream.answer("BrandNewException")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        codes = readings_of(driver)["record_errors_total"]
        assert codes[OTHER,] == 1
        await asyncio.sleep(0.2)
        upstream.answer("KMSDisabledException")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        codes = readings_of(driver)["record_errors_total"]
        assert codes["KMSDisabledException",] == 1
        assert "BrandNewException" not in {code for (code,) in codes}
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_the_worst_shard_speaks_for_its_stream() -> None:
    """Shards are no labels: what one of them suffers shows, and in how many."""

    async def main() -> None:
        upstream = HeldUpstream()
        driver = make_driver(upstream)
        readings = readings_of(driver)
        assert readings["shard_rate_limit_ratio"] == {(OTHER,): 1.0}
        assert readings["shard_utilization_ratio"] == {(OTHER,): 0.0}
        driver.append("orders", None, make_records("before the shards are known"))
        await asyncio.sleep(0.2)
        upstream.answer()
        driver.append("orders", None, make_records("a", "b"))
        await asyncio.sleep(0.2)
        upstream.answer("ProvisionedThroughputExceededException", "ProvisionedThroughputExceededException")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        readings = readings_of(driver)
        assert readings["throttled_records_total"] == {(OTHER,): 0, ("orders",): 2}
        assert readings["shards_backing_off"] == {(OTHER,): 0, ("orders",): 1}
        assert readings["partition_keys"] == {(OTHER,): 0, ("orders",): 2}
        (lane,) = driver.streams["orders"].lanes
        lane.limit.scale(0.25, 0)
        loop = cast("virtual_time.VirtualTimeLoop", asyncio.get_running_loop())
        halved = read_streams(driver, StreamLabels(), loop.clock_ns(), shard_rate_ratio=0.5)
        assert halved["shard_rate_limit_ratio"] == {(OTHER,): 0.5, ("orders",): 0.125}
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


class StrayRate:
    """A rate control that has found its ratio, and strays."""

    def __init__(self, now_ns: int) -> None:
        del now_ns
        self.ratio = 0.5
        self.adapts = True
        self.stray_ratio = 0.05123

    def learn(self, traffic: Traffic, now_ns: int) -> None:
        """Learn nothing more."""


def test_the_status_tells_of_each_shard_what_its_rate_makes_of_its_throttles() -> None:
    """The share of the limit that it may use, and the fraction that comes back at whatever rate and is let be."""

    async def main() -> None:
        driver = make_driver(HeldUpstream(), StreamLimits(rate_control=StrayRate))
        driver.append("orders", None, make_records("a"))
        await asyncio.sleep(0.2)
        loop = cast("virtual_time.VirtualTimeLoop", asyncio.get_running_loop())
        (shard,) = describe_streams(driver, Pulse(dict), loop.clock_ns())["streams"][0]["shards"]
        assert (shard["rate_ratio"], shard["stray_throttled_ratio"]) == (0.5, 0.0512)
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_the_status_names_hot_keys_by_the_beginning_of_their_hashes() -> None:
    """Whoever suspects a key can check it; whoever reads the page learns no key."""

    async def main() -> None:
        driver = make_driver(HeldUpstream(), records_max=1)
        for _ in range(150):
            driver.append("orders", None, make_records("customer-1"))
        loop = cast("virtual_time.VirtualTimeLoop", asyncio.get_running_loop())
        document = describe_streams(driver, Pulse(dict), loop.clock_ns())
        (hot,) = document["streams"][0]["hot_partition_keys"]
        assert hot["hash_key"] == md5(b"customer-1", usedforsecurity=False).hexdigest()[:8]
        assert (hot["throttled_or_held_back"], hot["share"]) == (149, 1.0)
        assert "customer-1" not in str(document)
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())
