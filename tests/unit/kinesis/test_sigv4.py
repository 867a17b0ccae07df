"""Whose key signed a request: what verifies, and that nothing else does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.kinesis.errors import InvalidSignatureException, KinesisError, UnrecognizedClientException
from proxy.kinesis.http import Request
from proxy.kinesis.sigv4 import SIGNING_KEYS_MAX, Verifier

NOW = 1_795_428_672
DATE = "20261123T101112Z"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # noqa: S105 - AWS's example
BODY = b'{"StreamName":"orders","PartitionKey":"a","Data":"YQ=="}'
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True)
class Key:
    """A key as a store of keys would hold it."""

    access_key_id: str = "AKIDEXAMPLE"
    secret_access_key: str = SECRET
    session_token: str | None = None


KEY = Key()
TEMPORARY = Key("ASIAEXAMPLE", "another secret of forty characters or so", "a/token+with=signs==")
VERIFIER = Verifier({key.access_key_id: key for key in (KEY, TEMPORARY)}.get)


class FrozenSigner(SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer, at a time of ours."""

    def add_auth(self, request: AWSRequest) -> None:
        """Sign a request."""
        request.context["timestamp"] = DATE
        del request.headers["Authorization"]
        request.headers["X-Amz-Date"] = DATE
        if self.credentials.token:
            request.headers["X-Amz-Security-Token"] = self.credentials.token
        canonical = self.canonical_request(request)
        signature = self.signature(self.string_to_sign(request, canonical), request)
        self._inject_signature_to_request(request, signature)


