import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from proxy.core.batch import Failure, Written
from proxy.core.verdicts import VERDICTS, Scope
from proxy.upstream.failures import (
    CREDENTIALS_CODES,
    SKEW_CODES,
    CredentialsUnavailableError,
    ResponseTooLargeError,
    control_failure,
    credentials_failure,
    detail_of,
    malformed,
    service_failure,
    service_time_of,
    transport_failure,
)

ENDPOINT = "http://127.0.0.1:1"
CONNECTION_KEY = ConnectionKey(
    "127.0.0.1",
    4799,
    is_ssl=False,
    ssl=True,
    proxy=None,
    proxy_auth=None,
    proxy_headers_hash=None,
    server_hostname=None,
)
REQUEST_INFO = aiohttp.RequestInfo(URL(ENDPOINT), "POST", CIMultiDictProxy(CIMultiDict()), URL(ENDPOINT))


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ServerDisconnectedError(),
        aiohttp.ClientOSError(104, "Connection reset by peer"),
        aiohttp.ConnectionTimeoutError("Connection timeout to host"),
        aiohttp.ClientConnectionError("Connector is closed."),
        TimeoutError(),
    ],
)
def test_request_whose_last_byte_was_not_handed_over_was_not_sent(error: Exception) -> None:
    """Whatever went wrong: the service cannot have had the whole request."""
    failure = transport_failure(error, handed_over=False)
    assert (failure.code, failure.written) == ("ConnectFailed", Written.NOT_SENT)
    assert failure.message == "Kinesis cannot be reached."
    assert detail_of(error).startswith(type(error).__name__)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (TimeoutError(), "TimeoutError"),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            "ConnectionResetError: [Errno 104] Connection reset by peer",
        ),
        (
            aiohttp.ClientConnectorError(CONNECTION_KEY, ConnectionRefusedError(111, "Connect call failed")),
            "ClientConnectorError: Cannot connect to host 127.0.0.1:4799 [Connect call failed]",
        ),
        (aiohttp.ClientError("http://user:word@proxy:3128 is gone"), "ClientError: http://proxy:3128 is gone"),
    ],
)
@pytest.mark.parametrize("handed_over", [False, True])
def test_callers_are_told_the_kind_of_a_failure_and_the_log_its_detail(
    error: Exception, detail: str, *, handed_over: bool
) -> None:
    """Classes of Python and addresses behind the proxy are nothing to callers; aiohttp speaks of TLS where none is."""
    assert detail_of(error) == detail
    message = transport_failure(error, handed_over=handed_over).message
    assert message in {
        "Kinesis cannot be reached.",
        "Kinesis did not answer in time.",
        "The connection to Kinesis broke.",
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (aiohttp.ServerDisconnectedError(), "ConnectionReset"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "ConnectionReset"),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "ConnectionReset"),
        (ConnectionResetError(), "ConnectionReset"),
        (aiohttp.SocketTimeoutError("Timeout on reading data from socket"), "RequestTimeout"),
        (TimeoutError(), "RequestTimeout"),
        (ResponseTooLargeError("too large"), "MalformedResponse"),
        (aiohttp.ClientResponseError(REQUEST_INFO, (), status=400), "MalformedResponse"),
    ],
)
def test_request_that_was_handed_over_may_have_been_written(error: Exception, code: str) -> None:
    """Silence and broken connections tell nothing about the records."""
    failure = transport_failure(error, handed_over=True)
    assert (failure.code, failure.written, failure.status) == (code, Written.UNKNOWN, 0)


@pytest.mark.parametrize(
    "told",
    [
        b'{"__type":"ResourceNotFoundException","message":"Stream x not found."}',
        b'{"__type":"com.amazonaws.kinesis.v20131202#ResourceNotFoundException","message":"Stream x not found."}',
        b'{"__type":"ResourceNotFoundException:http://internal.amazon.com/","Message":"Stream x not found."}',
    ],
)
def test_service_error_has_its_bare_code(told: bytes) -> None:
    """Namespace and URI around a code do not count, and the message is found in either spelling."""
    assert service_failure(400, {}, told) == Failure(
        "ResourceNotFoundException", "Stream x not found.", Written.REFUSED, 400
    )


