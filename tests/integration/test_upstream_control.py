"""ListShards and DescribeStreamSummary through aiobotocore's client, against scripted answers."""

import json
from typing import Any

import pytest

from proxy.core.batch import Failure, Written
from proxy.core.shard_map import Shard, StreamSummary
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.counters import LIST_SHARDS, Outcome
from proxy.upstream.settings import UpstreamSettings
from tests.support.aws_environment import ACCESS_KEY, use_static_credentials
from tests.support.fault_server import (
    Behaviour,
    FaultServer,
    black_hole,
    close_after_request,
    reply,
    trickle,
)
from tests.support.upstreams import SOON_MS, opened

ARN = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"


@pytest.fixture(autouse=True)
def _aws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    use_static_credentials(monkeypatch)


def shard(shard_id: str, first: str, last: str, ending_sequence_number: str | None = None) -> dict[str, Any]:
    """Return one shard as ListShards tells it."""
    sequence_numbers = {"StartingSequenceNumber": "1"}
    if ending_sequence_number is not None:
        sequence_numbers["EndingSequenceNumber"] = ending_sequence_number
    return {
        "ShardId": shard_id,
        "HashKeyRange": {"StartingHashKey": first, "EndingHashKey": last},
        "SequenceNumberRange": sequence_numbers,
    }


def page(*shards: dict[str, Any], next_token: str | None = None) -> Behaviour:
    """Answer with one page of ListShards."""
    told: dict[str, Any] = {"Shards": list(shards)}
    if next_token is not None:
        told["NextToken"] = next_token
    return reply(200, json.dumps(told).encode())


def summary(**members: Any) -> Behaviour:  # noqa: ANN401 - any member
    """Answer with a summary of a stream."""
    told = {"StreamName": "orders", "StreamARN": ARN, "OpenShardCount": 4, "StreamStatus": "ACTIVE", **members}
    return reply(200, json.dumps({"StreamDescriptionSummary": told}).encode())


async def test_open_shards_are_gathered_from_all_pages() -> None:
    """The next page is asked for by its token alone: the service refuses a stream name beside it."""
    half = 2**127
    script = (
        page(shard("shardId-1", "0", str(half - 1)), next_token="more"),  # noqa: S106 - a page token
        page(shard("shardId-2", str(half), str(2**128 - 1))),
    )
    async with FaultServer(*script) as server, opened(server.url) as upstream:
        assert await upstream.list_shards("orders", None) == [
            Shard(0, half - 1, "shardId-1"),
            Shard(half, 2**128 - 1, "shardId-2"),
        ]
        assert [json.loads(request.body) for request in server.requests] == [
            {"StreamName": "orders", "ShardFilter": {"Type": "AT_LATEST"}},
            {"NextToken": "more"},
        ]
        assert upstream.counters.requests[LIST_SHARDS, Outcome.OK] == 1


async def test_closed_shards_are_left_out() -> None:
    """Servers that do not know the filter list them too."""
    script = page(shard("shardId-0", "0", "9", ending_sequence_number="7"), shard("shardId-1", "0", "9"))
    async with FaultServer(script) as server, opened(server.url) as upstream:
        assert await upstream.list_shards("orders", None) == [Shard(0, 9, "shardId-1")]


async def test_stream_is_addressed_by_arn_where_it_has_one() -> None:
    """By the ARN alone."""
    async with FaultServer(page(), summary()) as server, opened(server.url) as upstream:
        await upstream.list_shards("orders", ARN)
        await upstream.describe_stream_summary("orders", ARN)
        asked = [json.loads(request.body) for request in server.requests]
    assert asked == [{"StreamARN": ARN, "ShardFilter": {"Type": "AT_LATEST"}}, {"StreamARN": ARN}]


async def test_endless_pages_are_a_failure() -> None:
    """A server that always has more costs a bounded number of calls."""
    endless = page(next_token="more")  # noqa: S106 - a page token
    async with FaultServer(endless) as server, opened(server.url) as upstream:
        failure = await upstream.list_shards("orders", None)
        assert isinstance(failure, Failure)
        assert failure.code == "MalformedResponse"
        assert len(server.requests) == 100


async def test_summary_tells_record_size_and_strategy() -> None:
    """In bytes; AUTO ignores keys."""
    script = summary(MaxRecordSizeInKiB=10240, RecordDistributionStrategy="AUTO")
    async with FaultServer(script) as server, opened(server.url) as upstream:
        assert await upstream.describe_stream_summary("orders", None) == StreamSummary(ARN, 4, 10240 * 1024, True)  # noqa: FBT003 - as in the type