def signed(key: Key = KEY, body: bytes = BODY, path: str = "/", region: str = "us-east-1", **headers: str) -> Request:
    """Let botocore sign a request."""
    named = {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": "Kinesis_20131202.PutRecord",
        "Host": "127.0.0.1:4567",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    http = HTTPHeaders()
    for name, value in named.items():
        http[name] = value
    request = AWSRequest("POST", f"http://127.0.0.1:4567{path}", data=body, headers=http)
    credentials = Credentials(key.access_key_id, key.secret_access_key, key.session_token)
    FrozenSigner(credentials, "kinesis", region).add_auth(request)
    return Request("POST", path, CIMultiDict({name: str(value) for name, value in request.headers.items()}), body)


def changed(request: Request, **headers: str | None) -> Request:
    """Return a request with other headers; None takes one away."""
    others = CIMultiDict(request.headers)
    for name, value in headers.items():
        others.popall(name.replace("_", "-"), None)
        if value is not None:
            others[name.replace("_", "-")] = value
    return replace(request, headers=others)


def refusal_of(error: type[KinesisError], request: Request, now: int = NOW) -> str | None:
    """Return the text with which a request is refused."""
    with pytest.raises(error) as refusal:
        VERIFIER.verify(request, now)
    return refusal.value.message


def test_vector_that_was_calculated_by_other_means_verifies() -> None:
    """Every step of this signature was calculated with the program openssl."""
    authorization = (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/eu-central-1/kinesis/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
        "Signature=aacbd890da0a30d411e260bc0322749ca55dbb825fdbf879a27c825188614855"
    )
    headers = {
        "Host": "127.0.0.1:4567",
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Date": DATE,
        "X-Amz-Target": "Kinesis_20131202.PutRecord",
        "Authorization": authorization,
    }
    assert VERIFIER.verify(Request("POST", "/", CIMultiDict(headers), BODY), NOW) is KEY


@pytest.mark.parametrize("key", [KEY, TEMPORARY])
@pytest.mark.parametrize("region", ["us-east-1", "127-0-0-1"])
@pytest.mark.parametrize("body", [BODY, b"", bytes(range(256))])
@pytest.mark.parametrize("path", ["/", "/proxy/", "/a%20b", "/%C3%A9", "/?a=b", "/?b=2&a-b=1&a=%2F&a=", "/?a"])
def test_signature_of_botocore_verifies(key: Key, region: str, body: bytes, path: str) -> None:
    """Any key, region, body and path."""
    assert VERIFIER.verify(signed(key, body, path, region), NOW) is key


@pytest.mark.parametrize("value", ["a", "  a  b   c ", "\ta b\t", "é", "", "a,b"])
def test_header_is_signed_trimmed_and_with_single_spaces(value: str) -> None:
    """However it came."""
    request = signed(X_Amz_Note=value)
    assert "x-amz-note" in request.headers["Authorization"]
    assert VERIFIER.verify(request, NOW) is KEY


def test_repeated_header_is_signed_as_one() -> None:
    """Its values joined by commas, in their order."""
    request = signed(X_Amz_Note="a,b")
    headers = CIMultiDict(request.headers)
    del headers["X-Amz-Note"]
    headers.add("x-amz-note", "a ")
    headers.add("X-AMZ-NOTE", " b")
    assert VERIFIER.verify(replace(request, headers=headers), NOW) is KEY
    headers.add("x-amz-note", "c")
    assert refusal_of(InvalidSignatureException, replace(request, headers=headers)) == MISMATCH


def test_undecodable_bytes_of_a_header_are_signed_as_they_came() -> None:
    """A transport hands them on as surrogates."""
    request = signed(X_Amz_Note="é")
    latin = changed(request, X_Amz_Note=b"\xe9".decode("utf-8", "surrogateescape"))
    assert refusal_of(InvalidSignatureException, latin) == MISMATCH
    assert refusal_of(InvalidSignatureException, changed(request, X_Amz_Note="\ud800")) == MISMATCH


def test_unsigned_header_may_change() -> None:
    """Proxies add some, and SDKs leave theirs unsigned for that."""
    assert VERIFIER.verify(changed(signed(), User_Agent="other", X_Forwarded_For="10.0.0.1"), NOW) is KEY


def test_host_and_authority_are_the_same_thing() -> None:
    """Whichever was signed, and whichever arrived."""
    request = changed(signed(), Host=None, **{":authority": "127.0.0.1:4567"})
    assert VERIFIER.verify(request, NOW) is KEY
    assert refusal_of(InvalidSignatureException, changed(request, **{":authority": "other"})) == MISMATCH
    assert refusal_of(InvalidSignatureException, changed(request, **{":authority": None})) == MISMATCH


@pytest.mark.parametrize(
    "altered",
    [
        {"Content_Type": "application/x-amz-cbor-1.1"},
        {"X_Amz_Target": "Kinesis_20131202.DeleteStream"},
        {"X_Amz_Target": None},
        {"Host": "other"},
        {"X_Amz_Date": "20261123T101113Z"},
        {"X_Amz_Content_Sha256": "0" * 64},
        {"X_Amz_Content_Sha256": "UNSIGNED-PAYLOAD"},
    ],
    ids=str,
)
def test_request_with_an_altered_header_is_refused(altered: dict[str, str | None]) -> None:
    """The operation, the date and everything else that was signed."""
    assert refusal_of(InvalidSignatureException, changed(signed(), **altered)) == MISMATCH


@pytest.mark.parametrize(
    "altered",
    [
        {"body": BODY + b" "},
        {"body": b""},
        {"target": "/x"},
        {"target": "/?a=b"},
        {"target": "//"},
        {"method": "PUT"},
    ],
    ids=str,
)
def test_altered_request_is_refused(altered: dict[str, Any]) -> None:
    """Body, path and method are under the signature too."""
    assert refusal_of(InvalidSignatureException, replace(signed(), **altered)) == MISMATCH


def test_signature_of_another_secret_is_refused() -> None:
    """Under the right name."""
    assert refusal_of(InvalidSignatureException, signed(replace(KEY, secret_access_key="x" * 40))) == MISMATCH


@pytest.mark.parametrize("signature", ["", "0" * 64, "é", "\ud800", "x" * 10_000])
def test_any_other_signature_is_refused(signature: str) -> None:
    """Whatever it is made of."""
    request = signed()
    authorization = request.headers["Authorization"].rpartition("=")[0]
    with pytest.raises(KinesisError):
        VERIFIER.verify(changed(request, Authorization=f"{authorization}={signature}"), NOW)


def test_unknown_key_is_refused() -> None:
    """As the service does, which calls it a token."""
    text = refusal_of(UnrecognizedClientException, signed(replace(KEY, access_key_id="AKIDOTHER")))
    assert text == "The security token included in the request is invalid."


@pytest.mark.parametrize(
    ("key", "token"), [(TEMPORARY, None), (TEMPORARY, "other"), (TEMPORARY, "é"), (KEY, "unasked"), (TEMPORARY, "")]
)
def test_session_token_must_be_the_keys(key: Key, token: str | None) -> None:
    """Absent where there is one, other than it, or present where there is none."""
    text = refusal_of(UnrecognizedClientException, signed(replace(key, session_token=token)))
    assert text == "The security token included in the request is invalid."


def test_hash_of_the_body_that_came_is_compared_with_the_one_that_was_sent() -> None:
    """Where the header is there; signed or not."""
    request = signed(X_Amz_Content_Sha256="0" * 64)
    assert refusal_of(InvalidSignatureException, request) == MISMATCH


def test_request_cannot_be_replayed_after_five_minutes() -> None:
    """Nor five minutes before it was made."""
    request = signed()
    assert VERIFIER.verify(request, NOW + 300) is KEY
    assert VERIFIER.verify(request, NOW - 300) is KEY
    assert str(refusal_of(InvalidSignatureException, request, NOW + 301)).startswith("Signature expired: ")
    assert str(refusal_of(InvalidSignatureException, request, NOW - 301)).startswith("Signature not yet current: ")


def test_new_secret_of_a_key_counts_at_once() -> None:
    """The signing keys that are remembered belong to a secret, not to a name."""
    keys = {KEY.access_key_id: KEY}
    verifier = Verifier(keys.get)
    assert verifier.verify(signed(), NOW) is KEY
    keys[KEY.access_key_id] = renewed = replace(KEY, secret_access_key="y" * 40)
    assert verifier.verify(signed(renewed), NOW) is renewed
    with pytest.raises(InvalidSignatureException):
        verifier.verify(signed(), NOW)
    del keys[KEY.access_key_id]
    with pytest.raises(UnrecognizedClientException):
        verifier.verify(signed(renewed), NOW)


def test_signing_keys_are_remembered_up_to_a_number() -> None:
    """A region is the sender's to choose."""
    verifier = Verifier({KEY.access_key_id: KEY}.get)
    request = signed()
    for number in range(SIGNING_KEYS_MAX + 10):
        authorization = request.headers["Authorization"].replace("us-east-1", f"region-{number}")
        with pytest.raises(InvalidSignatureException):
            verifier.verify(changed(request, Authorization=authorization), NOW)
    assert verifier._signing_key.cache_info().currsize == SIGNING_KEYS_MAX


def test_midnight_lies_between_two_days() -> None:
    """A signature of the day before holds for its minutes."""
    midnight = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp())
    before = (datetime(2026, 11, 24, tzinfo=UTC) - timedelta(seconds=1)).strftime("%Y%m%dT%H%M%SZ")
    request = changed(signed(), X_Amz_Date=before)
    assert refusal_of(InvalidSignatureException, request, midnight + 200) == MISMATCH
    request = changed(signed(), X_Amz_Date="20261124T000000Z")
    assert str(refusal_of(InvalidSignatureException, request, midnight)).startswith("Date in Credential scope")


