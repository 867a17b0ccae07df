"""Reads what a request says of its own signature, and refuses what cannot hold whatever the key.

The order of checks and the texts are the service's: parts of the header, date, signed headers, algorithm, scope. It is
stricter than the service is known to be in two points:

- X-Amz-Date and X-Amz-Target must be signed, as every SDK does. An unsigned target would let whoever sees a signed
  PutRecord send its body as a DeleteStream.
- A signature in the query string is refused: no SDK presigns Kinesis calls, and URLs end up in logs.

Must never know: keys, the time (it is handed in).

Source: kinesalite's and dynalite's recordings of the service; texts that were never recorded are marked `[?]`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from proxy.kinesis.errors import (
    IncompleteSignatureException,
    InvalidSignatureException,
    MissingAuthenticationTokenException,
)
from proxy.kinesis.signature import ALGORITHM, SERVICE, TERMINATOR, scope_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SKEW_MINUTES_MAX = 5

_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_SCOPE_PARTS = 5
_ECHO_CHARACTERS_MAX = 128
_PRESIGNED_PARAMETERS = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Date",
)
_is_date = re.compile(r"\d{8}T\d{6}Z", re.ASCII).fullmatch
_is_region = re.compile(r"[A-Za-z0-9-]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature.

    Args:
        access_key_id: whose key.
        day: of the scope.
        region: of the scope.
        signed_headers: names as they came, joined by semicolons.
        names: the same, apart.
        date: of X-Amz-Date.
        signature: in hexadecimal, if it is one.

    Nothing of it is proved.
    """

    access_key_id: str
    day: str
    region: str
    signed_headers: str
    names: tuple[str, ...]
    date: str
    signature: str

    @property
    def scope(self) -> str:
        """The credential scope."""
        return scope_of(self.day, self.region)


def claim_of(target: str, headers: Mapping[str, str], wall_seconds: int) -> Claim:
    """Read a request's claim.

    Args:
        target: path with query, as received.
        headers: under lower-case names.
        wall_seconds: now, since the epoch.

    Raises:
        MissingAuthenticationTokenException: the request is not signed.
        IncompleteSignatureException: its signature lacks a part.
        InvalidSignatureException: it cannot hold, or not now.
    """
    authorization = headers.get("authorization", "")
    query = target.partition("?")[2]
    if query:
        _refuse_presigned(query, authorization)
    if not authorization:
        raise MissingAuthenticationTokenException("Missing Authentication Token")
    algorithm, parameters = _parameters_of(authorization)
    date_name = "x-amz-date" if headers.get("x-amz-date") else "date"
    date = headers.get(date_name, "")
    missing = [
        f"Authorization header requires '{name}' parameter. "
        for name in ("Credential", "Signature", "SignedHeaders")
        if not parameters.get(name)
    ]
    if not date:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    if missing:
        hashed = _hashed(authorization)
        raise IncompleteSignatureException(
            f"{''.join(missing)}(Hashed with SHA-256 and encoded with Base64) Authorization={hashed}"
        )
    _check_date(date, wall_seconds)
    signed_headers = parameters["SignedHeaders"]
    names = tuple(signed_headers.lower().split(";"))
    _check_signed(names, (date_name, "x-amz-target", "x-amz-security-token"), headers)
    if algorithm != ALGORITHM:
        raise IncompleteSignatureException(f"Unsupported AWS 'algorithm': '{_shown(algorithm)}'.")
    access_key_id, day, region = _scope_of(parameters["Credential"], date)
    return Claim(access_key_id, day, region, signed_headers, names, date, parameters["Signature"])


