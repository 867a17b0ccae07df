"""A wall clock that jumps while the proxy runs: signatures follow the service's, and nothing else lives by it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from multidict import CIMultiDict
from structlog.testing import capture_logs

from proxy.core.batch import Answer, Failure, Written
from proxy.kinesis.errors import KinesisError
from proxy.kinesis.http import Request
from proxy.kinesis.sigv4 import Verifier
from tests.support.aws_environment import ACCESS_KEY, SECRET_KEY, use_aws_environment, use_static_credentials
from tests.support.fault_server import Behaviour, Exchange, FaultServer, held, put_results, reply
from tests.support.upstreams import batch_of, failed, opened

HOURS = [timedelta(hours=1), timedelta(hours=-1)]


class WallClock:
    """The machine's clock, and how wrong it is."""

    def __init__(self) -> None:
        self.wrong_by = timedelta()

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return (datetime.now(UTC) + self.wrong_by).timestamp()


class Key(NamedTuple):
    """A key that the service knows."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None


USER = Key(ACCESS_KEY, SECRET_KEY, None)


def punctual(otherwise: Behaviour, key: Key = USER, ahead: timedelta = timedelta()) -> Behaviour:
    """Check signatures as the service does, five minutes early or late being too much, and else do this.

    Its clock is ahead of the real one by so much.
    """
    verifier = Verifier(lambda _: key)

    async def act(exchange: Exchange) -> bool:
        received, now = exchange.request, datetime.now(UTC) + ahead
        assert received is not None
        try:
            verifier.verify(Request("POST", "/", CIMultiDict(received.headers), received.body), int(now.timestamp()))
        except KinesisError as error:
            body = json.dumps({"__type": error.code, "message": error.message}).encode()
            return await reply(400, body, {"Date": now.strftime("%a, %d %b %Y %H:%M:%S GMT")}).act(exchange)
        return await otherwise.act(exchange)

    return Behaviour(act)


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


def events(logs: list[Any]) -> list[str]:
    """Return the events of warnings and worse."""
    return [entry["event"] for entry in logs if entry["log_level"] != "info"]


@pytest.mark.parametrize("jump", HOURS)
async def test_clock_that_jumps_and_jumps_back_costs_one_refused_request_each(jump: timedelta) -> None:
    """What was refused was not written; the next request carries the service's time, and the credentials stay."""
    clock = WallClock()
    with capture_logs() as logs:
        async with FaultServer(punctual(put_results())) as server, opened(server.url, clock) as upstream:
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
        script = (*[held(release, punctual(put_results()))] * 8, punctual(put_results()))
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
        put = asyncio.create_task(upstream.put(batch_of(timeout_ms=40_000)))
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
    async with container, FaultServer(punctual(put_results(), Key("ASIA1", "s", "t"))) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.url + "/session")
        async with opened(server.url, clock) as upstream:
            clock.wrong_by = jump
            assert upstream.ready()
            assert failed(await upstream.put(batch_of())).code == "InvalidSignatureException"
            assert isinstance(await upstream.put(batch_of()), Answer)
            assert upstream.ready()
        assert len(container.requests) == 1


@pytest.mark.parametrize("token", [None, "IQoJb3JpZ2luX2VjEXAMPLE=="])
@pytest.mark.parametrize("ahead", HOURS)
async def test_shard_map_is_asked_for_by_the_corrected_clock(
    monkeypatch: pytest.MonkeyPatch, ahead: timedelta, token: str | None
) -> None:
    """What the puts have learned serves the client of botocore, which itself goes by the machine's clock."""
    use_static_credentials(monkeypatch, **({} if token is None else {"AWS_SESSION_TOKEN": token}))
    key = Key(ACCESS_KEY, SECRET_KEY, token)
    shards, puts = (punctual(answer, key, ahead) for answer in (reply(200, b'{"Shards":[]}'), put_results()))
    async with FaultServer(shards, puts, shards) as server, opened(server.url, WallClock()) as upstream:
        refused = await upstream.list_shards("orders", None)
        assert isinstance(refused, Failure)
        assert refused.code == "InvalidSignatureException"
        assert failed(await upstream.put(batch_of())).code == "InvalidSignatureException"
        assert await upstream.list_shards("orders", None) == []