REQUEST = signed(TEMPORARY)
SIGNED_NAMES = ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"]
BLANKS = " \t"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_altered_byte_of_what_is_signed_is_refused(data: st.DataObject) -> None:
    """Exhaustive where it matters: one byte of the body, a signed header, the path or the signature's own header."""
    part = data.draw(st.sampled_from([*SIGNED_NAMES, "body", "target", "authorization"]))
    original: str = {"body": BODY.decode("latin-1"), "target": "/"}.get(part) or REQUEST.headers[part]
    place = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.characters(min_codepoint=0x20, max_codepoint=0x7E).filter(lambda byte: byte != original[place]))
    altered = original[:place] + byte + original[place + 1 :]
    # not alterations: outer blanks, and what separates the parts of the Authorization header
    if altered.strip(BLANKS) == original or (part == "authorization" and {byte, original[place]} <= set(" ,")):
        return
    # nor is a slash behind the scope, which the service lets pass
    if part == "authorization" and altered.replace("/ ", ", ") == original:
        return
    if part == "body":
        request = replace(REQUEST, body=altered.encode("latin-1"))
    elif part == "target":
        request = replace(REQUEST, target=altered)
    else:
        request = changed(REQUEST, **{part: altered})
    with pytest.raises(KinesisError):
        VERIFIER.verify(request, NOW)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([*SIGNED_NAMES, "authorization", ":authority", "date"]), st.text(max_size=12)),
        max_size=6,
    ),
    st.text(max_size=8),
    st.text(max_size=12),
    st.binary(max_size=16),
)
def test_any_request_is_refused_or_proved(
    headers: list[tuple[str, str]], method: str, target: str, body: bytes
) -> None:
    """Nothing but a KinesisError leaves."""
    received = CIMultiDict(REQUEST.headers)
    for name, value in headers:
        received[name] = value
    with pytest.raises(KinesisError):
        VERIFIER.verify(Request(method, target, received, body), NOW)
