"""boto3, unmodified but for the endpoint, against the emulator and kinesalite: the same calls, the same answers.

kinesalite was written against the service, so what both do is what the service does. Known differences, and why:

- kinesalite ends a closed shard with an empty answer after the one with its last records, the emulator with the one
  that reaches them; the API reference allows both, and only the emulator names ChildShards (in the API since 2020).
- kinesalite numbers the records of five shards by one counter, the emulator those of each shard; both increase.
- kinesalite has neither UpdateShardCount, ShardFilter and pages of ListShards, StreamARN, DryRun, EncryptionType,
  MaxRecordSizeInKiB, AUTO distribution nor limits per shard: it is older than they are. It is not asked for them.
- kinesalite tells StreamCreationTimestamp in whole seconds, the emulator in milliseconds, as the service does today.
- kinesalite splits and merges shards that are closed already, which leaves hash keys with two owners; the emulator
  refuses to.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.support.processes import Service, emulate

if TYPE_CHECKING:
    from collections.abc import Iterator

MISTAKES = json.loads(Path(__file__).with_name("emulator_mistakes.json").read_text(encoding="utf-8"))
RING = 2**128
HALF = RING // 2
POLL_SECONDS = 0.02
PATIENCE_SECONDS = 20


@contextmanager
def client_of(url: str) -> Iterator[Any]:
    """Give a boto3 client of an endpoint."""
    client = boto3.client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # noqa: S106 - the documentation's example
        config=Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE_SECONDS),
    )
    with closing(client):
        yield client


@pytest.fixture(scope="module")
def emulated() -> Iterator[Service]:
    """The emulator, as a process of its own."""
    with emulate() as service:
        yield service


@pytest.fixture
def emulator(emulated: Service) -> Iterator[Any]:
    """A client of the emulator alone, which is left without faults."""
    with client_of(emulated.url) as client:
        yield client
    inject(emulated)


def inject(service: Service, **faults: float) -> None:
    """Replace the emulator's faults, over its admin port."""
    connection = http.client.HTTPConnection("127.0.0.1", service.admin_port)
    with closing(connection):
        connection.request("PUT", "/faults", json.dumps(faults))
        response = connection.getresponse()
        told = json.loads(response.read())
    assert response.status == http.client.OK, told
    assert {name: value for name, value in told.items() if value} == faults


