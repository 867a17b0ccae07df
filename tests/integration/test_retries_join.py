"""Clients that leave and come again, on real sockets: what they put is in the stream once, or not at all."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from h2.errors import ErrorCodes

from tests.support.kinesis_client import KinesisClient
from tests.support.processes import CREDENTIALS, emulate, serve
from tests.support.proof import Books
from tests.support.readback import read_stream
from tests.support.workload import when
from tests.unit.transport.transport_clients import Http2Client, RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.processes import Metrics, Service

STREAM = "orders"
PEM = Path(__file__).parents[1] / "support" / "tls" / "localhost.pem"
TLS = {"tls_certificate_file": str(PEM), "tls_key_file": str(PEM)}
LATENCY_SECONDS = 1.0
# Longer than any of these tests is to take.
PATIENT = {"request_timeout_ms": 20_000, "delivery_timeout_ms": 20_000, "admission_wait_ms": 20_000}


class Client:
    """One connection with one request on it: HTTP/1.1 or 2, plain or in TLS."""

    def __init__(self, raw: RawClient, *, http2: bool) -> None:
        self._raw = raw
        self._http2 = Http2Client(raw) if http2 else None
        self._stream_id = 0

    def send(self, operation: str, body: dict[str, Any], invocation_id: str | None, attempt: int) -> None:
        """Send a request as an SDK does in one of its attempts."""
        payload = json.dumps(body).encode()
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"Kinesis_20131202.{operation}",
            "content-length": str(len(payload)),
        }
        if invocation_id is not None:
            headers["amz-sdk-invocation-id"] = invocation_id
            headers["amz-sdk-request"] = f"attempt={attempt}; max=5"
        if self._http2 is not None:
            self._stream_id = self._http2.request(payload, headers.items())
            return
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._raw.send(f"POST / HTTP/1.1\r\nhost: x\r\n{lines}\r\n".encode() + payload)

    async def answer(self) -> dict[str, Any]:
        """Receive the answer, which must be a good one."""
        if self._http2 is not None:
            answer = await self._http2.answer(self._stream_id)
            assert answer.status == 200, answer
            output: dict[str, Any] = json.loads(answer.body)
            return output
        head = await self._raw.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        answered: dict[str, Any] = json.loads(await self._raw.reader.readexactly(int(length.partition(b":")[2])))
        return answered

    async def leave(self, how: str) -> None:
        """Give up the request."""
        if how == "resets the stream":
            assert self._http2 is not None
            self._http2.engine.reset_stream(self._stream_id, ErrorCodes.CANCEL)
            self._http2.flush()
        else:
            self._raw.writer.close()


@asynccontextmanager
async def client_of(proxy: Service, transport: str) -> AsyncIterator[Client]:
    """Connect to a proxy."""
    http2 = transport.startswith("http/2")
    context = None
    if transport.endswith("TLS"):
        context = ssl.create_default_context(cafile=PEM)
        context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", proxy.port, ssl=context, server_hostname=None if context is None else "localhost"
    )
    try:
        yield Client(RawClient(reader, writer), http2=http2)
    finally:
        writer.transport.abort()


class Scene:
    """A proxy before an emulator that takes its time, a partition key of its own, and what has happened since."""

    def __init__(self, upstream: Service, proxy: Service) -> None:
        self.upstream = upstream
        self.proxy = proxy
        self.key = f"key-{uuid4()}"
        self._before: Metrics = proxy.metrics()

    def put(self, data: str = "YQ==") -> dict[str, Any]:
        """Return the input of a PutRecord."""
        return {"StreamName": STREAM, "PartitionKey": self.key, "Data": data}

    def holds(self, *, queued: int = 0, in_flight: int = 0) -> bool:
        """Return whether so many records wait and so many are in flight."""
        books = Books.of(self.proxy.metrics())
        return (books.queued, books.in_flight) == (queued, in_flight)

    def counted(self, name: str, **labels: str) -> int:
        """Return by how much a figure of the proxy's has grown."""
        after, before = (
            metrics.total(f"kinesis_proxy_{name}", **labels) for metrics in (self.proxy.metrics(), self._before)
        )
        return int(after - before)

    async def stored(self) -> list[tuple[bytes, str]]:
        """Read the stream: data and sequence number of each record of the key."""
        async with KinesisClient(self.upstream.url) as reader:
            (shard,) = await read_stream(reader, STREAM)
        return [(record.data, record.sequence_number) for record in shard.records if record.partition_key == self.key]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Service]:
    """Run an emulator."""
    with emulate(stream=[f"{STREAM}:1"], fault=[f"latency_ms={round(LATENCY_SECONDS * 1000)}"]) as service:
        yield service


