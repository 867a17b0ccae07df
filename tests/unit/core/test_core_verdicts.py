from __future__ import annotations

import pytest

from proxy.core import verdicts
from proxy.core.verdicts import VERDICTS, Scope, verdict_of

SERVICE_CODES = {
    # code: (retry, scope, what an expiring caller is told)
    "ProvisionedThroughputExceededException": (True, Scope.SHARD, "ProvisionedThroughputExceededException"),
    "InternalFailure": (True, Scope.SHARD, "InternalFailure"),
    "InternalFailureException": (True, Scope.SHARD, "InternalFailure"),
    "LimitExceededException": (True, Scope.STREAM, "ProvisionedThroughputExceededException"),
    "KMSThrottlingException": (True, Scope.STREAM, "ProvisionedThroughputExceededException"),
    "UnrecognizedClientException": (True, Scope.STREAM, "InternalFailure"),
    "ExpiredTokenException": (True, Scope.STREAM, "InternalFailure"),
    "InvalidSignatureException": (True, Scope.STREAM, "InternalFailure"),
    "IncompleteSignatureException": (True, Scope.STREAM, "InternalFailure"),
    "MissingAuthenticationTokenException": (True, Scope.STREAM, "InternalFailure"),
    "ResourceNotFoundException": (False, Scope.STREAM, "InternalFailure"),
    "AccessDeniedException": (False, Scope.STREAM, "InternalFailure"),
    "KMSDisabledException": (False, Scope.STREAM, "InternalFailure"),
    "KMSInvalidStateException": (False, Scope.STREAM, "InternalFailure"),
    "KMSAccessDeniedException": (False, Scope.STREAM, "InternalFailure"),
    "KMSNotFoundException": (False, Scope.STREAM, "InternalFailure"),
    "KMSOptInRequired": (False, Scope.STREAM, "InternalFailure"),
    "InvalidArgumentException": (False, Scope.RECORD, "InternalFailure"),
    "ValidationException": (False, Scope.RECORD, "InternalFailure"),
    "SerializationException": (False, Scope.RECORD, "InternalFailure"),
}


@pytest.mark.parametrize("code", SERVICE_CODES)
def test_every_code_of_the_service_has_its_row(code: str) -> None:
    """Written out a second time, so that a slip in the table is seen."""
    verdict = VERDICTS[code]
    assert (verdict.retry, verdict.scope, verdict.expired_as) == SERVICE_CODES[code]


@pytest.mark.parametrize(
    "code",
    [
        verdicts.CONNECT_FAILED,
        verdicts.CREDENTIALS_UNAVAILABLE,
        verdicts.REQUEST_TIMEOUT,
        verdicts.CONNECTION_RESET,
        verdicts.MALFORMED_RESPONSE,
        verdicts.WRONG_RESULT_COUNT,
        verdicts.SHUTTING_DOWN,
        verdicts.BAD_GATEWAY,
        verdicts.SERVICE_UNAVAILABLE,
        verdicts.GATEWAY_TIMEOUT,
    ],
)
def test_what_never_reached_the_service_or_never_came_back_is_retried(code: str) -> None:
    """The stream backs off, and an expiring caller is told of an internal failure."""
    verdict = VERDICTS[code]
    assert verdict.retry
    assert verdict.scope is Scope.STREAM
    assert verdict.expired_as == "InternalFailure"


def test_a_code_that_nobody_knows_is_retried() -> None:
    """A new error of the service strands nothing and refuses nothing that could pass."""
    verdict = verdict_of("BrandNewException", 400)
    assert verdict.retry
    assert verdict.scope is Scope.STREAM


def test_a_request_that_was_too_large_blames_its_records_whatever_the_body_says() -> None:
    """A smaller request passes, so it is to be split."""
    for code in ("BrandNewException", "InternalFailure", "RequestEntityTooLarge"):
        verdict = verdict_of(code, 413)
        assert not verdict.retry
        assert verdict.scope is Scope.RECORD


@pytest.mark.parametrize("status", [0, 400, 403, 500, 503])
def test_a_code_that_nobody_knows_slows_down_as_an_illness(status: int) -> None:
    """Only a status that says so speaks of throttling."""
    assert not verdict_of("BrandNewException", status).throttled


@pytest.mark.parametrize("code", ["BrandNewException", verdicts.TOO_MANY_REQUESTS, "TooManyRequestsException"])
def test_too_many_requests_are_a_throttle_whatever_the_body_says(code: str) -> None:
    """An expiring caller is told of the throughput, and so knows that the service is well."""
    verdict = verdict_of(code, 429)
    assert verdict.retry
    assert verdict.scope is Scope.STREAM
    assert verdict.throttled
    assert verdict.expired_as == "ProvisionedThroughputExceededException"


def test_a_code_that_is_known_comes_before_a_status_of_429() -> None:
    """Credentials that were refused are no throttle."""
    assert not verdict_of("ExpiredTokenException", 429).throttled


def test_a_stream_that_was_not_found_doubts_the_map() -> None:
    """It may have been deleted and made anew, with other shards."""
    assert verdict_of("ResourceNotFoundException", 400).refresh_map


@pytest.mark.parametrize("code", VERDICTS)
def test_an_expiring_caller_is_told_what_every_sdk_retries(code: str) -> None:
    """Whatever a record was retried for."""
    assert VERDICTS[code].expired_as in {"ProvisionedThroughputExceededException", "InternalFailure"}


@pytest.mark.parametrize("code", VERDICTS)
def test_only_what_no_retry_can_mend_blames_a_record(code: str) -> None:
    """A split is of use only where a part of the request could pass."""
    assert VERDICTS[code].scope is not Scope.RECORD or not VERDICTS[code].retry
