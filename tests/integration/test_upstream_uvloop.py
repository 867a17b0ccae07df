"""The upstream on the loop that production runs on; the other tests of it run on asyncio's own."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from proxy.core.batch import Written
from proxy.core.verdicts import CONNECTION_RESET
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import FaultServer, reset_after_request
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
