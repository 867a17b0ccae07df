"""Requests as AWS's own SDKs signed and sent them, recorded on loopback with AWS's example key."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.kinesis.codecs import CBOR, JSON
from proxy.kinesis.errors import InvalidSignatureException
from proxy.kinesis.http import Request
from proxy.kinesis.puts import parse_put_record
from proxy.kinesis.sigv4 import Verifier

VECTORS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("sigv4_client_vectors.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Key:
    """The key that the recorded clients used."""

    session_token: str | None
    access_key_id: str = "AKIDEXAMPLE"
    secret_access_key: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # noqa: S105 - AWS's example


def request_of(vector: dict[str, Any]) -> tuple[Request, Verifier[Key], int]:
    """Return a recorded request, a verifier that knows its key, and when it was signed."""
    headers = CIMultiDict(vector["headers"])
    body = b64decode(vector["body_base64"]) if "body_base64" in vector else vector["body"].encode()
    key = Key(headers.get("x-amz-security-token"))
    signed_at = datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return Request("POST", "/", headers, body), Verifier({"AKIDEXAMPLE": key}.get), int(signed_at.timestamp())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["client"]))
def test_signature_of_an_sdk_holds(vector: dict[str, Any]) -> None:
    """And what was signed is the record that the program put."""
    request, verifier, signed_at_seconds = request_of(vector)
    assert verifier.verify(request, signed_at_seconds).access_key_id == "AKIDEXAMPLE"
    put = parse_put_record(request.body, CBOR if "CBOR" in vector["client"] else JSON)
    assert (put.stream_name, put.partition_key, put.data) == ("orders", "é", "aGVsbG8=")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["client"]))
def test_any_signed_header_of_an_sdk_is_covered(vector: dict[str, Any]) -> None:
    """A change to any of them, or its absence, ends the signature."""
    request, verifier, signed_at_seconds = request_of(vector)
    for name in set(request.headers) - {"authorization", "Authorization", "X-Amz-Date", "x-amz-date"}:
        headers = CIMultiDict(request.headers)
        headers[name] += "x"
        with pytest.raises(InvalidSignatureException):
            verifier.verify(Request("POST", "/", headers, request.body), signed_at_seconds)
        del headers[name]
        with pytest.raises(InvalidSignatureException):
            verifier.verify(Request("POST", "/", headers, request.body), signed_at_seconds)


def test_gateway_may_turn_http2_into_http1() -> None:
    """A load balancer that speaks HTTP/2 to the client and HTTP/1.1 to the proxy sends the authority as Host."""
    vector = next(vector for vector in VECTORS if ":authority" in vector["headers"])
    request, verifier, signed_at_seconds = request_of(vector)
    headers = CIMultiDict(request.headers)
    headers["Host"] = headers.pop(":authority")
    assert verifier.verify(Request("POST", "/", headers, request.body), signed_at_seconds).session_token
    headers["Host"] = "other"
    with pytest.raises(InvalidSignatureException):
        verifier.verify(Request("POST", "/", headers, request.body), signed_at_seconds)
