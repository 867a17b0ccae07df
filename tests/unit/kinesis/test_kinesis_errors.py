"""The errors' codes, statuses and texts."""

from __future__ import annotations

import pytest

from proxy.kinesis import errors
from proxy.kinesis.errors import ERRORS, InternalFailure, KinesisError


def test_error_is_named_like_its_code() -> None:
    """The class's name is what goes on the wire."""
    assert {code: error.__name__ for code, error in ERRORS.items()} == {code: code for code in ERRORS}
    assert len(ERRORS) == len(KinesisError.__subclasses__())


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_only_internal_failure_is_the_services_fault(code: str) -> None:
    """Every error is a 400 but InternalFailure, which is a 500 and makes every SDK try again."""
    assert ERRORS[code].status == (500 if ERRORS[code] is InternalFailure else 400)


def test_message_is_capitalised_where_the_service_does() -> None:
    """SerializationException and AccessDeniedException spell their member `Message`."""
    capitalised = {code for code, error in ERRORS.items() if error.message_member == "Message"}
    assert capitalised == {"AccessDeniedException", "SerializationException"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            errors.shard_rate_exceeded("shardId-000000000003", "orders", "123456789012"),
            "Rate exceeded for shard shardId-000000000003 in stream orders under account 123456789012.",
        ),
        (
            errors.stream_not_found("orders", "123456789012").message,
            "Stream orders under account 123456789012 not found.",
        ),
        (
            errors.stream_rate_exceeded("orders", "123456789012").message,
            "Rate exceeded for stream orders under account 123456789012.",
        ),
        (
            errors.sequence_number_for_ordering_invalid("7", "orders", "1").message,
            "ExclusiveMinimumSequenceNumber 7 used in PutRecord on stream orders under account 1 is invalid.",
        ),
        (errors.records_too_large(10 * 1024 * 1024).message, "Records size exceeds 10 MB limit"),
        (errors.records_too_large(5 * 1024 * 1024).message, "Records size exceeds 5 MB limit"),
    ],
)
def test_text_is_the_services(text: str, expected: str) -> None:
    """Texts are word for word what was recorded."""
    assert text == expected
