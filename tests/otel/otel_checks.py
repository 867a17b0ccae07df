"""The spans of `kinesis-proxy[otel]`, as a collector gets them from a real proxy: `make otel`."""

from __future__ import annotations

import asyncio
import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.kinesis_client import AUTHORIZATION, CONTENT_TYPE, TARGET_PREFIX
from tests.support.processes import free_port, serve

PACKAGES = Path(__file__).parent / ".packages"
sys.path.append(str(PACKAGES))

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CALLS = 40
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARTITION_KEY = "customer-4711"
DATA = b"card-number-4111"
SERVER, CLIENT = 2, 3  # kinds of spans in OTLP
ERROR = 2


class Collector:
    """Takes what an exporter posts."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.bodies = b""
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        """Keep the spans of one export."""
        body = await request.read()
        self.bodies += body
        export = ExportTraceServiceRequest.FromString(body)
        for resource in export.resource_spans:
            names = [each.value.string_value for each in resource.resource.attributes if each.key == "service.name"]
            self.services.update(names)
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(body=b"", content_type="application/x-protobuf")

    def of_kind(self, kind: int) -> list[Any]:
        """Return the spans of a kind."""
        return [span for span in self.spans if span.kind == kind]


def attributes_of(span: Any) -> dict[str, Any]:  # noqa: ANN401 - protobuf's
    """Return a span's attributes."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Collect on loopback, and have every proxy export to it."""
    collector, port = Collector(), free_port()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", collector.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    monkeypatch.setenv("PYTHONPATH", str(PACKAGES))
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collector
    await runner.cleanup()


async def put(session: aiohttp.ClientSession, place: int, stream_name: str = "orders") -> tuple[int, str]:
    """Put one record as a producer that traces, and return the answer's status and id."""
    data = base64.b64encode(DATA).decode()
    body = {"StreamName": stream_name, "PartitionKey": f"{PARTITION_KEY}-{place}", "Data": data}
    headers = {
        "Authorization": AUTHORIZATION,
        "Content-Type": CONTENT_TYPE,
        "X-Amz-Target": f"{TARGET_PREFIX}PutRecord",
        "traceparent": f"00-{TRACE_ID}-{place + 1:016x}-01",
    }
    async with session.post("/", json=body, headers=headers) as response:
        return response.status, response.headers["x-amzn-RequestId"]


async def test_each_call_has_a_span_and_each_batch_one_that_links_to_its_calls(collector: Collector) -> None:
    """From a producer's trace to the batch that carried its record, and from a batch to all of its calls."""
    with serve("embedded", stream=["orders:1"], fault=["latency_ms=60"]) as proxy:
        async with aiohttp.ClientSession(proxy.url) as session:
            answers = await asyncio.gather(*(put(session, place) for place in range(CALLS)))
        assert await asyncio.to_thread(proxy.stop) == 0
    calls, batches = collector.of_kind(SERVER), collector.of_kind(CLIENT)
    assert len(calls) == CALLS > len(batches) > 0
    assert collector.services == {"kinesis-proxy"}
    assert {call.trace_id.hex() for call in calls} == {TRACE_ID}
    assert {call.parent_span_id.hex() for call in calls} == {f"{place + 1:016x}" for place in range(CALLS)}
    assert {attributes_of(call)["aws.request_id"] for call in calls} == {request_id for _, request_id in answers}
    linked = [link.span_id for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(call.span_id for call in calls)
    assert [batch.parent_span_id for batch in batches] == [b""] * len(batches)
    assert sum(attributes_of(batch)["messaging.batch.message_count"] for batch in batches) == CALLS
    assert all(attributes_of(batch)["kinesis_proxy.batch.calls"] == len(batch.links) for batch in batches)


async def test_no_span_bears_data_or_a_partition_key(collector: Collector) -> None:
    """All that was exported, every byte of it."""
    with serve("embedded", stream=["orders:1"]) as proxy:
        async with aiohttp.ClientSession(proxy.url) as session:
            await put(session, 1)
            await put(session, 1, "no-such-stream")
        await asyncio.to_thread(proxy.stop)
    assert len(collector.of_kind(SERVER)) == 2
    for secret in (PARTITION_KEY.encode(), DATA, base64.b64encode(DATA)):
        assert secret not in collector.bodies


async def test_a_call_that_fails_and_its_batches_are_marked(collector: Collector) -> None:
    """The last attempt is linked as the first."""
    with serve("embedded", stream=["orders:1"], fault=["request_error_ratio=1"]) as proxy:
        async with aiohttp.ClientSession(proxy.url) as session:
            status, _ = await put(session, 1)
        await asyncio.to_thread(proxy.stop)
    (call,) = collector.of_kind(SERVER)
    batches = collector.of_kind(CLIENT)
    assert (status, attributes_of(call)["http.response.status_code"], call.status.code) == (500, 500, ERROR)
    assert len(batches) > 1
    assert all([link.span_id for link in batch.links] == [call.span_id] for batch in batches)


async def test_a_collector_that_is_gone_costs_no_record(monkeypatch: pytest.MonkeyPatch, collector: Collector) -> None:
    """Traces are lost, records are not, and the drain ends."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with serve("embedded", stream=["orders:1"]) as proxy:
        async with aiohttp.ClientSession(proxy.url) as session:
            answers = await asyncio.gather(*(put(session, place) for place in range(CALLS)))
        assert await asyncio.to_thread(proxy.stop) == 0
    assert {status for status, _ in answers} == {200}
    assert not collector.spans
