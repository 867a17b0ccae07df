"""The put path: from a validated call to queued records, and from their outcomes to its answer.

Everything about a call is checked before the first of its records is queued. Then the call waits for one future, which
the last outcome resolves. A caller that goes away leaves its records to their fate: their outcomes find the future
done and change nothing.

How outcomes become an answer, as the service would give it:

- PutRecord: the record's result, or its error as the call's error.
- PutRecords: 200 with one result for each record in the order of the request, whatever failed. Only if all records met
  the same error, and one that the service gives to whole requests (no such stream, no permission, a key's trouble), is
  it the call's error. If only some did, it stands in their results: the others were written, and the caller must know.

Must never know: HTTP, sockets, how records travel upstream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from proxy.core.hashing import hash_key_of
from proxy.core.record import Record, State
from proxy.kinesis.errors import data_too_long, partition_key_missing, record_too_large, records_too_large
from proxy.kinesis.limits import DATA_BYTES_MAX, RECORD_BYTES_MAX
from proxy.kinesis.puts import check_explicit_hash_key
from proxy.kinesis.stream_names import resolve_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.shard_map import StreamSummary
    from proxy.frontend.counters import FrontendCounters
    from proxy.kinesis.puts import PutEntry, PutRecordInput, PutRecordsInput

# The errors that the service gives to single records of a PutRecords; every other one it gives to the whole request.
PER_RECORD_CODES = frozenset({"ProvisionedThroughputExceededException", "InternalFailure"})


class RecordQueue(Protocol):
    """What the put path asks of whoever queues and sends records."""

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Queue the records of one call in their order, as far as there is room; return how many were rejected.

        Each of the others gets one call of its `on_outcome` later, from the event loop, never from inside here.
        """

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Return what is known of the stream; None as long as nothing is."""

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Have the stream's summary fetched, although nothing is queued for it."""


class Refused(Exception):  # noqa: N818 - carries the answer that upstream or the queue gave
    """The call is answered with an error whose code is upstream's or the queue's choice."""

    def __init__(self, code: str | None, message: str | None) -> None:
        super().__init__(code)
        self.code = code or "InternalFailure"
        self.message = message


class ForwardAlone(Exception):  # noqa: N818 - an order to the caller, not an error
    """The call is valid and nothing is queued: it must go upstream as it is.

    A DryRun asks what the service would say. A record without a partition key is for the service to judge as long as
    nothing is known of the stream.
    """


class Call:
    """One put call, waiting for the outcomes of its queued records.

    Args:
        received_at_ns: instant of arrival.
        records: how many outcomes to wait for.
    """

    __slots__ = ("_waiting", "done", "received_at_ns")

    def __init__(self, received_at_ns: int, records: int) -> None:
        self.received_at_ns = received_at_ns
        self._waiting = records
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, record: Record) -> None:
        """Take one record's outcome; the last one ends the wait."""
        del record
        self._waiting -= 1
        if not self._waiting and not self.done.done():
            self.done.set_result(None)

    def unqueued(self, records: int) -> None:
        """Stop waiting for records that were not queued; to be called before any outcome, leaving at least one."""
        self._waiting -= records


class PutRecordOutput(msgspec.Struct, omit_defaults=True, gc=False):
    """What a PutRecord is answered, in the wire's names."""

    ShardId: str | None
    SequenceNumber: str | None
    EncryptionType: str | None = None


class _Result(msgspec.Struct, omit_defaults=True, gc=False):
    SequenceNumber: str | None = None
    ShardId: str | None = None
    ErrorCode: str | None = None
    ErrorMessage: str | None = None


class PutRecordsOutput(msgspec.Struct, omit_defaults=True, gc=False):
    """What a PutRecords is answered, in the wire's names."""

    FailedRecordCount: int
    Records: list[_Result]
    EncryptionType: str | None = None


