"""Counts the requests to an upstream that does not count its own, as the AWS upstream counts them."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeVar

from proxy.core.batch import Answer, Failure
from proxy.kinesis.http import Reply
from proxy.upstream.counters import (
    DESCRIBE_STREAM_SUMMARY,
    FORWARD,
    LIST_SHARDS,
    PUT_RECORD,
    PUT_RECORDS,
    Outcome,
    UpstreamCounters,
    outcome_of,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.shard_map import Shard, StreamSummary
    from proxy.kinesis.http import Request
    from proxy.ports import Upstream

T = TypeVar("T")
BAD_REQUEST, SERVER_ERROR = 400, 500


class CountedUpstream:
    """An `Upstream` in front of another.

    Args:
        upstream: the one whose requests are counted.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.counters = UpstreamCounters()

    @property
    def region(self) -> str:
        """The upstream's region."""
        return self._upstream.region

    async def start(self) -> None:
        """Start the upstream."""
        await self._upstream.start()

    async def close(self) -> None:
        """Close the upstream."""
        await self._upstream.close()

    def ready(self) -> bool:
        """Whether the upstream is ready."""
        return self._upstream.ready()

    async def put(self, batch: Batch) -> PutReply:
        """Send one batch."""
        return await self._counted(PUT_RECORD if batch.ordered else PUT_RECORDS, self._upstream.put(batch))

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the open shards."""
        return await self._counted(LIST_SHARDS, self._upstream.list_shards(stream_name, stream_arn))

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the stream's summary."""
        asked = self._upstream.describe_stream_summary(stream_name, stream_arn)
        return await self._counted(DESCRIBE_STREAM_SUMMARY, asked)

    async def forward(self, operation: str, request: Request) -> Reply:
        """Send another operation."""
        return await self._counted(FORWARD, self._upstream.forward(operation, request))

    async def _counted(self, operation: str, asked: Awaitable[T]) -> T:
        """Count a request, whatever becomes of it."""
        self.counters.started()
        started_at_ns = perf_counter_ns()
        try:
            result = await asked
        except BaseException:
            self.counters.abandoned()
            raise
        self.counters.ended(operation, _outcome_of(result), perf_counter_ns() - started_at_ns)
        return result


def _outcome_of(result: object) -> Outcome:
    if isinstance(result, Failure):
        return outcome_of(result)
    if isinstance(result, Answer) and any(entry.error_code is not None for entry in result.results):
        return Outcome.PARTIAL
    if isinstance(result, Reply) and result.status >= BAD_REQUEST:
        return Outcome.ERROR if result.status >= SERVER_ERROR else Outcome.REFUSED
    return Outcome.OK