@pytest.fixture(scope="module")
def plain(upstream: Service) -> Iterator[Service]:
    """Run a proxy whose stream is known, so that nothing but puts is to be waited for."""
    with serve(upstream.url, **PATIENT) as service:
        yield service


@pytest.fixture(scope="module")
def secure(upstream: Service) -> Iterator[Service]:
    """Run a proxy with TLS."""
    with serve(upstream.url, **PATIENT, **TLS) as service:
        yield service


@pytest.fixture
def scene(upstream: Service, request: pytest.FixtureRequest) -> Scene:
    """Set the scene for a test, by the transport that it has, if it has one."""
    callspec = getattr(request.node, "callspec", None)
    transport = "" if callspec is None else str(callspec.params.get("transport", ""))
    return Scene(upstream, request.getfixturevalue("secure" if transport.endswith("TLS") else "plain"))


WAYS = [
    ("http/1.1", "closes"),
    ("http/1.1 in TLS", "closes"),
    ("http/2", "closes"),
    ("http/2 in TLS", "closes"),
    ("http/2", "resets the stream"),
    ("http/2 in TLS", "resets the stream"),
]


@pytest.mark.parametrize(("transport", "how"), WAYS)
@pytest.mark.parametrize("moment", ["in flight", "undelivered"])
async def test_call_that_is_tried_again_is_written_once(scene: Scene, transport: str, how: str, moment: str) -> None:
    """Its client left while it was in flight, and came again before or after the outcome."""
    invocation_id = str(uuid4())
    async with client_of(scene.proxy, transport) as first:
        first.send("PutRecord", scene.put(), invocation_id, 1)
        await when(lambda: scene.holds(in_flight=1))
        await first.leave(how)
        await when(lambda: scene.counted("abandoned_requests_total") == 1)
        if moment == "undelivered":
            await when(lambda: scene.counted("delivered_records_total") == 1)
        async with client_of(scene.proxy, transport) as second:
            second.send("PutRecord", scene.put(), invocation_id, 2)
            answer = await second.answer()
    assert await scene.stored() == [(b"a", answer["SequenceNumber"])]
    assert scene.counted("joined_requests_total") == 1
    assert scene.counted("received_records_total") == 1


async def test_call_of_many_records_that_is_tried_again_is_written_once(scene: Scene) -> None:
    """Some of its records are in flight as its client leaves, others wait behind them."""
    body = {"StreamName": STREAM, "Records": [{"PartitionKey": scene.key, "Data": "YQ=="}] * 3}
    invocation_id = str(uuid4())
    async with client_of(scene.proxy, "http/1.1") as first:
        first.send("PutRecords", body, invocation_id, 1)
        await when(lambda: scene.holds(queued=2, in_flight=1))
    async with client_of(scene.proxy, "http/1.1") as second:
        second.send("PutRecords", body, invocation_id, 2)
        answer = await second.answer()
    numbers = [result["SequenceNumber"] for result in answer["Records"]]
    assert [number for _, number in await scene.stored()] == numbers
    assert len(numbers) == 3


@pytest.mark.parametrize("differs", ["id", "body", "first attempt"])
async def test_other_call_is_written_too(scene: Scene, differs: str) -> None:
    """However much it is like the one that was left."""
    async with client_of(scene.proxy, "http/1.1") as first:
        first.send("PutRecord", scene.put(), "one", 1)
        await when(lambda: scene.holds(in_flight=1))
    async with client_of(scene.proxy, "http/1.1") as second:
        other = scene.put("Yg==") if differs == "body" else scene.put()
        second.send("PutRecord", other, "another" if differs == "id" else "one", 1 if differs == "first attempt" else 2)
        answer = await second.answer()
    records = await scene.stored()
    assert [data for data, _ in records] == [b"a", b"b" if differs == "body" else b"a"]
    assert records[1][1] == answer["SequenceNumber"]
    assert scene.counted("joined_requests_total") == 0


