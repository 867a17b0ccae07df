"""The one table of what every upstream error means for the records that met it.

Decides: retry or refuse, how far the trouble reaches, whether the shard map is in doubt, and what an expiring caller is
told. Codes are the service's own (`__type` or per-record `ErrorCode`) plus the local ones below, which the upstream
uses for what never reached the service or never came back. A code that is not in the table is retried until the
deadline, so that a new error of the service can strand nothing.

An answer may come from what stands between (a load balancer, an HTTP proxy), which knows no codes of the service: then
the status alone speaks, and has a local code of its own here.

Source: PutRecord and PutRecords API reference, Common Errors; RFC 9110 and RFC 6585 for statuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

CONNECT_FAILED: Final = "ConnectFailed"
CREDENTIALS_UNAVAILABLE: Final = "CredentialsUnavailable"
REQUEST_TIMEOUT: Final = "RequestTimeout"
CONNECTION_RESET: Final = "ConnectionReset"
MALFORMED_RESPONSE: Final = "MalformedResponse"
WRONG_RESULT_COUNT: Final = "WrongResultCount"
SHUTTING_DOWN: Final = "ShuttingDown"
# a status without a code
REQUEST_TOO_LARGE: Final = "RequestTooLarge"
TOO_MANY_REQUESTS: Final = "TooManyRequests"
BAD_GATEWAY: Final = "BadGateway"
SERVICE_UNAVAILABLE: Final = "ServiceUnavailable"
GATEWAY_TIMEOUT: Final = "GatewayTimeout"

THROUGHPUT_EXCEEDED: Final = "ProvisionedThroughputExceededException"
INTERNAL_FAILURE: Final = "InternalFailure"

STATUS_REQUEST_TOO_LARGE: Final = 413
STATUS_TOO_MANY_REQUESTS: Final = 429


class Scope(Enum):
    """How far an error reaches."""

    RECORD = "record"  # a record is at fault: its neighbours in the request are innocent
    SHARD = "shard"  # the record's shard is busy or ill: its lane backs off
    STREAM = "stream"  # every request of the stream would meet it


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a record, or a whole request, that met an error.

    Args:
        retry: True puts records back in front; False answers the caller with the error.
        scope: how far the error reaches.
        expired_as: the error code that a caller gets when the deadline passes while this was the last cause.
        refresh_map: whether the shard map may be out of date.
    """

    retry: bool
    scope: Scope
    expired_as: str = INTERNAL_FAILURE
    refresh_map: bool = False

    @property
    def throttled(self) -> bool:
        """Whether the service is well and wants to be asked less."""
        return self.expired_as == THROUGHPUT_EXCEEDED


_SHARD_THROTTLED: Final = Verdict(retry=True, scope=Scope.SHARD, expired_as=THROUGHPUT_EXCEEDED)
_SHARD_ILL: Final = Verdict(retry=True, scope=Scope.SHARD)
_STREAM_THROTTLED: Final = Verdict(retry=True, scope=Scope.STREAM, expired_as=THROUGHPUT_EXCEEDED)
_STREAM_ILL: Final = Verdict(retry=True, scope=Scope.STREAM)
_RECORD_REFUSED: Final = Verdict(retry=False, scope=Scope.RECORD)
_STREAM_REFUSED: Final = Verdict(retry=False, scope=Scope.STREAM)

VERDICTS: dict[str, Verdict] = {
    THROUGHPUT_EXCEEDED: _SHARD_THROTTLED,
    INTERNAL_FAILURE: _SHARD_ILL,
    "InternalFailureException": _SHARD_ILL,
    "InternalServerError": _SHARD_ILL,
    SERVICE_UNAVAILABLE: _STREAM_ILL,
    "ServiceUnavailableException": _STREAM_ILL,
    "LimitExceededException": _STREAM_THROTTLED,
    "KMSThrottlingException": _STREAM_THROTTLED,
    "ThrottlingException": _STREAM_THROTTLED,
    "Throttling": _STREAM_THROTTLED,
    "RequestLimitExceeded": _STREAM_THROTTLED,
    "SlowDown": _STREAM_THROTTLED,
    "TooManyRequestsException": _STREAM_THROTTLED,
    TOO_MANY_REQUESTS: _STREAM_THROTTLED,
    # the proxy's own credentials or clock: no fault of the caller's, and they get renewed
    "ExpiredToken": _STREAM_ILL,
    "ExpiredTokenException": _STREAM_ILL,
    "IncompleteSignature": _STREAM_ILL,
    "IncompleteSignatureException": _STREAM_ILL,
    "InvalidAccessKeyId": _STREAM_ILL,
    "InvalidClientTokenId": _STREAM_ILL,
    "InvalidSignatureException": _STREAM_ILL,
    "MissingAuthenticationToken": _STREAM_ILL,
    "MissingAuthenticationTokenException": _STREAM_ILL,
    "RequestExpired": _STREAM_ILL,
    "RequestTimeTooSkewed": _STREAM_ILL,
    "SignatureDoesNotMatch": _STREAM_ILL,
    "UnrecognizedClientException": _STREAM_ILL,
    CONNECT_FAILED: _STREAM_ILL,
    CREDENTIALS_UNAVAILABLE: _STREAM_ILL,
    REQUEST_TIMEOUT: _STREAM_ILL,
    CONNECTION_RESET: _STREAM_ILL,
    MALFORMED_RESPONSE: _STREAM_ILL,
    WRONG_RESULT_COUNT: _STREAM_ILL,
    BAD_GATEWAY: _STREAM_ILL,
    GATEWAY_TIMEOUT: _STREAM_ILL,
    SHUTTING_DOWN: _STREAM_ILL,
    # the stream, its key or our rights: every record of the stream would meet it
    "ResourceNotFoundException": Verdict(retry=False, scope=Scope.STREAM, refresh_map=True),
    "AccessDeniedException": _STREAM_REFUSED,
    "AccessDenied": _STREAM_REFUSED,
    "NotAuthorized": _STREAM_REFUSED,
    "OptInRequired": _STREAM_REFUSED,
    "KMSAccessDeniedException": _STREAM_REFUSED,
    "KMSDisabledException": _STREAM_REFUSED,
    "KMSInvalidStateException": _STREAM_REFUSED,
    "KMSNotFoundException": _STREAM_REFUSED,
    "KMSOptInRequired": _STREAM_REFUSED,
    # one record can be the reason: split until it is alone
    REQUEST_TOO_LARGE: _RECORD_REFUSED,
    "InvalidArgumentException": _RECORD_REFUSED,
    "SerializationException": _RECORD_REFUSED,
    "ValidationException": _RECORD_REFUSED,
}

UNKNOWN_CODE: Final = Verdict(retry=True, scope=Scope.STREAM)


def verdict_of(code: str, status: int = 0) -> Verdict:
    """Return what an error code means; a code that nobody knows is judged by its status, and retried.

    Args:
        code: the service's or a local code.
        status: the request's HTTP status, 0 for a per-record code or where there was none. A 413 blames the records
            whatever its body says: a smaller request passes.
    """
    if status == STATUS_REQUEST_TOO_LARGE:
        return _RECORD_REFUSED
    verdict = VERDICTS.get(code)
    if verdict is None:
        return _STREAM_THROTTLED if status == STATUS_TOO_MANY_REQUESTS else UNKNOWN_CODE
    return verdict
