"""Every foreign failure as a `Failure`: the one file that knows the exceptions of aiohttp, botocore and asyncio.

Decides two things. The code: the service's own, or a local one of `proxy.core.verdicts`. And whether the records may
have been written: the service acts only on a whole request, because the signature covers the hash of the body; so a
request of which the last byte was never handed to the transport is NOT_SENT, whatever then went wrong. Once it was, a
connection that breaks or falls silent leaves the outcome UNKNOWN. That includes an idle connection that the service
closed just as it was used again: it looks the same as one closed after the request was read.

    name resolution, connect, TLS, no free connection, cut while sending   ConnectFailed           NOT_SENT
    no credentials                                                         CredentialsUnavailable  NOT_SENT
    silence, or a response that takes too long                             RequestTimeout          UNKNOWN
    connection lost after sending, or within the response                  ConnectionReset         UNKNOWN
    a response that cannot be read, or an error without a code             MalformedResponse       UNKNOWN
    an error of the service, 4xx                                           its own                 REFUSED
    an error of the service, 5xx: it may have failed after the write       its own                 UNKNOWN
    413, 429 without a code                                                of the status           REFUSED
    502, 503, 504 without a code: it may have been passed on               of the status           UNKNOWN

A failure's message reaches callers, who are strangers: of an exception it has fixed words. What the exception says,
with addresses and the names of classes, is for the log: `detail_of`.

Source: AWS JSON 1.1 protocol ("Operation error serialization"), sources of aiohttp 3.14 and botocore 1.43.
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError

from proxy.core.batch import Failure, Written
from proxy.core.verdicts import (
    BAD_GATEWAY,
    CONNECT_FAILED,
    CONNECTION_RESET,
    CREDENTIALS_UNAVAILABLE,
    GATEWAY_TIMEOUT,
    MALFORMED_RESPONSE,
    REQUEST_TIMEOUT,
    REQUEST_TOO_LARGE,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

CODE_CHARACTERS_MAX = 128
MESSAGE_CHARACTERS_MAX = 1024
# Longer than any client of ours waits; a service that asks for more is asked again all the same.
RETRY_AFTER_MS_MAX = 10_000
MILLISECOND_NS = 1_000_000

_USERINFO = re.compile(r"//[^/\s]*@")
# aiohttp's word about TLS, which it also writes where there is none.
_SSL_WORD = re.compile(r" ssl:\S+")

NOT_REACHED = "Kinesis cannot be reached."
NOT_TRUSTED = "Kinesis cannot be reached: TLS to it fails, or its certificate is not trusted."
NOT_ANSWERED = "Kinesis did not answer in time."
BROKEN = "The connection to Kinesis broke."
NOT_HTTP = "What answered in Kinesis's place is no HTTP."

# What an answer without a code of the service is called: for certain not taken, or possibly passed on.
_REFUSING_STATUSES = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: REQUEST_TOO_LARGE,
    HTTPStatus.TOO_MANY_REQUESTS: TOO_MANY_REQUESTS,
}
_AILING_STATUSES = {
    HTTPStatus.BAD_GATEWAY: BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE: SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT: GATEWAY_TIMEOUT,
}

# The credentials are no longer, or were never, good: they are to be renewed before the next request.
CREDENTIALS_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# The signature may have been refused for its time.
SKEW_CODES = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)

# What an aiohttp request may raise for anything that the network did.
TRANSPORT_ERRORS = (aiohttp.ClientError, OSError)

_CREDENTIALS_ERRORS = (
    CredentialRetrievalError,
    MetadataRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    TokenRetrievalError,
)


class CredentialsUnavailableError(Exception):
    """There are no credentials to sign with."""


class ResponseTooLargeError(aiohttp.ClientPayloadError):
    """The response is larger than we are willing to hold."""


class MalformedResponseError(aiohttp.ClientError):
    """What came is no HTTP response."""


class _ErrorBody(msgspec.Struct):
    type_: object = msgspec.field(name="__type", default=None)
    message: object = None
    capital_message: object = msgspec.field(name="Message", default=None)


_error_body_decoder = msgspec.json.Decoder(_ErrorBody)


def credentials_failure(error: CredentialsUnavailableError) -> Failure:
    """Return the failure of a request that could not be signed."""
    return Failure(CREDENTIALS_UNAVAILABLE, str(error), Written.NOT_SENT)


def transport_failure(error: Exception, *, handed_over: bool) -> Failure:
    """Return the failure of a request that the network did not carry through.

    Args:
        error: one of TRANSPORT_ERRORS.
        handed_over: whether the last byte of the request was handed to the transport.
    """
    if not handed_over:
        return Failure(CONNECT_FAILED, _unreached(error), Written.NOT_SENT)
    if isinstance(error, ResponseTooLargeError):
        return Failure(MALFORMED_RESPONSE, str(error), Written.UNKNOWN)
    # aiohttp raises ClientResponseError for bytes that are not HTTP.
    if isinstance(error, (MalformedResponseError, aiohttp.ClientResponseError)):
        return Failure(MALFORMED_RESPONSE, NOT_HTTP, Written.UNKNOWN)
    if isinstance(error, TimeoutError):
        return Failure(REQUEST_TIMEOUT, NOT_ANSWERED, Written.UNKNOWN)
    return Failure(CONNECTION_RESET, BROKEN, Written.UNKNOWN)


def malformed(status: int, message: str) -> Failure:
    """Return the failure of a request whose response cannot be read."""
    return Failure(MALFORMED_RESPONSE, message, Written.UNKNOWN, status)


def service_failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return the failure that a response other than 200 tells.

    Args:
        status: HTTP status.
        headers: case-insensitive mapping.
        body: the whole body.
    """
    try:
        error = _error_body_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        error = _ErrorBody()
    code = _bare_code(error.type_) or _bare_code(headers.get("x-amzn-ErrorType"))
    wait_ns = retry_after_ns(headers)
    if not code:
        return _uncoded(status, wait_ns)
    return _told(code, error.message or error.capital_message, status, wait_ns)


