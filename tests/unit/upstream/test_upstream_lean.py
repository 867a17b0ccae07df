"""A request on a connection that is open: what counts as its response, and when the connection may be used again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from proxy.upstream.failures import MalformedResponseError, ResponseTooLargeError
from proxy.upstream.lean import HEAD_BYTES_MAX, LeanExchange, Response
from proxy.upstream.sending import Sending
from proxy.upstream.signed_http import _head_of
from tests.support.virtual_time import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from aiohttp.connector import Connection

CONTENT_BYTES_MAX = 100
HEAD = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
BODY = b'{"Records":[]}'
PLAIN = b"HTTP/1.1 200 OK\r\nx-amzn-requestid: 7\r\nContent-Length: 14\r\n\r\n" + BODY
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n" + BODY + b"\r\n0\r\n\r\n"
UNFRAMED = b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n" + BODY
LAST = PLAIN.replace(b"x-amzn-requestid: 7", b"Connection: close")


class Transport:
    """Takes what is written, and may keep some of it."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written = b""
        self.unsent_bytes = 0
        self.aborted = False

    def set_protocol(self, protocol: object) -> None:
        """Tell another one from now on."""
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        """Take bytes."""
        self.written += data

    def get_write_buffer_size(self) -> int:
        """Return what was not sent."""
        return self.unsent_bytes

    def get_extra_info(self, name: str) -> None:
        """Know nothing."""

    def is_closing(self) -> bool:
        """Whether it was cut off."""
        return self.aborted

    def abort(self) -> None:
        """Cut it off."""
        self.aborted = True


class Handler:
    """aiohttp's protocol, as far as it is told of anything."""

    def __init__(self) -> None:
        self.lost: list[Exception | None] = []

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it."""
        self.lost.append(exc)


class Idle:
    """A connection out of the pool."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol = Handler()
        self.fate = ""

    def release(self) -> None:
        """Go back for the next request."""
        self.fate += "released"

    def close(self) -> None:
        """Go back for none."""
        self.fate += "closed"


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a loop whose time is made up."""

    def wrapped(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the test's own
        run(test(*args, **kwargs))

    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    wrapped.pytestmark = getattr(test, "pytestmark", [])  # type: ignore[attr-defined]
    return wrapped


async def response_to(
    pieces: Iterable[bytes],
    *,
    connection: Idle,
    ends: bool = False,
    unsent_bytes: int = 0,
) -> Response:
    """Send a request over a connection on which these bytes come, and perhaps the end."""
    transport = connection.transport
    sending = Sending(b"{}")
    exchange = LeanExchange(cast("Connection", connection), CONTENT_BYTES_MAX, 2.0)
    posted = asyncio.create_task(exchange.post(HEAD, sending))
    await asyncio.sleep(0)
    assert transport.written == HEAD + b"{}"
    assert sending.handed_over
    transport.unsent_bytes = unsent_bytes
    for piece in pieces:
        transport.protocol.data_received(piece)
    if ends:
        transport.protocol.eof_received()
        transport.aborted = True
        transport.protocol.connection_lost(None)
    return await posted


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED, b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN])
async def test_a_response_is_one_wherever_it_is_split(whole: bytes) -> None:
    """And its connection is used again."""
    for place in range(len(whole)):
        connection = Idle()
        response = await response_to([whole[:place], whole[place:]] if place else [whole], connection=connection)
        assert (response.status, response.content) == (200, BODY)
        assert connection.fate == "released"
        assert connection.transport.protocol is connection.protocol
        assert not connection.transport.aborted


async def test_headers_are_found_in_any_case() -> None:
    """As aiohttp's are."""
    response = await response_to([PLAIN], connection=Idle())
    assert response.headers.get("X-Amzn-RequestId") == "7"


async def test_headers_of_an_interim_response_are_not_the_responses() -> None:
    """It goes before, and says nothing of what follows."""
    interim = b"HTTP/1.1 103 Early Hints\r\nx-amzn-requestid: 6\r\n\r\n"
    response = await response_to([interim, PLAIN], connection=Idle())
    assert (response.status, response.headers.get("X-Amzn-RequestId")) == (200, "7")


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([LAST], id="asked-to-close"),
        pytest.param([PLAIN + b"x"], id="a-byte-behind"),
        pytest.param([PLAIN, b"x"], id="a-byte-later"),
        pytest.param([PLAIN + PLAIN], id="two-responses"),
    ],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(pieces: list[bytes]) -> None:
    """The response itself is good."""
    connection = Idle()
    response = await response_to(pieces, connection=connection)
    assert (response.status, response.content) == (200, BODY)
    assert connection.fate == "closed"
    assert connection.transport.aborted


