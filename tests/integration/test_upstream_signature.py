"""What we send is what botocore's generic client sends: one request of each is recorded and compared."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.session import AioSession

from proxy.core.batch import Batch
from proxy.core.record import Record
from tests.support.aws_environment import use_static_credentials
from tests.support.fault_server import FaultServer, ReceivedRequest, put_results, reply
from tests.support.upstreams import opened

ARN = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
ONE_RESULT = b'{"SequenceNumber":"4960","ShardId":"shardId-000000000000"}'


@pytest.fixture(autouse=True, params=[None, "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCWV1LXdlc3QtMQ=="])
def _aws_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    token = {} if request.param is None else {"AWS_SESSION_TOKEN": request.param}
    use_static_credentials(monkeypatch, AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="eu-west-1", **token)


@asynccontextmanager
async def botocore_client(url: str) -> AsyncIterator[Any]:
    """Open botocore's generic client, on aiobotocore."""
    async with AioSession().create_client("kinesis", endpoint_url=url) as client:
        yield client


def canonical(request: ReceivedRequest) -> dict[str, Any]:
    """Return what a signature covers, but for the body's layout, the instant and the signature itself."""
    authorization = request.headers["authorization"]
    signed = authorization.split("SignedHeaders=")[1].split(",")[0].split(";")
    return {
        "method": request.method,
        "target": request.target,
        "credential": authorization.split("Credential=")[1].split(",")[0],
        "signed": {name: request.headers[name] for name in signed if name != "x-amz-date"},
        "names": signed,
        "body": json.loads(request.body),
    }


async def test_put_records_is_the_request_of_the_generic_client() -> None:
    """Same method, path, signed headers, scope and members."""
    entries = [
        {"Data": b"hello", "PartitionKey": "ключ"},
        {"Data": b"", "PartitionKey": "b", "ExplicitHashKey": "170"},
    ]
    records = [Record("ключ", "aGVsbG8=", 9, 1, 0), Record("b", "", 1, 170, 0, explicit_hash_key="170")]
    async with FaultServer(put_results()) as server:
        async with botocore_client(server.url) as client, opened(server.url) as upstream:
            await client.put_records(StreamName="orders", Records=entries)
            await client.put_records(StreamARN=ARN, Records=entries)
            await upstream.put(Batch("orders", None, records))
            await upstream.put(Batch("orders", ARN, records))
        theirs_by_name, theirs_by_arn, ours_by_name, ours_by_arn = map(canonical, server.requests)
    assert ours_by_name == theirs_by_name
    assert ours_by_arn == theirs_by_arn


async def test_put_record_is_the_request_of_the_generic_client() -> None:
    """With every member that it can have."""
    record = Record("a", "aGVsbG8=", 6, 170, 0, explicit_hash_key="170", sequence_number_for_ordering="4960")
    async with FaultServer(reply(200, ONE_RESULT)) as server:
        async with botocore_client(server.url) as client, opened(server.url) as upstream:
            await client.put_record(
                StreamName="orders",
                Data=b"hello",
                PartitionKey="a",
                ExplicitHashKey="170",
                SequenceNumberForOrdering="4960",
            )
            await upstream.put(Batch("orders", None, [record], ordered=True))
        theirs, ours = map(canonical, server.requests)
    assert ours == theirs
