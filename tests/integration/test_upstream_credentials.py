"""Credentials: found, waited for, renewed and replaced; by a fake chain, and by botocore's over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from botocore.credentials import ReadOnlyCredentials
from structlog.testing import capture_logs

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.record import Record
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.counters import UpstreamCounters
from proxy.upstream.credentials import CredentialKeeper, KeptCredentials
from proxy.upstream.failures import CredentialsUnavailableError
from proxy.upstream.settings import UpstreamConfigurationError, UpstreamSettings
from tests.support.aws_environment import ACCESS_KEY, use_aws_environment, use_static_credentials
from tests.support.fault_server import Behaviour, Exchange, FaultServer, put_results, reply

NOW = datetime.now(UTC)
EXPIRED = b'{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}'


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_aws_environment(monkeypatch)


class Chain:
    """A credential chain that finds what it is told to; the last finding repeats. Exceptions are raised."""

    def __init__(self, *findings: object) -> None:
        self.findings = list(findings)
        self.walks = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> Any:  # noqa: ANN401 - as botocore
        """Walk the chain once."""
        self.walks += 1
        await self.open.wait()
        found = self.findings.pop(0) if len(self.findings) > 1 else self.findings[0]
        if isinstance(found, Exception):
            raise found
        return found


class Clock:
    """A wall clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return seconds since the epoch."""
        return self.now.timestamp()


def user(name: str) -> AioCredentials:
    """Return credentials that never expire."""
    return AioCredentials(name, "secret")


def role(*sessions: tuple[str, timedelta]) -> AioRefreshableCredentials:
    """Return botocore's refreshable credentials that go through sessions, each with what is left of it from now."""
    names = iter(sessions)

    async def refresh() -> dict[str, str]:
        name, left = next(names)
        return {"access_key": name, "secret_key": "s", "token": "t", "expiry_time": (NOW + left).isoformat()}

    first, left = next(names)
    return AioRefreshableCredentials(first, "s", "t", NOW + left, refresh, "fake-role")


@asynccontextmanager
async def keeping(
    chain: Chain, *, now: datetime = NOW, wait_seconds: float = 5.0
) -> AsyncIterator[tuple[CredentialKeeper, UpstreamCounters]]:
    """Start a keeper on a chain."""
    counters = UpstreamCounters()
    keeper = CredentialKeeper(chain, counters, now.timestamp, lambda: 0.0, wait_seconds)
    await keeper.start()
    try:
        yield keeper, counters
    finally:
        await keeper.close()


async def test_credentials_that_do_not_expire_are_found_once() -> None:
    """A user's access key is looked up at start and kept."""
    chain = Chain(user("AKIA1"))
    async with keeping(chain) as (keeper, counters):
        assert keeper.usable
        for _ in range(3):
            assert (await keeper.get()).access_key == "AKIA1"
        assert chain.walks == 1
        assert counters.credentials_expire_at_seconds is None


@pytest.mark.parametrize("finding", [None, ValueError("broken profile")])
async def test_missing_credentials_are_no_crash(finding: object) -> None:
    """The keeper starts, is not usable, and says why."""
    async with keeping(Chain(finding)) as (keeper, _):
        assert not keeper.usable
        with pytest.raises(CredentialsUnavailableError, match=r"no credentials found|credential chain failed"):
            await keeper.get()


async def test_words_of_a_provider_go_to_the_log_alone() -> None:
    """They can quote what a program or a server said, and callers are strangers; a page of it is cut."""
    chain = Chain(ValueError("Error when retrieving credentials: token=abc" + "x" * 5000))
    with capture_logs() as logs:
        async with keeping(chain) as (keeper, _):
            with pytest.raises(CredentialsUnavailableError) as told:
                await keeper.get()
    assert str(told.value) == "the AWS credential chain failed"
    (warning,) = logs
    assert warning["reason"].startswith("Error when retrieving credentials")
    assert len(warning["reason"]) == 256


async def test_missing_credentials_are_looked_for_again_with_a_pause() -> None:
    """Requests do not make the chain walk faster: only the backoff decides."""
    chain = Chain(None, user("AKIA1"))
    async with keeping(chain) as (keeper, _):
        for _ in range(10):
            with pytest.raises(CredentialsUnavailableError):
                await keeper.get()
        assert chain.walks == 1
        while not keeper.usable:  # noqa: ASYNC110 - the backoff is the keeper's own
            await asyncio.sleep(0.05)
        assert (await keeper.get()).access_key == "AKIA1"
        assert chain.walks == 2


async def test_start_waits_a_bounded_time() -> None:
    """A provider that does not answer does not hold up the start; what it finds later is used."""
    chain = Chain(user("AKIA1"))
    chain.open.clear()
    async with keeping(chain, wait_seconds=0.05) as (keeper, _):
        assert not keeper.usable
        chain.open.set()
        assert (await keeper.get()).access_key == "AKIA1"


