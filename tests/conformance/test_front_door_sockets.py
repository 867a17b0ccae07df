"""The frontend behind its transport: bad input as raw bytes and from boto3, and the connection alive after each."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from contextlib import asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import uvloop
from botocore.config import Config
from botocore.exceptions import ClientError

from proxy.core.record import State
from proxy.core.shard_map import StreamSummary
from proxy.kinesis.limits import BODY_BYTES_MAX, MIB
from proxy.transport.limits import HttpLimits
from proxy.transport.server import HttpServer
from tests.conformance.front_door_vectors import STREAM, read_vectors
from tests.conformance.test_front_door import SIGNED, check_answer, exchange
from tests.support.http2_client import Http2Client
from tests.unit.frontend.frontend_fakes import ALL, FakeQueue, FakeUpstream, Rejection, failed, frontend_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ARN = f"arn:aws:kinesis:us-east-1:123456789012:stream/{STREAM}"


class Served:
    """A frontend on fakes, served on loopback."""

    def __init__(self) -> None:
        self.queue = FakeQueue()
        self.queue.known = StreamSummary(ARN, 1)
        self.upstream = FakeUpstream()
        self.server = HttpServer(
            frontend_of(self.queue, self.upstream).handle,
            HttpLimits(request_bytes_max=BODY_BYTES_MAX, linger_seconds=0.05),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve for the time of a block."""
        await self.server.start("127.0.0.1", 0)
        try:
            yield
        finally:
            await self.server.close(1)


def against_server(talk: Callable[[Served], None]) -> Served:
    """Run blocking client code against a frontend that runs as in production, on uvloop."""

    async def main() -> Served:
        served = Served()
        async with served.running():
            await asyncio.to_thread(talk, served)
        return served

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_every_vector_is_answered_on_one_connection() -> None:
    """Whatever was wrong with a request, the next one on its connection is served."""
    vectors = [vector for vector in read_vectors() if len(vector.body) <= BODY_BYTES_MAX]

    def talk(served: Served) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", served.server.port)) as connection:
            for vector in vectors:
                queued = len(served.queue.queued)
                check_answer(vector.expected, *exchange(connection, vector))
                assert (len(served.queue.queued) > queued) == (vector.expected.status == 200), vector.name
            assert served.server.connections == 1

    against_server(talk)


def test_every_vector_has_the_same_answer_over_http2() -> None:
    """Nothing about a request is decided by the transport; one connection takes them all."""
    vectors = [vector for vector in read_vectors() if len(vector.body) <= BODY_BYTES_MAX]

    def talk(served: Served) -> None:
        with Http2Client(served.server.port) as client:
            for vector in vectors:
                queued = len(served.queue.queued)
                check_answer(vector.expected, *client.request(vector.method, {**SIGNED, **vector.headers}, vector.body))
                assert (len(served.queue.queued) > queued) == (vector.expected.status == 200), vector.name
            assert served.server.connections == 1

    against_server(talk)


def test_body_beyond_every_limit_is_refused_in_the_services_words() -> None:
    """An SDK reads a 400 as what it is, and uses the connection again."""

    def talk(served: Served) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", served.server.port)) as connection:
            headers = {"X-Amz-Target": "Kinesis_20131202.PutRecords", "Content-Type": "application/x-amz-json-1.1"}
            for _ in range(2):
                connection.request("POST", "/", b" " * (BODY_BYTES_MAX + 1), headers)
                response = connection.getresponse()
                assert response.status == 400
                assert json.loads(response.read()) == {
                    "__type": "InvalidArgumentException",
                    "message": "Records size exceeds 10 MB limit",
                }
            assert served.server.connections == 1

    assert not against_server(talk).queue.queued


def test_bad_request_between_good_ones_fails_alone() -> None:
    """Requests that are sent ahead are answered in their order, each for itself."""
    good = json.dumps({"StreamName": STREAM, "PartitionKey": "a", "Data": "YQ=="})
    bodies = [good, good.replace("YQ==", "YQ="), good, good[:-1], good, "[]", good]
    requests = "".join(
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Kinesis_20131202.PutRecord\r\n"
        f"Content-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        for body in bodies
    )
    statuses: list[int] = []

    def talk(served: Served) -> None:
        with socket.create_connection(("127.0.0.1", served.server.port)) as connection:
            connection.sendall(requests.encode())
            with connection.makefile("rb") as answers:
                for _ in bodies:
                    statuses.append(int(answers.readline().split()[1]))
                    headers = http.client.parse_headers(answers)
                    answers.read(int(headers["Content-Length"]))

    assert len(against_server(talk).queue.queued) == 4
    assert statuses == [200, 400, 200, 400, 200, 400, 200]


@contextmanager
def boto3_client(served: Served, **settings: Any) -> Iterator[Any]:  # noqa: ANN401 - boto3 has no types
    """Make a client as any program does, but for the endpoint."""
    client = boto3.client(
        "kinesis",
        endpoint_url=f"http://127.0.0.1:{served.server.port}",
        region_name="us-east-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",  # noqa: S106 - no secret
        config=Config(**settings),
    )
    with closing(client):
        yield client


