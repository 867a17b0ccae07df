"""An HTTP/2 client of one connection, blocking, on the h2 library: prior knowledge, one request at a time."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self

import h2.connection
import h2.events
from h2.config import H2Configuration
from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_READ_BYTES = 65_536


class Http2ClientError(Exception):
    """The server left the connection or the request without an answer."""


class Http2Client:
    """One connection; use it as a context.

    Args:
        port: of a server on this machine that takes HTTP/2 without TLS.
        timeout_seconds: longest silence that is borne.
    """

    def __init__(self, port: int, timeout_seconds: float = 30) -> None:
        self._authority = f"127.0.0.1:{port}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_seconds)
        self._engine = h2.connection.H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._engine.initiate_connection()
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def request(self, method: str, headers: Mapping[str, str], body: bytes) -> tuple[int, CIMultiDict[str], bytes]:
        """Send a request to `/` and return status, headers and body of its answer.

        Raises:
            Http2ClientError: there is none.
        """
        engine = self._engine
        stream_id = engine.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", self._authority), (":path", "/")]
        fields = [(name.lower(), value) for name, value in headers.items()]
        length = [("content-length", str(len(body)))] if body else []
        engine.send_headers(stream_id, pseudo + fields + length, end_stream=not body)
        answer = _Answer(stream_id)
        rest = memoryview(body)
        while rest and not answer.ended:
            room = min(engine.local_flow_control_window(stream_id), engine.max_outbound_frame_size)
            if room:
                engine.send_data(stream_id, rest[:room], end_stream=room >= len(rest))
                rest = rest[room:]
                self._flush()
            else:
                self._read(answer)
        self._flush()
        while not answer.ended:
            self._read(answer)
        return answer.status, answer.headers, answer.body

    def _read(self, answer: _Answer) -> None:
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise Http2ClientError("the server closed the connection")
        for event in self._engine.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self._engine.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            answer.take(event)
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._engine.data_to_send())


class _Answer:
    """What has come of an answer."""

    def __init__(self, stream_id: int) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.body = b""
        self.ended = False
        self._stream_id = stream_id

    def take(self, event: h2.events.Event) -> None:
        """Take what the server sent."""
        if isinstance(event, h2.events.ConnectionTerminated):
            raise Http2ClientError(f"the server left with {event.error_code}")
        if getattr(event, "stream_id", None) != self._stream_id:
            return
        if isinstance(event, h2.events.ResponseReceived):
            self.headers = CIMultiDict([(str(name), str(value)) for name, value in event.headers])
            self.status = int(self.headers.popone(":status"))
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            self.ended = True
        elif isinstance(event, h2.events.StreamReset) and not self.ended:
            raise Http2ClientError(f"the server reset the request with {event.error_code}")