def _refuse_presigned(query: str, authorization: str) -> None:
    parameters = parse_qs(query, keep_blank_values=True)
    if "X-Amz-Algorithm" not in parameters:
        return
    if authorization:
        raise InvalidSignatureException(
            "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
        )
    missing = [name for name in _PRESIGNED_PARAMETERS if not any(parameters.get(name, ()))]
    if missing:
        texts = [f"AWS query-string parameters must include '{name}'. " for name in missing]
        raise IncompleteSignatureException(f"{''.join(texts)}Re-examine the query-string parameters.")
    raise InvalidSignatureException(
        "A signature in the query string is not accepted here. Sign the request in its 'Authorization' header."
    )


def _parameters_of(authorization: str) -> tuple[str, dict[str, str]]:
    """Split an Authorization header into its algorithm and its parameters; the last one of a name counts."""
    algorithm, _, rest = authorization.partition(" ")
    parameters: dict[str, str] = {}
    for parameter in rest.replace(",", " ").split(" "):
        name, equals, value = parameter.partition("=")
        if equals:
            parameters[name] = value
        elif name:
            raise IncompleteSignatureException(
                "Invalid key=value pair (missing equal-sign) in Authorization header "
                f"(hashed with SHA-256 and encoded with Base64): '{_hashed(authorization)}'."
            )
    return algorithm, parameters


def _hashed(authorization: str) -> str:
    return b64encode(sha256(authorization.encode(errors="surrogatepass")).digest()).decode()


def _check_date(date: str, wall_seconds: int) -> None:
    if not _is_date(date):
        raise IncompleteSignatureException(
            f"Date must be in ISO-8601 'basic format'. Got '{_shown(date)}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )
    earliest, now, latest = _window(wall_seconds)
    # dates of this form are in the order of their texts
    if date < earliest:
        raise InvalidSignatureException(
            f"Signature expired: {date} is now earlier than {earliest} ({now} - {SKEW_MINUTES_MAX} min.)"
        )
    if date > latest:
        raise InvalidSignatureException(
            f"Signature not yet current: {date} is still later than {latest} ({now} + {SKEW_MINUTES_MAX} min.)"
        )


@lru_cache(maxsize=2)
def _window(wall_seconds: int) -> tuple[str, str, str]:
    """Return the earliest date that is taken, now, and the latest."""
    skew_seconds = SKEW_MINUTES_MAX * 60
    earliest, now, latest = (
        datetime.fromtimestamp(seconds, UTC).strftime(_DATE_FORMAT)
        for seconds in (wall_seconds - skew_seconds, wall_seconds, wall_seconds + skew_seconds)
    )
    return earliest, now, latest


def _check_signed(names: tuple[str, ...], if_present: tuple[str, ...], headers: Mapping[str, str]) -> None:
    if "host" not in names and ":authority" not in names:
        raise InvalidSignatureException("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in if_present:
        if name not in names and name in headers:
            # in the service's words for the host [?]
            raise InvalidSignatureException(f"'{name.title()}' must be a 'SignedHeader' in the AWS Authorization.")


def _scope_of(credential: str, date: str) -> tuple[str, str, str]:
    """Return access key id, day and region of a credential."""
    parts = credential.rstrip("/").split("/")
    if len(parts) != _SCOPE_PARTS:
        raise IncompleteSignatureException(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{_shown(credential)}'"
        )
    access_key_id, day, region, service, terminator = parts
    wrong = []
    if not _is_region(region):
        wrong.append(f"Credential should be scoped to a valid region, not '{_shown(region)}'. ")
    if service != SERVICE:
        wrong.append(f"Credential should be scoped to correct service: '{SERVICE}'. ")
    if terminator != TERMINATOR:
        wrong.append(
            f"Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{_shown(terminator)}'. "
        )
    if day != date[:8]:
        wrong.append(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{_shown(day)}' != '{date[:8]}', from '{date}'. "
        )
    if wrong:
        raise InvalidSignatureException("".join(wrong))
    return access_key_id, day, region


def _shown(text: str) -> str:
    """Return a caller's text in a form that can be sent back."""
    return text[:_ECHO_CHARACTERS_MAX].encode("ascii", "replace").decode()
