"""The embedded Kinesis as an upstream: in the same process, without sockets or encoding on the way of the records.

Faults that live on a connection become what a connection would have made of them: a reset is a failure whose records
may have been written, since nothing tells the sender which kind of reset it was. So is a status of 500: the service
promises nothing about what it did before it failed. Slow answers need a wire and do not occur; a request that takes
longer than it may has failed, and has written nothing, but its sender cannot know that.

Must never know: how records are queued and batched.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.core.batch import Answer, Failure, Written
from proxy.core.shard_map import Shard, StreamSummary
from proxy.core.verdicts import CONNECTION_RESET, REQUEST_TIMEOUT
from proxy.emulator import writing
from proxy.emulator.model import SERVING
from proxy.emulator.service import ENCRYPTION_TYPE
from proxy.kinesis import errors

if TYPE_CHECKING:
    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.emulator.put_result import PutResult
    from proxy.emulator.service import EmulatorService
    from proxy.emulator.stream import Stream
    from proxy.kinesis.http import Reply, Request

_RESET = Failure(CONNECTION_RESET, "Connection reset by the embedded upstream.", Written.UNKNOWN)
_TIMEOUT = Failure(REQUEST_TIMEOUT, "The embedded upstream did not answer in time.", Written.UNKNOWN)
# The service often sends no message with it; then the upstream over a wire says by the code what it answered, too.
_ERROR = Failure(
    errors.InternalFailure.code,
    "The embedded upstream answered InternalFailure.",
    Written.UNKNOWN,
    errors.InternalFailure.status,
)


class EmbeddedUpstream:
    """An `Upstream` that is an emulator in this process.

    Args:
        service: the emulator.
    """

    def __init__(self, service: EmulatorService) -> None:
        self.service = service

    @property
    def region(self) -> str:
        """The emulator's region."""
        return self.service.model.settings.region

    async def start(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""

    def ready(self) -> bool:
        """Be ready always."""
        return True

    async def put(self, batch: Batch) -> PutReply:
        """Write a batch, as PutRecords or, where it is ordered, as PutRecord."""
        operation = "PutRecord" if batch.ordered else "PutRecords"
        self.service.requests[operation] += 1
        try:
            async with asyncio.timeout(batch.timeout_ns / 1e9 if batch.timeout_ns else None):
                faults = await self.service.meet(operation, batch.stream_name)
        except TimeoutError:
            return _TIMEOUT
        if faults.reset_before:
            return _RESET
        if faults.request_error:
            return _ERROR
        try:
            results = self._write(batch)
        except errors.KinesisError as error:
            return _refusal(error)
        if faults.reset_after:
            return _RESET
        if faults.short_response:
            results.pop()
        return Answer(results, ENCRYPTION_TYPE)

    async def list_shards(
        self,
        stream_name: str,
        stream_arn: str | None,  # noqa: ARG002 - the port's signature
    ) -> list[Shard] | Failure:
        """Return the open shards."""
        stream = await self._described("ListShards", stream_name)
        if isinstance(stream, Failure):
            return stream
        return [
            Shard(shard.starting_hash_key, shard.ending_hash_key, shard.shard_id)
            for shard in stream.topology.open_shards
        ]

    async def describe_stream_summary(
        self,
        stream_name: str,
        stream_arn: str | None,  # noqa: ARG002 - the port's signature
    ) -> StreamSummary | Failure:
        """Return the stream's summary."""
        stream = await self._described("DescribeStreamSummary", stream_name)
        if isinstance(stream, Failure):
            return stream
        return StreamSummary(
            stream.arn, len(stream.topology.open_shards), stream.record_bytes_max, stream.auto_distribution
        )

    async def forward(self, operation: str, request: Request) -> Reply:  # noqa: ARG002 - the port's signature
        """Carry out another operation."""
        return await self.service.handle(request)

    def _write(self, batch: Batch) -> list[PutResult]:
        """Write what the shards take.

        Raises:
            KinesisError: the request as a whole is refused, or the one record of a PutRecord is.
        """
        service, records = self.service, batch.records
        model, now = service.model, service.clock()
        stream = writing.writable_stream(model, batch.stream_name, now)
        refuse = service.injector.refuse(stream.name, model.settings.account_id)
        if not batch.ordered:
            writing.check_records(model, stream, records)
            return stream.put(records, now, refuse)
        writing.check_record(model, stream, records, records[0].sequence_number_for_ordering, now)
        return [writing.raised_if_refused(stream.put(records, now, refuse)[0])]

    async def _described(self, operation: str, stream_name: str) -> Stream | Failure:
        """Return a stream that serves, or what a request about it meets."""
        service = self.service
        service.requests[operation] += 1
        faults = await service.meet(operation, stream_name)
        if faults.reset_before or faults.reset_after:
            return _RESET
        if faults.request_error:
            return _ERROR
        now = service.clock()
        try:
            stream = service.model.stream(stream_name, now)
            if operation == "ListShards" and stream.status(now) not in SERVING:
                raise service.model.not_active(stream, now)
        except errors.KinesisError as error:
            return _refusal(error)
        return stream


def _refusal(error: errors.KinesisError) -> Failure:
    """Translate an error of the model, which has written nothing."""
    return Failure(error.code, error.message, Written.REFUSED, error.status)