class PutPath:
    """Queues the records of put calls and turns their outcomes into answers.

    Args:
        queue: takes the records.
        counters: where rejections are counted.
        clock: monotonic nanoseconds.
        data_bytes_max: largest data of a record; 0 leaves it to the stream's limit.
        request_bytes_max: largest sum of data and partition keys in one PutRecords.
    """

    def __init__(
        self,
        queue: RecordQueue,
        counters: FrontendCounters,
        clock: Callable[[], int],
        *,
        data_bytes_max: int,
        request_bytes_max: int,
    ) -> None:
        self._queue = queue
        self._counters = counters
        self._clock = clock
        self._data_bytes_max = data_bytes_max or DATA_BYTES_MAX
        self._request_bytes_max = request_bytes_max

    async def put_record(self, put: PutRecordInput) -> PutRecordOutput:
        """Queue one record, wait for its outcome and return the call's output.

        Raises:
            KinesisError: it cannot be taken.
            ForwardAlone: it is for upstream to decide.
            Refused: it was not queued, or was not written.
        """
        stream_name = resolve_stream(put.stream_name, put.stream_arn)
        summary = self._summary_for(stream_name, put.stream_arn, (put,))
        call = Call(self._clock(), 1)
        record = self._record_of(put, None, summary, call)
        record.sequence_number_for_ordering = put.sequence_number_for_ordering
        if put.dry_run:
            raise ForwardAlone
        if self._queue.append(stream_name, put.stream_arn, (record,)):
            self._count_rejections((record,))
        else:
            await call.done
        if record.state is not State.ACKNOWLEDGED:
            raise Refused(record.error_code, record.error_message)
        return PutRecordOutput(record.shard_id, record.sequence_number, record.encryption_type)

    async def put_records(self, put: PutRecordsInput) -> PutRecordsOutput:
        """Queue a call's records, wait for their outcomes and return the call's output.

        Raises:
            KinesisError: the call cannot be taken.
            ForwardAlone: it is for upstream to decide.
            Refused: all records met the same error, and it is one of whole requests.
        """
        stream_name = resolve_stream(put.stream_name, put.stream_arn)
        summary = self._summary_for(stream_name, put.stream_arn, put.entries)
        call = Call(self._clock(), len(put.entries))
        records = [self._record_of(entry, position, summary, call) for position, entry in enumerate(put.entries, 1)]
        if sum([record.size_bytes for record in records]) > self._request_bytes_max:
            raise records_too_large(self._request_bytes_max)
        if put.dry_run:
            raise ForwardAlone
        rejected = self._queue.append(stream_name, put.stream_arn, records)
        if rejected:
            self._count_rejections(records)
            call.unqueued(rejected)
        if rejected < len(records):
            await call.done
        return _output_of([_result_of(record) for record in records], records)

    def _count_rejections(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.state is State.REJECTED:
                self._counters.count_rejection(record.error_code or "", 1)

    def _summary_for(
        self, stream_name: str, stream_arn: str | None, entries: Sequence[PutEntry]
    ) -> StreamSummary | None:
        """Return what is known of a stream.

        Raises:
            ForwardAlone: nothing is, and an entry has no partition key: whether it needs one the service must say.
        """
        summary = self._queue.summary(stream_name, stream_arn)
        if summary is None and not all(entry.partition_key for entry in entries):
            self._queue.learn_about(stream_name, stream_arn)
            raise ForwardAlone
        return summary

    def _record_of(self, entry: PutEntry, position: int | None, summary: StreamSummary | None, call: Call) -> Record:
        """Build a record that fits its stream, as far as the stream is known.

        Args:
            entry: as the caller wrote it, validated.
            position: the entry's place among those of a PutRecords, from 1.
            summary: of the stream.
            call: whom the outcome concerns.
        """
        partition_key = entry.partition_key
        if not partition_key and summary is not None and not summary.auto_distribution:
            raise partition_key_missing(_path(position, "partitionKey"))
        if entry.explicit_hash_key is not None:
            check_explicit_hash_key(entry.explicit_hash_key)
        key_bytes = len(partition_key) if partition_key.isascii() else len(partition_key.encode())
        size_bytes = entry.data_bytes + key_bytes
        record_bytes_max = RECORD_BYTES_MAX if summary is None else summary.record_bytes_max
        if size_bytes > record_bytes_max or entry.data_bytes > self._data_bytes_max:
            data_bytes_max = min(self._data_bytes_max, record_bytes_max)
            if entry.data_bytes > data_bytes_max:
                raise data_too_long(_path(position, "data"), entry.data_bytes, data_bytes_max)
            raise record_too_large(record_bytes_max)
        return Record(
            partition_key,
            entry.data,
            size_bytes,
            hash_key_of(partition_key, entry.explicit_hash_key),
            call.received_at_ns,
            entry.explicit_hash_key,
            None,
            call.settle,
        )


def _path(position: int | None, member: str) -> str:
    return member if position is None else f"records.{position}.member.{member}"


def _result_of(record: Record) -> _Result:
    if record.state is State.ACKNOWLEDGED:
        return _Result(record.sequence_number, record.shard_id)
    return _Result(ErrorCode=record.error_code, ErrorMessage=record.error_message)


def _output_of(results: list[_Result], records: Sequence[Record]) -> PutRecordsOutput:
    """Put results together, or raise the one error that they all are."""
    failed = [result for result in results if result.ErrorCode is not None]
    if len(failed) == len(results):
        code = failed[0].ErrorCode
        if code not in PER_RECORD_CODES and all(result.ErrorCode == code for result in failed):
            raise Refused(code, failed[0].ErrorMessage)
    encryption_type = next((record.encryption_type for record in records if record.encryption_type is not None), None)
    return PutRecordsOutput(len(failed), results, encryption_type)
