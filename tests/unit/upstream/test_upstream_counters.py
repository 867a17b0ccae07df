import pytest

from proxy.core.batch import Failure, Written
from proxy.upstream.counters import LIST_SHARDS, OPERATIONS, PUT_RECORDS, Outcome, UpstreamCounters, outcome_of


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (Failure("ConnectFailed", None, Written.NOT_SENT), Outcome.NOT_SENT),
        (Failure("CredentialsUnavailable", None, Written.NOT_SENT), Outcome.NOT_SENT),
        (Failure("RequestTimeout", None, Written.UNKNOWN), Outcome.UNKNOWN),
        (Failure("MalformedResponse", None, Written.UNKNOWN, 200), Outcome.UNKNOWN),
        (Failure("InternalFailure", None, Written.UNKNOWN, 500), Outcome.ERROR),
        (Failure("LimitExceededException", None, Written.REFUSED, 400), Outcome.THROTTLED),
        (Failure("ProvisionedThroughputExceededException", None, Written.REFUSED, 400), Outcome.THROTTLED),
        (Failure("KMSThrottlingException", None, Written.REFUSED, 400), Outcome.THROTTLED),
        (Failure("TooManyRequests", None, Written.REFUSED, 429), Outcome.THROTTLED),
        (Failure("BrandNewException", None, Written.REFUSED, 429), Outcome.THROTTLED),
        (Failure("RequestTooLarge", None, Written.REFUSED, 413), Outcome.REFUSED),
        (Failure("ServiceUnavailable", None, Written.UNKNOWN, 503), Outcome.ERROR),
        (Failure("ResourceNotFoundException", None, Written.REFUSED, 400), Outcome.REFUSED),
    ],
)
def test_every_failure_has_one_outcome(failure: Failure, outcome: Outcome) -> None:
    """Metrics label with a closed set."""
    assert outcome_of(failure) is outcome


def test_every_pair_of_labels_exists_from_the_start() -> None:
    """The first failure must show as an increase from 0."""
    counters = UpstreamCounters()
    assert counters.requests == {(operation, outcome): 0 for operation in OPERATIONS for outcome in Outcome}


def test_request_is_in_flight_until_it_ends() -> None:
    """A request is counted once, with its outcome, when it ends."""
    counters = UpstreamCounters()
    counters.started()
    counters.started()
    assert counters.in_flight == 2
    counters.ended(PUT_RECORDS, Outcome.OK, 3_000_000)
    assert counters.in_flight == 1
    assert counters.requests[PUT_RECORDS, Outcome.OK] == 1


def test_cancelled_request_has_no_outcome() -> None:
    """It leaves the gauge, and no counter shows it."""
    counters = UpstreamCounters()
    counters.started()
    counters.abandoned()
    assert counters.in_flight == 0
    assert sum(counters.requests.values()) == 0


def test_only_puts_have_their_duration_taken() -> None:
    """Reads would drown them."""
    counters = UpstreamCounters()
    for operation in (LIST_SHARDS, PUT_RECORDS):
        counters.started()
        counters.ended(operation, Outcome.OK, 3_000_000)
    assert sum(counters.put_duration_seconds.counts) == 1
    assert counters.put_duration_seconds.sum == 0.003