async def test_expiry_of_a_session_is_shown() -> None:
    """Metrics warn before credentials run out."""
    async with keeping(Chain(role(("ASIA1", timedelta(hours=1))))) as (_, counters):
        assert counters.credentials_expire_at_seconds == (NOW + timedelta(hours=1)).timestamp()


async def test_session_near_its_end_is_renewed() -> None:
    """Within 15 minutes of the expiry botocore renews."""
    chain = Chain(role(("ASIA1", timedelta(minutes=14)), ("ASIA2", timedelta(hours=1))))
    async with keeping(chain) as (keeper, counters):
        assert (await keeper.get()).access_key == "ASIA2"
        assert counters.credentials_expire_at_seconds == (NOW + timedelta(hours=1)).timestamp()


async def expired(chain: Chain) -> CredentialKeeper:
    """Return a keeper of a session of an hour that has just expired: the keeper finds it 20 ms before its end."""
    clock = Clock()
    clock.now += timedelta(minutes=59, seconds=59, milliseconds=980)
    keeper = CredentialKeeper(chain, UpstreamCounters(), clock, lambda: 0.0, wait_seconds=5.0)
    await keeper.start()
    while keeper.usable:  # noqa: ASYNC110 - it is the loop's clock that has to go on
        await asyncio.sleep(0.005)
    return keeper


async def test_expired_session_is_renewed_before_the_next_request() -> None:
    """The request waits for it."""
    chain = Chain(role(("ASIA1", timedelta(hours=1))))
    keeper = await expired(chain)
    # botocore reads the real clock: for it, the session must be old.
    keeper._source = role(("ASIA1", timedelta(minutes=-1)), ("ASIA2", timedelta(hours=3)))
    assert (await keeper.get()).access_key == "ASIA2"
    assert keeper.usable
    assert chain.walks == 1
    await keeper.close()


async def test_expired_session_that_cannot_be_renewed_is_not_used() -> None:
    """That the chain failed reaches the caller, and not with what."""
    keeper = await expired(Chain(role(("ASIA1", timedelta(hours=1)))))
    keeper._source = role(("ASIA1", timedelta(minutes=-1)))
    with pytest.raises(CredentialsUnavailableError, match=r"credential chain failed$"):
        await keeper.get()
    await keeper.close()


@pytest.mark.parametrize("jump", [timedelta(hours=2), timedelta(hours=-2)])
async def test_wall_clock_that_jumps_neither_ends_a_session_nor_prolongs_it(jump: timedelta) -> None:
    """What is left of it was measured when it was new, and is counted off by a clock that does not jump."""
    clock, chain = Clock(), Chain(role(("ASIA1", timedelta(hours=1))))
    keeper = CredentialKeeper(chain, UpstreamCounters(), clock, lambda: 0.0, wait_seconds=5.0)
    await keeper.start()
    ends_at_seconds = keeper._expire_at_seconds
    clock.now += jump
    assert keeper.usable
    assert (await keeper.get()).access_key == "ASIA1"
    await keeper._renew()
    assert keeper._expire_at_seconds == ends_at_seconds
    await keeper.close()


async def test_refused_credentials_are_replaced_before_the_next_request() -> None:
    """The chain is walked anew, once for all who were refused: files and environment may hold new ones."""
    chain = Chain(user("AKIA1"), user("AKIA2"))
    async with keeping(chain) as (keeper, _):
        first = await keeper.get()
        for _ in range(5):
            keeper.refuse(first)
        renewed = await asyncio.gather(*(keeper.get() for _ in range(5)))
        assert {credentials.access_key for credentials in renewed} == {"AKIA2"}
        assert chain.walks == 2


async def test_refusal_of_credentials_that_were_replaced_is_old_news() -> None:
    """An answer to a request that was signed before the renewal does not renew again."""
    chain = Chain(user("AKIA1"), user("AKIA2"))
    async with keeping(chain) as (keeper, _):
        first = await keeper.get()
        keeper.refuse(first)
        await keeper.get()
        keeper.refuse(first)
        assert (await keeper.get()).access_key == "AKIA2"
        assert chain.walks == 2


async def test_refused_credentials_stay_in_use_while_there_are_no_others() -> None:
    """The service may have erred; and it must not have us walk the chain for each request."""
    chain = Chain(user("AKIA1"))
    async with keeping(chain) as (keeper, _):
        for _ in range(10):
            credentials = await keeper.get()
            assert credentials.access_key == "AKIA1"
            keeper.refuse(credentials)
        assert chain.walks == 2


async def test_clients_of_botocore_get_the_kept_credentials() -> None:
    """Both paths sign with the same ones."""
    async with keeping(Chain(AioCredentials("AKIA1", "s", account_id="123456789012"))) as (keeper, _):
        kept = KeptCredentials(keeper)
        assert await kept.get_frozen_credentials() == ReadOnlyCredentials("AKIA1", "s", None, "123456789012")
        assert await kept.get_account_id() == "123456789012"
        assert keeper.account_id == "123456789012"


def batch() -> Batch:
    """Return a batch of one record."""
    return Batch("orders", None, [Record("k", "aGVsbG8=", 6, 1, 0)])


