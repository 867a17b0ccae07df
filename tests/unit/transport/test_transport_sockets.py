"""When a client has not taken what was written for it, and how often that is looked at."""

from __future__ import annotations

import asyncio

import pytest

from proxy.transport.limits import HttpLimits
from proxy.transport.sockets import StuckWatch, reset
from tests.unit.transport.transport_clients import FakeTransport, until

LIMITS = HttpLimits(request_bytes_max=1000, header_seconds=10, body_seconds=60, linger_seconds=1)


@pytest.fixture
def transport() -> FakeTransport:
    """Give an open connection."""
    return FakeTransport()


def test_connection_that_can_be_written_is_never_stuck(transport: FakeTransport) -> None:
    """However long it stays so."""
    watch = StuckWatch(LIMITS)
    assert not any(watch.is_stuck(transport, now, writable=True) for now in (100.0, 1000.0))


def test_connection_that_cannot_be_written_is_stuck_after_the_time_of_a_body(transport: FakeTransport) -> None:
    """Counted anew whenever its client has taken something."""
    watch = StuckWatch(LIMITS)
    assert [watch.is_stuck(transport, now, writable=False) for now in (100.0, 160.0, 160.1)] == [False, False, True]
    assert not watch.is_stuck(transport, 170.0, writable=True)
    assert [watch.is_stuck(transport, now, writable=False) for now in (180.0, 240.0, 240.1)] == [False, False, True]


def test_connection_that_is_being_closed_has_little_time(transport: FakeTransport) -> None:
    """What is still to be sent is not much, and nobody waits for it any more."""
    watch = StuckWatch(LIMITS)
    transport.close()
    assert [watch.is_stuck(transport, now, writable=True) for now in (100.0, 111.0, 111.1)] == [False, False, True]


def test_connection_that_is_gone_is_not_reset(transport: FakeTransport) -> None:
    """Its socket may be another's by now."""
    transport.close()
    reset(transport)
    reset(None)


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (HttpLimits(request_bytes_max=1), 1.0),
        (HttpLimits(request_bytes_max=1, age_seconds=0), 1.0),
        (HttpLimits(request_bytes_max=1, body_seconds=0.1), 0.025),
        (HttpLimits(request_bytes_max=1, age_seconds=0.4), 0.1),
    ],
)
def test_connections_are_looked_at_often_enough_for_the_shortest_time(limits: HttpLimits, seconds: float) -> None:
    """And at least every second."""
    assert limits.sweep_seconds == pytest.approx(seconds)


def test_a_reset_leaves_no_orderly_end() -> None:
    """The other side sees that something was broken."""

    async def main() -> None:
        accepted: list[asyncio.Transport] = []

        class Accepting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                accepted.append(transport)

        listener = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
        await until(lambda: bool(accepted))
        reset(accepted[0])
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()
        listener.close()

    asyncio.run(main())
