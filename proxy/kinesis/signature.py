"""The last steps of AWS Signature Version 4, which whoever signs and whoever verifies have in common.

A signing key serves a secret for a day and a region: to derive one takes four fifths of a signature, so it is kept.

Must never know: requests, what of them is signed.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

from hmac import digest as hmac_digest
from typing import Final

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "kinesis"
TERMINATOR: Final = "aws4_request"


def signing_key_of(secret_access_key: str, day: str, region: str) -> bytes:
    """Return the key that a day's requests to a region are signed with.

    Args:
        secret_access_key: of the one who signs.
        day: in UTC, as `20130902`.
        region: as `us-east-1`.
    """
    key = f"AWS4{secret_access_key}".encode()
    for part in (day, region, SERVICE, TERMINATOR):
        key = hmac_digest(key, part.encode(), "sha256")
    return key


def scope_of(day: str, region: str) -> str:
    """Return what a signing key is for, as requests name it."""
    return f"{day}/{region}/{SERVICE}/{TERMINATOR}"


def signature_of(signing_key: bytes, timestamp: str, scope: str, canonical_hash: str) -> str:
    """Return a signature, in hexadecimal.

    Args:
        signing_key: as `signing_key_of`.
        timestamp: of the request, as `20130902T000000Z`.
        scope: as `scope_of`.
        canonical_hash: SHA-256 of the canonical request, in hexadecimal.
    """
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{canonical_hash}"
    return hmac_digest(signing_key, to_sign.encode(), "sha256").hex()
