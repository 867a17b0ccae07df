import hashlib
import hmac
from datetime import UTC, datetime

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from hypothesis import given
from hypothesis import strategies as st

from proxy.upstream.signing import Signer

# 2026-11-23T12:00:00Z
NOW = 1795435200.0
CREDENTIALS = ReadOnlyCredentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)
HOST = "kinesis.eu-west-1.amazonaws.com"
TARGET = "Kinesis_20131202.PutRecords"
JSON = "application/x-amz-json-1.1"


def signed_by_botocore(
    host: str, target: str, content_type: str, body: bytes, credentials: ReadOnlyCredentials
) -> tuple[float, dict[str, str]]:
    """Sign by botocore's generic path; return when, and the headers."""
    request = AWSRequest(
        "POST", f"https://{host}/", headers={"Content-Type": content_type, "X-Amz-Target": target}, data=body
    )
    SigV4Auth(credentials, "kinesis", "eu-west-1").add_auth(request)
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return at.timestamp(), dict(request.headers.items())


@given(
    host=st.sampled_from([HOST, "123456789012.data-kinesis.eu-west-1.amazonaws.com", "127.0.0.1:4567"]),
    content_type=st.sampled_from([JSON, "application/x-amz-cbor-1.1", " application/json;  charset=utf-8 "]),
    body=st.binary(max_size=200),
    token=st.none() | st.text("abcXYZ019+/=", min_size=1, max_size=300),
)
def test_signature_is_the_one_of_botocores_generic_path(
    host: str, content_type: str, body: bytes, token: str | None
) -> None:
    """The lean canonical request and botocore's own agree for every host, content type, body and token."""
    credentials = ReadOnlyCredentials(CREDENTIALS.access_key, CREDENTIALS.secret_key, token)
    at, expected = signed_by_botocore(host, TARGET, content_type, body, credentials)
    headers = Signer("eu-west-1", lambda: at).headers(host, TARGET, content_type, body, credentials)
    assert headers.pop("Host") == host
    assert headers == expected


def test_signature_can_be_verified_with_the_secret() -> None:
    """A verifier that knows only the specification computes the same signature."""
    body = b'{"Records":[],"StreamName":"orders"}'
    headers = Signer("eu-west-1", lambda: NOW).headers(HOST, TARGET, JSON, body, CREDENTIALS)
    canonical = (
        "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:kinesis.eu-west-1.amazonaws.com\n"
        "x-amz-date:20261123T120000Z\nx-amz-target:Kinesis_20131202.PutRecords\n\n"
        f"content-type;host;x-amz-date;x-amz-target\n{hashlib.sha256(body).hexdigest()}"
    )
    scope = "20261123/eu-west-1/kinesis/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n20261123T120000Z\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + CREDENTIALS.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    assert headers["Authorization"] == (
        f"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/{scope}, "
        f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={signature}"
    )
    assert headers["X-Amz-Date"] == "20261123T120000Z"


def test_new_credentials_are_used_at_once() -> None:
    """What is kept for one set of credentials never signs for another."""
    signer = Signer("eu-west-1", lambda: NOW)
    signer.headers(HOST, TARGET, JSON, b"{}", CREDENTIALS)
    renewed = ReadOnlyCredentials("ASIARENEWED", "other", "token")
    fresh = Signer("eu-west-1", lambda: NOW).headers(HOST, TARGET, JSON, b"{}", renewed)
    assert signer.headers(HOST, TARGET, JSON, b"{}", renewed) == fresh
    assert fresh["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=ASIARENEWED/")


def test_a_signing_key_serves_for_its_day_and_no_longer() -> None:
    """A signer that has signed before midnight signs after it as one that begins there."""
    now = [1795478399.0]  # 2026-11-23T23:59:59Z
    signer = Signer("eu-west-1", lambda: now[0])
    before = signer.headers(HOST, TARGET, JSON, b"{}", CREDENTIALS)
    now[0] += 1
    after = signer.headers(HOST, TARGET, JSON, b"{}", CREDENTIALS)
    assert "/20261123/" in before["Authorization"]
    assert "/20261124/" in after["Authorization"]
    assert after == Signer("eu-west-1", lambda: now[0]).headers(HOST, TARGET, JSON, b"{}", CREDENTIALS)
    now[0] -= 1
    assert signer.headers(HOST, TARGET, JSON, b"{}", CREDENTIALS) == before


def test_clock_is_corrected_when_it_is_far_off() -> None:
    """After the service told its time, signatures carry that."""
    signer = Signer("eu-west-1", lambda: NOW)
    assert signer.learn_time(NOW + 3600, signed_at_seconds=NOW)
    headers = signer.headers(HOST, TARGET, JSON, b"{}", CREDENTIALS)
    assert headers["X-Amz-Date"] == "20261123T130000Z"


def test_clock_is_left_alone_when_it_is_right() -> None:
    """A refused signature within the service's tolerance has another cause."""
    signer = Signer("eu-west-1", lambda: NOW)
    assert not signer.learn_time(NOW + 239, signed_at_seconds=NOW)
    assert signer.skew_seconds == 0


def test_signature_of_the_corrected_time_is_not_blamed_on_the_clock() -> None:
    """A refusal that the correction did not end has another cause: the credentials."""
    signer = Signer("eu-west-1", lambda: NOW)
    signer.learn_time(NOW - 900, signed_at_seconds=NOW)
    assert signer.now() == NOW - 900
    assert not signer.learn_time(NOW - 900, signed_at_seconds=signer.now())


def test_signature_from_before_the_correction_is_blamed_on_the_clock() -> None:
    """Requests that were out together are refused together, and the credentials are none the worse for it."""
    signer = Signer("eu-west-1", lambda: NOW)
    for _ in range(3):
        assert signer.learn_time(NOW - 900, signed_at_seconds=NOW)
    assert signer.skew_seconds == -900


def test_clock_that_was_set_right_is_believed_again() -> None:
    """A correction is given up when the service's time agrees with the machine's."""
    signer = Signer("eu-west-1", lambda: NOW)
    signer.learn_time(NOW - 900, signed_at_seconds=NOW)
    assert signer.learn_time(NOW, signed_at_seconds=NOW - 900)
    assert signer.skew_seconds == 0