def test_service_error_code_may_stand_in_the_header_alone() -> None:
    """Java's SDK reads it there; so do we when the body has none."""
    headers = CIMultiDict({"X-Amzn-ErrorType": "ThrottlingException:http://internal.amazon.com/"})
    assert service_failure(400, headers, b"") == Failure("ThrottlingException", None, Written.REFUSED, 400)


def test_server_fault_may_come_after_the_write() -> None:
    """A 5xx does not say that nothing was written; where it says nothing, its code is the text for callers."""
    assert service_failure(500, {}, b'{"__type":"InternalFailure"}') == Failure(
        "InternalFailure", "Kinesis answered InternalFailure.", Written.UNKNOWN, 500
    )
    assert service_failure(500, {}, b'{"__type":"InternalFailure","message":"Oh."}').message == "Oh."


@pytest.mark.parametrize(
    "body", [b"<html>Bad Gateway</html>", b"", b"{}", b'{"message":"Forbidden"}', b'{"__type":7}', b"[]", b"\xff"]
)
def test_error_without_a_code_is_malformed(body: bytes) -> None:
    """Whatever stands between us and the service may have passed the request on; the status is kept."""
    assert service_failure(404, {}, body) == malformed(404, "HTTP 404 without an error code")
    assert malformed(404, "").written is Written.UNKNOWN


@pytest.mark.parametrize(
    ("status", "code", "written"),
    [
        (413, "RequestTooLarge", Written.REFUSED),
        (429, "TooManyRequests", Written.REFUSED),
        (500, "MalformedResponse", Written.UNKNOWN),
        (502, "BadGateway", Written.UNKNOWN),
        (503, "ServiceUnavailable", Written.UNKNOWN),
        (504, "GatewayTimeout", Written.UNKNOWN),
    ],
)
def test_status_of_what_stands_between_has_a_code_of_ours(status: int, code: str, written: Written) -> None:
    """A load balancer or a proxy answers in HTML or not at all, on the put path and to the client of botocore alike."""
    told = Failure(code, f"HTTP {status} without an error code", written, status)
    assert service_failure(status, {}, b"<html>") == told
    assert control_failure(client_error(status, str(status))) == told


def test_code_of_the_service_comes_before_the_status() -> None:
    """It knows more."""
    assert service_failure(503, {}, b'{"__type":"SlowDown"}').code == "SlowDown"


@pytest.mark.parametrize(
    ("headers", "retry_after_ms"),
    [
        ({}, 0),
        ({"Retry-After": "3"}, 3_000),
        ({"x-amz-retry-after": "250"}, 250),
        ({"x-amz-retry-after": "250", "Retry-After": "3"}, 250),
        ({"x-amz-retry-after": "soon", "Retry-After": " 1 "}, 1_000),
        ({"Retry-After": "10"}, 10_000),
        ({"Retry-After": "11"}, 10_000),
        ({"x-amz-retry-after": "9" * 5000}, 10_000),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "-3"}, 0),
        ({"Retry-After": "1.5"}, 0),
        ({"Retry-After": "\u0663"}, 0),
        ({"Retry-After": "Mon, 23 Nov 2026 12:00:00 GMT"}, 0),
    ],
)
def test_wait_that_is_asked_for_is_told_within_a_bound(headers: dict[str, str], retry_after_ms: int) -> None:
    """Whether the error has a code or not."""
    wait_ns = retry_after_ms * 1_000_000
    told = CIMultiDict(headers)
    assert service_failure(503, told, b"").retry_after_ns == wait_ns
    assert service_failure(400, told, b'{"__type":"ThrottlingException"}').retry_after_ns == wait_ns


