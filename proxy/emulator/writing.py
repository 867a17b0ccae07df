"""The operations that put records: what must hold before anything is written.

A request is checked as a whole first, so that it is written or refused as a whole; only what a shard does not take is
refused record by record.

Source: API references; texts as `proxy.kinesis.errors` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.core.hashing import hash_key_of
from proxy.emulator import sequence_number
from proxy.emulator.clock import MS_PER_SECOND
from proxy.emulator.model import SERVING
from proxy.emulator.put_result import SizedEntry
from proxy.kinesis import errors
from proxy.kinesis.base64_text import blob_bytes
from proxy.kinesis.puts import checked_hash_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.emulator.clock import Now
    from proxy.emulator.model import Model
    from proxy.emulator.put_result import Entry, PutResult
    from proxy.emulator.stream import Refuse, Stream
    from proxy.kinesis.put_inputs import PutEntry, PutRecordInput, PutRecordsInput


def put_record(
    model: Model, stream_name: str, put: PutRecordInput, now: Now, refuse: Refuse | None = None
) -> PutResult:
    """Write one record.

    Raises:
        KinesisError: whatever the service would answer, throttling included.
    """
    stream = writable_stream(model, stream_name, now)
    entries = [_sized(put)]
    check_record(model, stream, entries, put.sequence_number_for_ordering, now)
    _refuse_dry_run(dry_run=put.dry_run)
    return raised_if_refused(stream.put(entries, now, refuse)[0])


def put_records(
    model: Model, stream_name: str, put: PutRecordsInput, now: Now, refuse: Refuse | None = None
) -> list[PutResult]:
    """Write what the shards take of many records; one result for each, in order.

    Raises:
        KinesisError: the request as a whole is refused.
    """
    stream = writable_stream(model, stream_name, now)
    entries = [_sized(entry) for entry in put.entries]
    check_records(model, stream, entries)
    _refuse_dry_run(dry_run=put.dry_run)
    return stream.put(entries, now, refuse)


def raised_if_refused(result: PutResult) -> PutResult:
    """Return the result of a PutRecord, which has no other way to tell an error than to fail.

    Raises:
        KinesisError: the record was not written.
    """
    if result.error_code is not None:
        raise errors.ERRORS[result.error_code](result.error_message)
    return result


def writable_stream(model: Model, stream_name: str, now: Now) -> Stream:
    """Return a stream that takes records.

    Raises:
        ResourceNotFoundException: there is none, or it is being made or removed.
    """
    stream = model.stream(stream_name, now)
    if stream.status(now) not in SERVING:
        raise errors.stream_not_found(stream_name, model.settings.account_id)
    return stream


def check_record(model: Model, stream: Stream, entries: Sequence[Entry], ordering: str | None, now: Now) -> None:
    """Check the one record of a PutRecord, and the sequence number that it wants to be above.

    Raises:
        ValidationException, InvalidArgumentException: it can never be written.
    """
    if ordering is not None:
        after = sequence_number.parse(ordering)
        if after is None or after.put_seconds > now.wall_ms // MS_PER_SECOND:
            raise errors.sequence_number_for_ordering_invalid(ordering, stream.name, model.settings.account_id)
    _check_entries(stream, entries, "{member}")


def check_records(model: Model, stream: Stream, entries: Sequence[Entry]) -> None:
    """Check the records of a PutRecords.

    Raises:
        ValidationException, InvalidArgumentException: the request can never be written.
    """
    if _check_entries(stream, entries, "records.{ordinal}.member.{member}") > model.settings.request_bytes_max:
        raise errors.records_too_large(model.settings.request_bytes_max)


def _check_entries(stream: Stream, entries: Sequence[Entry], path: str) -> int:
    """Check each record and return their bytes together."""
    keys_needed = not stream.auto_distribution
    record_bytes_max = stream.record_bytes_max
    request_bytes = 0
    for ordinal, entry in enumerate(entries, 1):
        request_bytes += entry.size_bytes
        if entry.size_bytes > record_bytes_max:
            data_bytes = blob_bytes(entry.data)
            if data_bytes > record_bytes_max:
                raise errors.data_too_long(path.format(ordinal=ordinal, member="data"), data_bytes, record_bytes_max)
            raise errors.record_too_large(record_bytes_max)
        if keys_needed and not entry.partition_key:
            raise errors.partition_key_missing(path.format(ordinal=ordinal, member="partitionKey"))
    return request_bytes


def _sized(entry: PutEntry) -> SizedEntry:
    partition_key, explicit_hash_key = entry.partition_key, entry.explicit_hash_key
    if explicit_hash_key is not None:
        checked_hash_key(explicit_hash_key)
    return SizedEntry(
        entry.data,
        partition_key,
        blob_bytes(entry.data) + len(partition_key.encode()),
        hash_key_of(partition_key, explicit_hash_key),
    )


def _refuse_dry_run(*, dry_run: bool) -> None:
    if dry_run:
        raise errors.DryRunOperationException(errors.DRY_RUN)