def test_boto3_puts_and_reads_its_answers() -> None:
    """Every member arrives, every answer is understood."""

    def talk(served: Served) -> None:
        with boto3_client(served) as client:
            answer = client.put_record(StreamName=STREAM, PartitionKey="é😀", Data=b"\x00\xff", ExplicitHashKey="7")
            assert (answer["ShardId"], answer["SequenceNumber"]) == ("shardId-000000000000", "0")
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
            assert answer["ResponseMetadata"]["RequestId"]
            records = [{"PartitionKey": f"k{n}", "Data": b"x" * n} for n in range(500)]
            answer = client.put_records(StreamARN=ARN, Records=records)
            assert answer["FailedRecordCount"] == 0
            assert [result["SequenceNumber"] for result in answer["Records"]] == [str(n) for n in range(1, 501)]
            client.put_record(StreamName=STREAM, PartitionKey="a", Data=b"", SequenceNumberForOrdering="9")
            client.put_record(StreamName=STREAM, PartitionKey="a", Data=bytes(MIB - 1))

    queued = against_server(talk).queue.queued
    assert (queued[0].partition_key, queued[0].data, queued[0].explicit_hash_key) == ("é😀", "AP8=", "7")
    assert queued[0].size_bytes == 2 + 6
    assert queued[-2].sequence_number_for_ordering == "9"
    assert queued[-1].size_bytes == MIB


@pytest.mark.parametrize(
    ("call", "members", "code"),
    [
        ("put_record", {"StreamName": "a/b", "PartitionKey": "a", "Data": b""}, "ValidationException"),
        ("put_record", {"StreamName": STREAM, "PartitionKey": "", "Data": b""}, "ValidationException"),
        ("put_record", {"StreamName": STREAM, "PartitionKey": "a" * 257, "Data": b""}, "ValidationException"),
        ("put_record", {"PartitionKey": "a", "Data": b""}, "InvalidArgumentException"),
        (
            "put_record",
            {"StreamName": STREAM, "PartitionKey": "a", "Data": b"", "ExplicitHashKey": str(2**128)},
            "InvalidArgumentException",
        ),
        ("put_record", {"StreamName": STREAM, "PartitionKey": "a", "Data": bytes(MIB)}, "InvalidArgumentException"),
        ("put_record", {"StreamName": STREAM, "PartitionKey": "a", "Data": bytes(MIB + 1)}, "ValidationException"),
        ("put_records", {"StreamName": STREAM, "Records": []}, "ValidationException"),
        (
            "put_records",
            {"StreamName": STREAM, "Records": [{"PartitionKey": "a", "Data": b""}] * 501},
            "ValidationException",
        ),
        (
            "put_records",
            {"StreamName": STREAM, "Records": [{"PartitionKey": "a", "Data": bytes(MIB - 1)}] * 11},
            "InvalidArgumentException",
        ),
    ],
)
def test_boto3_raises_the_services_error_and_goes_on(call: str, members: dict[str, Any], code: str) -> None:
    """The code is the one that a program catches today, at the first try, and the client's connection lives."""

    def talk(served: Served) -> None:
        with boto3_client(served, parameter_validation=False) as client:
            with pytest.raises(ClientError) as error:
                getattr(client, call)(**members)
            assert error.value.response["Error"]["Code"] == code
            assert error.value.response["Error"]["Message"]
            assert error.value.response["ResponseMetadata"]["RetryAttempts"] == 0
            assert client.put_record(StreamName=STREAM, PartitionKey="a", Data=b"")["SequenceNumber"] == "0"
            assert served.server.connections == 1

    against_server(talk)


def test_boto3_sees_a_stream_that_upstream_does_not_know() -> None:
    """As its own exception class."""

    def talk(served: Served) -> None:
        served.queue.settle = failed(
            State.REFUSED, "ResourceNotFoundException", f"Stream {STREAM} under account 1 not found."
        )
        with boto3_client(served) as client:
            with pytest.raises(client.exceptions.ResourceNotFoundException, match="not found"):
                client.put_record(StreamName=STREAM, PartitionKey="a", Data=b"")
            with pytest.raises(client.exceptions.ResourceNotFoundException, match="not found"):
                client.put_records(StreamName=STREAM, Records=[{"PartitionKey": "a", "Data": b""}] * 2)

    against_server(talk)


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "InternalFailure"])
def test_boto3_tries_a_rejected_record_again(code: str) -> None:
    """Both errors that the proxy rejects with are ones that SDKs retry by themselves."""

    def talk(served: Served) -> None:
        served.queue.rejections = [Rejection(ALL, code, "full")]
        served.queue.rejects_once = True
        with boto3_client(served, retries={"mode": "standard"}) as client:
            answer = client.put_record(StreamName=STREAM, PartitionKey="a", Data=b"")
            assert answer["ResponseMetadata"]["RetryAttempts"] == 1

    against_server(talk)


def test_boto3_sees_failed_records_in_their_places() -> None:
    """A partial failure is no exception."""

    def talk(served: Served) -> None:
        served.queue.rejections = [Rejection({1}, "ProvisionedThroughputExceededException", "full")]
        with boto3_client(served) as client:
            answer = client.put_records(StreamName=STREAM, Records=[{"PartitionKey": "a", "Data": b""}] * 2)
            assert answer["FailedRecordCount"] == 1
            assert answer["Records"] == [
                {"SequenceNumber": "0", "ShardId": "shardId-000000000000"},
                {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "full"},
            ]

    against_server(talk)


def test_boto3_gets_forwarded_answers() -> None:
    """Other operations are upstream's."""

    def talk(served: Served) -> None:
        served.upstream.reply.body = b'{"Shards":[{"ShardId":"shardId-000000000000"}]}'
        with boto3_client(served) as client:
            assert client.list_shards(StreamName=STREAM)["Shards"] == [{"ShardId": "shardId-000000000000"}]

    assert [operation for operation, _ in against_server(talk).upstream.forwarded] == ["ListShards"]
