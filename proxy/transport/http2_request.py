"""What a request is on HTTP/2: which header fields make one, and how a handler sees them.

A handler gets the fields as they were received, the pseudo-headers among them under their own names: a client may sign
`:authority` in the place of `host`. `host` is there if the client sent it; h2 and older clients send either or both.

Must never know: streams, what is asked.

Source: RFC 9113, section 8.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.kinesis.http import Request

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# Nothing that ends a line in HTTP/1.1, and no space around.
_VALUE = re.compile(rb"(?![ \t])[^\r\n\0]*(?<![ \t])")
# Two strings and their place, beside the text.
_FIELD_BYTES = 128
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
OF_CONNECTIONS = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})


def field_is_valid(name: bytes, value: bytes) -> bool:
    """Return whether a name and a value are such, pseudo-headers apart."""
    return _NAME.fullmatch(name) is not None and _VALUE.fullmatch(value) is not None


class MalformedRequestError(Exception):
    """The fields make no request."""


def held_bytes_of(fields: Iterable[tuple[bytes, bytes]]) -> int:
    """Return about how much memory a request's fields take: a client can name one that it sent before in a byte."""
    return sum([len(name) + len(value) + _FIELD_BYTES for name, value in fields])


def request_of(fields: Iterable[tuple[bytes, bytes]]) -> Request:
    """Make a request, still without its body, of the fields that were received.

    Raises:
        MalformedRequestError: they make none.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: list[tuple[str, str]] = []
    regular_seen = False
    for name, value in fields:
        if name in _PSEUDO and name not in pseudo and not regular_seen:
            pseudo[name] = value
        elif _NAME.fullmatch(name) is not None and name not in OF_CONNECTIONS:
            regular_seen = True
        else:
            raise MalformedRequestError
        if _VALUE.fullmatch(value) is None:
            raise MalformedRequestError
        headers.append((name.decode("ascii"), value.decode("utf-8", "surrogateescape")))
    return _checked(pseudo, CIMultiDict(headers))


def _checked(pseudo: dict[bytes, bytes], headers: CIMultiDict[str]) -> Request:
    method = headers.get(":method", "")
    if method == "CONNECT":
        target = headers.get(":authority", "")
        complete = bool(target) and len(pseudo) == len((":method", ":authority"))
    else:
        target = headers.get(":path", "")
        complete = bool(method and target and headers.get(":scheme"))
    hosts = {*headers.getall(":authority", ()), *headers.getall("host", ())}
    # the same host twice, and nothing else
    if not complete or len(hosts) != 1 or len(headers.getall("host", ())) > 1:
        raise MalformedRequestError
    if headers.get("te", "trailers").lower() != "trailers":
        raise MalformedRequestError
    return Request(method, target, CIMultiDictProxy(headers), b"")
