"""Which call a request says it is an attempt at."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from proxy.frontend.identity import ID_CHARACTERS_MAX, identity_of, says_it_is_the_first
from proxy.frontend.keys import InboundKey
from proxy.kinesis.http import Request

ID = "1b3e7d0c-6f6c-4e0c-9d3f-0f6f3f8f2a11"
KEY = InboundKey("ORDERSERVICE1", "a secret of some length")


def request(**headers: str) -> Request:
    """Build a request with these headers, underscores for hyphens."""
    return Request("POST", "/", CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()}), b"")


def test_identity_is_caller_operation_and_id() -> None:
    """Of the key that was proved, not of the one that is claimed."""
    claimed = request(amz_sdk_invocation_id=ID, authorization="AWS4-HMAC-SHA256 Credential=OTHER/20260101/us-east-1")
    assert identity_of(claimed, "PutRecord", KEY) == ("ORDERSERVICE1", "PutRecord", ID)


@pytest.mark.parametrize(
    ("authorization", "caller"),
    [
        (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host",
            "AKIDEXAMPLE",
        ),
        ("AWS4-HMAC-SHA256 SignedHeaders=host,Credential=AKIDEXAMPLE/20260101", "AKIDEXAMPLE"),
        ("Bearer token", ""),
        ("Credential=", ""),
        (None, ""),
    ],
)
def test_callers_that_need_not_sign_are_told_apart_by_the_key_they_claim(
    authorization: str | None, caller: str
) -> None:
    """Those that claim none are one."""
    headers = {} if authorization is None else {"authorization": authorization}
    assert identity_of(request(amz_sdk_invocation_id=ID, **headers), "PutRecord", None) == (caller, "PutRecord", ID)


@pytest.mark.parametrize(
    "invocation_id", [None, "", "x" * (ID_CHARACTERS_MAX + 1), "x" * 10_000, "\x00", "a\tb", "é", "\udcff", "a\x7f"]
)
def test_what_is_no_id_identifies_nothing(invocation_id: str | None) -> None:
    """Missing, long, or not of plain characters."""
    headers = {} if invocation_id is None else {"amz_sdk_invocation_id": invocation_id}
    assert identity_of(request(**headers), "PutRecord", KEY) is None


def test_id_of_the_greatest_length_identifies() -> None:
    """At the limit."""
    longest = "x" * ID_CHARACTERS_MAX
    assert identity_of(request(amz_sdk_invocation_id=longest), "PutRecord", KEY) == (
        KEY.access_key_id,
        "PutRecord",
        longest,
    )


@pytest.mark.parametrize("claimed", ["x" * (ID_CHARACTERS_MAX + 1), "x" * 30_000, "é"])
def test_claim_of_a_key_that_there_cannot_be_identifies_nothing(claimed: str) -> None:
    """What is kept of a caller is bounded."""
    odd = request(amz_sdk_invocation_id=ID, authorization=f"AWS4-HMAC-SHA256 Credential={claimed}/20260101")
    assert identity_of(odd, "PutRecord", None) is None


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("attempt=1", True),
        ("attempt=1; max=3", True),
        ("ttl=20260101T000000Z; attempt=1; max=5", True),
        ("max=5;attempt=1", True),
        ("attempt=2; max=3", False),
        ("attempt=10; max=12", False),
        ("attempt=11", False),
        ("attempt=", False),
        ("", False),
        (None, False),
    ],
)
def test_attempt_that_counts_itself_as_the_first_says_so(text: str | None, first: bool) -> None:  # noqa: FBT001 - a table
    """In the forms of the SDKs; whoever counts nothing says nothing."""
    assert says_it_is_the_first(request(**({} if text is None else {"amz_sdk_request": text}))) is first
