"""boto3 as it is, but for `endpoint_url`."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from tests.support.processes import CREDENTIALS, emulate, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAM_NAME = "orders"


@contextmanager
def _boto3_client(endpoint_url: str) -> Iterator[Any]:
    client = boto3.client(
        "kinesis",
        endpoint_url=endpoint_url,
        region_name=CREDENTIALS["AWS_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    with closing(client):
        yield client


@pytest.fixture(scope="module")
def emulator_url() -> Iterator[str]:
    """Endpoint of our emulator in a process of its own."""
    with emulate() as upstream:
        yield upstream.url


@pytest.fixture(scope="module", params=["emulator_url", "kinesalite_url", "ministack_url"])
def kinesis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Give a boto3 client of the proxy in front of each upstream, on which a stream of two shards was made."""
    upstream_url = request.getfixturevalue(request.param)
    # By default the proxy forwards what producers need; these tests also read records.
    with (
        serve(upstream_url, forwarded_operations="all") as proxy,
        _boto3_client(upstream_url) as upstream,
        _boto3_client(proxy.url) as client,
    ):
        upstream.create_stream(StreamName=STREAM_NAME, ShardCount=2)
        upstream.get_waiter("stream_exists").wait(StreamName=STREAM_NAME, WaiterConfig={"Delay": 1})
        yield client
        upstream.delete_stream(StreamName=STREAM_NAME)
        upstream.get_waiter("stream_not_exists").wait(StreamName=STREAM_NAME, WaiterConfig={"Delay": 1})


def _read(client: Any, shard_id: str, sequence_number: str) -> dict[str, Any]:  # noqa: ANN401 - boto3 has no types
    iterator = client.get_shard_iterator(
        StreamName=STREAM_NAME,
        ShardId=shard_id,
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=sequence_number,
    )["ShardIterator"]
    records = client.get_records(ShardIterator=iterator, Limit=1)["Records"]
    assert len(records) == 1
    record: dict[str, Any] = records[0]
    return record


def test_put_record_answers_where_the_record_is_read_back(kinesis: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """Shard id and sequence number of PutRecord's answer lead to the very record."""
    answer = kinesis.put_record(StreamName=STREAM_NAME, Data=b"\x00\xffpayload", PartitionKey="customer-1")
    record = _read(kinesis, answer["ShardId"], answer["SequenceNumber"])
    assert record["SequenceNumber"] == answer["SequenceNumber"]
    assert (record["Data"], record["PartitionKey"]) == (b"\x00\xffpayload", "customer-1")


def test_put_records_answers_each_record_in_the_order_of_the_request(kinesis: Any) -> None:  # noqa: ANN401
    """Each result of PutRecords leads to the record at its place in the request."""
    entries = [{"Data": f"payload {n}".encode(), "PartitionKey": f"customer-{n % 40}"} for n in range(120)]
    answer = kinesis.put_records(StreamName=STREAM_NAME, Records=entries)
    assert answer["FailedRecordCount"] == 0
    assert {result["ShardId"][-1] for result in answer["Records"]} == {"0", "1"}
    for entry, result in zip(entries, answer["Records"], strict=True):
        record = _read(kinesis, result["ShardId"], result["SequenceNumber"])
        assert (record["Data"], record["PartitionKey"]) == (entry["Data"], entry["PartitionKey"])


def test_an_explicit_hash_key_chooses_the_shard(kinesis: Any) -> None:  # noqa: ANN401
    """ExplicitHashKey overrides the hash of the partition key."""
    for hash_key, shard_id in ((0, "shardId-000000000000"), (2**128 - 1, "shardId-000000000001")):
        answer = kinesis.put_record(
            StreamName=STREAM_NAME, Data=b"", PartitionKey="customer-1", ExplicitHashKey=str(hash_key)
        )
        assert answer["ShardId"] == shard_id


def test_list_shards_is_the_upstreams_own_answer(kinesis: Any) -> None:  # noqa: ANN401
    """Reading about a stream goes through to the upstream."""
    shards = kinesis.list_shards(StreamName=STREAM_NAME)["Shards"]
    assert [shard["ShardId"] for shard in shards] == ["shardId-000000000000", "shardId-000000000001"]
    assert shards[-1]["HashKeyRange"]["EndingHashKey"] == str(2**128 - 1)


def test_a_stream_that_is_not_there_is_boto3s_own_exception(kinesis: Any) -> None:  # noqa: ANN401
    """Errors arrive as the exception classes that boto3 makes of the service's errors."""
    with pytest.raises(kinesis.exceptions.ResourceNotFoundException):
        kinesis.put_record(StreamName="no-such-stream", Data=b"payload", PartitionKey="customer-1")


def test_the_embedded_upstream_serves_boto3_without_any_other_process() -> None:
    """`serve --upstream embedded` alone is a Kinesis to write to and read from."""
    with serve("embedded", stream=[f"{STREAM_NAME}:2"]) as proxy, _boto3_client(proxy.url) as client:
        answer = client.put_record(StreamName=STREAM_NAME, Data=b"payload", PartitionKey="customer-1")
        assert _read(client, answer["ShardId"], answer["SequenceNumber"])["Data"] == b"payload"