def test_wait_that_the_client_of_botocore_was_asked_for_is_told() -> None:
    """ListShards is throttled too."""
    error = client_error(400, "LimitExceededException")
    error.response["ResponseMetadata"]["HTTPHeaders"] = {"x-amz-retry-after": "250"}
    assert control_failure(error).retry_after_ns == 250_000_000


@pytest.mark.parametrize("code", sorted(CREDENTIALS_CODES | SKEW_CODES))
def test_every_code_that_is_acted_upon_here_has_its_row_in_the_table(code: str) -> None:
    """It is about us and not about the records: they are sent again."""
    verdict = VERDICTS[code]
    assert verdict.retry
    assert verdict.scope is Scope.STREAM


def test_odd_message_does_not_hide_the_code() -> None:
    """A message that is no text is left out."""
    failure = service_failure(400, {}, b'{"__type":"AccessDeniedException","message":{"a":1}}')
    assert (failure.code, failure.message) == ("AccessDeniedException", None)


def test_texts_of_the_service_are_bounded() -> None:
    """Code and message are kept in a record for long: they are cut."""
    body = b'{"__type":"' + b"x" * 10_000 + b'","message":"' + b"y" * 100_000 + b'"}'
    failure = service_failure(400, {}, body)
    assert len(failure.code) == 128
    assert failure.message is not None
    assert len(failure.message) == 1024


def test_missing_credentials_send_nothing() -> None:
    """A request that cannot be signed has not left."""
    assert credentials_failure(CredentialsUnavailableError("none found")) == Failure(
        "CredentialsUnavailable", "none found", Written.NOT_SENT
    )


def client_error(status: int, code: str | None, message: str = "why") -> ClientError:
    """Return what aiobotocore raises for an answer of the service."""
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}, "ListShards"
    )


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (client_error(400, "AccessDeniedException"), Failure("AccessDeniedException", "why", Written.REFUSED, 400)),
        (client_error(500, "InternalFailure"), Failure("InternalFailure", "why", Written.UNKNOWN, 500)),
    ],
)
def test_service_error_from_the_client_is_the_same_failure(error: Exception, failure: Failure) -> None:
    """Code, message and status survive aiobotocore."""
    assert control_failure(error) == failure


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client_error(502, None), "BadGateway"),
        (client_error(418, None), "MalformedResponse"),
        (ResponseParserError("no JSON"), "MalformedResponse"),
        (TimeoutError(), "RequestTimeout"),
        (ReadTimeoutError(endpoint_url=ENDPOINT), "RequestTimeout"),
        (ConnectionClosedError(endpoint_url=ENDPOINT), "ConnectionReset"),
        (HTTPClientError(error=ValueError()), "ConnectionReset"),
        (ConnectTimeoutError(endpoint_url=ENDPOINT), "ConnectFailed"),
        (EndpointConnectionError(endpoint_url=ENDPOINT), "ConnectFailed"),
        (SSLError(endpoint_url=ENDPOINT, error=OSError()), "ConnectFailed"),
        (NoCredentialsError(), "CredentialsUnavailable"),
        (CredentialRetrievalError(provider="web-identity", error_msg="no"), "CredentialsUnavailable"),
        (CredentialsUnavailableError("none found"), "CredentialsUnavailable"),
        (BotoCoreError(), "ConnectFailed"),
    ],
)
def test_every_exception_of_the_client_has_a_local_code(error: Exception, code: str) -> None:
    """None passes through, and none is mistaken for an answer of the service."""
    assert control_failure(error).code == code


def test_service_time_is_the_date_header() -> None:
    """It is how a wrong clock is found out."""
    assert service_time_of(CIMultiDict({"date": "Mon, 23 Nov 2026 12:00:00 GMT"})) == 1795435200.0


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
def test_no_service_time_without_a_readable_date(headers: dict[str, str]) -> None:
    """A missing or odd Date teaches nothing."""
    assert service_time_of(headers) is None
