"""Which header fields make a request, and how a handler sees them."""

from __future__ import annotations

import pytest

from proxy.transport.http2_request import MalformedRequestError, request_of

PSEUDO = [(b":method", b"POST"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"localhost:4567")]


def test_fields_are_handed_on_as_received() -> None:
    """Pseudo-headers under their own names, all in their order, repeated ones twice, names in any case."""
    request = request_of([*PSEUDO, (b"x-b", b"1"), (b"x-a", b"a  b"), (b"x-b", "ü".encode()), (b"x-c", b"")])
    assert (request.method, request.target, request.body) == ("POST", "/", b"")
    assert list(request.headers.items()) == [
        (":method", "POST"),
        (":path", "/"),
        (":scheme", "http"),
        (":authority", "localhost:4567"),
        ("x-b", "1"),
        ("x-a", "a  b"),
        ("x-b", "ü"),
        ("x-c", ""),
    ]
    assert request.headers["X-A"] == "a  b"
    assert request.headers[":Authority"] == "localhost:4567"
    assert "host" not in request.headers


def test_value_that_is_no_utf_8_survives() -> None:
    """A signature covers its very bytes, as it does on HTTP/1.1."""
    request = request_of([*PSEUDO, (b"x-a", b"a\xffb")])
    assert request.headers["x-a"].encode("utf-8", "surrogateescape") == b"a\xffb"


def test_host_may_take_the_place_of_authority() -> None:
    """Or be sent besides, if it is the same."""
    assert request_of([*PSEUDO[:3], (b"host", b"a")]).headers["host"] == "a"
    assert request_of([*PSEUDO, (b"host", b"localhost:4567")]).headers["host"] == "localhost:4567"


def test_connect_has_an_authority_alone() -> None:
    """It is its target; that nobody answers it is the handler's to say."""
    assert request_of([(b":method", b"CONNECT"), (b":authority", b"a:1")]).target == "a:1"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        PSEUDO[1:],
        [PSEUDO[0], *PSEUDO[2:]],
        [*PSEUDO[:2], PSEUDO[3]],
        PSEUDO[:3],
        [*PSEUDO[:1], (b":path", b""), *PSEUDO[2:]],
        [*PSEUDO, (b":method", b"GET")],
        [*PSEUDO[:3], (b"x-a", b"1"), PSEUDO[3]],
        [*PSEUDO, (b":status", b"200")],
        [*PSEUDO, (b":protocol", b"websocket")],
        [(b":method", b"CONNECT"), (b":authority", b"a:1"), (b":path", b"/")],
        [(b":method", b"CONNECT"), (b"host", b"a:1")],
        [*PSEUDO, (b"host", b"other")],
        [*PSEUDO[:3], (b"host", b"a"), (b"host", b"a")],
        [*PSEUDO[:3], (b"host", b"a"), (b"host", b"b")],
        [*PSEUDO, (b"X-A", b"1")],
        [*PSEUDO, (b"", b"1")],
        [*PSEUDO, (b"x a", b"1")],
        [*PSEUDO, (b"x:a", b"1")],
        [*PSEUDO, (b"x\xffa", b"1")],
        [*PSEUDO, (b"x\na", b"1")],
        [*PSEUDO, (b"x-a", b"1\n2")],
        [*PSEUDO, (b"x-a", b"1\n")],
        [*PSEUDO, (b"x-a", b"1\r2")],
        [*PSEUDO, (b"x-a", b"1\x002")],
        [*PSEUDO, (b"x-a", b" 1")],
        [*PSEUDO, (b"x-a", b"1\t")],
        [*PSEUDO, (b"x-a", b" ")],
        [(b":method", b"PO\r\nST"), *PSEUDO[1:]],
        [*PSEUDO, (b"connection", b"close")],
        [*PSEUDO, (b"transfer-encoding", b"chunked")],
        [*PSEUDO, (b"te", b"gzip")],
    ],
)
def test_what_is_no_request_is_refused(fields: list[tuple[bytes, bytes]]) -> None:
    """As RFC 9113 has it, for what could be read in two ways."""
    with pytest.raises(MalformedRequestError):
        request_of(fields)


def test_trailers_may_be_announced() -> None:
    """By the one value that TE may have."""
    assert request_of([*PSEUDO, (b"te", b"trailers")]).headers["te"] == "trailers"
