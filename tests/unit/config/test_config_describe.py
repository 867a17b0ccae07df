from __future__ import annotations

import json
import re

import pytest

from proxy.config import EmulateSettings, ServeSettings, Settings
from proxy.config.describe import as_json, as_markdown, as_table, rows
from proxy.config.settings import GROUPS


def test_every_setting_is_described_and_bounded() -> None:
    """A setting has a group, a description, and bounds, or a unit that tells the form that its parser demands."""
    described = {"upstream", "region", "aws_profile"}
    for row in rows(Settings(), {}):
        assert row.group in GROUPS
        assert row.description.endswith(".")
        assert row.bounds or row.unit or row.name in described


def test_a_setting_with_a_unit_says_it_in_its_name() -> None:
    """Nobody has to look up whether a timeout is in seconds."""
    words = {"ms": "_ms", "bytes": "bytes", "records": "records", "bytes/s": "bytes_per_second", "ratio": "ratio"}
    for row in rows(Settings(), {}):
        if row.unit in words:
            assert words[row.unit] in row.name, row.name


def test_the_defaults_contradict_nothing() -> None:
    """Each command starts without any setting."""
    assert not list(ServeSettings().problems())
    assert not list(EmulateSettings().problems())


def test_the_table_has_a_line_for_each_setting_with_its_source() -> None:
    """The table answers what is set, where, and what else could be."""
    settings = ServeSettings.model_validate({"linger_ms": 7})
    lines = as_table(settings, {"linger_ms": "flag --linger-ms"}).split("\n")
    assert len(lines) == 1 + len(Settings.model_fields)
    (line,) = [line for line in lines if line.startswith("linger_ms ")]
    cells = re.split(r" {2,}", line)
    assert cells == [
        "linger_ms",
        "7",
        "ms",
        "flag --linger-ms",
        "2",
        "0..1000",
        "--linger-ms",
        "KINESIS_PROXY_LINGER_MS",
    ]


def test_json_and_markdown_hold_every_setting() -> None:
    """No format leaves out a setting."""
    assert [row["name"] for row in json.loads(as_json(Settings(), {}))] == [row.name for row in rows(Settings(), {})]
    for row in rows(Settings(), {}):
        assert f"| `{row.flag}` | `{row.environment}` |" in as_markdown(Settings())


@pytest.mark.parametrize("command", [ServeSettings, EmulateSettings])
def test_a_commands_defaults_are_its_own(command: type[Settings]) -> None:
    """The description shows the default that the command would use."""
    (listen,) = [row.default for row in rows(command(), {}) if row.name == "listen"]
    assert listen == str(command().listen)
