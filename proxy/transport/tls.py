"""TLS for the listener: a context made from files, and made anew when these change.

Kubernetes replaces a secret's files by moving one symbolic link; other tools write certificate and key one after the
other. So changed files are taken once they have been found the same twice. What cannot be used leaves the context in
use as it is, is told in the log once, and is tried again at each look: what mends it, as a right that was missing, need
not show in the files. Open connections stay as they are; new ones get the newest context.

Must never know: what is served.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import structlog

from proxy.transport.certificate import expires_at_seconds

log = structlog.get_logger(__name__)

# Secrets are replaced days before they expire; a look costs three system calls.
_LOOK_SECONDS = 5.0
# In the order of preference; a client that names neither is recognised by its first bytes.
_PROTOCOLS = ["h2", "http/1.1"]


class TlsError(Exception):
    """The files cannot be used; the text begins with the setting at fault."""


class TlsFiles(NamedTuple):
    """Where everything is, in PEM; the fields are named as their settings.

    Args:
        tls_certificate_file: the certificate, and after it those that lead to its root.
        tls_key_file: its private key, not encrypted.
        tls_client_ca_file: who must have signed the certificate that each client has to show; None asks for none.
    """

    tls_certificate_file: str
    tls_key_file: str
    tls_client_ca_file: str | None = None


class ServerTls:
    """The newest usable context.

    Args:
        files: what to make it from.

    `expires_at_seconds` is when its certificate expires, since the epoch.

    Raises:
        TlsError: it cannot be made.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._taken = self._seen = _state_of(files)
        self._told: tuple[object, str] | None = None  # which files were last found to be unusable, and why
        self._looked_at = 0.0
        self._take()

    def refresh(self, now: float) -> None:
        """Look after the files; called again and again, with any clock's seconds."""
        if now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        before, self._seen = self._seen, _state_of(self._files)
        if self._seen == self._taken or self._seen != before:
            return
        try:
            self._take()
        except TlsError as error:
            found = (self._seen, str(error))
            if found != self._told:
                log.error("tls_files_unusable", reason=str(error))  # noqa: TRY400 - the reason says all
            self._told = found
        else:
            self._taken = self._seen
            log.info("tls_files_taken")

    def _take(self) -> None:
        pem = _read("tls_certificate_file", self._files.tls_certificate_file)
        self.context = make_context(self._files)
        self.expires_at_seconds = expires_at_seconds(pem)


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Make a context for a server.

    Raises:
        TlsError: a file cannot be used.
    """
    for setting, path in files._asdict().items():
        if path is not None:
            _read(setting, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)
    _load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "tls_certificate_file", files.tls_certificate_file)
    try:
        context.load_cert_chain(files.tls_certificate_file, files.tls_key_file, _no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"tls_key_file {files.tls_key_file} is not the certificate's key") from error
        raise TlsError(f"tls_key_file {files.tls_key_file} cannot be used ({error.reason or error})") from error
    if files.tls_client_ca_file is not None:
        _load_authorities(context, "tls_client_ca_file", files.tls_client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _read(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsError(f"{setting} {path} cannot be read ({error.strerror})") from error


def _load_authorities(context: ssl.SSLContext, setting: str, path: str) -> None:
    """Load certificates to verify others by, which also proves that they can be read."""
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise TlsError(f"{setting} {path} holds no certificate that can be used ({error.reason or error})") from error


def _no_password() -> str:
    raise TlsError("tls_key_file is encrypted: there is nobody to ask for its password")


def _state_of(files: TlsFiles) -> tuple[tuple[int, int, int], ...] | None:
    """Return what changes when a file does, behind symbolic links; None while one is missing."""
    try:
        states = [Path(path).stat() for path in files if path is not None]
    except OSError:
        return None
    return tuple((state.st_ino, state.st_mtime_ns, state.st_size) for state in states)
