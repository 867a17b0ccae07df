"""What the settings make of the listener."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.commands.listener import http_limits, server_tls
from proxy.commands.process import CommandError
from proxy.config import EmulateSettings, ServeSettings
from proxy.transport.limits import HttpLimits

PEM = str(Path(__file__).parents[2] / "support" / "tls" / "localhost.pem")


def settings(**values: object) -> ServeSettings:
    """Return settings that differ from the defaults in these."""
    return ServeSettings.model_validate(values)


def test_the_defaults_of_the_settings_are_those_of_the_transports() -> None:
    """What they say of themselves is what runs unless somebody sets it otherwise."""
    assert http_limits(settings()) == HttpLimits(request_bytes_max=settings().request_bytes_max)


def test_every_limit_is_the_operators_choice() -> None:
    """Each by its setting, times in milliseconds."""
    assert http_limits(
        settings(
            request_bytes_max=70_000,
            request_bodies_bytes_max=2_000_000,
            request_header_bytes_max=9_000,
            connections_max=7,
            http2_streams_max=5,
            header_timeout_ms=1_500,
            body_timeout_ms=2_500,
            idle_timeout_ms=3_500,
            connection_age_max_ms=0,
        )
    ) == HttpLimits(70_000, 2_000_000, 9_000, 7, 5, 1.5, 2.5, 3.5, 0)


def test_connections_are_plain_unless_a_certificate_is_given() -> None:
    """With it they are secure."""
    assert server_tls(settings()) is None
    assert server_tls(settings(tls_certificate_file=PEM, tls_key_file=PEM)) is not None


def test_file_that_cannot_be_used_is_told_by_its_setting() -> None:
    """Before anything listens."""
    with pytest.raises(CommandError, match=r"^tls_key_file /nowhere cannot be read"):
        server_tls(settings(tls_certificate_file=PEM, tls_key_file="/nowhere"))


@pytest.mark.parametrize("kind", [ServeSettings, EmulateSettings])
@pytest.mark.parametrize("alone", ["tls_certificate_file", "tls_key_file", "tls_client_ca_file"])
def test_certificate_and_key_are_given_together(kind: type[ServeSettings | EmulateSettings], alone: str) -> None:
    """A listener that its operator believes to be secure must not be plain."""
    texts = [problem.text for problem in kind.model_validate({alone: PEM}).problems()]
    assert len(texts) == 1
    assert texts[0].startswith(f"{alone} is of no use without tls_")


@pytest.mark.parametrize("kind", [ServeSettings, EmulateSettings])
def test_clients_that_show_a_certificate_are_no_strangers(kind: type[ServeSettings | EmulateSettings]) -> None:
    """A listener that others can reach needs no other leave; the admin port is another matter."""
    secure = {"listen": "0.0.0.0:4567", "tls_certificate_file": PEM, "tls_key_file": PEM}
    assert [problem.names for problem in kind.model_validate(secure).problems()] == [("listen",)]
    assert not list(kind.model_validate({**secure, "tls_client_ca_file": PEM}).problems())


def test_one_request_fits_into_what_all_may_hold() -> None:
    """Otherwise none so large could ever be served."""
    found = settings(request_bytes_max=3_000_000, request_bodies_bytes_max=2_000_000).problems()
    assert [problem.names for problem in found] == [("request_bytes_max", "request_bodies_bytes_max")]
