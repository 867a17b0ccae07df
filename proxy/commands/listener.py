"""The listener for producers, as the settings of either command have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.commands.process import CommandError
from proxy.transport.limits import HttpLimits
from proxy.transport.tls import ServerTls, TlsError, TlsFiles

if TYPE_CHECKING:
    from proxy.config.settings import Settings


def http_limits(settings: Settings) -> HttpLimits:
    """Return the limits of the transports."""
    return HttpLimits(
        request_bytes_max=settings.request_bytes_max,
        bodies_bytes_max=settings.request_bodies_bytes_max,
        header_bytes_max=settings.request_header_bytes_max,
        connections_max=settings.connections_max,
        streams_max=settings.http2_streams_max,
        header_seconds=settings.header_timeout_ms / 1000,
        body_seconds=settings.body_timeout_ms / 1000,
        idle_seconds=settings.idle_timeout_ms / 1000,
        age_seconds=settings.connection_age_max_ms / 1000,
    )


def server_tls(settings: Settings) -> ServerTls | None:
    """Return what makes connections secure; None leaves them plain.

    Raises:
        CommandError: a file cannot be used; the text names its setting.
    """
    certificate, key = settings.tls_certificate_file, settings.tls_key_file
    if certificate is None or key is None:
        return None
    try:
        return ServerTls(TlsFiles(certificate, key, settings.tls_client_ca_file))
    except TlsError as error:
        raise CommandError(str(error)) from error
