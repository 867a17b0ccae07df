"""The seam between the driver and whatever is upstream: the real service, an endpoint, or the embedded emulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.core.batch import Batch, Failure
    from proxy.core.batch import Reply as PutReply
    from proxy.core.shard_map import Shard, StreamSummary
    from proxy.kinesis.http import Reply, Request


class Upstream(Protocol):
    """What the proxy asks of its upstream.

    No method raises for anything that the service or the network did: that is a `Failure` value (or, for `forward`,
    an error reply). Cancellation passes through.
    """

    @property
    def region(self) -> str:
        """Region of the stream, for ARNs and error texts."""

    async def start(self) -> None:
        """Open sessions and find credentials; raises what makes serving impossible."""

    async def close(self) -> None:
        """Close every connection."""

    def ready(self) -> bool:
        """Whether requests could be signed and sent now (credentials found)."""

    async def put(self, batch: Batch) -> PutReply:
        """Send one batch by PutRecords, or PutRecord when `batch.ordered`."""

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the open shards (ListShards with ShardFilter AT_LATEST, all pages)."""

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the stream's summary."""

    async def forward(self, operation: str, request: Request) -> Reply:
        """Send another operation upstream, body untouched, re-signed; return the service's reply."""
