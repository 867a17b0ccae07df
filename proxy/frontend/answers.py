"""What a put call is answered: made of its records' outcomes, as the service would answer it.

- PutRecord: the record's result, or its error as the call's error.
- PutRecords: 200 with one result for each record in the order of the request, whatever failed. Two errors are the
  call's: one that all records met and that the service gives to whole requests (no such stream, no permission, a key's
  trouble), and one with which all were rejected at the door: SDKs try a refused call again by themselves, and none
  looks into the results of a 200. If only some failed, it stands in their results: the others were written, and the
  caller must know.

When to come again is told with a call's error and not with results, where no SDK looks for it.

Must never know: HTTP, sockets, queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.core.record import State
from proxy.frontend.outputs import PutRecordOutput, PutRecordsOutput, Refusal, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.core.record import Record
    from proxy.frontend.outputs import Answer

# Looked up once: Python 3.11 finds a member of an Enum by way of its metaclass, several times for each record.
_ACKNOWLEDGED: Final = State.ACKNOWLEDGED

# The errors that the service gives to single records of a PutRecords; every other one it gives to the whole request.
PER_RECORD_CODES: Final = frozenset({"ProvisionedThroughputExceededException", "InternalFailure"})

# Where an error has come without one.
_UNKNOWN_CODE: Final = "InternalFailure"

# Found once: it is called for each record.
_result: Final[Callable[..., Result]] = Result

# What an answer and each of its results hold in memory, texts of errors apart.
_ANSWER_BYTES: Final = 256
_RESULT_BYTES: Final = 320


def answer_of_put_record(records: Sequence[Record]) -> PutRecordOutput | Refusal:
    """Answer a call by its only record, whose state is final."""
    (record,) = records
    if record.state is _ACKNOWLEDGED:
        return PutRecordOutput(record.shard_id, record.sequence_number, record.encryption_type)
    return Refusal(record.error_code or _UNKNOWN_CODE, record.error_message, record.retry_after_ms)


def answer_of_put_records(records: Sequence[Record]) -> PutRecordsOutput | Refusal:
    """Answer a call by its records, whose states are final."""
    results: list[Result] = []
    failed: list[Record] = []
    encryption_type: str | None = None
    for record in records:
        if record.state is _ACKNOWLEDGED:
            results.append(_result(record.sequence_number, record.shard_id))
            encryption_type = encryption_type or record.encryption_type
        else:
            code, message = record.error_code or _UNKNOWN_CODE, record.error_message
            results.append(_result(None, None, code, message))
            failed.append(record)
    if len(failed) == len(results):
        code = failed[0].error_code or _UNKNOWN_CODE
        if all((record.error_code or _UNKNOWN_CODE) == code for record in failed):
            rejected = all(record.state is State.REJECTED for record in failed)
            if rejected or code not in PER_RECORD_CODES:
                retry_after_ms = max(record.retry_after_ms for record in failed)
                return Refusal(code, failed[0].error_message, retry_after_ms)
    return PutRecordsOutput(len(failed), results, encryption_type)


def tells_of_a_written_record(answer: Answer) -> bool:
    """Return whether a caller who misses this answer would write something twice."""
    if isinstance(answer, PutRecordsOutput):
        return answer.FailedRecordCount < len(answer.Records)
    return isinstance(answer, PutRecordOutput)


def bytes_of(answer: Answer) -> int:
    """Return about how much memory an answer takes, and never less."""
    if not isinstance(answer, PutRecordsOutput):
        return _ANSWER_BYTES + _RESULT_BYTES
    texts = sum(len(result.ErrorCode or "") + len(result.ErrorMessage or "") for result in answer.Records)
    return _ANSWER_BYTES + _RESULT_BYTES * len(answer.Records) + 4 * texts