@pytest.mark.parametrize(("transport", "how"), WAYS)
async def test_client_that_leaves_takes_its_unsent_record_with_it(scene: Scene, transport: str, how: str) -> None:
    """Behind an older record of its key, which is in flight; the next of the key goes on."""
    async with client_of(scene.proxy, transport) as older, client_of(scene.proxy, transport) as leaver:
        older.send("PutRecord", scene.put("YQ=="), str(uuid4()), 1)
        await when(lambda: scene.holds(in_flight=1))
        leaver.send("PutRecord", scene.put("Yg=="), str(uuid4()), 1)
        await when(lambda: scene.holds(queued=1, in_flight=1))
        await leaver.leave(how)
        await when(lambda: scene.counted("failed_records_total", reason="withdrawn") == 1)
        async with client_of(scene.proxy, transport) as younger:
            younger.send("PutRecord", scene.put("Yw=="), str(uuid4()), 1)
            numbers = [(await client.answer())["SequenceNumber"] for client in (older, younger)]
    assert await scene.stored() == [(b"a", numbers[0]), (b"c", numbers[1])]


async def test_withdrawn_call_that_is_tried_again_is_written_once(scene: Scene) -> None:
    """In its new turn."""
    invocation_id = str(uuid4())
    async with client_of(scene.proxy, "http/1.1") as older, client_of(scene.proxy, "http/1.1") as leaver:
        older.send("PutRecord", scene.put("YQ=="), str(uuid4()), 1)
        await when(lambda: scene.holds(in_flight=1))
        leaver.send("PutRecord", scene.put("Yg=="), invocation_id, 1)
        await when(lambda: scene.holds(queued=1, in_flight=1))
        await leaver.leave("closes")
        await when(lambda: scene.counted("failed_records_total", reason="withdrawn") == 1)
        async with client_of(scene.proxy, "http/1.1") as again:
            again.send("PutRecord", scene.put("Yg=="), invocation_id, 2)
            numbers = [(await client.answer())["SequenceNumber"] for client in (older, again)]
    assert await scene.stored() == [(b"a", numbers[0]), (b"b", numbers[1])]


@contextmanager
def impatient_boto3(proxy: Service, **retries: Any) -> Iterator[Any]:  # noqa: ANN401 - boto3 has no types
    """Make a client that waits for half as long as the upstream takes."""
    client = boto3.client(
        "kinesis",
        endpoint_url=proxy.url,
        region_name=CREDENTIALS["AWS_REGION"],
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(read_timeout=LATENCY_SECONDS / 2, retries=retries),
    )
    with closing(client):
        yield client


@pytest.mark.parametrize("mode", ["legacy", "standard"])
async def test_boto3_that_is_less_patient_than_the_upstream_writes_once(scene: Scene, mode: str) -> None:
    """Its retries get the outcome of its first attempt."""
    with impatient_boto3(scene.proxy, mode=mode, total_max_attempts=10) as client:
        answer = await asyncio.to_thread(client.put_record, StreamName=STREAM, PartitionKey=scene.key, Data=b"a")
        assert answer["ResponseMetadata"]["RetryAttempts"] >= 1
        assert await scene.stored() == [(b"a", answer["SequenceNumber"])]
        assert scene.counted("joined_requests_total") >= 1


async def test_boto3_that_calls_twice_writes_twice(scene: Scene) -> None:
    """Each call has an id of its own, also where the first was given up."""
    with impatient_boto3(scene.proxy, mode="standard", total_max_attempts=1) as client:
        for number in (1, 2):
            with pytest.raises(ReadTimeoutError):
                await asyncio.to_thread(client.put_record, StreamName=STREAM, PartitionKey=scene.key, Data=b"a")
            await when(lambda number=number: scene.counted("delivered_records_total") == number)  # type: ignore[misc]
        assert len(await scene.stored()) == 2
