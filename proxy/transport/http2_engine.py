"""The h2 library, set up for a server of small requests, and an answer's headers as it takes them.

Must never know: the loop, transports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame, SettingsFrame

from proxy.transport.http2_gate import FRAME_BYTES_MAX
from proxy.transport.http2_request import OF_CONNECTIONS, field_is_valid
from proxy.transport.limits import MIB
from proxy.transport.reply import http_date

if TYPE_CHECKING:
    from proxy.kinesis.http import Reply
    from proxy.transport.limits import HttpLimits

# What a client may send ahead of our reading it. Bodies are read as they come; it is their sum that is bounded.
_STREAM_WINDOW_BYTES = 1 * MIB
_CONNECTION_WINDOW_BYTES = 4 * MIB
_DEFAULT_WINDOW_BYTES = 65_535

_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    # as received, for signatures
    normalize_inbound_headers=False,
    # http2_request and headers_of do all this, at less cost
    validate_inbound_headers=False,
    normalize_outbound_headers=False,
    validate_outbound_headers=False,
)


class Engine(H2Connection):
    """h2's part of a connection.

    h2 remembers how each of the last 65,536 streams of a connection was closed, to tell errors apart; that is 6 MiB.

    It also ends a connection for one request too many, which a client may well send before it has read our settings. So
    it is told twice the number that clients are told, and what is between is the caller's to refuse. Its own SETTINGS
    frame would tell clients the same, which is why the caller sends `settings_frame` in its place.
    """

    MAX_CLOSED_STREAMS = 256

    def __init__(self, limits: HttpLimits) -> None:
        super().__init__(_CONFIG)
        own_settings = _settings(limits) | {SettingCodes.MAX_CONCURRENT_STREAMS: 2 * limits.streams_max}
        self.local_settings = Settings(client=False, initial_values=own_settings)
        self.decoder.max_header_list_size = limits.header_bytes_max
        self.increment_flow_control_window(_CONNECTION_WINDOW_BYTES - _DEFAULT_WINDOW_BYTES)


def settings_frame(limits: HttpLimits) -> bytes:
    """Return the frame with which a server begins a connection."""
    return SettingsFrame(0, settings={int(code): value for code, value in _settings(limits).items()}).serialize()


def goaway_frame(last_stream_id: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> bytes:
    """Return a frame that ends a connection; h2's own would forbid it to send the answers that are still to come."""
    return GoAwayFrame(0, last_stream_id, code).serialize()


def headers_of(reply: Reply) -> list[tuple[bytes, bytes]]:
    """Encode an answer's status and headers.

    Raises:
        ValueError: a header cannot be sent.
    """
    fields = [
        (b":status", b"%d" % reply.status),
        (b"date", http_date().encode()),
        (b"content-length", b"%d" % len(reply.body)),
    ]
    for name, value in reply.headers.items():
        field = (name.lower().encode("ascii"), value.encode("latin-1"))
        if not field_is_valid(*field):
            raise ValueError("a header holds what none may hold")
        if field[0] not in OF_CONNECTIONS:
            fields.append(field)
    return fields


def _settings(limits: HttpLimits) -> dict[SettingCodes, int]:
    return {
        SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams_max,
        SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW_BYTES,
        SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES_MAX,
        SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes_max,
    }
