"""What happens at the service's door: which operation is meant, and the headers and bodies of every answer.

The order of checks is the service's: method, empty body, content type, readable body, operation. A request that is no
Kinesis request at all is answered as the service's outer layer does, in XML; everything else in the request's own
format, because an XML body crashes the JavaScript client.

Must never know: streams, sockets, whether the caller may do what it asks.

Source: kinesalite's recordings of the service; SDK sources for the headers that clients read.
"""

from __future__ import annotations

import os
from base64 import b64encode
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.kinesis.codecs import CBOR, JSON
from proxy.kinesis.errors import SerializationException, UnknownOperationException
from proxy.kinesis.http import Reply
from proxy.kinesis.operations import KNOWN_OPERATIONS

if TYPE_CHECKING:
    from proxy.kinesis.codecs import Codec
    from proxy.kinesis.errors import KinesisError
    from proxy.kinesis.http import Request

# In milliseconds; the SDKs that know it (JavaScript, Rust, recent boto3) read it on errors.
RETRY_AFTER: Final = "x-amz-retry-after"
REQUEST_ID: Final = "x-amzn-RequestId"
_PLAIN_JSON: Final = "application/json"

_SERVICE: Final = "Kinesis_20131202"
_OPERATION_OF_TARGET: Final = {f"{_SERVICE}.{operation}": operation for operation in KNOWN_OPERATIONS}


class NotKinesis(Exception):  # noqa: N818 - a finding that carries its own answer, not an error of the service
    """The request is no Kinesis request; `reply` says so as the service's outer layer does."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def operation_of(request: Request) -> str:
    """Return the operation that a request means.

    Raises:
        SerializationException: the body is missing or unreadable.
        UnknownOperationException: no such operation.
        NotKinesis: no Kinesis request at all.
    """
    headers = request.headers
    operation = _OPERATION_OF_TARGET.get(headers.get("X-Amz-Target", ""))
    content_type = headers.get("Content-Type")
    if operation is not None and request.body and request.method == "POST" and content_type == JSON.content_type:
        return operation
    return _operation_of_unusual(request, operation)


def codec_of(request: Request) -> Codec:
    """Return the format that a request is in, and is answered in; JSON where it does not say CBOR."""
    if request.headers.get("Content-Type") == JSON.content_type:
        return JSON
    return CBOR if _content_type(request) == CBOR.content_type else JSON


def ok_reply(request: Request, output: object) -> Reply:
    """Answer with an operation's output, in the request's format; None is an operation without output."""
    return encoded_reply(codec_of(request), output)


def encoded_reply(codec: Codec, output: object) -> Reply:
    """Answer with an operation's output in a format; None is an operation without output."""
    return Reply(200, b"" if output is None else codec.encode(output), lines=_lines(codec))


def error_reply(request: Request, error: KinesisError) -> Reply:
    """Answer with an error, in the request's format."""
    return code_reply(request, error.status, error.code, error.message, error.message_member)


def code_reply(request: Request, status: int, code: str, message: str | None, message_member: str = "message") -> Reply:
    """Answer with an error code that may have no class of its own, as one from upstream."""
    return encoded_error_reply(_error_codec(request), status, code, message, message_member)


def encoded_error_reply(
    codec: Codec, status: int, code: str, message: str | None, message_member: str = "message"
) -> Reply:
    """Answer with an error code in a format."""
    document = {"__type": code} if message is None else {"__type": code, message_member: message}
    return Reply(status, codec.encode(document), {"x-amzn-ErrorType": code}, lines=_lines(codec))


def new_request_id() -> str:
    """Return the id of a request whose answer has none yet."""
    return _REQUEST_ID_LINE.partition(": ")[2] + _numbers.next()


