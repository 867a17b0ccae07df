"""The load generator's connections over HTTP/1.1, plain or in TLS: one request out at most."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tests.benchmarks.load import Run

CONTENT_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
HEADER_END = b"\r\n\r\n"
STATUS_OK = b"HTTP/1.1 200"


class Http1Sender(asyncio.Protocol):
    """One connection.

    Args:
        run: whose requests it sends.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._buffer = b""
        self._sent_at = 0.0
        self._waits = False
        self._needed_bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def send(self, due_at: float) -> None:
        """Send the next request; its latency counts from `due_at`."""
        assert self._transport is not None
        self._sent_at = due_at
        self._waits = True
        self._run.out += 1
        self._transport.write(self._run.requests.next())

    def close(self) -> None:
        """Close the connection."""
        assert self._transport is not None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Collect an answer, count it and go on."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._needed_bytes:
            head_end = self._buffer.find(HEADER_END)
            if head_end < 0:
                return
            match = CONTENT_LENGTH.search(self._buffer, 0, head_end)
            assert match is not None, "an answer has a Content-Length"
            self._needed_bytes = head_end + len(HEADER_END) + int(match[1])
        if len(self._buffer) < self._needed_bytes:
            return
        answer, self._buffer, self._needed_bytes, self._waits = self._buffer, b"", 0, False
        self._run.answered(self, answer.startswith(STATUS_OK), answer, time.perf_counter() - self._sent_at)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the run with an error if an answer was still to come."""
        if self._waits:
            self._run.broken(f"connection lost: {exc!r}")