def session_reply(name: str, left: timedelta) -> Behaviour:
    """Answer as the container credential endpoint does."""
    expiration = (datetime.now(UTC) + left).strftime("%Y-%m-%dT%H:%M:%SZ")
    session = {"AccessKeyId": name, "SecretAccessKey": "secret", "Token": f"token-{name}", "Expiration": expiration}
    return reply(200, json.dumps(session).encode(), {"Content-Type": "application/json"})


def signer_of(request: Any) -> str:  # noqa: ANN401 - a received request
    """Return the access key that a request was signed with."""
    credential = request.headers["authorization"].split("Credential=")[1]
    return str(credential.split("/")[0])


async def test_expired_token_is_renewed_from_the_container_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refused put fails, and the next one carries the new session, by botocore's own provider."""
    container = FaultServer(session_reply("ASIA1", timedelta(hours=1)), session_reply("ASIA2", timedelta(hours=2)))
    async with container, FaultServer(reply(400, EXPIRED), put_results()) as server:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container.url + "/session")
        upstream = AwsUpstream(UpstreamSettings(endpoint_url=server.url))
        await upstream.start()
        refused = await upstream.put(batch())
        assert isinstance(refused, Failure)
        assert (refused.code, refused.written) == ("ExpiredTokenException", Written.REFUSED)
        assert isinstance(await upstream.put(batch()), Answer)
        await upstream.close()
        assert [signer_of(request) for request in server.requests] == ["ASIA1", "ASIA2"]
        assert [request.headers["x-amz-security-token"] for request in server.requests] == [
            "token-ASIA1",
            "token-ASIA2",
        ]
        assert len(container.requests) == 2


async def test_puts_without_credentials_are_not_sent() -> None:
    """It starts all the same, and is not ready."""
    async with FaultServer(put_results()) as server:
        # Not on loopback by name: made-up credentials are for local servers alone.
        upstream = AwsUpstream(UpstreamSettings(endpoint_url=f"http://kinesis.invalid:{server.port}"))
        await upstream.start()
        assert not upstream.ready()
        failure = await upstream.put(batch())
        assert isinstance(failure, Failure)
        assert (failure.code, failure.written) == ("CredentialsUnavailable", Written.NOT_SENT)
        shards = await upstream.list_shards("orders", None)
        assert isinstance(shards, Failure)
        assert shards.code == "CredentialsUnavailable"
        await upstream.close()
        assert server.connections == 0


async def test_local_server_needs_no_credentials() -> None:
    """At a loopback URL made-up ones are used when the chain has none."""
    async with FaultServer(put_results()) as server:
        upstream = AwsUpstream(UpstreamSettings(endpoint_url=server.url))
        await upstream.start()
        assert upstream.ready()
        assert upstream.region == "us-east-1"
        assert isinstance(await upstream.put(batch()), Answer)
        await upstream.close()
        assert signer_of(server.requests[0]) == "local"


async def test_real_credentials_are_used_for_a_local_server_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain comes first."""
    use_static_credentials(monkeypatch)
    async with FaultServer(put_results()) as server:
        upstream = AwsUpstream(UpstreamSettings(endpoint_url=server.url))
        await upstream.start()
        await upstream.put(batch())
        await upstream.close()
        assert signer_of(server.requests[0]) == ACCESS_KEY


def skewed_answers(seconds: int, script: list[bytes]) -> Behaviour:
    """Answer with a Date that is so far from ours: errors first, then success."""

    async def act(exchange: Exchange) -> bool:
        date = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        answer = reply(400, script.pop(0), {"Date": date}) if script else put_results()
        return await answer.act(exchange)

    return Behaviour(act)


async def test_wrong_clock_is_corrected_by_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a signature was refused for its time, the next one carries the service's time."""
    use_static_credentials(monkeypatch)
    late = b'{"__type":"InvalidSignatureException","message":"Signature expired: 1 is now earlier than 2 (3 - 5 min.)"}'
    async with FaultServer(skewed_answers(-7200, [late])) as server:
        upstream = AwsUpstream(UpstreamSettings(endpoint_url=server.url))
        await upstream.start()
        assert isinstance(await upstream.put(batch()), Failure)
        assert isinstance(await upstream.put(batch()), Answer)
        await upstream.close()
        first, second = (
            datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            for request in server.requests
        )
        assert timedelta(seconds=7190) < first - second < timedelta(seconds=7210)


async def test_configuration_that_makes_serving_impossible_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Region, profile and trusted certificates are the operator's to set."""
    with pytest.raises(UpstreamConfigurationError, match="no AWS region: set --region"):
        await AwsUpstream(UpstreamSettings()).start()
    with pytest.raises(UpstreamConfigurationError, match=r"The config profile .nobody. could not be found"):
        await AwsUpstream(UpstreamSettings(region="eu-west-1", profile="nobody")).start()
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/roots.pem")
    with pytest.raises(UpstreamConfigurationError, match=r"cannot read trusted certificates from /nowhere/roots.pem"):
        await AwsUpstream(UpstreamSettings(region="eu-west-1")).start()