async def test_a_response_before_the_request_was_read_ends_the_connection() -> None:
    """What is left of the request would wait for a reader."""
    connection = Idle()
    await response_to([PLAIN], connection=connection, unsent_bytes=1)
    assert connection.fate == "closed"
    assert connection.transport.aborted


async def test_a_response_may_end_with_its_connection() -> None:
    """If nothing in it says where it ends."""
    connection = Idle()
    response = await response_to([UNFRAMED], connection=connection, ends=True)
    assert response.content == BODY
    assert connection.fate == "closed"
    assert connection.protocol.lost == [None]


@pytest.mark.parametrize("whole", [PLAIN, CHUNKED])
async def test_a_response_that_is_cut_short_is_none(whole: bytes) -> None:
    """Wherever it is cut."""
    for place in range(len(whole)):
        connection = Idle()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await response_to([whole[:place]] if place else [], connection=connection, ends=True)
        assert connection.fate == "closed"


@pytest.mark.parametrize(
    ("whole", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", MalformedResponseError),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", MalformedResponseError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", MalformedResponseError),
        (b"HTTP/1.1 200 OK\r\n" + b"a: %s\r\n" % (b"b" * 1000) * (HEAD_BYTES_MAX // 1000 + 1), MalformedResponseError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + bytes(101), ResponseTooLargeError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + bytes(101), ResponseTooLargeError),
    ],
)
async def test_what_is_no_response_is_told_apart(whole: bytes, error: type[Exception]) -> None:
    """And its connection is reset."""
    connection = Idle()
    with pytest.raises(error):
        await response_to([whole], connection=connection)
    assert connection.fate == "closed"
    assert connection.transport.aborted


async def test_a_connection_that_breaks_is_told_with_the_systems_words() -> None:
    """To aiohttp's protocol, too."""
    connection = Idle()
    exchange = LeanExchange(cast("Connection", connection), CONTENT_BYTES_MAX, 2.0)
    posted = asyncio.create_task(exchange.post(HEAD, Sending(b"{}")))
    await asyncio.sleep(0)
    error = ConnectionResetError(104, "Connection reset by peer")
    connection.transport.protocol.connection_lost(error)
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await posted
    assert connection.protocol.lost == [error]


async def test_a_request_that_is_given_up_resets_its_connection() -> None:
    """No more of it goes out, and nothing that comes is taken for another's response."""
    connection = Idle()
    exchange = LeanExchange(cast("Connection", connection), CONTENT_BYTES_MAX, 2.0)
    posted = asyncio.create_task(exchange.post(HEAD, Sending(b"{}")))
    await asyncio.sleep(0)
    posted.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posted
    assert connection.fate == "closed"
    assert connection.transport.aborted


@on_virtual_time
async def test_a_silence_ends_where_it_is_too_long() -> None:
    """Counted from the last byte that came."""
    connection, loop = Idle(), asyncio.get_running_loop()
    exchange = LeanExchange(cast("Connection", connection), CONTENT_BYTES_MAX, 2.0)
    posted = asyncio.create_task(exchange.post(HEAD, Sending(b"{}")))
    started_at = loop.time()
    await asyncio.sleep(1.5)
    connection.transport.protocol.data_received(PLAIN[:30])
    with pytest.raises(aiohttp.SocketTimeoutError):
        await posted
    assert loop.time() - started_at == pytest.approx(3.5)
    assert connection.fate == "closed"


def test_a_head_has_the_headers_that_were_signed_and_no_more() -> None:
    """A value that would be read as two headers is refused."""
    head = _head_of({"Host": "kinesis", "X-Amz-Target": "T"}, 3)
    assert head.startswith(b"POST / HTTP/1.1\r\nHost: kinesis\r\nX-Amz-Target: T\r\nUser-Agent: kinesis-proxy/")
    assert head.endswith(b"\r\nContent-Length: 3\r\n\r\n")
    for bad in ("a\r\nb", "a\nb", "a\rb"):
        with pytest.raises(ValueError, match="line break"):
            _head_of({"X-Amz-Security-Token": bad}, 3)
