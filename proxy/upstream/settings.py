"""What can be set about the upstream; values only.

Must never know: where a value came from.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


class UpstreamConfigurationError(Exception):
    """Serving is impossible until the operator changes something; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """How the upstream is reached.

    Args:
        endpoint_url: scheme://host[:port] to send everything to; None takes AWS's own endpoints.
        region: None takes what the AWS configuration says, and us-east-1 where an endpoint_url is given.
        profile: profile of the AWS configuration files; None takes AWS_PROFILE or the default one.
        connections_max: connections for puts; a put that finds none free waits within its connect timeout.
        connect_timeout_ms: waiting for a free connection, name resolution, TCP and TLS together.
        read_timeout_ms: longest silence while waiting for a response.
        request_timeout_ms: a whole request, from connecting to the last byte of its response.
        response_bytes_max: largest response to a put (500 results with error messages take about 200 KiB).
        credentials_wait_ms: how long a request waits for credentials that are being fetched.
        forwards_in_flight_max: forwarded requests at once; they have connections of their own.
        forward_timeout_ms: a whole forwarded request.
        forward_response_bytes_max: largest forwarded response (GetRecords: 10 MiB of data, a third more in base64).
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    connections_max: int = 64
    connect_timeout_ms: int = 1_000
    read_timeout_ms: int = 2_000
    request_timeout_ms: int = 2_000
    response_bytes_max: int = 4 * MIB
    credentials_wait_ms: int = 1_000
    forwards_in_flight_max: int = 32
    forward_timeout_ms: int = 10_000
    forward_response_bytes_max: int = 32 * MIB
