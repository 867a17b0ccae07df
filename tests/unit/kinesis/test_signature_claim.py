"""What is refused of a signature without a look at any key, in the service's order and words."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.kinesis.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    KinesisError,
    MissingAuthenticationTokenException,
)
from proxy.kinesis.signature_claim import Claim, claim_of

NOW = 1_795_428_672
DATE = "20261123T101112Z"
CREDENTIAL = "AKIDEXAMPLE/20261123/us-east-1/kinesis/aws4_request"
SIGNED = "host;x-amz-date;x-amz-target"


def authorization_of(
    credential: str = CREDENTIAL, signed: str = SIGNED, algorithm: str = "AWS4-HMAC-SHA256", signature: str = "abc"
) -> str:
    """Build an Authorization header."""
    return f"{algorithm} Credential={credential}, SignedHeaders={signed}, Signature={signature}"


def claim(authorization: str | None = None, target: str = "/", **headers: str | None) -> Claim:
    """Read the claim of a good request, but for what is given; None leaves a header out."""
    named: dict[str, str | None] = {
        "host": "proxy",
        "x-amz-date": DATE,
        "x-amz-target": "Kinesis_20131202.PutRecord",
        "authorization": authorization_of() if authorization is None else authorization,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return claim_of(target, {name: value for name, value in named.items() if value is not None}, NOW)


def refusal_of(
    error: type[KinesisError], authorization: str | None = None, target: str = "/", **headers: str | None
) -> str:
    """Return the text with which a request is refused."""
    with pytest.raises(error) as refusal:
        claim(authorization, target, **headers)
    return str(refusal.value.message)


def hashed(authorization: str) -> str:
    """Return how an Authorization header is shown: not."""
    return b64encode(sha256(authorization.encode()).digest()).decode()


def test_claim_is_read() -> None:
    """Every part of the header and of the scope."""
    assert claim() == Claim(
        access_key_id="AKIDEXAMPLE",
        day="20261123",
        region="us-east-1",
        signed_headers=SIGNED,
        names=("host", "x-amz-date", "x-amz-target"),
        date=DATE,
        signature="abc",
    )


@pytest.mark.parametrize(
    "authorization",
    [
        f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders={SIGNED},Signature=abc",
        f"AWS4-HMAC-SHA256   Signature=abc ,  SignedHeaders={SIGNED}  Credential={CREDENTIAL}/ ,",
        f"AWS4-HMAC-SHA256 Credential=x, Credential={CREDENTIAL}, SignedHeaders={SIGNED}, Signature=abc, More=1",
    ],
)
def test_parts_may_come_in_any_order_with_commas_or_spaces(authorization: str) -> None:
    """The last one of a name counts, and unknown ones do not."""
    assert claim(authorization) == claim()


def test_region_is_whatever_the_client_guessed() -> None:
    """Java v1 makes one of the host name of a custom endpoint."""
    assert claim(authorization_of("A/20261123/127-0-0-1/kinesis/aws4_request")).region == "127-0-0-1"


def test_request_without_a_signature_is_told_so() -> None:
    """An empty header is none."""
    text = refusal_of(MissingAuthenticationTokenException, authorization="")
    assert text == "Missing Authentication Token"


@pytest.mark.parametrize(
    ("authorization", "missing"),
    [
        ("AWS4-HMAC-SHA256", ["Credential", "Signature", "SignedHeaders"]),
        ("AWS4-HMAC-SHA256 Credential=", ["Credential", "Signature", "SignedHeaders"]),
        (f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}", ["Signature", "SignedHeaders"]),
        (f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={SIGNED}", ["Signature"]),
        ("Basic dXNlcjpwYXNz=", ["Credential", "Signature", "SignedHeaders"]),
    ],
)
def test_everything_that_is_missing_is_named(authorization: str, missing: list[str]) -> None:
    """In one text, with the header's hash instead of the header."""
    text = "".join(f"Authorization header requires '{name}' parameter. " for name in missing)
    shown = f"(Hashed with SHA-256 and encoded with Base64) Authorization={hashed(authorization)}"
    assert refusal_of(IncompleteSignatureException, authorization=authorization) == text + shown
    text += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
    assert refusal_of(IncompleteSignatureException, authorization=authorization, x_amz_date=None) == text + shown


def test_part_without_a_value_is_no_part() -> None:
    """The service checks this before it looks for missing ones."""
    assert refusal_of(IncompleteSignatureException, authorization="Bearer secret") == (
        "Invalid key=value pair (missing equal-sign) in Authorization header "
        f"(hashed with SHA-256 and encoded with Base64): '{hashed('Bearer secret')}'."
    )


@pytest.mark.parametrize(
    "date", ["20261123", "2026-11-23T10:11:12Z", "20261123T101112", "\u0661" * 8 + "T101112Z", "x"]
)
def test_date_must_have_the_basic_form(date: str) -> None:
    """The Date header of HTTP, which has another form, is no substitute."""
    text = refusal_of(IncompleteSignatureException, x_amz_date=date)
    assert text.startswith("Date must be in ISO-8601 'basic format'. Got '")
    text = refusal_of(IncompleteSignatureException, x_amz_date=None, date="Mon, 23 Nov 2026 10:11:12 GMT")
    assert text.startswith("Date must be in ISO-8601 'basic format'. Got 'Mon, ")


@pytest.mark.parametrize("date", ["20261123T100612Z", DATE, "20261123T101612Z"])
def test_signature_holds_five_minutes_before_and_after_its_date(date: str) -> None:
    """Both ends included."""
    assert claim(x_amz_date=date).date == date


