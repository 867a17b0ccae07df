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

    from tests.support.processes import Service

STREAM = "orders"
PEM = Path(__file__).parents[1] / "support" / "tls" / "localhost.pem"
TLS = {"tls_certificate_file": str(PEM), "tls_key_file": str(PEM)}
LATENCY_SECONDS = 0.8
# Longer than any of these tests is to take.
PATIENT = {"request_timeout_ms": 20_000, "delivery_timeout_ms": 20_000}


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
        output = json.loads(await self._raw.reader.readexactly(int(length.partition(b":")[2])))
        return output

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


@contextmanager
def proxied(latency_seconds: float = LATENCY_SECONDS, **settings: Any) -> Iterator[tuple[Service, Service]]:  # noqa: ANN401
    """Run a proxy before an emulator that takes its time."""
    latency = f"latency_ms={round(latency_seconds * 1000)}"
    with (
        emulate(stream=[f"{STREAM}:1"], fault=[latency]) as upstream,
        serve(upstream.url, **PATIENT, **settings) as proxy,
    ):
        yield upstream, proxy


def put(data: str = "YQ==", key: str = "k") -> dict[str, Any]:
    """Return the input of a PutRecord."""
    return {"StreamName": STREAM, "PartitionKey": key, "Data": data}


def books_of(proxy: Service) -> Books:
    """Return the proxy's account of its records."""
    return Books.of(proxy.metrics())


def counted(proxy: Service, name: str, **labels: str) -> int:
    """Return one figure of the proxy's."""
    return int(proxy.metrics().total(f"kinesis_proxy_{name}", **labels))


async def stored(upstream: Service) -> list[tuple[str, bytes, str]]:
    """Read the stream: key, data and sequence number of each record."""
    async with KinesisClient(upstream.url) as reader:
        (shard,) = await read_stream(reader, STREAM)
    return [(record.partition_key, record.data, record.sequence_number) for record in shard.records]


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
async def test_call_that_is_tried_again_is_written_once(transport: str, how: str, moment: str) -> None:
    """Its client left while it was in flight, and came again before or after the outcome."""
    tls: dict[str, Any] = TLS if transport.endswith("TLS") else {}
    invocation_id = str(uuid4())
    with proxied(**tls) as (upstream, proxy):
        async with client_of(proxy, transport) as first:
            first.send("PutRecord", put(), invocation_id, 1)
            await when(lambda: books_of(proxy).in_flight == 1)
            await first.leave(how)
            await when(lambda: counted(proxy, "abandoned_requests_total") == 1)
            if moment == "undelivered":
                await when(lambda: books_of(proxy).acknowledged == 1)
            async with client_of(proxy, transport) as second:
                second.send("PutRecord", put(), invocation_id, 2)
                answer = await second.answer()
        assert await stored(upstream) == [("k", b"a", answer["SequenceNumber"])]
        assert counted(proxy, "joined_requests_total") == 1
        assert books_of(proxy).received == 1


async def test_call_of_many_records_that_is_tried_again_is_written_once() -> None:
    """Some of its records are in flight as its client leaves, others wait behind them."""
    body = {"StreamName": STREAM, "Records": [{"PartitionKey": "k", "Data": "YQ=="}] * 3}
    invocation_id = str(uuid4())
    with proxied(0.4) as (upstream, proxy):
        async with client_of(proxy, "http/1.1") as first:
            first.send("PutRecords", body, invocation_id, 1)
            await when(lambda: (books_of(proxy).in_flight, books_of(proxy).queued) == (1, 2))
        async with client_of(proxy, "http/1.1") as second:
            second.send("PutRecords", body, invocation_id, 2)
            answer = await second.answer()
        numbers = [result["SequenceNumber"] for result in answer["Records"]]
        assert [number for _, _, number in await stored(upstream)] == numbers
        assert len(numbers) == 3