@pytest.fixture(params=["emulator", "kinesalite"])
def kinesis(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of each server in turn."""
    if request.param == "emulator":
        yield request.getfixturevalue("emulator")
        return
    with client_of(request.getfixturevalue("kinesalite_url")) as client:
        yield client


@contextmanager
def stream(client: Any, shards: int = 1, **members: Any) -> Iterator[str]:  # noqa: ANN401 - boto3 has no types
    """Make a stream under a new name, wait for it, and remove it at the end."""
    name = f"orders-{uuid4().hex}"
    client.create_stream(StreamName=name, ShardCount=shards, **members)
    try:
        active(client, name)
        yield name
    finally:
        client.delete_stream(StreamName=name)


def active(client: Any, name: str) -> dict[str, Any]:  # noqa: ANN401 - as above
    """Wait until a stream is ACTIVE and return its description."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        description: dict[str, Any] = client.describe_stream(StreamName=name)["StreamDescription"]
        if description["StreamStatus"] == "ACTIVE":
            return description
        time.sleep(POLL_SECONDS)
    raise TimeoutError(name)


def iterator_of(client: Any, name: str, shard_id: str, kind: str = "TRIM_HORIZON", **members: Any) -> str:  # noqa: ANN401 - as above
    """Get a shard iterator."""
    answer = client.get_shard_iterator(StreamName=name, ShardId=shard_id, ShardIteratorType=kind, **members)
    return str(answer["ShardIterator"])


def read(client: Any, iterator: str) -> list[dict[str, Any]]:  # noqa: ANN401 - as above
    """Read to the tip or the end of a shard."""
    records: list[dict[str, Any]] = []
    while True:
        answer = client.get_records(ShardIterator=iterator)
        records += answer["Records"]
        if not answer["Records"] or answer.get("NextShardIterator") is None:
            return records
        iterator = answer["NextShardIterator"]


def numbers(records: list[dict[str, Any]]) -> list[str]:
    """Return the records' sequence numbers."""
    return [record["SequenceNumber"] for record in records]


def test_what_is_put_is_read_back(kinesis: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """Every record in the shard that owns its MD5, in order, under the number that was answered."""
    with stream(kinesis, shards=3) as name:
        put: list[tuple[str, str, str, bytes]] = []
        for number in range(10):
            key, data = f"key-{number}", b"single %d" % number
            answer = kinesis.put_record(StreamName=name, PartitionKey=key, Data=data)
            put.append((answer["ShardId"], answer["SequenceNumber"], key, data))
        batch = [(f"schlüssel-{number % 7}", b"batch %d" % number) for number in range(100)]
        entries = [{"PartitionKey": key, "Data": data} for key, data in batch]
        answer = kinesis.put_records(StreamName=name, Records=entries)
        assert answer["FailedRecordCount"] == 0
        for result, (key, data) in zip(answer["Records"], batch, strict=True):
            put.append((result["ShardId"], result["SequenceNumber"], key, data))
        third = RING // 3
        for index in range(3):
            shard_id = f"shardId-{index:012d}"
            found = [
                (shard_id, record["SequenceNumber"], record["PartitionKey"], record["Data"])
                for record in read(kinesis, iterator_of(kinesis, name, shard_id))
            ]
            assert found == [record for record in put if record[0] == shard_id]
            assert found == sorted(found, key=lambda record: int(record[1]))
            assert all(min(hash_of(record[2]) // third, 2) == index for record in found)


def hash_of(key: str) -> int:
    """Return the hash key of a partition key."""
    return int.from_bytes(hashlib.md5(key.encode()).digest())  # noqa: S324 - the service's hash


def test_every_iterator_type_starts_where_it_says(kinesis: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """TRIM_HORIZON, AT and AFTER a number, AT_TIMESTAMP, LATEST."""
    with stream(kinesis) as name:
        shard_id = "shardId-000000000000"
        put = [
            kinesis.put_record(StreamName=name, PartitionKey="a", Data=b"%d" % number)["SequenceNumber"]
            for number in range(4)
        ]
        latest = iterator_of(kinesis, name, shard_id, "LATEST")
        by_number = {"StartingSequenceNumber": put[1]}
        for kind, members, expected in (
            ("TRIM_HORIZON", {}, put),
            ("AT_SEQUENCE_NUMBER", by_number, put[1:]),
            ("AFTER_SEQUENCE_NUMBER", by_number, put[2:]),
            ("AT_TIMESTAMP", {"Timestamp": datetime(2020, 1, 1, tzinfo=UTC)}, put),
        ):
            assert numbers(read(kinesis, iterator_of(kinesis, name, shard_id, kind, **members))) == expected
        later = kinesis.put_record(StreamName=name, PartitionKey="a", Data=b"later")["SequenceNumber"]
        assert numbers(read(kinesis, latest)) == [later]


def test_records_follow_a_split_and_a_merge(kinesis: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """Lineage and ranges are told, numbers grow over the generations, closed shards end."""
    with stream(kinesis) as name:

        def put() -> tuple[str, int]:
            answer = kinesis.put_record(StreamName=name, PartitionKey="a", Data=b"x", ExplicitHashKey="0")
            return answer["ShardId"], int(answer["SequenceNumber"])

        generations = [put()]
        kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(HALF))
        active(kinesis, name)
        generations.append(put())
        kinesis.merge_shards(
            StreamName=name, ShardToMerge="shardId-000000000001", AdjacentShardToMerge="shardId-000000000002"
        )
        shards = active(kinesis, name)["Shards"]
        generations.append(put())

        assert [shard_id for shard_id, _ in generations] == [f"shardId-{index:012d}" for index in (0, 1, 3)]
        assert [number for _, number in generations] == sorted(number for _, number in generations)
        assert [
            (
                shard.get("ParentShardId", "")[-1:],
                shard.get("AdjacentParentShardId", "")[-1:],
                int(shard["HashKeyRange"]["StartingHashKey"]),
                int(shard["HashKeyRange"]["EndingHashKey"]),
                "EndingSequenceNumber" in shard["SequenceNumberRange"],
            )
            for shard in shards
        ] == [
            ("", "", 0, RING - 1, True),
            ("0", "", 0, HALF - 1, True),
            ("0", "", HALF, RING - 1, True),
            ("1", "2", 0, RING - 1, False),
        ]
        for parent, child in ((0, 1), (0, 2), (1, 3), (2, 3)):
            ended = int(shards[parent]["SequenceNumberRange"]["EndingSequenceNumber"])
            assert ended < int(shards[child]["SequenceNumberRange"]["StartingSequenceNumber"])

        iterator: str | None = iterator_of(kinesis, name, "shardId-000000000000")
        found = []
        while iterator is not None:
            answer = kinesis.get_records(ShardIterator=iterator)
            found += numbers(answer["Records"])
            iterator = answer.get("NextShardIterator")
        assert found == [str(generations[0][1])]


def test_a_stream_is_described(kinesis: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """Description, summary and lists agree."""
    with stream(kinesis, shards=2) as name:
        description = active(kinesis, name)
        summary = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        for member in ("StreamName", "StreamARN", "StreamStatus", "RetentionPeriodHours", "EnhancedMonitoring"):
            assert summary[member] == description[member]
        assert description["StreamARN"] == f"arn:aws:kinesis:us-east-1:000000000000:stream/{name}"
        assert summary["OpenShardCount"] == 2
        assert kinesis.list_shards(StreamName=name)["Shards"] == description["Shards"]
        assert name in kinesis.list_streams(Limit=100)["StreamNames"]
        assert abs(summary["StreamCreationTimestamp"].timestamp() - time.time()) < PATIENCE_SECONDS


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: f"{mistake['operation']}-{mistake['message'][:40]}")
def test_mistakes_are_answered_in_the_services_words(kinesis: Any, mistake: dict[str, Any]) -> None:  # noqa: ANN401 - boto3 has no types
    """Code and message alike on both servers; the stream of each mistake is called NAME."""
    operation, members = mistake["operation"], mistake["members"]
    with stream(kinesis, shards=2) as name:
        named = members if operation == "get_records" else {"StreamName": name, **members}
        with pytest.raises(ClientError) as caught:
            getattr(kinesis, operation)(**{member: value for member, value in named.items() if value is not None})
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"].replace(name, "NAME")) == (mistake["code"], mistake["message"])


def test_the_shard_count_is_updated_with_true_lineage(emulator: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """Up and down, and the filter tells the open shards."""
    with stream(emulator, shards=2) as name:
        emulator.update_shard_count(StreamName=name, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
        emulator.update_shard_count(StreamName=name, TargetShardCount=3, ScalingType="UNIFORM_SCALING")
        listed = emulator.list_shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
        ranges = sorted(
            (int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"]))
            for shard in listed
        )
        assert [ranges[0][0], *(ended + 1 for _, ended in ranges)] == [*(started for started, _ in ranges), RING]
        assert all("ParentShardId" in shard for shard in listed)
        assert len(ranges) == 3


def test_streams_are_paged_through_by_botos_own_paginators(emulator: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """Through all shards and streams. boto3's paginator of ListShards names the stream again, which is refused."""
    with stream(emulator, shards=5) as name, stream(emulator):
        answer = emulator.list_shards(StreamName=name, MaxResults=3)
        assert len(answer["Shards"]) + len(emulator.list_shards(NextToken=answer["NextToken"])["Shards"]) == 5
        pages = emulator.get_paginator("describe_stream").paginate(StreamName=name, PaginationConfig={"PageSize": 2})
        assert sum(len(page["StreamDescription"]["Shards"]) for page in pages) == 5
        pages = emulator.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 1})
        assert sum(len(page["StreamNames"]) for page in pages) == 2


def test_members_of_today_are_honoured(emulator: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """StreamARN, large records, automatic distribution, DryRun."""
    with stream(emulator, 2, MaxRecordSizeInKiB=2048, RecordDistributionStrategy="AUTO") as name:
        arn = active(emulator, name)["StreamARN"]
        answer = emulator.put_record(StreamARN=arn, Data=b"x" * (2 * 1024 * 1024))
        assert answer["EncryptionType"] == "NONE"
        with pytest.raises(emulator.exceptions.DryRunOperationException):
            emulator.put_record(StreamARN=arn, Data=b"x", DryRun=True)
        summary = emulator.describe_stream_summary(StreamARN=arn)["StreamDescriptionSummary"]
        assert (summary["RecordDistributionStrategy"], summary["MaxRecordSizeInKiB"]) == ("AUTO", 2048)


def test_a_shards_limit_is_met_by_a_real_client(emulator: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """More than a second's records at once: some are throttled, and all others are read back."""
    with stream(emulator) as name:
        entries = [{"PartitionKey": "a", "Data": b"x"}] * 500
        results = [emulator.put_records(StreamName=name, Records=entries) for _ in range(4)]
        failed = sum(result["FailedRecordCount"] for result in results)
        codes = {record.get("ErrorCode") for result in results for record in result["Records"]}
        assert failed > 0
        assert codes == {None, "ProvisionedThroughputExceededException"}
        records = read(emulator, iterator_of(emulator, name, "shardId-000000000000"))
        assert len(records) == 2000 - failed


def test_injected_faults_reach_a_real_client(emulated: Service, emulator: Any) -> None:  # noqa: ANN401 - boto3 has no types
    """A reset after the write, a 500 and a slow answer are what boto3 sees them as."""
    with stream(emulator) as name:
        put = {"StreamName": name, "PartitionKey": "a", "Data": b"x"}
        inject(emulated, reset_after_ratio=1)
        with pytest.raises(ConnectionClosedError):
            emulator.put_record(**put)
        inject(emulated, request_error_ratio=1)
        with pytest.raises(ClientError) as caught:
            emulator.put_record(**put)
        assert caught.value.response["Error"]["Code"] == "InternalFailure"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        inject(emulated, trickle_bytes_per_second=2000)
        assert emulator.put_record(**put)["ShardId"] == "shardId-000000000000"
        assert len(read(emulator, iterator_of(emulator, name, "shardId-000000000000"))) == 2
