"""A relay that keeps what clients send, and says what it was: proof of the protocol that an SDK really spoke.

Clear text is read in full; of TLS only the first message is, the ClientHello, which names the protocols on offer.
Sources: RFC 9112, RFC 9113 (through hyperframe and hpack, the h2 library's own), RFC 8446 section 4.1.2, RFC 7301.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hpack import Decoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame

if TYPE_CHECKING:
    from types import TracebackType

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_BYTES = 9
TLS_HANDSHAKE = 0x16
TLS_RECORD_HEADER_BYTES = 5
ALPN_EXTENSION = 16
HPACK_TABLE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class SentRequest:
    """One request as a client sent it; names of headers in lower case."""

    protocol: str
    headers: dict[str, str]


class Wiretap:
    """Relays to a port, a connection for each that it accepts; a context manager that ends them all."""

    def __init__(self, port: int) -> None:
        self._server_address = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._sent: list[bytearray] = []
        self._threads = [threading.Thread(target=self._accept)]
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Closing alone does not wake a thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for connection in self._sockets:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server_address)
            sent = bytearray()
            self._sent.append(sent)
            self._sockets += [client, server]
            pumps = [
                threading.Thread(target=_pump, args=(client, server, sent)),
                threading.Thread(target=_pump, args=(server, client, None)),
            ]
            self._threads += pumps
            for pump in pumps:
                pump.start()

    def requests(self) -> list[SentRequest]:
        """Return all requests in clear text."""
        return [request for sent in self._sent if not is_tls(sent) for request in requests_of(bytes(sent))]

    def offers(self) -> list[tuple[str, ...]]:
        """Return the protocols that each TLS connection offered."""
        return [alpn_of(bytes(sent)) for sent in self._sent if is_tls(sent)]


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    with suppress(OSError):
        while chunk := source.recv(1 << 16):
            if kept is not None:
                kept += chunk
            sink.sendall(chunk)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def is_tls(sent: bytes | bytearray) -> bool:
    """Whether a connection began with a TLS handshake."""
    return sent[:1] == bytes([TLS_HANDSHAKE])


def requests_of(sent: bytes) -> list[SentRequest]:
    """Read the requests of one connection."""
    return _http2_requests(sent) if sent.startswith(PREFACE) else _http1_requests(sent)


def _http1_requests(sent: bytes) -> list[SentRequest]:
    requests = []
    while sent:
        head, _, rest = sent.partition(b"\r\n\r\n")
        start, *lines = head.decode("ascii").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        requests.append(SentRequest(start.rpartition(" ")[2], headers))
        sent = rest[int(headers.get("content-length", "0")) :]
    return requests


def _http2_requests(sent: bytes) -> list[SentRequest]:
    decoder = Decoder()
    decoder.max_allowed_table_size = HPACK_TABLE_BYTES_MAX
    requests = []
    block = b""
    position = len(PREFACE)
    while position + FRAME_HEADER_BYTES <= len(sent):
        body = position + FRAME_HEADER_BYTES
        frame, length = Frame.parse_frame_header(memoryview(sent)[position:body])
        frame.parse_body(memoryview(sent)[body : body + length])
        position = body + length
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            block += frame.data
            if "END_HEADERS" in frame.flags:
                requests.append(SentRequest("HTTP/2", {str(name): str(value) for name, value in decoder.decode(block)}))
                block = b""
    return requests


def alpn_of(client_hello: bytes) -> tuple[str, ...]:
    """Read the protocols on offer from a connection's first TLS record."""
    # handshake type and length, version, random
    position = TLS_RECORD_HEADER_BYTES + 4 + 2 + 32
    # session id, cipher suites, compression methods: each a length and so many bytes
    for length_bytes in (1, 2, 1):
        position += length_bytes + int.from_bytes(client_hello[position : position + length_bytes])
    end = position + 2 + int.from_bytes(client_hello[position : position + 2])
    position += 2
    while position < end:
        kind, length = (int.from_bytes(client_hello[at : at + 2]) for at in (position, position + 2))
        position += 4
        if kind == ALPN_EXTENSION:
            return tuple(_names(client_hello[position + 2 : position + length]))
        position += length
    return ()


def _names(names: bytes) -> list[str]:
    found = []
    while names:
        found.append(names[1 : 1 + names[0]].decode("ascii"))
        names = names[1 + names[0] :]
    return found
