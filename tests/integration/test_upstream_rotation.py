"""Credentials that expire or are replaced while requests signed with them are out, from a container's endpoint."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from proxy.core.batch import Answer, Written
from tests.support.aws_environment import use_aws_environment
from tests.support.fault_server import Behaviour, Exchange, FaultServer, ReceivedRequest, held, put_results, reply
from tests.support.upstreams import batch_of, failed, opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from proxy.upstream.aws import AwsUpstream

EXPIRED = reply(400, b'{"__type":"ExpiredTokenException","message":"The security token is expired"}')


def sessions(left: timedelta) -> Behaviour:
    """Answer as the container's credential endpoint does: a new session each time, ASIA1, ASIA2 and so on."""
    names = iter(range(1, 100))

    async def act(exchange: Exchange) -> bool:
        expiration = (datetime.now(UTC) + left).strftime("%Y-%m-%dT%H:%M:%SZ")
        session = {"AccessKeyId": f"ASIA{next(names)}", "SecretAccessKey": "s", "Token": "t", "Expiration": expiration}
        body = json.dumps(session).encode()
        return await reply(200, body, {"Content-Type": "application/json"}).act(exchange)

    return Behaviour(act)


def signer_of(request: ReceivedRequest) -> str:
    """Return the access key that a request was signed with."""
    return request.headers["authorization"].split("Credential=")[1].split("/")[0]


def takes_from(session: str) -> Behaviour:
    """Take what is signed with one session; every other one has expired."""

    async def act(exchange: Exchange) -> bool:
        assert exchange.request is not None
        good = signer_of(exchange.request) == session
        return await (put_results() if good else EXPIRED).act(exchange)

    return Behaviour(act)


@asynccontextmanager
async def in_container(
    monkeypatch: pytest.MonkeyPatch, *script: Behaviour, left: timedelta = timedelta(hours=1)
) -> AsyncIterator[tuple[FaultServer, FaultServer, AwsUpstream]]:
    """Open an upstream whose credentials come from a container's endpoint."""
    use_aws_environment(monkeypatch)
    async with FaultServer(sessions(left)) as container, FaultServer(*script) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.url + "/session")
        async with opened(server.url) as upstream:
            yield container, server, upstream


async def test_expiry_that_many_requests_meet_is_renewed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are refused, which means that nothing was written; all that follow carry the one new session."""
    release = asyncio.Event()
    script = (*[held(release, takes_from("ASIA2"))] * 8, takes_from("ASIA2"))
    async with in_container(monkeypatch, *script) as (container, server, upstream):
        together = [asyncio.create_task(upstream.put(batch_of())) for _ in range(8)]
        await server.until(lambda: len(server.requests) == 8)
        release.set()
        failures = [failed(reply) for reply in await asyncio.gather(*together)]
        assert {(failure.code, failure.written) for failure in failures} == {("ExpiredTokenException", Written.REFUSED)}
        again = await asyncio.gather(*(upstream.put(batch_of()) for _ in range(8)))
        assert all(isinstance(reply, Answer) for reply in again)
        assert Counter(map(signer_of, server.requests)) == {"ASIA1": 8, "ASIA2": 8}
        assert len(container.requests) == 2


async def test_late_refusal_of_the_old_session_leaves_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an answer to a request from before the renewal."""
    release = asyncio.Event()
    script = (held(release, EXPIRED), takes_from("ASIA2"))
    async with in_container(monkeypatch, *script) as (container, server, upstream):
        late = asyncio.create_task(upstream.put(batch_of()))
        await server.until(lambda: len(server.requests) == 1)
        assert failed(await upstream.put(batch_of())).code == "ExpiredTokenException"
        assert isinstance(await upstream.put(batch_of()), Answer)
        release.set()
        assert failed(await late).code == "ExpiredTokenException"
        for _ in range(3):
            assert isinstance(await upstream.put(batch_of()), Answer)
        assert len(container.requests) == 2


async def test_renewal_in_due_time_outlives_the_refusal_of_what_it_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests signed before it are out, and are refused after it."""
    release = asyncio.Event()
    script = (held(release, EXPIRED), takes_from("ASIA3"))
    # within a quarter of an hour of its end botocore renews a session whenever it is asked for it
    async with in_container(monkeypatch, *script, left=timedelta(minutes=14)) as (container, server, upstream):
        late = asyncio.create_task(upstream.put(batch_of()))
        await server.until(lambda: len(server.requests) == 1)
        upstream._started().keeper._wake.set()  # as when the time has come
        await container.until(lambda: len(container.requests) == 3)
        release.set()
        assert failed(await late).code == "ExpiredTokenException"
        while signer_of(server.requests[-1]) != "ASIA3":
            await upstream.put(batch_of())
        for _ in range(3):
            assert isinstance(await upstream.put(batch_of()), Answer)
        assert signer_of(server.requests[0]) == "ASIA2"
        assert len(container.requests) == 3
