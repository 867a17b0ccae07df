"""When a certificate expires, read from its file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from proxy.transport.certificate import expires_at_seconds

PEMS = Path(__file__).parents[2] / "support" / "tls"
IN_2049 = datetime(2049, 1, 1, tzinfo=UTC).timestamp()
IN_2120 = datetime(2120, 1, 1, tzinfo=UTC).timestamp()


def test_both_forms_of_a_date_are_read() -> None:
    """Years to 2049 are written with two digits, later ones with four; a key beside the certificate is passed over."""
    assert expires_at_seconds((PEMS / "until_2049.pem").read_bytes()) == IN_2049
    assert expires_at_seconds((PEMS / "localhost.pem").read_bytes()) == IN_2120


def test_the_first_certificate_of_a_chain_counts() -> None:
    """It is the server's own; one that leads to the root may be old, where clients know another way."""
    own, root = (PEMS / "until_2049.pem").read_bytes(), (PEMS / "authority.pem").read_bytes()
    assert expires_at_seconds(own + root) == IN_2049
    assert expires_at_seconds(root + own) == IN_2120


def test_a_file_without_a_certificate_tells_nothing() -> None:
    """OpenSSL takes other forms too."""
    assert expires_at_seconds(b"-----BEGIN TRUSTED CERTIFICATE-----") is None
