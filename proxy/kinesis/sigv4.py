"""Verifies the signature of an inbound request: AWS Signature Version 4, in the Authorization header.

The order of checks is the service's: what `signature_claim` refuses, then access key, signature, session token. The
region is taken from the scope and not compared: SDKs guess odd ones from the host name of a custom endpoint. The path
is taken as it came, without resolving dots and double slashes.

Must never know: the time (it is handed in), where keys come from, what a key may do.

Source: AWS, "Signature Version 4 signing process"; kinesalite's and dynalite's recordings of the service.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from urllib.parse import quote

from proxy.kinesis.errors import InvalidSignatureException, UnrecognizedClientException
from proxy.kinesis.signature import signature_of, signing_key_of
from proxy.kinesis.signature_claim import claim_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.kinesis.http import Request
    from proxy.kinesis.signature_claim import Claim

# Signing keys remembered: one for each access key, day and region in use.
SIGNING_KEYS_MAX = 1024

MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
TOKEN_INVALID = "The security token included in the request is invalid."  # noqa: S105 - a text

_spaces = re.compile(" {2,}")


class SigningKey(Protocol):
    """What requests are signed with."""

    @property
    def access_key_id(self) -> str:
        """Its public name."""

    @property
    def secret_access_key(self) -> str:
        """What only its holder and the verifier know."""

    @property
    def session_token(self) -> str | None:
        """What must come with each request; None for a key that has no token."""


KeyT = TypeVar("KeyT", bound=SigningKey)


class Verifier(Generic[KeyT]):
    """Tells whose key a request was signed with.

    Args:
        find_key: returns the key of an access key id, or None.
    """

    def __init__(self, find_key: Callable[[str], KeyT | None]) -> None:
        self._find_key = find_key
        self._signing_key = lru_cache(SIGNING_KEYS_MAX)(signing_key_of)

    def verify(self, request: Request, wall_seconds: int) -> KeyT:
        """Return the key that signed a request.

        Args:
            request: as received; header values as text in UTF-8, undecodable bytes as surrogates.
            wall_seconds: now, since the epoch.

        Raises:
            MissingAuthenticationTokenException: it is not signed.
            IncompleteSignatureException: its signature lacks a part.
            UnrecognizedClientException: the key, or its session token, is not known.
            InvalidSignatureException: the signature does not hold, or not now.
        """
        headers = _joined(request.headers)
        claim = claim_of(request.target, headers, wall_seconds)
        key = self._find_key(claim.access_key_id)
        if key is None:
            raise UnrecognizedClientException(TOKEN_INVALID)
        signing_key = self._signing_key(key.secret_access_key, claim.day, claim.region)
        canonical_hash = _canonical_hash(request, headers, claim)
        expected = signature_of(signing_key, claim.date, claim.scope, canonical_hash)
        if not _equal(expected, claim.signature):
            raise InvalidSignatureException(MISMATCH)
        if not _equal(key.session_token or "", headers.get("x-amz-security-token", "")):
            raise UnrecognizedClientException(TOKEN_INVALID)
        return key


def _joined(received: Mapping[str, str]) -> dict[str, str]:
    """Return the headers under lower-case names, as they are signed: trimmed, spaces collapsed, repetitions joined."""
    headers: dict[str, str] = {}
    for name, value in received.items():
        lower = name.lower()
        trimmed = value.strip(" \t")
        if "  " in trimmed:
            trimmed = _spaces.sub(" ", trimmed)
        headers[lower] = f"{headers[lower]},{trimmed}" if lower in headers else trimmed
    return headers


def _canonical_hash(request: Request, headers: Mapping[str, str], claim: Claim) -> str:
    """Return the hash of the canonical request, in hexadecimal."""
    body_hash = sha256(request.body).hexdigest()
    if headers.get("x-amz-content-sha256", body_hash) != body_hash:
        raise InvalidSignatureException(MISMATCH)
    path, _, query = request.target.partition("?")
    try:
        lines = [
            request.method,
            path if path == "/" else quote(path, safe="/~", errors="surrogateescape"),
            _canonical_query(query) if query else "",
            *[f"{name}:{_signed_value(name, headers)}" for name in claim.names],
            "",
            claim.signed_headers,
            body_hash,
        ]
        return sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()
    except (KeyError, UnicodeEncodeError):
        raise InvalidSignatureException(MISMATCH) from None


def _canonical_query(query: str) -> str:
    parameters = sorted(parameter.partition("=") for parameter in query.split("&"))
    return "&".join(f"{name}={value}" for name, _, value in parameters)


def _signed_value(name: str, headers: Mapping[str, str]) -> str:
    """Return a header as it was signed; the host and HTTP/2's authority are one and the same.

    Raises:
        KeyError: there is no such header.
    """
    if name == ":authority" and name not in headers:
        return headers["host"]
    if name == "host" and name not in headers:
        return headers[":authority"]
    return headers[name]


def _equal(expected: str, given: str) -> bool:
    return compare_digest(expected.encode(), given.encode(errors="surrogatepass"))
