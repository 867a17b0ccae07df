"""How a connection shows what it speaks, wherever the network cuts its first bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from proxy.transport.arrival import PREFACE, Arrival
from proxy.transport.limits import HttpLimits
from tests.unit.transport.transport_clients import FrameMaker, connected, serving, until

if TYPE_CHECKING:
    from proxy.transport.arrival import Connection
    from tests.unit.transport.transport_clients import Run

REQUEST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nping"


class Taken(asyncio.Protocol):
    """A protocol that keeps what it is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.received = b""

    def data_received(self, data: bytes) -> None:
        """Keep bytes."""
        self.received += data


class FakeHost:
    """A server that keeps the protocol that a connection became."""

    def __init__(self) -> None:
        self.limits = HttpLimits(request_bytes_max=1000, header_seconds=2, idle_seconds=20)
        self.taken: Taken | None = None
        self.full = False

    def admit(self, connection: Connection) -> bool:
        """Admit anybody, or nobody."""
        del connection
        return not self.full

    def speaks_http1(self, arrival: Arrival) -> asyncio.Protocol:
        """Take it."""
        return self._take(arrival, "http1")

    def speaks_http2(self, arrival: Arrival) -> asyncio.Protocol:
        """Take it."""
        return self._take(arrival, "http2")

    def lost(self, connection: Connection) -> None:
        """Forget it."""

    def refused(self, reason: str, client: str) -> None:
        """Note nothing: nobody comes with the wrong scheme."""

    def _take(self, arrival: Arrival, name: str) -> Taken:
        del arrival
        self.taken = Taken(name)
        return self.taken


class FakeTransport(asyncio.Transport):
    """Gives bytes to whatever protocol it has."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.aborted = False
        protocol.connection_made(self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change it."""
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def abort(self) -> None:
        """Note it."""
        self.aborted = True


def became(*pieces: bytes) -> Taken | None:
    """Return what a connection became that received some pieces."""
    host = FakeHost()
    transport = FakeTransport(Arrival(host, None))
    for piece in pieces:
        transport.protocol.data_received(piece)
    return host.taken


@given(st.integers(1, len(PREFACE) + 5), st.integers(1, len(PREFACE) + 5))
def test_preface_is_recognised_however_it_is_cut(one: int, other: int) -> None:
    """And nothing of what came is lost."""
    data = PREFACE + b"and more"
    low, high = sorted((one, other))
    taken = became(*[piece for piece in (data[:low], data[low:high], data[high:]) if piece])
    assert taken is not None
    assert (taken.name, taken.received) == ("http2", data)


@given(st.integers(1, len(PREFACE) - 1), st.binary(min_size=1, max_size=30))
def test_what_differs_from_the_preface_is_http1(common: int, rest: bytes) -> None:
    """At whatever byte, and at once."""
    data = PREFACE[:common] + rest
    taken = became(*[data[index : index + 1] for index in range(len(data))])
    if PREFACE.startswith(data):
        assert taken is None
    elif data.startswith(PREFACE):
        assert taken is not None
        assert taken.name == "http2"
    else:
        assert taken is not None
        assert (taken.name, taken.received) == ("http1", data)


def test_connection_that_says_nothing_is_cut_after_the_idle_time() -> None:
    """And one that has begun to speak, after the time that headers may take."""
    for first, seconds in ((b"", 20), (b"PRI", 2)):
        arrival = Arrival(FakeHost(), None)
        transport = FakeTransport(arrival)
        if first:
            arrival.data_received(first)
        arrival.sweep(100.0)
        arrival.sweep(100.0 + seconds)
        assert not transport.aborted
        arrival.sweep(100.1 + seconds)
        assert transport.aborted


def test_connection_too_many_is_closed_before_it_speaks() -> None:
    """TLS included, which would cost more than all the rest."""
    host = FakeHost()
    host.full = True
    assert FakeTransport(Arrival(host, None)).aborted


def test_either_protocol_is_served_at_every_cut(run: Run) -> None:
    """On one listener, over real sockets."""
    maker = FrameMaker()
    http2 = maker.beginning() + maker.headers(1, flags=["END_HEADERS", "END_STREAM"]).serialize()

    async def main() -> None:
        async with serving() as server:
            for position in range(1, len(REQUEST)):
                async with connected(server) as client:
                    client.send(REQUEST[:position])
                    await asyncio.sleep(0.001)
                    client.send(REQUEST[position:])
                    assert (await client.reader.readuntil(b"POST /x ping")).startswith(b"HTTP/1.1 200 OK")
            for position in range(1, len(http2), 3):
                async with connected(server) as client:
                    client.send(http2[:position])
                    await asyncio.sleep(0.001)
                    client.send(http2[position:])
                    await client.reader.readuntil(b"POST / ")
            await until(lambda: server.connections == 0)
            assert server.malformed_requests == 0

    run(main())


@pytest.mark.parametrize("data", [b"", b"PRI * HTTP/2.0\r\n\r\n"])
def test_connection_that_never_speaks_is_counted_and_closed(run: Run, data: bytes) -> None:
    """By its client or by the server, it leaves nothing."""

    async def main() -> None:
        async with serving() as server:
            async with connected(server) as client:
                client.send(data)
                await until(lambda: server.connections == 1)
            await until(lambda: server.connections == 0)
            async with connected(server) as client:
                client.send(data)
                await until(lambda: server.connections == 1)
                await server.close(1)
                assert await client.read_to_end() == b""

    with capture_logs() as logs:
        run(main())
    assert not logs
