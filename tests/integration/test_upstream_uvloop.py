"""The upstream on the loop that production runs on; the other tests of it run on asyncio's own."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from proxy.core.batch import Answer, Written
from proxy.core.verdicts import CONNECTION_RESET
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import TLS_IDENTITY, FaultServer, close_after_request, put_results, reset_after_request
from tests.support.upstreams import batch_of, failed, opened

PUTS = 200


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


def test_connections_that_are_reset_are_told_as_that() -> None:
    """However far uvloop has come in forgetting the socket when the request is given up."""

    async def put() -> None:
        async with FaultServer(reset_after_request()) as server, opened(server.url, connections_max=8) as upstream:
            replies = await asyncio.gather(*(upstream.put(batch_of(40)) for _ in range(PUTS)))
        failures = [failed(reply) for reply in replies]
        assert {(failure.code, failure.written) for failure in failures} == {(CONNECTION_RESET, Written.UNKNOWN)}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(put())


def test_open_connections_that_end_under_a_request_are_told_as_that() -> None:
    """And the next request is served, on a new one."""
    ends = [reset_after_request(), close_after_request()]

    async def put() -> None:
        behaviours = [behaviour for end in ends * 10 for behaviour in (put_results(), end)]
        async with FaultServer(*behaviours) as server, opened(server.url, connections_max=1) as upstream:
            replies = [await upstream.put(batch_of(40)) for _ in behaviours]
            assert server.connections == len(behaviours) // 2
        assert all(isinstance(reply, Answer) for reply in replies[::2])
        failures = [failed(reply) for reply in replies[1::2]]
        assert {(failure.code, failure.written) for failure in failures} == {(CONNECTION_RESET, Written.UNKNOWN)}

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(put())


def test_an_open_connection_is_used_again_behind_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all of them are in production; and what ends one is told as without TLS."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(TLS_IDENTITY))

    async def put() -> None:
        behaviours = [put_results(), put_results(), put_results(), reset_after_request(), put_results()]
        async with FaultServer(*behaviours, tls=True) as server, opened(server.url, connections_max=1) as upstream:
            for _ in range(3):
                assert isinstance(await upstream.put(batch_of(40)), Answer)
            assert server.connections == 1
            failure = failed(await upstream.put(batch_of(40)))
            assert (failure.code, failure.written) == (CONNECTION_RESET, Written.UNKNOWN)
            assert isinstance(await upstream.put(batch_of(40)), Answer)
            assert server.connections == 2

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(put())