@pytest.mark.parametrize("differs", ["id", "body", "first attempt"])
async def test_other_call_is_written_too(differs: str) -> None:
    """However much it is like the one that was left."""
    with proxied() as (upstream, proxy):
        async with client_of(proxy, "http/1.1") as first:
            first.send("PutRecord", put(), "one", 1)
            await when(lambda: books_of(proxy).in_flight == 1)
        async with client_of(proxy, "http/1.1") as second:
            other = put("Yg==") if differs == "body" else put()
            second.send(
                "PutRecord", other, "another" if differs == "id" else "one", 1 if differs == "first attempt" else 2
            )
            answer = await second.answer()
        records = await stored(upstream)
        assert [data for _, data, _ in records] == [b"a", b"b" if differs == "body" else b"a"]
        assert records[1][2] == answer["SequenceNumber"]
        assert counted(proxy, "joined_requests_total") == 0


@pytest.mark.parametrize(("transport", "how"), WAYS)
async def test_client_that_leaves_takes_its_unsent_record_with_it(transport: str, how: str) -> None:
    """Behind an older record of its key, which is in flight; the next of the key goes on."""
    tls: dict[str, Any] = TLS if transport.endswith("TLS") else {}
    with proxied(**tls) as (upstream, proxy):
        async with client_of(proxy, transport) as older, client_of(proxy, transport) as leaver:
            older.send("PutRecord", put("YQ=="), str(uuid4()), 1)
            await when(lambda: books_of(proxy).in_flight == 1)
            leaver.send("PutRecord", put("Yg=="), str(uuid4()), 1)
            await when(lambda: books_of(proxy).queued == 1)
            await leaver.leave(how)
            await when(lambda: counted(proxy, "failed_records_total", reason="withdrawn") == 1)
            async with client_of(proxy, transport) as younger:
                younger.send("PutRecord", put("Yw=="), str(uuid4()), 1)
                numbers = [(await client.answer())["SequenceNumber"] for client in (older, younger)]
        assert await stored(upstream) == [("k", b"a", numbers[0]), ("k", b"c", numbers[1])]


async def test_withdrawn_call_that_is_tried_again_is_written_once() -> None:
    """In its new turn."""
    invocation_id = str(uuid4())
    with proxied() as (upstream, proxy):
        async with client_of(proxy, "http/1.1") as older, client_of(proxy, "http/1.1") as leaver:
            older.send("PutRecord", put("YQ=="), str(uuid4()), 1)
            await when(lambda: books_of(proxy).in_flight == 1)
            leaver.send("PutRecord", put("Yg=="), invocation_id, 1)
            await when(lambda: books_of(proxy).queued == 1)
            await leaver.leave("closes")
            await when(lambda: counted(proxy, "failed_records_total", reason="withdrawn") == 1)
            async with client_of(proxy, "http/1.1") as again:
                again.send("PutRecord", put("Yg=="), invocation_id, 2)
                numbers = [(await client.answer())["SequenceNumber"] for client in (older, again)]
        assert await stored(upstream) == [("k", b"a", numbers[0]), ("k", b"b", numbers[1])]


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
async def test_boto3_that_is_less_patient_than_the_upstream_writes_once(mode: str) -> None:
    """Its retries get the outcome of its first attempt."""
    with proxied() as (upstream, proxy), impatient_boto3(proxy, mode=mode, total_max_attempts=10) as client:
        answer = await asyncio.to_thread(client.put_record, StreamName=STREAM, PartitionKey="k", Data=b"a")
        assert answer["ResponseMetadata"]["RetryAttempts"] >= 1
        assert await stored(upstream) == [("k", b"a", answer["SequenceNumber"])]
        assert counted(proxy, "joined_requests_total") >= 1


async def test_boto3_that_calls_twice_writes_twice() -> None:
    """Each call has an id of its own, also where the first was given up."""
    with proxied() as (upstream, proxy), impatient_boto3(proxy, mode="standard", total_max_attempts=1) as client:
        for number in (1, 2):
            with pytest.raises(ReadTimeoutError):
                await asyncio.to_thread(client.put_record, StreamName=STREAM, PartitionKey="k", Data=b"a")
            await when(lambda number=number: books_of(proxy).acknowledged == number)  # type: ignore[misc]
        assert len(await stored(upstream)) == 2
