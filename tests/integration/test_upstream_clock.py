"""A wall clock that jumps while the proxy runs: signatures follow the service's, and nothing else lives by it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from proxy.core.batch import Answer, Failure, Written
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.settings import UpstreamSettings
from tests.support.aws_environment import use_aws_environment, use_static_credentials
from tests.support.fault_server import Behaviour, Exchange, FaultServer, held, put_results, reply
from tests.support.upstreams import batch_of, failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOLERANCE = timedelta(minutes=5)
HOURS = [timedelta(hours=1), timedelta(hours=-1)]


class WallClock:
    """The machine's clock, and how wrong it is."""

    def __init__(self) -> None:
        self.wrong_by = timedelta()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return (datetime.now(UTC) + self.wrong_by).timestamp()


def punctual() -> Behaviour:
    """Refuse a signature that is more than five minutes off, as the service does, and else take the records."""

    async def act(exchange: Exchange) -> bool:
        assert exchange.request is not None
        now = datetime.now(UTC)
        signed_at = datetime.strptime(exchange.request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(signed_at - now) <= TOLERANCE:
            return await put_results().act(exchange)
        body = b'{"__type":"InvalidSignatureException","message":"Signature expired"}'
        return await reply(400, body, {"Date": now.strftime("%a, %d %b %Y %H:%M:%S GMT")}).act(exchange)

    return Behaviour(act)


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


@asynccontextmanager
async def opened(url: str, clock: WallClock) -> AsyncIterator[AwsUpstream]:
    """Open an upstream that lives by a clock."""
    upstream = AwsUpstream(UpstreamSettings(endpoint_url=url), wall_clock=clock)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


def events(logs: list[Any]) -> list[str]:
    """Return the events of warnings and worse."""
    return [entry["event"] for entry in logs if entry["log_level"] != "info"]


@pytest.mark.parametrize("jump", HOURS)
async def test_clock_that_jumps_and_jumps_back_costs_one_refused_request_each(jump: timedelta) -> None:
    """What was refused was not written; the next request carries the service's time, and the credentials stay."""
    clock = WallClock()
    with capture_logs() as logs:
        async with FaultServer(punctual()) as server, opened(server.url, clock) as upstream:
            assert isinstance(await upstream.put(batch_of()), Answer)
            for wrong_by in (jump, timedelta()):
                clock.wrong_by = wrong_by
                failure = failed(await upstream.put(batch_of()))
                assert (failure.code, failure.written) == ("InvalidSignatureException", Written.REFUSED)
                for _ in range(3):
                    assert isinstance(await upstream.put(batch_of()), Answer)
    assert [event for event in events(logs) if event != "clock_corrected"] == []


@pytest.mark.parametrize("jump", HOURS)
async def test_requests_that_were_out_together_blame_the_clock_and_not_the_credentials(jump: timedelta) -> None:
    """All are refused, one corrects; the chain is not walked again, and the log has one line."""
    clock, release = WallClock(), asyncio.Event()
    with capture_logs() as logs:
        script = (*[held(release, punctual())] * 8, punctual())
        async with FaultServer(*script) as server, opened(server.url, clock) as upstream:
            clock.wrong_by = jump
            together = [asyncio.create_task(upstream.put(batch_of())) for _ in range(8)]
            await server.until(lambda: len(server.requests) == 8)
            release.set()
            assert all(isinstance(result, Failure) for result in await asyncio.gather(*together))
            for _ in range(3):
                assert isinstance(await upstream.put(batch_of()), Answer)
    assert events(logs) == ["clock_corrected"]


@pytest.mark.parametrize("jump", HOURS)
async def test_clock_that_jumps_in_mid_flight_changes_nothing_for_the_request(jump: timedelta) -> None:
    """Its time is counted off by a clock that does not jump."""
    clock, release = WallClock(), asyncio.Event()
    async with FaultServer(held(release, put_results())) as server, opened(server.url, clock) as upstream:
        put = asyncio.create_task(upstream.put(batch_of(timeout_ms=1_500)))
        await server.until(lambda: len(server.requests) == 1)
        clock.wrong_by = jump
        release.set()
        assert isinstance(await put, Answer)


@pytest.mark.parametrize("jump", [timedelta(hours=3), timedelta(hours=-3)])
async def test_clock_that_jumps_over_the_end_of_a_session_does_not_end_it(
    monkeypatch: pytest.MonkeyPatch, jump: timedelta
) -> None:
    """The session is as good as before, and only the signature was early or late."""
    use_aws_environment(monkeypatch)
    expiration = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    session = {"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "Token": "t", "Expiration": expiration}
    container = FaultServer(reply(200, json.dumps(session).encode(), {"Content-Type": "application/json"}))
    clock = WallClock()
    async with container, FaultServer(punctual()) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.url + "/session")
        async with opened(server.url, clock) as upstream:
            clock.wrong_by = jump
            assert upstream.ready()
            assert failed(await upstream.put(batch_of())).code == "InvalidSignatureException"
            assert isinstance(await upstream.put(batch_of()), Answer)
            assert upstream.ready()
        assert len(container.requests) == 1
