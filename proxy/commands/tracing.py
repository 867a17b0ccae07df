"""OpenTelemetry spans, where `kinesis-proxy[otel]` is installed and OTEL_TRACES_EXPORTER asks for them.

    call span (server)     one for each request of a producer, a child of the producer's own span
       ^ links
    batch span (client)    one for each put request upstream, with links to the calls whose records it carries

Wrappers around three seams, composed only if there is something to trace: without, nothing of this runs. No span bears
data or partition keys. All else is OpenTelemetry's own environment: endpoint, sampler, resource, limits.
"""

from __future__ import annotations

import asyncio
import os
from contextvars import ContextVar
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog

from proxy.core.batch import Answer, Failure
from proxy.core.record import State
from proxy.frontend.counters import UNKNOWN_OPERATION
from proxy.kinesis.front_door import REQUEST_ID
from proxy.kinesis.operations import KNOWN_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.record import Record
    from proxy.frontend.puts import RecordQueue
    from proxy.kinesis.http import Handler, Reply, Request
    from proxy.ports import Upstream

log = structlog.get_logger(__name__)

VARIABLE = "OTEL_TRACES_EXPORTER"
EXPORTERS = frozenset({"console", "otlp"})
SERVICE_NAME = "kinesis-proxy"
SERVER_ERROR = 500
# As OpenTelemetry bounds the links of a span by default.
LINKS_MAX = 128
# How long the end may take for what is not exported yet.
FLUSH_SECONDS = 2.0

# The records of the call that the current task answers.
_records: ContextVar[list[Record] | None] = ContextVar("records", default=None)


class Tracing:
    """Makes spans.

    Args:
        provider: OpenTelemetry's tracer provider; `close` shuts it down.

    Wrap the handler, the queue and the upstream, all three.
    """

    def __init__(self, provider: Any) -> None:  # noqa: ANN401 - the library is optional
        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE_NAME)
        # By record, while its caller waits: the context of the call's span.
        self.contexts: dict[Record, Any] = {}

    async def close(self) -> None:
        """Export what is left, within bounds."""
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await asyncio.to_thread(self._provider.shutdown)
        except TimeoutError:
            log.warning("spans_lost")

    def handler(self, handle: Handler) -> Handler:
        """Return the handler with a span around each call."""
        from opentelemetry import propagate, trace  # noqa: PLC0415 - optional

        async def traced(request: Request) -> Reply:
            operation = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
            operation = operation if operation in KNOWN_OPERATIONS else UNKNOWN_OPERATION
            context = propagate.extract({name.lower(): value for name, value in request.headers.items()})
            records: list[Record] = []
            token = _records.set(records)
            with self._tracer.start_as_current_span(
                f"Kinesis.{operation}", context=context, kind=trace.SpanKind.SERVER, attributes=_named(operation)
            ) as span:
                try:
                    reply = await handle(request)
                finally:
                    _records.reset(token)
                    for record in records:
                        self.contexts.pop(record, None)
                span.set_attribute("http.response.status_code", reply.status)
                span.set_attribute("aws.request_id", reply.headers.get(REQUEST_ID, ""))
                if reply.status >= SERVER_ERROR:
                    span.set_status(trace.StatusCode.ERROR)
                return reply

        return traced

    def queue(self, queue: RecordQueue) -> RecordQueue:
        """Return the queue with an eye on whose records are whose."""
        return _TracedQueue(queue, self)

    def upstream(self, upstream: Upstream) -> Upstream:
        """Return the upstream with a span around each put."""
        return _TracedUpstream(upstream, self)

    def note(self, stream_name: str, records: Sequence[Record]) -> None:
        """Remember the current call's span for those of its records that were accepted."""
        from opentelemetry import trace  # noqa: PLC0415 - optional

        of_call = _records.get()
        if of_call is None:
            return
        span = trace.get_current_span()
        span.set_attribute("aws.kinesis.stream_name", stream_name)
        span.set_attribute("messaging.batch.message_count", len(records))
        context = span.get_span_context()
        accepted = [record for record in records if record.state is not State.REJECTED]
        of_call += accepted
        self.contexts.update(dict.fromkeys(accepted, context))

    async def put(self, upstream: Upstream, batch: Batch) -> PutReply:
        """Send a batch in a span of its own: the task may have been started in any call's context."""
        from opentelemetry import trace  # noqa: PLC0415 - optional
        from opentelemetry.context import Context  # noqa: PLC0415 - optional

        contexts = (self.contexts[record] for record in batch.records if record in self.contexts)
        calls = {context.span_id: context for context in contexts}
        operation = "PutRecord" if batch.ordered else "PutRecords"
        with self._tracer.start_as_current_span(
            f"Kinesis.{operation} batch",
            context=Context(),
            kind=trace.SpanKind.CLIENT,
            links=[trace.Link(context) for context in islice(calls.values(), LINKS_MAX)],
            attributes={
                **_named(operation),
                "aws.kinesis.stream_name": batch.stream_name,
                "messaging.batch.message_count": len(batch.records),
                "kinesis_proxy.batch.bytes": batch.size_bytes,
                "kinesis_proxy.batch.calls": len(calls),
            },
        ) as span:
            reply = await upstream.put(batch)
            if isinstance(reply, Failure):
                span.set_attribute("error.type", reply.code)
                span.set_status(trace.StatusCode.ERROR)
            elif isinstance(reply, Answer):
                failed = sum(result.error_code is not None for result in reply.results)
                span.set_attribute("kinesis_proxy.batch.failed_records", failed)
            return reply


class _TracedQueue:
    """A `RecordQueue` in front of another."""

    def __init__(self, queue: RecordQueue, tracing: Tracing) -> None:
        self._queue = queue
        self._tracing = tracing
        self.withdraw = queue.withdraw
        self.summary = queue.summary
        self.learn_about = queue.learn_about

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Queue records, and remember whose they are."""
        rejected = self._queue.append(stream_name, stream_arn, records)
        self._tracing.note(stream_name, records)
        return rejected


class _TracedUpstream:
    """An `Upstream` in front of another."""

    def __init__(self, upstream: Upstream, tracing: Tracing) -> None:
        self._upstream = upstream
        self._tracing = tracing
        self.start = upstream.start
        self.close = upstream.close
        self.ready = upstream.ready
        self.list_shards = upstream.list_shards
        self.describe_stream_summary = upstream.describe_stream_summary
        self.forward = upstream.forward

    @property
    def region(self) -> str:
        """The upstream's region, which is known once it has started."""
        return self._upstream.region

    async def put(self, batch: Batch) -> PutReply:
        """Send one batch, in a span."""
        return await self._tracing.put(self._upstream, batch)


def make_tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Return what traces, or None where the environment does not ask for it or the libraries are not installed."""
    wanted = environment.get(VARIABLE, "")
    if wanted not in EXPORTERS:
        return None
    try:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - optional
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter  # noqa: PLC0415 - optional

        if wanted == "console":
            exporter = ConsoleSpanExporter()
        else:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional

            exporter = OTLPSpanExporter()
    except ImportError:
        log.warning("tracing_unavailable", variable=VARIABLE, reason="kinesis-proxy[otel] is not installed")
        return None
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": SERVICE_NAME}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    log.info("tracing", exporter=wanted)
    return Tracing(provider)


def _named(operation: str) -> dict[str, str]:
    return {"rpc.system": "aws-api", "rpc.service": "Kinesis", "rpc.method": operation}
