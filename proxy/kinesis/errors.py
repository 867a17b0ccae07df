# ruff: noqa: N818 - each class is named exactly like the service's code
"""The service's errors as the proxy speaks them: code, HTTP status, text.

One class per code, named exactly like the code, and the texts that more than one room needs. Must never know who asks.

Source: PutRecord / PutRecords API reference; texts as kinesalite and public bug reports recorded them from the service.
A text that was never seen from the service is marked `[?]`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import ClassVar

from proxy.kinesis.limits import MIB


class KinesisError(Exception):
    """An error that a caller is answered with, in the service's shape.

    Args:
        message: the service's text; None where the service sends none.
    """

    code: ClassVar[str] = "InternalFailure"
    status: ClassVar[int] = HTTPStatus.BAD_REQUEST
    # SerializationException and the auth layer's AccessDeniedException spell it `Message`.
    message_member: ClassVar[str] = "message"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message)
        self.message = message

    def __init_subclass__(cls) -> None:
        """Take the wire's code from the class's name."""
        cls.code = cls.__name__


class AccessDeniedException(KinesisError):
    """The caller may not do this."""

    message_member = "Message"


class DryRunOperationException(KinesisError):
    """The request carried DryRun and would have succeeded."""


class ExpiredIteratorException(KinesisError):
    """The shard iterator is older than five minutes."""


class ExpiredNextTokenException(KinesisError):
    """The pagination token is older than five minutes."""


class ExpiredTokenException(KinesisError):
    """The session token is no longer valid."""


class IncompleteSignatureException(KinesisError):
    """The Authorization header lacks a part."""


class InternalFailure(KinesisError):
    """The service failed; every SDK tries again."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR


class InvalidArgumentException(KinesisError):
    """A member is well formed, but its value cannot be used."""


class InvalidSignatureException(KinesisError):
    """The signature does not match, or is too old or too new."""


class KMSAccessDeniedException(KinesisError):
    """The stream's key may not be used by the caller."""


class KMSDisabledException(KinesisError):
    """The stream's key is disabled."""


class KMSInvalidStateException(KinesisError):
    """The stream's key is in no state to be used."""


class KMSNotFoundException(KinesisError):
    """The stream's key does not exist."""


class KMSOptInRequired(KinesisError):
    """The account has no subscription to the key service."""


class KMSThrottlingException(KinesisError):
    """The key service throttled the stream's requests."""


class LimitExceededException(KinesisError):
    """Too many calls, shards or streams."""


class MissingAuthenticationTokenException(KinesisError):
    """The request is not signed."""


class ProvisionedThroughputExceededException(KinesisError):
    """Too much, too fast; every SDK backs off and tries again."""


class ResourceInUseException(KinesisError):
    """The stream exists already, or is not ACTIVE."""


class ResourceNotFoundException(KinesisError):
    """No such stream, shard or consumer."""


class SerializationException(KinesisError):
    """The body cannot be read as the operation's input."""

    message_member = "Message"


class UnknownOperationException(KinesisError):
    """No such operation."""


class UnrecognizedClientException(KinesisError):
    """The access key is not known."""


class ValidationException(KinesisError):
    """A member violates its declared constraints."""


ERRORS: dict[str, type[KinesisError]] = {error.code: error for error in KinesisError.__subclasses__()}

DRY_RUN = "The request was rejected because the DryRun parameter was specified."
INTERNAL_FAILURE = "Internal Service Failure"


def stream_not_found(stream_name: str, account_id: str) -> ResourceNotFoundException:
    """Build the error for a stream that does not exist."""
    return ResourceNotFoundException(f"Stream {stream_name} under account {account_id} not found.")


def shard_rate_exceeded(shard_id: str, stream_name: str, account_id: str) -> str:
    """Return the text with which the service throttles one shard; it is the only place where it names the shard."""
    return f"Rate exceeded for shard {shard_id} in stream {stream_name} under account {account_id}."


def stream_rate_exceeded(stream_name: str, account_id: str) -> LimitExceededException:
    """Build the error for too many control-plane calls on a stream."""
    return LimitExceededException(f"Rate exceeded for stream {stream_name} under account {account_id}.")


def explicit_hash_key_out_of_range(explicit_hash_key: str) -> InvalidArgumentException:
    """Build the error for an explicit hash key above 2^128-1."""
    return InvalidArgumentException(
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. "
        f"Specified value was {explicit_hash_key}"
    )


def sequence_number_for_ordering_invalid(
    sequence_number: str, stream_name: str, account_id: str
) -> InvalidArgumentException:
    """Build the error for a SequenceNumberForOrdering that the service cannot have issued."""
    return InvalidArgumentException(
        f"ExclusiveMinimumSequenceNumber {sequence_number} used in PutRecord on stream {stream_name} "
        f"under account {account_id} is invalid."
    )


def records_too_large(request_bytes_max: int) -> InvalidArgumentException:
    """Build the error for a PutRecords whose data and partition keys together exceed the request's limit."""
    return InvalidArgumentException(f"Records size exceeds {request_bytes_max // MIB} MB limit")


def record_too_large(record_bytes_max: int) -> InvalidArgumentException:
    """Build the error for a record whose data fits, but whose data and partition key together do not [?]."""
    return InvalidArgumentException(
        f"Record size exceeds the limit of {record_bytes_max} bytes for data and partition key"
    )


def data_too_long(path: str, data_bytes: int, data_bytes_max: int) -> ValidationException:
    """Build the error for data above a limit that is the stream's, not the model's.

    The words are the ones that the service used while the limit was the model's.
    """
    return ValidationException(
        f"1 validation error detected: Value '{blob_text(data_bytes)}' at '{path}' "
        f"failed to satisfy constraint: Member must have length less than or equal to {data_bytes_max}"
    )


def partition_key_missing(path: str) -> ValidationException:
    """Build the error for a record without a partition key on a stream that needs one.

    The words are the ones that the service used while the model required the member.
    """
    return ValidationException(
        f"1 validation error detected: Value null at '{path}' failed to satisfy constraint: Member must not be null"
    )


def stream_missing() -> InvalidArgumentException:
    """Build the error for a request that names no stream [?]."""
    return InvalidArgumentException("Either StreamName or StreamARN must be specified.")


def stream_names_differ(stream_name: str, stream_arn: str) -> InvalidArgumentException:
    """Build the error for a StreamName that is not the one in StreamARN [?]."""
    return InvalidArgumentException(f"StreamName {stream_name} does not match StreamARN {stream_arn}.")


def stream_id_not_supported() -> InvalidArgumentException:
    """Build the error for the reserved member StreamId [?]."""
    return InvalidArgumentException("StreamId is not supported. Specify StreamName or StreamARN.")


def blob_text(data_bytes: int) -> str:
    """Return how the service's validation shows a blob."""
    return f"java.nio.HeapByteBuffer[pos=0 lim={data_bytes} cap={data_bytes}]"
