"""Which put call a request is an attempt at, by what it says of itself.

SDKs give every call an id, constant over its attempts, and count the attempts:

    amz-sdk-invocation-id: 1b3e7d0c-…             (boto3, JavaScript v3, Go v2, Java v2, Rust, .NET, C++)
    amz-sdk-request: attempt=2; max=3

Neither is signed. An id counts only together with its caller and the operation, so that nobody can have, or spoil,
another's call: the caller is the key that a signature proved, and where nobody has to sign, the key that is claimed.

An attempt that says that it is the first repeats nothing, whatever its id. A client that sends one id for ever, as a
configured header, thereby loses no record.

Must never know: calls, records.

Source: traffic of the SDKs, recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proxy.frontend.keys import InboundKey
    from proxy.kinesis.http import Request

# Caller, operation, id.
Identity = tuple[str, str, str]

# SDKs send UUIDs, of 36 characters. Access key ids of AWS have 16 to 128.
ID_CHARACTERS_MAX: Final = 128
_FIRST: Final = "attempt=1"
_CREDENTIAL: Final = "Credential="


def identity_of(request: Request, operation: str, key: InboundKey | None) -> Identity | None:
    """Return which call a request is an attempt at; None if it does not say.

    Args:
        request: with its headers.
        operation: that it asks for.
        key: that it is proved to be signed with; None where nobody has to sign.
    """
    headers = request.headers
    invocation_id = headers.get("amz-sdk-invocation-id")
    if not invocation_id or not _is_plain(invocation_id):
        return None
    if key is not None:
        return key.access_key_id, operation, invocation_id
    claimed = _claimed_by(headers.get("Authorization", ""))
    return (claimed, operation, invocation_id) if not claimed or _is_plain(claimed) else None


def _claimed_by(authorization: str) -> str:
    """Return the access key id that a signature claims; empty where there is none."""
    begins = authorization.find(_CREDENTIAL)
    if begins < 0:
        return ""
    begins += len(_CREDENTIAL)
    ends = authorization.find("/", begins)
    return authorization[begins:ends] if ends >= 0 else authorization[begins:]


def says_it_is_the_first(request: Request) -> bool:
    """Return whether a request says that it is the first attempt at its call."""
    parts = request.headers.get("amz-sdk-request", "").split(";")
    return any(part.strip() == _FIRST for part in parts)


def _is_plain(text: str) -> bool:
    return len(text) <= ID_CHARACTERS_MAX and text.isascii() and text.isprintable()
