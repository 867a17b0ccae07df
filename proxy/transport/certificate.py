"""Reads of a certificate when it expires, which the standard library tells of those of others alone.

Pure: it is given the file's bytes. What OpenSSL has taken is well formed, so nothing is checked again.

Source: RFC 5280, 4.1; X.690, 8.1 and 10.1.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from typing import NamedTuple

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_VERSION_TAG, _UTC_TIME_TAG = 0xA0, 0x17
_LONG_LENGTH = 0x80
# serialNumber, signature, issuer
_MEMBERS_BEFORE_VALIDITY = 3


class _Element(NamedTuple):
    """What stands at a place of DER: its tag, where its contents begin, and where the next element does."""

    tag: int
    begin: int
    end: int


def expires_at_seconds(pem: bytes) -> float | None:
    """Return when the first certificate of a chain expires, in seconds since the epoch, or None if there is none."""
    found = _PEM.search(pem)
    if found is None:
        return None
    der = ssl.PEM_cert_to_DER_cert(found[0].decode("ascii"))
    certificate = _element(der, 0)
    member = _element(der, _element(der, certificate.begin).begin)
    if member.tag == _VERSION_TAG:
        member = _element(der, member.end)
    for _ in range(_MEMBERS_BEFORE_VALIDITY):
        member = _element(der, member.end)
    not_before = _element(der, member.begin)
    not_after = _element(der, not_before.end)
    text = der[not_after.begin : not_after.end].decode("ascii")
    year = "%y" if not_after.tag == _UTC_TIME_TAG else "%Y"
    return datetime.strptime(text, f"{year}%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> _Element:
    length, begin = der[at + 1], at + 2
    if length >= _LONG_LENGTH:
        size = length - _LONG_LENGTH
        length = int.from_bytes(der[begin : begin + size], "big")
        begin += size
    return _Element(der[at], begin, begin + length)