def control_failure(error: Exception) -> Failure:
    """Return the failure of a call through aiobotocore's client.

    Such calls only read, so that nothing hangs on whether they were sent; aiobotocore does not tell it reliably. No
    caller waits for them either: the message is the exception's own, for the log.

    Args:
        error: a ClientError, BotoCoreError, TimeoutError or CredentialsUnavailableError.
    """
    if isinstance(error, ClientError):
        return _client_failure(error)
    message = detail_of(error)
    if isinstance(error, (CredentialsUnavailableError, *_CREDENTIALS_ERRORS)):
        return Failure(CREDENTIALS_UNAVAILABLE, message, Written.NOT_SENT)
    if isinstance(error, ResponseParserError):
        return Failure(MALFORMED_RESPONSE, message, Written.UNKNOWN)
    if isinstance(error, (TimeoutError, ReadTimeoutError)):
        return Failure(REQUEST_TIMEOUT, message, Written.UNKNOWN)
    if isinstance(error, HTTPClientError):
        return Failure(CONNECTION_RESET, message, Written.UNKNOWN)
    return Failure(CONNECT_FAILED, message, Written.NOT_SENT)


def service_time_of(headers: Mapping[str, str]) -> float | None:
    """Return the Date of a response in seconds since the epoch, or None where it has none."""
    try:
        return parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except ValueError:
        return None


def retry_after_ns(headers: Mapping[str, str]) -> int:
    """Return how long a response asks not to be asked again, at most 10 s; 0 where it does not, or not in a number.

    `x-amz-retry-after` is in milliseconds, and exacter than `Retry-After` in seconds.
    """
    for name, unit_ms in (("x-amz-retry-after", 1), ("retry-after", 1000)):
        told = headers.get(name, "").strip()
        if told.isascii() and told.isdigit():
            # more digits than that are beyond the bound, and slow to read
            wait_ms = int(told) * unit_ms if len(told) <= len(str(RETRY_AFTER_MS_MAX)) else RETRY_AFTER_MS_MAX
            return min(wait_ms, RETRY_AFTER_MS_MAX) * MILLISECOND_NS
    return 0


def detail_of(error: Exception) -> str:
    """Return an exception as text for the log: its type, and what it says; many of asyncio and aiohttp say nothing."""
    said = _SSL_WORD.sub("", without_userinfo(str(error))).strip()
    name = type(error).__name__
    return (f"{name}: {said}" if said else name)[:MESSAGE_CHARACTERS_MAX]


def without_userinfo(text: str) -> str:
    """Return a text without user and password of the URLs in it: aiohttp writes out that of an HTTP proxy."""
    return _USERINFO.sub("//", text)


CONTROL_ERRORS = (BotoCoreError, ClientError, ResponseParserError, TimeoutError, CredentialsUnavailableError)


def _unreached(error: Exception) -> str:
    """Return why there is no connection, as far as a caller may know."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"{NOT_REACHED[:-1]}: the HTTP proxy on the way answered {error.status}."
    return NOT_TRUSTED if isinstance(error, aiohttp.ClientSSLError) else NOT_REACHED


def _told(code: str, message: object, status: int, wait_ns: int) -> Failure:
    """Return a failure in the service's own words; that it is ill it often says by the code alone."""
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    code = code[:CODE_CHARACTERS_MAX]
    text = message[:MESSAGE_CHARACTERS_MAX] if isinstance(message, str) and message else None
    if refused:
        return Failure(code, text, Written.REFUSED, status, wait_ns)
    return Failure(code, text or f"Kinesis answered {code}.", Written.UNKNOWN, status, wait_ns)


def _client_failure(error: ClientError) -> Failure:
    """Return the failure that an answer of the service is, as aiobotocore has read it."""
    told, about = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status, wait_ns = about.get("HTTPStatusCode", 0), retry_after_ns(about.get("HTTPHeaders", {}))
    code = _bare_code(told.get("Code"))
    if not code or code.isdigit():  # where there is no code, botocore makes one of the status
        return _uncoded(status, wait_ns)
    return _told(code, told.get("Message"), status, wait_ns)


def _uncoded(status: int, wait_ns: int) -> Failure:
    """Return the failure that a status tells by itself."""
    message = f"HTTP {status} without an error code"
    if status in _REFUSING_STATUSES:
        return Failure(_REFUSING_STATUSES[HTTPStatus(status)], message, Written.REFUSED, status, wait_ns)
    code = _AILING_STATUSES[HTTPStatus(status)] if status in _AILING_STATUSES else MALFORMED_RESPONSE
    return Failure(code, message, Written.UNKNOWN, status, wait_ns)


def _bare_code(told: object) -> str:
    """Return an error code without the namespace before `#` and the URI after `:`."""
    return told.rsplit("#", 1)[-1].split(":", 1)[0].strip() if isinstance(told, str) else ""
