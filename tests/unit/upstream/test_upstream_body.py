import pytest
from aiohttp.abc import AbstractStreamWriter

from proxy.upstream.sending import WRITE_BYTES_MAX, Body, Sending


class Transport(AbstractStreamWriter):
    """A writer over a connection that takes so many bytes and is then found broken, at a write or at a drain."""

    def __init__(self, takes_bytes: int) -> None:
        self.takes_bytes = takes_bytes
        self.taken = b""

    async def write(self, chunk: bytes | bytearray | memoryview, *, drain: bool = True) -> None:
        """Take a chunk whole, or break."""
        if len(self.taken) >= self.takes_bytes:
            raise ConnectionResetError("at a write")
        self.taken += bytes(chunk)
        if drain and len(self.taken) >= self.takes_bytes:
            raise ConnectionResetError("at a drain")

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Take nothing."""

    async def drain(self) -> None:
        """Wait for nothing."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Compress nothing."""

    def enable_chunking(self) -> None:
        """Chunk nothing."""

    async def write_headers(self, status_line: str, headers: object) -> None:
        """Write no headers."""


LARGE = bytes(range(256)) * (WRITE_BYTES_MAX * 5 // 2 // 256)


@pytest.mark.parametrize("content", [b"", b"{}", LARGE])
async def test_body_is_handed_over_whole(content: bytes) -> None:
    """Piece by piece, nothing lost, nothing twice."""
    sending, transport = Sending(content), Transport(10**9)
    assert not sending.handed_over
    assert Body(sending).size == len(content)
    await Body(sending).write(transport)
    assert transport.taken == content
    assert sending.handed_over


@pytest.mark.parametrize("takes_bytes", [1, WRITE_BYTES_MAX, WRITE_BYTES_MAX + 1])
async def test_body_of_which_a_part_stayed_was_not_handed_over(takes_bytes: int) -> None:
    """The service cannot have had the whole request."""
    sending, transport = Sending(LARGE), Transport(takes_bytes)
    with pytest.raises(ConnectionResetError):
        await Body(sending).write(transport)
    assert not sending.handed_over


async def test_loss_that_is_noticed_after_the_last_byte_does_not_unsend_it() -> None:
    """The transport had the whole body: it may have arrived."""
    sending, transport = Sending(LARGE), Transport(len(LARGE))
    await Body(sending).write(transport)
    assert sending.handed_over
