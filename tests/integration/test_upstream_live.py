"""The upstream against independent servers."""

import base64
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.session import AioSession

from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.hashing import hash_key_of
from proxy.core.record import Record
from proxy.core.shard_map import ShardMap, StreamSummary
from tests.support.aws_environment import use_static_credentials
from tests.support.upstreams import opened


@pytest.fixture(params=["kinesalite_url", "ministack_url"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a live server's URL."""
    endpoint = str(request.getfixturevalue(request.param))
    use_static_credentials(monkeypatch, AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1")
    return endpoint


@asynccontextmanager
async def stream_of(url: str, shards: int) -> AsyncIterator[tuple[str, Any]]:
    """Make a stream; yield its name and botocore's client, and delete it at the end."""
    name = f"upstream-{uuid.uuid4().hex[:12]}"
    async with AioSession().create_client("kinesis", endpoint_url=url) as client:
        await client.create_stream(StreamName=name, ShardCount=shards)
        await client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 20})
        try:
            yield name, client
        finally:
            await client.delete_stream(StreamName=name)


def record(partition_key: str, data: bytes, **members: Any) -> Record:  # noqa: ANN401 - any member
    """Return a record as the core hands it over."""
    encoded = base64.b64encode(data).decode()
    return Record(partition_key, encoded, len(data) + len(partition_key), hash_key_of(partition_key), 0, **members)


async def read_back(client: Any, name: str) -> dict[str, tuple[str, bytes]]:  # noqa: ANN401 - botocore has no types
    """Return every record of a stream by sequence number: shard id and data."""
    found = {}
    for shard in (await client.list_shards(StreamName=name))["Shards"]:
        iterator = (
            await client.get_shard_iterator(StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        )["ShardIterator"]
        while iterator:
            page = await client.get_records(ShardIterator=iterator)
            found.update({told["SequenceNumber"]: (shard["ShardId"], told["Data"]) for told in page["Records"]})
            iterator = page.get("NextShardIterator") if page["Records"] else None
    return found


async def test_what_is_answered_is_what_can_be_read_back(url: str) -> None:
    """Shard ids and sequence numbers of 500 records, and of one by PutRecord, are those in the stream."""
    async with stream_of(url, 3) as (name, client), opened(url) as upstream:
        records = [record(f"key-{n}", f"data-{n}".encode()) for n in range(500)]
        answer = await upstream.put(Batch(name, None, records))
        assert isinstance(answer, Answer)
        last = answer.results[-1].sequence_number
        ordered = record("key-499", b"after", sequence_number_for_ordering=last)
        ordered_answer = await upstream.put(Batch(name, None, [ordered], ordered=True))
        assert isinstance(ordered_answer, Answer)

        acknowledged = {
            result.sequence_number: (result.shard_id, base64.b64decode(sent.data))
            for result, sent in zip([*answer.results, *ordered_answer.results], [*records, ordered], strict=True)
        }
        assert len(acknowledged) == 501
        assert await read_back(client, name) == acknowledged


async def test_predicted_shards_are_the_actual_ones(url: str) -> None:
    """The shard map that ListShards gives is the one that the server puts by."""
    async with stream_of(url, 4) as (name, _), opened(url) as upstream:
        shards = await upstream.list_shards(name, None)
        assert isinstance(shards, list)
        assert len(shards) == 4
        shard_map = ShardMap(shards)
        records = [record(f"key-{n}", b"x") for n in range(100)]
        answer = await upstream.put(Batch(name, None, records))
        assert isinstance(answer, Answer)
        predicted = [shard_map.shard_id_of(sent.hash_key) for sent in records]
        assert [result.shard_id for result in answer.results] == predicted


async def test_summary_counts_the_open_shards(url: str) -> None:
    """And says the stream's ARN, by which it can be addressed."""
    async with stream_of(url, 2) as (name, _), opened(url) as upstream:
        summary = await upstream.describe_stream_summary(name, None)
        assert isinstance(summary, StreamSummary)
        assert summary.open_shard_count == 2
        assert summary.stream_arn.endswith(f":stream/{name}")


async def test_missing_stream_is_the_services_own_error(url: str) -> None:
    """Refused, by its code."""
    async with opened(url) as upstream:
        failure = await upstream.put(Batch("no-such-stream", None, [record("k", b"x")]))
    assert isinstance(failure, Failure)
    assert (failure.code, failure.written, failure.status) == ("ResourceNotFoundException", Written.REFUSED, 400)
