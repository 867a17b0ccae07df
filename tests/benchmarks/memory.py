"""Memory and start-up: at rest, for each record that waits behind an upstream that never answers, and until ready."""

from __future__ import annotations

import http.client
import socket
import statistics
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks.load import Options
from tests.benchmarks.measure import (
    BOTTOMLESS,
    RECORDS_PER_CALL,
    STREAM,
    STREAM_NAME,
    UNLIMITED,
    MeasurementError,
    Plan,
)
from tests.benchmarks.report import Row
from tests.benchmarks.request_pool import Requests, http1_request
from tests.support.processes import emulate, serve, status_of

if TYPE_CHECKING:
    from tests.support.processes import Service, Setting

SECTION = "Memory and start"
MEGA = 1e6
IDLE_MB_MAX, RECORD_KB_MAX, READY_SECONDS_MAX = 85.0, 2.0, 1.0
DATA_BYTES = 1_024
# The first calls bring what there is once: bodies of the requests in flight, tables, arenas.
FIRST_CALLS, CALLS = 20, 80
FILL_TIMEOUT_SECONDS = READY_TIMEOUT_SECONDS = 30.0
POLL_SECONDS = 0.005
FULL: dict[str, Setting] = {
    **UNLIMITED,
    "buffer_bytes_max": 1024 * 1024 * 1024,
    "stream_buffer_ratio": 1.0,
    "admission_wait_ms": 120_000,
    "delivery_timeout_ms": 120_000,
    "request_timeout_ms": 120_000,
    "drain_timeout_ms": 0,
}


def measure(plan: Plan, python: str) -> list[Row]:
    """Measure all three, of a proxy that an interpreter serves."""
    with emulate(stream=[STREAM], **BOTTOMLESS) as upstream:
        ready, idle = zip(*(start(upstream.url, python) for _ in range(plan.rounds)), strict=True)
    faults = ["latency_ms=600000"]
    with (
        emulate(stream=[STREAM], fault=faults, **BOTTOMLESS) as upstream,
        serve(upstream.url, python, **FULL) as proxy,
        ExitStack() as connections,
    ):
        before = proxy.resident_bytes()
        first = fill(proxy, FIRST_CALLS, connections)
        then = fill(proxy, CALLS, connections)
    records = (CALLS - FIRST_CALLS) * RECORDS_PER_CALL
    return [
        Row(SECTION, "resident when idle", statistics.median(idle) / MEGA, "MB", IDLE_MB_MAX),
        Row(
            SECTION,
            "resident for each queued record of 1 KiB",
            (then - first) / records / 1000,
            "KB",
            RECORD_KB_MAX,
            remarks=f"from {FIRST_CALLS * RECORDS_PER_CALL:,} records, {first / MEGA:.0f} MB, to "
            f"{CALLS * RECORDS_PER_CALL:,}, {then / MEGA:.0f} MB, in calls of {RECORDS_PER_CALL} that wait; "
            f"{before / MEGA:.0f} MB before; base64 makes 1,368 bytes of the 1,024",
        ),
        Row(SECTION, "start to ready", statistics.median(ready), "s", READY_SECONDS_MAX),
    ]


def start(upstream_url: str, python: str) -> tuple[float, float]:
    """Start a proxy; return the seconds until it said that it is ready, and its resident bytes then."""
    started_at = time.monotonic()
    proxy = serve(upstream_url, python)
    try:
        while status_of(f"{proxy.admin_url}/readyz") != http.client.OK:
            if time.monotonic() - started_at > READY_TIMEOUT_SECONDS:
                raise MeasurementError(f"the proxy did not become ready:\n{proxy.output()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - started_at, proxy.resident_bytes()
    finally:
        proxy.stop()


def fill(proxy: Service, calls: int, connections: ExitStack) -> int:
    """Have so many calls wait in all, each on a connection of its own; return the proxy's resident bytes then.

    Args:
        proxy: its upstream never answers.
        calls: with those that wait already.
        connections: what is opened is left open there.

    Raises:
        MeasurementError: the proxy did not take the records.
    """
    load = Options(proxy.port, 1, 0, STREAM_NAME, data_bytes=DATA_BYTES, records_per_call=RECORDS_PER_CALL, seed=calls)
    requests = Requests(load, partial(http1_request, load))
    wanted = calls * RECORDS_PER_CALL
    for _ in range(calls - int(held(proxy)) // RECORDS_PER_CALL):
        connection = connections.enter_context(socket.create_connection(("127.0.0.1", proxy.port)))
        connection.sendall(requests.next())
    give_up_at = time.monotonic() + FILL_TIMEOUT_SECONDS
    while (waiting := held(proxy)) < wanted:
        if time.monotonic() > give_up_at:
            raise MeasurementError(f"{waiting:,.0f} of {wanted:,} records are held:\n{proxy.output()}")
        time.sleep(0.1)
    return proxy.resident_bytes()


def held(proxy: Service) -> float:
    """Return how many records are queued or in flight."""
    try:
        return proxy.metrics().total("kinesis_proxy_buffer_records")
    except KeyError:  # of no stream yet
        return 0.0
