"""SIGTERM: what was accepted gets its outcome, and the exit code says whether it was a good one."""

from __future__ import annotations

import asyncio
import random
import signal
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from tests.support.fault_server import FaultServer, black_hole
from tests.support.kinesis_client import KinesisClient, ServiceError
from tests.support.processes import emulate, serve, status_of
from tests.support.producers import Habits, Ledger, Producer, Quota
from tests.support.proof import Books
from tests.support.readback import read_stream, verify
from tests.support.workload import when

if TYPE_CHECKING:
    from tests.support.processes import Service

STREAM_NAME = "orders"
STREAM = f"{STREAM_NAME}:4"
PRODUCERS = 32


def _held(proxy: Service) -> int:
    books = Books.of(proxy.metrics())
    return books.queued + books.in_flight


def _calls(proxy: Service) -> float:
    return proxy.metrics().total("kinesis_proxy_http_requests_in_progress")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_proxy_ends_at_once_with_0(number: signal.Signals) -> None:
    """Nothing held, nothing to wait for."""
    with emulate(stream=[STREAM]) as upstream, serve(upstream.url) as proxy:
        proxy.send_signal(number)
        assert proxy.wait() == 0


async def test_sigterm_under_load_delivers_what_was_accepted_and_exits_with_0() -> None:
    """Every call that is out at the signal is answered with the true place of its records."""
    ledger, quota = Ledger(), Quota(100_000)
    patient = {"request_timeout_ms": 10_000, "delivery_timeout_ms": 15_000, "drain_timeout_ms": 15_000}
    with emulate(stream=[STREAM], fault=["latency_ms=500"]) as upstream, serve(upstream.url, **patient) as proxy:
        async with KinesisClient(proxy.url) as client, asyncio.TaskGroup() as tasks:
            for number in range(PRODUCERS):
                keys = [f"k{number}-{key}" for key in range(20)]
                chance = random.Random(number)  # noqa: S311 - a seeded load, no secret
                producer = Producer(client, STREAM_NAME, keys, ledger, Habits(records_per_call=10), chance)
                tasks.create_task(producer.run(quota))
            # all calls are in: one that arrives after the signal is refused, for its SDK to try elsewhere
            await when(lambda: ledger.acknowledged() > 0 and _calls(proxy) == PRODUCERS)
            quota.close()
            proxy.send_signal(signal.SIGTERM)
            await when(lambda: status_of(f"{proxy.admin_url}/readyz") != HTTPStatus.OK)
        assert await asyncio.to_thread(proxy.wait) == 0, proxy.output()
        async with KinesisClient(upstream.url) as reader:
            verdict = verify(ledger, await read_stream(reader, STREAM_NAME))
    assert not ledger.failures
    assert verdict.problems == {}
    assert verdict.acknowledged == ledger.sent() == verdict.stored


async def test_sigterm_with_an_upstream_that_never_answers_ends_in_time_and_tells_how_many_were_given_up() -> None:
    """When the drain timeout is over, callers are told and the exit code is not 0."""
    timeouts = {"request_timeout_ms": 20_000, "delivery_timeout_ms": 30_000, "drain_timeout_ms": 500}
    async with FaultServer(black_hole()) as silent:
        with serve(silent.url, **timeouts) as proxy:
            async with KinesisClient(proxy.url) as client:
                calls = [
                    asyncio.create_task(
                        client.call("PutRecord", {"StreamName": STREAM_NAME, "Data": "", "PartitionKey": f"k{number}"})
                    )
                    for number in range(7)
                ]
                await when(lambda: _held(proxy) == 7)
                proxy.send_signal(signal.SIGTERM)
                outcomes = await asyncio.gather(*calls, return_exceptions=True)
            exit_code = await asyncio.to_thread(proxy.wait)
    assert all(isinstance(outcome, ServiceError) for outcome in outcomes), outcomes
    assert exit_code != 0
    assert "7 accepted records were not delivered" in proxy.output()
