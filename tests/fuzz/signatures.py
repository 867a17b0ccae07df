"""Signed requests: whatever is done to one, it is refused in the service's words or means what its signer signed.

A case is a request as text: method, target, a line for each header, an empty line, the body; lines end in a line feed.
Those to begin with are signed here, plainly by the specification and not by what is tested.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

from multidict import CIMultiDict

from proxy.kinesis.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
from proxy.kinesis.http import Request
from proxy.kinesis.sigv4 import Verifier
from tests.fuzz.surface import Surface, error_of, pure

NOW = 1_795_428_672
DATE = "20261123T101112Z"
REFUSALS = (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
    UnrecognizedClientException,
)
# An error must not send back a whole header.
MESSAGE_CHARACTERS_MAX = 4_096


@dataclass(frozen=True)
class Key:
    """A key as a store of keys would hold it."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


KEY = Key("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Key("ASIAEXAMPLE", "another secret", "a/token+with=signs==")
VERIFIER = Verifier({key.access_key_id: key for key in (KEY, TEMPORARY)}.get)

TARGET = "Kinesis_20131202.PutRecord"
CONTENT_TYPE = "application/x-amz-json-1.1"
BODY = '{"StreamName":"orders","PartitionKey":"a","Data":"YQ=="}'


def signed(
    key: Key, host: tuple[str, str], target: str = "/", body: str = BODY, *, without: tuple[str, ...] = (), **more: str
) -> bytes:
    """Write a signed request; `host` is the header that names the authority, `without` is sent unsigned."""
    headers = {"content-type": CONTENT_TYPE, host[0]: host[1], "x-amz-date": DATE, "x-amz-target": TARGET}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    if key.session_token is not None:
        headers.setdefault("x-amz-security-token", key.session_token)
    path, _, query = target.partition("?")
    names = sorted(headers.keys() - without)
    lines = ["POST", quote(path, safe="/~"), "&".join(sorted(query.split("&")))]
    lines += [f"{name}:{headers[name]}" for name in names]
    lines += ["", ";".join(names), sha256(body.encode()).hexdigest()]
    scope = f"{DATE[:8]}/us-east-1/kinesis/aws4_request"
    to_sign = f"AWS4-HMAC-SHA256\n{DATE}\n{scope}\n{sha256(chr(10).join(lines).encode()).hexdigest()}"
    secret = f"AWS4{key.secret_access_key}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    signature = hmac.digest(secret, to_sign.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key_id}/{scope}, SignedHeaders={';'.join(names)}, "
        f"Signature={signature}"
    )
    written = "".join(f"{name}: {value}\n" for name, value in headers.items())
    return f"POST\n{target}\n{written}\n{body}".encode()


def request_of(case: bytes) -> Request:
    """Read a request as a transport would have: text in UTF-8, names and values apart."""
    head, _, body = case.partition(b"\n\n")
    method, target, *lines = (head.decode("utf-8", "surrogateescape") + "\n\n").split("\n")
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        # what is before the first colon of a header, but the one with which a pseudo-header begins
        at = line.find(":", 1)
        name = line[:at] if at > 0 else ""
        if name.isascii() and name.isprintable() and name.strip():
            headers.add(name.strip(), line[at + 1 :].strip(" \t"))
    return Request(method, target, headers, body)


def check(case: bytes) -> None:
    """Check one request."""
    request = request_of(case)
    error = error_of(lambda: VERIFIER.verify(request, NOW))
    if error is not None:
        assert isinstance(error, REFUSALS)
        assert error.message is not None
        assert error.message.isascii()
        assert len(error.message) <= MESSAGE_CHARACTERS_MAX
        return
    key = VERIFIER.verify(request, NOW)
    # of the two names of one thing, the one that was signed counts; HTTP/2 lets no request through in which they differ
    assert any((key.access_key_id, *_meaning_of(request, name)) in SIGNED for name in ("host", ":authority"))


def _meaning_of(request: Request, host_name: str) -> tuple[str, ...]:
    """Return what a request is to its receiver, as its parts are read behind the verifier."""
    path, _, query = request.target.partition("?")
    headers = request.headers
    return (
        request.method,
        path,
        "&".join(sorted(query.split("&"))),
        " ".join(headers.get("x-amz-target", "").split()),
        " ".join(headers.get("content-type", "").split()),
        headers.get("x-amz-date", ""),
        headers.get("x-amz-security-token", ""),
        " ".join(headers.get(host_name, "").split()),
        request.body.decode("utf-8", "surrogateescape"),
    )


_HOST = ("host", "127.0.0.1:4567")
_SEEDS = (
    signed(KEY, _HOST),
    signed(KEY, (":authority", "127.0.0.1:4567")),
    signed(TEMPORARY, _HOST),
    signed(KEY, _HOST, "/a b/~c?b=2&a=1", "", amz_sdk_invocation_id="7", user_agent="a  b"),
    signed(KEY, _HOST, body="{}", x_amz_content_sha256=sha256(b"{}").hexdigest()),
    # what their signatures do not cover, anybody could change
    *(signed(KEY, _HOST, without=(name,)) for name in ("host", "x-amz-target", "x-amz-date")),
    signed(TEMPORARY, _HOST, without=("x-amz-security-token",)),
    signed(TEMPORARY, _HOST, x_amz_security_token="another"),  # noqa: S106 - no secret
    signed(Key(TEMPORARY.access_key_id, TEMPORARY.secret_access_key), _HOST),
    signed(Key("AKIANOBODY", KEY.secret_access_key), _HOST),
    b"POST\n/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Signature=b&X-Amz-SignedHeaders=host&X-Amz-Date=c\n\n",
)
SIGNED = {
    (key.access_key_id, *_meaning_of(request_of(seed), name))
    for key, name, seed in zip(
        (KEY, KEY, TEMPORARY, KEY, KEY), ("host", ":authority", "host", "host", "host"), _SEEDS, strict=False
    )
}

SIGNATURES = Surface(
    _SEEDS,
    (
        *(b"authorization: ", b"x-amz-date: ", b"x-amz-target: ", b"x-amz-security-token: ", b"host: ", b"date: "),
        *(
            b":authority: ",
            b"x-amz-content-sha256: ",
            b"content-type: ",
            b"Credential=",
            b"SignedHeaders=",
            b"Signature=",
        ),
        *(
            b"AWS4-HMAC-SHA256 ",
            b"AWS4-ECDSA-P256-SHA256 ",
            b";",
            b",",
            b"=",
            b"/",
            b"  ",
            b"\t",
            b"\n",
            b"\n\n",
            b"?",
            b"&",
        ),
        *(b"X-Amz-Algorithm=", b"%2F", b"%", b"+", b"..", b"//", b"\xff", b"\xc3\xa9", b"\xe2\x84\xaa", b"\x00"),
        *(b"PutRecords", b"DeleteStream", b"AKIDEXAMPLE", b"ASIAEXAMPLE", b"20261123", b"aws4_request", b"kinesis"),
    ),
    pure(check),
)