def test_signature_is_refused_when_its_five_minutes_are_over() -> None:
    """A recorded request cannot be replayed later."""
    assert refusal_of(InvalidSignatureException, x_amz_date="20261123T100611Z") == (
        "Signature expired: 20261123T100611Z is now earlier than 20261123T100612Z (20261123T101112Z - 5 min.)"
    )


def test_signature_of_the_future_is_refused() -> None:
    """Or it would hold for longer."""
    assert refusal_of(InvalidSignatureException, x_amz_date="20261123T101613Z") == (
        "Signature not yet current: 20261123T101613Z is still later than 20261123T101612Z (20261123T101112Z + 5 min.)"
    )


def test_host_must_be_signed() -> None:
    """Or its equal in HTTP/2."""
    assert refusal_of(InvalidSignatureException, authorization=authorization_of(signed="x-amz-date")) == (
        "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
    )
    assert claim(authorization_of(signed=":authority;x-amz-date;x-amz-target")).names[0] == ":authority"
    assert claim(authorization_of(signed=SIGNED.title())).names == claim().names


@pytest.mark.parametrize("name", ["X-Amz-Date", "X-Amz-Target", "X-Amz-Security-Token"])
def test_what_a_signature_is_about_must_be_signed(name: str) -> None:
    """Date, operation and session token cannot be exchanged under a signature."""
    signed = f"{SIGNED};x-amz-security-token".replace(f";{name.lower()}", "")
    text = refusal_of(InvalidSignatureException, authorization_of(signed=signed), **{"x-amz-security-token": "a"})
    assert text == f"'{name}' must be a 'SignedHeader' in the AWS Authorization."


def test_date_of_http_must_be_signed_where_it_counts() -> None:
    """It is the date if there is no other."""
    text = refusal_of(InvalidSignatureException, x_amz_date=None, date=DATE)
    assert text == "'Date' must be a 'SignedHeader' in the AWS Authorization."


def test_other_algorithm_is_refused() -> None:
    """There is one."""
    text = refusal_of(IncompleteSignatureException, authorization=authorization_of(algorithm="AWS4-ECDSA-P256-SHA256"))
    assert text == "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256'."


@pytest.mark.parametrize("credential", ["AKIDEXAMPLE", "a/b/c/d", "a/b/c/d/e/f"])
def test_scope_must_have_five_parts(credential: str) -> None:
    """Told with what came instead."""
    assert refusal_of(IncompleteSignatureException, authorization=authorization_of(credential)) == (
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
        f"got '{credential}'"
    )


def test_what_is_sent_back_is_short_and_plain() -> None:
    """A text must not carry what nobody can read, nor a whole header."""
    text = refusal_of(IncompleteSignatureException, authorization_of("é" * 1000))
    assert text.endswith(f"got '{'?' * 128}'")


def test_all_that_is_wrong_with_the_scope_is_told_at_once() -> None:
    """As the service does."""
    assert refusal_of(InvalidSignatureException, authorization=authorization_of("a/b/c_d/e/f")) == (
        "Credential should be scoped to a valid region, not 'c_d'. "
        "Credential should be scoped to correct service: 'kinesis'. "
        "Credential should be scoped with a valid terminator: 'aws4_request', not 'f'. "
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        "'b' != '20261123', from '20261123T101112Z'. "
    )


PRESIGNED = f"/?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-SignedHeaders=host&X-Amz-Date={DATE}"


def test_signature_in_header_and_query_is_refused() -> None:
    """Before anything else."""
    assert refusal_of(InvalidSignatureException, target="/?X-Amz-Algorithm=x") == (
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
    )
    assert refusal_of(InvalidSignatureException, "Bearer x", "/?%58-Amz-Algorithm").startswith("Found both ")


def test_incomplete_signature_in_the_query_is_told_what_it_lacks() -> None:
    """All of it."""
    assert refusal_of(IncompleteSignatureException, authorization="", target="/?X-Amz-Algorithm=&X-Amz-Date=x") == (
        "AWS query-string parameters must include 'X-Amz-Algorithm'. "
        "AWS query-string parameters must include 'X-Amz-Credential'. "
        "AWS query-string parameters must include 'X-Amz-Signature'. "
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'. "
        "Re-examine the query-string parameters."
    )


def test_complete_signature_in_the_query_is_refused_with_what_to_do() -> None:
    """No SDK presigns a Kinesis call."""
    assert refusal_of(InvalidSignatureException, authorization="", target=PRESIGNED) == (
        "A signature in the query string is not accepted here. Sign the request in its 'Authorization' header."
    )


def test_query_without_a_signature_is_no_signature() -> None:
    """What else it may say is the signature's to cover."""
    assert refusal_of(MissingAuthenticationTokenException, authorization="", target="/?X-Amz-Date=x")
    assert claim(target="/?a=b") == claim()


PIECES = st.sampled_from(
    ["AWS4-HMAC-SHA256", " ", ",", "=", ";", "/", "Credential=", CREDENTIAL, "SignedHeaders=", SIGNED, "Signature=abc"]
)
TEXTS = st.one_of(st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=12).map("".join), st.text(max_size=20))


@settings(max_examples=300, deadline=None)
@given(authorization=TEXTS, date=st.one_of(st.just(DATE), TEXTS), target=TEXTS)
def test_any_texts_are_read_or_refused(authorization: str, date: str, target: str) -> None:
    """Nothing but a KinesisError leaves, and its text can be sent."""
    text = ""
    try:
        claim(authorization, target, x_amz_date=date)
    except KinesisError as error:
        text = str(error.message)
    assert text.isascii()
