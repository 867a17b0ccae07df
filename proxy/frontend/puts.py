"""The put path: from a validated input to queued records.

Everything about a call is checked before the first of its records is queued. What is waited for then is a `Call`.

Must never know: HTTP, sockets, how records travel upstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec.structs import astuple

from proxy.core.hashing import hash_key_of_encoded
from proxy.core.record import Record, State
from proxy.frontend.answers import answer_of_put_record, answer_of_put_records
from proxy.frontend.calls import Call
from proxy.kinesis.base64_text import blob_bytes
from proxy.kinesis.errors import (
    KinesisError,
    data_too_long,
    partition_key_missing,
    record_too_large,
    records_too_large,
)
from proxy.kinesis.limits import DATA_BYTES_MAX, RECORD_BYTES_MAX
from proxy.kinesis.put_inputs import PutRecordsInput
from proxy.kinesis.puts import checked_hash_key
from proxy.kinesis.stream_names import resolve_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.shard_map import StreamSummary
    from proxy.frontend.counters import FrontendCounters
    from proxy.kinesis.put_inputs import PutEntry, PutRecordInput

# Found once: it is called for each record.
_astuple: Final[Callable[[PutEntry], Any]] = astuple


class RecordQueue(Protocol):
    """What the put path asks of whoever queues and sends records."""

    def append(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> int:
        """Queue those records, in their order, that there is room for, and return how many were rejected.

        A rejected record is in state REJECTED and says why. Each other one gets one call of its `on_outcome` later,
        from the event loop, never from inside here.
        """

    def withdraw(self, stream_name: str, stream_arn: str | None, records: Sequence[Record]) -> None:
        """Take those of the records out that are queued, never sent or waiting to be sent again.

        Each of them is then in state WITHDRAWN, and has one call of its `on_outcome` later, as above.
        """

    def summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | None:
        """Return what is known of the stream; None as long as nothing is."""

    def learn_about(self, stream_name: str, stream_arn: str | None) -> None:
        """Have the stream's summary fetched, although nothing is queued for it, unless that was a moment ago."""


class ForwardAlone(Exception):  # noqa: N818 - an order to the caller, not an error
    """The call is valid and nothing is queued: it must go upstream as it is.

    A DryRun asks what the service would say. A record without a partition key is for the service to judge as long as
    nothing is known of the stream.
    """


class PutPath:
    """Queues the records of put calls.

    Args:
        queue: takes the records.
        counters: where rejections are counted.
        data_bytes_max: largest data of a record; 0 leaves it to the stream's limit.
        request_bytes_max: largest sum of data and partition keys in one PutRecords.
    """

    def __init__(
        self,
        queue: RecordQueue,
        counters: FrontendCounters,
        *,
        data_bytes_max: int,
        request_bytes_max: int,
    ) -> None:
        self._queue = queue
        self._counters = counters
        self._data_bytes_max = data_bytes_max or DATA_BYTES_MAX
        self._request_bytes_max = request_bytes_max

    def queue(self, put: PutRecordInput | PutRecordsInput, now_ns: int) -> Call:
        """Queue what a call puts; its outcomes are the returned call's to wait for.

        Args:
            put: its input.
            now_ns: the present.

        Raises:
            KinesisError: it cannot be taken.
            ForwardAlone: it is for upstream to decide.
        """
        stream_name = resolve_stream(put.stream_name, put.stream_arn)
        entries = put.entries if isinstance(put, PutRecordsInput) else (put,)
        summary = self._summary_for(stream_name, put.stream_arn, entries)
        try:
            call, records = self._call_of(stream_name, put, summary, now_ns)
        except KinesisError:
            if summary is not None:  # by which it may have been refused, and which may be old
                self._queue.learn_about(stream_name, put.stream_arn)
            raise
        if put.dry_run:
            raise ForwardAlone
        rejected = self._queue.append(stream_name, put.stream_arn, records)
        if rejected:
            self._count_rejected(records)
        call.queued(records, rejected)
        return call

    def _call_of(
        self, stream_name: str, put: PutRecordInput | PutRecordsInput, summary: StreamSummary | None, now_ns: int
    ) -> tuple[Call, list[Record]]:
        """Make a call and its records.

        Raises:
            KinesisError: one of them cannot be taken.
        """
        if isinstance(put, PutRecordsInput):
            call = Call(stream_name, put.stream_arn, now_ns, answer_of_put_records)
            records, settle, size_bytes = [], call.settle, 0
            for position, entry in enumerate(put.entries, 1):
                # one call, where each attribute would be one
                members: tuple[str, str, str | None] = _astuple(entry)
                data, partition_key, explicit_hash_key = members
                record = self._record_of(data, partition_key, explicit_hash_key, position, summary, now_ns, settle)
                size_bytes += record.size_bytes
                records.append(record)
            if size_bytes > self._request_bytes_max:
                raise records_too_large(self._request_bytes_max)
        else:
            call = Call(stream_name, put.stream_arn, now_ns, answer_of_put_record)
            data, partition_key, explicit_hash_key = put.data, put.partition_key, put.explicit_hash_key
            records = [self._record_of(data, partition_key, explicit_hash_key, 0, summary, now_ns, call.settle)]
            records[0].sequence_number_for_ordering = put.sequence_number_for_ordering
        return call, records

    def _count_rejected(self, records: Sequence[Record]) -> None:
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

    def _record_of(  # noqa: PLR0913, PLR0917 - the members of one entry, on the hot path
        self,
        data: str,
        partition_key: str,
        explicit_hash_key: str | None,
        position: int,
        summary: StreamSummary | None,
        now_ns: int,
        on_outcome: Callable[[Record], None],
    ) -> Record:
        """Build a record that fits its stream, as far as the stream is known.

        Args:
            data: as the caller wrote it, validated, as are the next two.
            partition_key: empty where there is none.
            explicit_hash_key: None where there is none.
            position: the entry's place among those of a PutRecords, from 1; 0 for a PutRecord's.
            summary: of the stream.
            now_ns: the present.
            on_outcome: told the outcome.
        """
        if not partition_key and summary is not None and not summary.auto_distribution:
            raise partition_key_missing(_path(position, "partitionKey"))
        encoded_key = partition_key.encode()
        if explicit_hash_key is None:
            hash_key = hash_key_of_encoded(encoded_key)
        else:
            hash_key = checked_hash_key(explicit_hash_key)
        data_bytes = blob_bytes(data)
        size_bytes = data_bytes + len(encoded_key)
        record_bytes_max = RECORD_BYTES_MAX if summary is None else summary.record_bytes_max
        if size_bytes > record_bytes_max or data_bytes > self._data_bytes_max:
            data_bytes_max = min(self._data_bytes_max, record_bytes_max)
            if data_bytes > data_bytes_max:
                raise data_too_long(_path(position, "data"), data_bytes, data_bytes_max)
            raise record_too_large(record_bytes_max)
        return Record(partition_key, data, size_bytes, hash_key, now_ns, explicit_hash_key, None, on_outcome)


def _path(position: int, member: str) -> str:
    return f"records.{position}.member.{member}" if position else member