async def test_summary_of_an_older_service_has_the_defaults() -> None:
    """1 MiB records, keys decide."""
    async with FaultServer(summary()) as server, opened(server.url) as upstream:
        assert await upstream.describe_stream_summary("orders", None) == StreamSummary(ARN, 4)


async def test_calls_are_signed_with_the_same_credentials_as_puts() -> None:
    """One keeper has them."""
    async with FaultServer(page()) as server, opened(server.url) as upstream:
        await upstream.list_shards("orders", None)
        assert f"Credential={ACCESS_KEY}/" in server.requests[0].headers["authorization"]


async def test_client_is_made_once() -> None:
    """Its connections are kept."""
    async with FaultServer(page()) as server, opened(server.url) as upstream:
        for _ in range(3):
            await upstream.list_shards("orders", None)
        assert server.connections == 1


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (
            reply(400, b'{"__type":"ResourceNotFoundException","message":"Stream orders not found."}'),
            ("ResourceNotFoundException", Written.REFUSED, 400),
        ),
        (reply(400, b'{"__type":"LimitExceededException"}'), ("LimitExceededException", Written.REFUSED, 400)),
        (reply(500, b'{"__type":"InternalFailure"}'), ("InternalFailure", Written.UNKNOWN, 500)),
        (reply(200, b"<html>"), ("MalformedResponse", Written.UNKNOWN, 0)),
        (reply(200, b"{}"), ("MalformedResponse", Written.UNKNOWN, 0)),
        (page({"ShardId": "shardId-1"}), ("MalformedResponse", Written.UNKNOWN, 0)),
        (page(shard("shardId-1", "zero", "9")), ("MalformedResponse", Written.UNKNOWN, 0)),
        (black_hole(), ("RequestTimeout", Written.UNKNOWN, 0)),
        (trickle(b'{"Shards":[]}', 0.5), ("RequestTimeout", Written.UNKNOWN, 0)),
        (close_after_request(), ("ConnectionReset", Written.UNKNOWN, 0)),
    ],
)
async def test_failed_call_is_a_value_after_one_attempt(
    behaviour: Behaviour, failure: tuple[str, Written, int]
) -> None:
    """The client's own retries are off: the core decides when to ask again."""
    timeouts = {"request_timeout_ms": SOON_MS} if failure[0] == "RequestTimeout" else {}
    async with FaultServer(behaviour) as server, opened(server.url, **timeouts) as upstream:
        result = await upstream.list_shards("orders", None)
        assert isinstance(result, Failure)
        assert (result.code, result.written, result.status) == failure
        assert len(server.requests) == 1


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
async def test_retries_of_the_aws_configuration_are_not_made(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """They are meant for programs that have no other."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "5")
    monkeypatch.setenv("AWS_RETRY_MODE", mode)
    async with FaultServer(reply(503, b"")) as server, opened(server.url) as upstream:
        result = await upstream.list_shards("orders", None)
        assert isinstance(result, Failure)
        assert (result.code, result.status) == ("ServiceUnavailable", 503)
        assert len(server.requests) == 1


async def test_summary_without_its_members_is_malformed() -> None:
    """Nothing is guessed."""
    async with FaultServer(reply(200, b'{"StreamDescriptionSummary":{}}')) as server, opened(server.url) as upstream:
        result = await upstream.describe_stream_summary("orders", None)
    assert isinstance(result, Failure)
    assert result.code == "MalformedResponse"


async def test_endpoints_of_the_aws_configuration_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither puts nor calls of the control plane go to where producers are pointed."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4567")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:4567")
    upstream = AwsUpstream(UpstreamSettings(region="eu-west-1"))
    await upstream.start()
    parts = upstream._started()
    assert parts.control._client.meta.endpoint_url == "https://kinesis.eu-west-1.amazonaws.com"
    assert parts.endpoints.regional.host == "kinesis.eu-west-1.amazonaws.com"
    await upstream.close()


async def test_url_serves_the_control_plane_whatever_the_aws_configuration_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """FIPS and dual-stack have no say beside a URL."""
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", "true")
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", "true")
    async with FaultServer(page()) as server, opened(server.url) as upstream:
        assert await upstream.list_shards("orders", None) == []
