from __future__ import annotations

import json
import os

import pytest

import proxy
from proxy import cli
from proxy.config import Settings
from proxy.config.describe import flag_of
from tests.support.readme_tables import README, with_tables


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KINESIS_PROXY_"):
            monkeypatch.delenv(name)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run the program; return its exit code and what it wrote to standard output and standard error."""
    try:
        code = cli.main(list(arguments))
    except SystemExit as end:
        code = int(end.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """A bug report can say what ran."""
    assert run(capsys, "--version") == (0, f"kinesis-proxy {proxy.__version__}\n", "")


def test_without_a_command_the_commands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """The program says what it can do, and that nothing was done."""
    code, out, err = run(capsys)
    assert (code, out) == (2, "")
    for command in ("serve", "emulate", "config"):
        assert f"    {command} " in err


@pytest.mark.parametrize("command", ["serve", "config"])
def test_every_setting_is_a_flag(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """What the environment and the file can set, a flag can set too; help says its default and bounds."""
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    for name in Settings.model_fields:
        assert f" {flag_of(name)}" in out
    assert "[default: 2; a whole number" in out


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("--shard-rate-adapts",), "true"),
        (("--shard-rate-adapts", "true"), "true"),
        (("--shard-rate-adapts", "false"), "false"),
        (("--shard-rate-adapts=false",), "false"),
        (("--no-shard-rate-adapts",), "false"),
        (("--shard-rate-adapts", "--no-shard-rate-adapts"), "false"),
    ],
)
def test_what_is_true_or_false_is_a_flag_with_or_without_its_value(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], value: str
) -> None:
    """The table says true or false, so that is what can be written; the last flag counts, as ever."""
    code, out, err = run(capsys, "config", "--format", "json", *arguments)
    assert (code, err) == (0, "")
    (row,) = [row for row in json.loads(out) if row["name"] == "shard_rate_adapts"]
    assert (row["value"], row["source"]) == (value, "flag --shard-rate-adapts")


def test_help_says_how_to_make_a_setting_false(capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms stand there."""
    _, out, _ = run(capsys, "serve", "--help")
    words = " ".join(out.split())
    assert "--shard-rate-adapts [true|false] " in words
    assert "[default: true; --no-shard-rate-adapts is false]" in words


def test_emulate_offers_what_the_emulator_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """A flag without effect would mislead."""
    code, out, _ = run(capsys, "emulate", "--help")
    assert code == 0
    assert " --stream " in out
    assert " --region " in out
    assert " --linger-ms " not in out
    assert "127.0.0.1:4568" in out


def test_an_unknown_flag_is_told_in_one_line_with_the_flag_that_it_resembles(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A mistyped flag is no page of usage."""
    assert run(capsys, "serve", "--lingre-ms", "5") == (
        2,
        "",
        "kinesis-proxy: unknown argument --lingre-ms; did you mean --linger-ms?; see kinesis-proxy serve --help\n",
    )


def test_a_flag_is_never_guessed_from_its_beginning(capsys: pytest.CaptureFixture[str]) -> None:
    """An abbreviation would change its meaning when a setting is added."""
    code, _, err = run(capsys, "serve", "--linger", "5")
    assert code == 2
    assert "unknown argument --linger; did you mean --linger-ms?" in err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("serve", "extra"), "unknown argument extra; see kinesis-proxy serve --help"),
        (("serve", "--linger-ms"), "argument --linger-ms: expected one argument; see kinesis-proxy serve --help"),
        (("serve", "--linger-ms", "-1"), "linger_ms: '-1' is not a whole number in 0..1000 (from flag --linger-ms)"),
        (("emulate", "--region", "EU"), "region: write an AWS region, for example eu-central-1 (from flag --region)"),
        (("serve", "--shard-limits=maybe"), "shard_limits: 'maybe' is not true or false (from flag --shard-limits)"),
        (
            ("serve", "--upstream", "embeded"),
            (
                "upstream: write aws, embedded, or the URL of an endpoint such as "
                "https://kinesis.eu-central-1.amazonaws.com; did you mean embedded? (from flag --upstream)"
            ),
        ),
        (
            ("serve", "--config", "/nowhere.toml"),
            "settings file /nowhere.toml does not exist or is no file (from flag --config)",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], error: str
) -> None:
    """No traceback for what the user can mend."""
    assert run(capsys, *arguments) == (2, "", f"kinesis-proxy: {error}\n")


def test_config_shows_what_would_be_in_effect(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each setting with its value and source, after flags, environment and file."""
    monkeypatch.setenv("KINESIS_PROXY_IN_FLIGHT_MAX", "4")
    code, out, _ = run(capsys, "config", "--format", "json", "--linger-ms", "7")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == set(Settings.model_fields)
    assert (rows["linger_ms"]["value"], rows["linger_ms"]["source"]) == ("7", "flag --linger-ms")
    assert rows["in_flight_max"]["source"] == "environment KINESIS_PROXY_IN_FLIGHT_MAX"
    assert (rows["backoff_max_ms"]["value"], rows["backoff_max_ms"]["source"]) == ("1000", "default")


def test_config_shows_the_settings_of_either_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The commands differ in where they listen."""
    for command, address in (("serve", "127.0.0.1:4567"), ("emulate", "127.0.0.1:4568")):
        _, out, _ = run(capsys, "config", "--command", command)
        (line,) = [line for line in out.splitlines() if line.startswith("listen ")]
        assert address in line


def test_config_shows_of_emulate_what_emulate_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither setting nor flag without effect: what the one command refuses, its listing does not have."""
    _, out, _ = run(capsys, "config", "--command", "emulate", "--format", "json", "--create-delay-ms", "5")
    names = {row["name"] for row in json.loads(out)}
    assert {"create_delay_ms", "region", "log_level", "admin_listen"} < names
    assert not {"linger_ms", "upstream", "inbound_keys_file"} & names
    assert run(capsys, "config", "--command", "emulate", "--linger-ms", "5") == (
        2,
        "",
        "kinesis-proxy: emulate has no flag --linger-ms\n",
    )


def test_config_in_markdown_shows_what_would_be_in_effect(capsys: pytest.CaptureFixture[str]) -> None:
    """The form changes nothing about what is told, or refused."""
    code, out, _ = run(capsys, "config", "--format", "markdown", "--linger-ms", "7")
    assert code == 0
    assert "| Flag | Environment | Value | Source | Default |" in out
    assert "| `--linger-ms` | `KINESIS_PROXY_LINGER_MS` | `7` | flag --linger-ms | `2` | ms |" in out
    assert run(capsys, "config", "--format", "markdown", "--linger-ms", "x")[0] == 2


def test_the_readmes_tables_are_the_programs_own() -> None:
    """A setting or metric that is added or changed changes the documentation, or this fails."""
    readme = README.read_text(encoding="utf-8")
    assert with_tables(readme) == readme, "run: make tables"