def _operation_of_unusual(request: Request, operation: str | None) -> str:
    """Find the operation of a request that is not plain, in the service's order of checks."""
    if request.method != "POST":
        raise NotKinesis(_unauthorized_reply())
    if not request.body:
        raise UnknownOperationException if operation is None else SerializationException
    content_type = _content_type(request)
    if content_type not in {JSON.content_type, CBOR.content_type, _PLAIN_JSON}:
        service, _, named = request.headers.get("X-Amz-Target", "").partition(".")
        raise NotKinesis(_unknown_operation_reply() if service and named else _unauthorized_reply())
    if content_type == _PLAIN_JSON:
        raise NotKinesis(_plain_json_reply(readable=_is_readable(request.body, JSON)))
    if operation is not None:
        # read by whoever the request is for
        return operation
    raise UnknownOperationException if _is_readable(request.body, codec_of(request)) else SerializationException


def _is_readable(body: bytes, codec: Codec) -> bool:
    try:
        codec.decode(body)
    except SerializationException as error:
        # with a text it is a readable body of the wrong form, which the operation's own checks report
        return error.message is not None
    return True


def _content_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip()


def _error_codec(request: Request) -> Codec:
    """Return an error's format: as the request's, but CBOR for one without a body that does not say JSON."""
    if request.body or _content_type(request) == JSON.content_type:
        return codec_of(request)
    return CBOR


def _unauthorized_reply() -> Reply:
    return _bare_reply(
        HTTPStatus.FORBIDDEN,
        b"<AccessDeniedException>\n"
        b"  <Message>Unable to determine service/operation name to be authorized</Message>\n"
        b"</AccessDeniedException>\n",
    )


def _unknown_operation_reply() -> Reply:
    return _bare_reply(HTTPStatus.NOT_FOUND, b"<UnknownOperationException/>\n")


def _plain_json_reply(*, readable: bool) -> Reply:
    """Answer plain JSON, which the service reads and never serves."""
    name = "UnknownOperationException" if readable else "SerializationException"
    reply = _bare_reply(
        HTTPStatus.NOT_FOUND if readable else HTTPStatus.BAD_REQUEST,
        JSON.encode({"Output": {"__type": f"com.amazon.coral.service#{name}"}, "Version": "1.0"}),
    )
    reply.headers["Content-Type"] = _PLAIN_JSON
    return reply


def _bare_reply(status: int, body: bytes) -> Reply:
    return Reply(status, body, lines=_identity_lines())


def _lines(codec: Codec) -> str:
    return f"{_identity_lines()}Content-Type: {codec.content_type}\r\n"


class _Numbers:
    """Numbers one after the other, in twelve hexadecimal digits; the last three are looked up and not formatted."""

    __slots__ = ("_first_digits", "_last", "_thousands")

    def __init__(self) -> None:
        self._thousands = 0
        self._first_digits = f"{self._thousands:09x}"
        self._last = 0

    def next(self) -> str:
        """Return the next number."""
        self._last += 1
        if self._last == len(_LAST_DIGITS):
            self._last = 0
            self._thousands += 1
            self._first_digits = f"{self._thousands:09x}"
        return self._first_digits + _LAST_DIGITS[self._last]


_LAST_DIGITS: Final = [f"{number:03x}" for number in range(0x1000)]
_numbers: Final = _Numbers()

# A request's id is a number in a frame that is drawn once per process: unique, without entropy for each request.
_frame: Final = os.urandom(8).hex()
_REQUEST_ID_LINE: Final = f"{REQUEST_ID}: {_frame[:8]}-{_frame[8:12]}-4{_frame[12:15]}-8{os.urandom(2).hex()[:3]}-"
# 57 bytes are 76 characters without padding; with the number's 12 hexadecimal digits the id decodes to 66 bytes.
_EXTENDED_ID_LINE: Final = f"\r\nx-amz-id-2: {b64encode(os.urandom(57)).decode()}"


def _identity_lines() -> str:
    number = _numbers.next()
    return f"{_REQUEST_ID_LINE}{number}{_EXTENDED_ID_LINE}{number}\r\n"
