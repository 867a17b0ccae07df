from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from proxy.config import ServeSettings, load
from tests.support.manifests import DEPLOY, PREFIX

COMPOSE = DEPLOY / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
ADMIN_PORT, PORT = 9464, 4567


def substituted(value: str, given: dict[str, str]) -> str:
    """Return a value as Compose reads it in an environment: ${NAME:-default} and ${NAME-default}."""

    def replace(match: re.Match[str]) -> str:
        name, even_if_empty, default = match.groups()
        found = given.get(name)
        return default if found is None or (even_if_empty and not found) else found

    return re.sub(r"\$\{(\w+)(:?)-([^}]*)\}", replace, value)


@pytest.mark.parametrize(
    ("given", "upstream", "streams"),
    [
        ({}, "embedded", ["orders:4"]),
        ({"KINESIS_PROXY_UPSTREAM": "aws", "KINESIS_PROXY_STREAM": ""}, "aws", []),
    ],
)
def test_the_program_accepts_the_settings(
    given: dict[str, str], upstream: str, streams: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve` would start as the file is, and as its first lines say for AWS."""
    for name, value in SERVICES["proxy"]["environment"].items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, substituted(value, given))
    settings = load(ServeSettings, {}).settings
    assert settings.upstream == upstream
    assert [str(stream) for stream in settings.stream] == streams
    assert (settings.listen.port, settings.admin_listen.port) == (PORT, ADMIN_PORT)


def test_nothing_is_published_beyond_this_machine() -> None:
    """Neither the proxy nor Grafana asks who calls."""
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_is_mounted_is_in_the_repository() -> None:
    """Docker would make an empty folder of a path that is not there."""
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert len(mounts) == 3
    assert [mount for mount in mounts if not (DEPLOY / mount).is_dir()] == []


def test_prometheus_scrapes_the_proxy_and_reads_the_rules() -> None:
    """By the name and the port that the proxy has here."""
    (option,) = (word for word in SERVICES["prometheus"]["command"] if word.startswith("--config.file="))
    folder, name = option.removeprefix("--config.file=").rsplit("/", 1)
    assert f"./prometheus:{folder}:ro" in SERVICES["prometheus"]["volumes"]
    config = yaml.safe_load((DEPLOY / "prometheus" / name).read_text(encoding="utf-8"))
    targets = [target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]]
    assert targets == [f"proxy:{ADMIN_PORT}"]
    assert all((DEPLOY / "prometheus" / file).is_file() for file in config["rule_files"])
