from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from proxy.config import Address, ConfigurationError, EmulateSettings, ServeSettings, Settings, StreamSpec, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("KINESIS_PROXY_"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a settings file to be written."""
    return tmp_path / "kinesis-proxy.toml"


def refusal(flags: dict[str, object] | None = None, file: Path | None = None) -> str:
    """Return what `serve` says when it refuses the settings."""
    with pytest.raises(ConfigurationError) as error:
        load(ServeSettings, flags or {}, str(file) if file else None)
    return str(error.value)


def test_flags_win_over_the_environment_and_the_environment_over_the_file(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    """Each source only fills in what those before it leave open."""
    file.write_text("linger_ms = 1\nbackoff_base_ms = 1\nstreams_max = 1\n")
    monkeypatch.setenv("KINESIS_PROXY_LINGER_MS", "2")
    monkeypatch.setenv("KINESIS_PROXY_BACKOFF_BASE_MS", "2")
    configuration = load(ServeSettings, {"linger_ms": "3"}, str(file))
    settings = configuration.settings
    assert (settings.linger_ms, settings.backoff_base_ms, settings.streams_max, settings.in_flight_max) == (3, 2, 1, 8)
    assert configuration.origins == {
        "linger_ms": "flag --linger-ms",
        "backoff_base_ms": "environment KINESIS_PROXY_BACKOFF_BASE_MS",
        "streams_max": f"file {file}",
    }


def test_the_file_can_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    """`KINESIS_PROXY_CONFIG` is read where no flag names a file."""
    file.write_text('upstream = "embedded"\nstream = ["orders:4"]\n[fault]\nlatency_ms = 5\n')
    monkeypatch.setenv("KINESIS_PROXY_CONFIG", str(file))
    settings = load(ServeSettings, {}).settings
    assert settings.stream == (StreamSpec("orders", 4),)
    assert settings.fault == ("latency_ms=5",)


def test_an_empty_environment_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates leave empty what they do not set."""
    monkeypatch.setenv("KINESIS_PROXY_LINGER_MS", "")
    assert load(ServeSettings, {}).settings.linger_ms == 2


def test_an_unknown_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelled variable is refused, with the name that it resembles."""
    monkeypatch.setenv("KINESIS_PROXY_LINGRE_MS", "5")
    assert refusal() == (
        "unknown setting in the environment: KINESIS_PROXY_LINGRE_MS; did you mean KINESIS_PROXY_LINGER_MS?"
    )


@pytest.mark.parametrize(
    "name",
    [
        "KINESIS_PROXY_PORT",
        "KINESIS_PROXY_PORT_4567_TCP",
        "KINESIS_PROXY_PORT_4567_TCP_ADDR",
        "KINESIS_PROXY_SERVICE_HOST",
        "KINESIS_PROXY_SERVICE_PORT",
        "KINESIS_PROXY_SERVICE_PORT_KINESIS",
        "KINESIS_PROXY_ADMIN_SERVICE_HOST",
        "KINESIS_PROXY_ADMIN_PORT_9464_TCP_PROTO",
    ],
)
def test_variables_that_kubernetes_sets_for_services_are_no_settings(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A Service called kinesis-proxy must not stop the pods beside it from starting."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:4567")
    load(ServeSettings, {})


def test_no_setting_can_be_mistaken_for_a_variable_of_kubernetes() -> None:
    """A setting with such a name could never be set by environment in a cluster."""
    assert not [name for name in ServeSettings.model_fields if name.endswith(("port", "service_host"))]


def test_an_unknown_key_of_the_file_is_named(file: Path) -> None:
    """A misspelled key is refused, with the file and the name that it resembles."""
    file.write_text("batch_record_max = 5\n")
    assert refusal(file=file) == (f"unknown setting batch_record_max in file {file}; did you mean batch_records_max?")


@pytest.mark.parametrize("group", ["delivery", "listen"])
def test_settings_are_not_grouped_in_the_file(file: Path, group: str) -> None:
    """The documentation groups them, so this is tried; a group can be called as a setting is."""
    file.write_text(f"[{group}]\nlinger_ms = 5\n")
    assert refusal(file=file) == (
        f"unknown setting {group} in file {file}: settings are not grouped in the file; write them without [{group}], "
        "before any table"
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, unreadable or malformed file never means defaults."""
    missing = tmp_path / "none.toml"
    assert refusal(file=missing) == f"settings file {missing} does not exist or is no file (from flag --config)"
    monkeypatch.setenv("KINESIS_PROXY_CONFIG", str(missing))
    assert refusal().endswith("does not exist or is no file (from environment KINESIS_PROXY_CONFIG)")
    file.write_text("linger_ms: 5")
    assert refusal(file=file).startswith(f"settings file {file} is not TOML: ")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"linger_ms": "1001"}, "linger_ms: '1001' is not a whole number in 0..1000 (from flag --linger-ms)"),
        ({"linger_ms": "-1"}, "linger_ms: '-1' is not a whole number in 0..1000 (from flag --linger-ms)"),
        ({"linger_ms": "5s"}, "linger_ms: '5s' is not a whole number in 0..1000 (from flag --linger-ms)"),
        (
            {"shard_rate_ratio": "0"},
            "shard_rate_ratio: '0' is not above 0, at most 1.5 (from flag --shard-rate-ratio)",
        ),
        ({"log_format": "xml"}, "log_format: 'xml' is not auto, json or console (from flag --log-format)"),
        ({"shard_limits": "maybe"}, "shard_limits: 'maybe' is not true or false (from flag --shard-limits)"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_its_name_bounds_and_source(flags: dict[str, object], text: str) -> None:
    """Whoever set it knows from the message where to look and what to write."""
    assert refusal(flags) == text


def test_a_truth_in_the_environment_is_written_as_the_bounds_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another word for it is refused with its place, and not taken for one or the other."""
    monkeypatch.setenv("KINESIS_PROXY_ALLOW_ANONYMOUS", "yes")
    assert refusal() == ("allow_anonymous: 'yes' is not true or false (from environment KINESIS_PROXY_ALLOW_ANONYMOUS)")


def test_true_in_the_file_is_no_number(file: Path) -> None:
    """TOML's true must not become 1."""
    file.write_text("linger_ms = true\n")
    assert refusal(file=file) == f"linger_ms: write a value, not true or false (from file {file})"


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start the program once for each mistake."""
    monkeypatch.setenv("KINESIS_PROXY_NONSENSE", "1")
    monkeypatch.setenv("KINESIS_PROXY_LOG_LEVEL", "loud")
    lines = refusal({"linger_ms": "x"}).split("\n")
    assert [line.split()[0] for line in lines] == ["unknown", "linger_ms:", "log_level:"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({"request_timeout_ms": "3000"}, ("request_timeout_ms", "delivery_timeout_ms")),
        ({"connect_timeout_ms": "2001"}, ("connect_timeout_ms", "request_timeout_ms")),
        ({"backoff_base_ms": "1001"}, ("backoff_base_ms", "backoff_max_ms")),
        ({"linger_ms": "101"}, ("linger_ms", "shard_burst_ms")),
        ({"shard_rate_ratio_min": "1.1"}, ("shard_rate_ratio_min", "shard_rate_ratio")),
        ({"shard_slice_bytes_max": "6000000"}, ("shard_slice_bytes_max", "batch_bytes_max")),
        ({"buffer_bytes_max": "2000000"}, ("batch_bytes_max", "buffer_bytes_max")),
        ({"buffer_records_max": "499"}, ("batch_records_max", "buffer_records_max")),
    ],
)
def test_settings_that_contradict_each_other_are_named(flags: dict[str, object], names: tuple[str, str]) -> None:
    """Values that are each in bounds can still make no sense together."""
    low, high = names
    assert refusal(flags).startswith(f"{low} (")
    assert f") must be at most {high} (" in refusal(flags)
    ((name, _),) = flags.items()
    assert refusal(flags).endswith(f"({name} from flag --{name.replace('_', '-')})")


def test_a_listener_that_others_can_reach_needs_leave() -> None:
    """Records are not taken from anybody on the network by accident."""
    assert "set allow_anonymous" in refusal({"listen": "0.0.0.0:4567"})
    allowed = {"listen": "0.0.0.0:4567", "allow_anonymous": "true"}
    assert load(ServeSettings, allowed).settings.listen == Address("0.0.0.0", 4567)  # noqa: S104 - parsed, not bound


def test_a_listener_that_others_can_reach_may_demand_signatures_instead() -> None:
    """Whoever has a key is known; the embedded Kinesis alone knows no keys."""
    load(ServeSettings, {"listen": "0.0.0.0:4567", "inbound_auth": "sigv4", "inbound_keys_file": "keys.toml"})
    assert "authenticate callers (inbound_auth or tls_client_ca_file)" in refusal({"listen": "0.0.0.0:4567"})
    with pytest.raises(ConfigurationError, match="callers are not authenticated"):
        load(EmulateSettings, {"listen": "0.0.0.0:4568", "inbound_auth": "sigv4", "inbound_keys_file": "keys.toml"})


def test_signatures_and_keys_need_each_other() -> None:
    """A forgotten setting must not leave the door open."""
    assert refusal({"inbound_auth": "sigv4"}).startswith("inbound_auth sigv4 needs inbound_keys_file: set it")
    assert refusal({"inbound_keys_file": "keys.toml"}).startswith("inbound_keys_file is of no use while inbound_auth")


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:4567", "http://localhost:4567", "http://[::1]:4567"])
def test_a_proxy_that_would_send_to_itself_is_refused(upstream: str) -> None:
    """Each record would go round until it expires."""
    assert refusal({"upstream": upstream}).startswith(f"upstream {upstream} is the proxy's own address")
    load(ServeSettings, {"upstream": upstream, "listen": "127.0.0.1:4569"})
    load(ServeSettings, {"upstream": "http://10.0.0.1:4567"})


@pytest.mark.parametrize("settings_type", [ServeSettings, EmulateSettings])
def test_the_listeners_need_an_address_each(settings_type: type[Settings]) -> None:
    """One port cannot be both; two ports that the system chooses are two."""
    with pytest.raises(ConfigurationError, match=r"listen and admin_listen are both 127\.0\.0\.1:5000"):
        load(settings_type, {"listen": "127.0.0.1:5000", "admin_listen": "127.0.0.1:5000"})
    load(settings_type, {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"})


def test_the_admin_port_may_be_reached_unless_it_can_change_something() -> None:
    """Probes and scrapes come from outside the pod; the embedded Kinesis takes orders on its admin port."""
    load(ServeSettings, {"admin_listen": "0.0.0.0:9464"})
    assert "admin_listen" in refusal({"admin_listen": "0.0.0.0:9464", "upstream": "embedded"})


def test_settings_of_the_embedded_kinesis_need_it_as_upstream() -> None:
    """A stream asked for on a real upstream would silently not be made."""
    assert refusal({"stream": ["orders:4"]}) == (
        "stream is for the embedded Kinesis, but upstream is aws: set upstream to embedded (stream from flag --stream)"
    )
    load(ServeSettings, {"stream": ["orders:4"], "upstream": "embedded"})


def test_emulate_ignores_what_only_serve_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One environment or file can serve both commands, which listen on different ports."""
    monkeypatch.setenv("KINESIS_PROXY_UPSTREAM", "aws")
    settings = load(EmulateSettings, {"stream": ["orders:4"]}).settings
    assert settings.listen == Address("127.0.0.1", 4568)
    assert settings.admin_listen == Address("127.0.0.1", 9465)
