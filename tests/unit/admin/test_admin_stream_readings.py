from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.admin.status import describe_records
from proxy.admin.stream_readings import read_streams
from proxy.core.counters import Histogram
from proxy.core.verdicts import VERDICTS
from proxy.metrics.labels import OTHER, StreamLabels
from tests.support import virtual_time
from tests.unit.admin.admin_fakes import HeldUpstream, make_driver, make_records

if TYPE_CHECKING:
    from proxy.driver import Driver
    from proxy.metrics.collector import Readings


def total(readings: Readings, family: str, *labels: str) -> float:
    """Add up a family's values whose labels include these."""
    values = [value for key, value in readings[family].items() if set(labels) <= set(key)]
    assert values, f"no sample {family}{labels}"
    return sum(value for value in values if not isinstance(value, Histogram))


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
            readings = read_streams(driver, labels)
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
        readings = read_streams(driver, labels)
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
        readings = read_streams(driver, StreamLabels())
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
        readings = read_streams(driver, labels)
        assert list(driver.streams) == ["second"]
        assert total(readings, "received_records_total") == 2
        check_balance(driver, readings)
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())


def test_an_error_code_that_nobody_knows_is_counted_as_other() -> None:
    """What the service invents does not make series; every known code has its own from the start."""

    async def main() -> None:
        upstream = HeldUpstream()
        driver = make_driver(upstream)
        codes = read_streams(driver, StreamLabels())["record_errors_total"]
        assert set(codes) == {(code,) for code in (*VERDICTS, OTHER)}
        assert not any(codes.values())
        driver.append("orders", None, make_records("a"))
        await asyncio.sleep(0.2)
        upstream.answer("BrandNewException")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        codes = read_streams(driver, StreamLabels())["record_errors_total"]
        assert codes[OTHER,] == 1
        assert "BrandNewException" not in {code for (code,) in codes}
        await driver.drain(0)
        await driver.close()

    virtual_time.run(main())
