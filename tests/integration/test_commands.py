"""The commands as a person or an orchestrator meets them: real processes, their output and their exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.metrics.catalogue import FAMILIES, PREFIX
from tests.support.processes import CREDENTIALS, emulate, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.processes import Service

README = Path(__file__).parents[2] / "README.md"


def client_of(proxy: Service) -> Any:  # noqa: ANN401 - boto3 has no types
    """Return an SDK's client of a proxy."""
    return boto3.client(
        "kinesis",
        endpoint_url=proxy.url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def run(*arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, without any AWS set-up but the environment given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KINESIS_PROXY_"))}
    nothing = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    return subprocess.run(  # noqa: S603 - the arguments are the tests' own
        [sys.executable, "-m", "proxy", *arguments],
        env={**inherited, **nothing, "AWS_EC2_METADATA_DISABLED": "true", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def get(url: str) -> str:
    """Return the body of a page."""
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - a loopback URL of the test's own
        body: bytes = response.read()
    return body.decode()


@pytest.fixture
def taken_port() -> Iterator[int]:
    """Give a loopback port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


def test_serve_without_a_region_says_what_to_set() -> None:
    """A proxy that knows no stream's region ends at once, and never falls back to its embedded Kinesis."""
    result = run("serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "no AWS region: set --region, KINESIS_PROXY_REGION, AWS_REGION" in result.stderr


def test_a_profile_that_is_not_there_is_named() -> None:
    """A mistyped profile never means the default one."""
    result = run("serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--aws-profile", "produktion")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "produktion" in result.stderr


@pytest.mark.parametrize("command", [("serve", "--upstream", "embedded"), ("emulate",)])
@pytest.mark.parametrize("setting", ["listen", "admin_listen"])
def test_a_port_in_use_is_named_with_its_flag(command: tuple[str, ...], setting: str, taken_port: int) -> None:
    """The most frequent trouble of a first start is told in one line."""
    addresses = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", setting: f"127.0.0.1:{taken_port}"}
    result = run(*command, "--listen", addresses["listen"], "--admin-listen", addresses["admin_listen"])
    flag = "--" + setting.replace("_", "-")
    assert result.returncode == 2
    assert result.stderr == (
        f"kinesis-proxy: {setting} 127.0.0.1:{taken_port} is in use by another program: choose another with {flag}\n"
    )


def test_an_address_of_another_machine_is_named() -> None:
    """An address that cannot be listened on is no traceback."""
    result = run("emulate", "--listen", "192.0.2.1:0", "--admin-listen", "127.0.0.1:0", "--allow-anonymous")
    assert result.returncode == 2
    assert "listen 192.0.2.1:0 is no address of this machine" in result.stderr


def test_an_unknown_fault_is_told_with_those_that_there_are() -> None:
    """The emulator knows its faults, and the command line its user."""
    result = run("emulate", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--fault", "latency=5")
    assert result.returncode == 2
    assert result.stderr.startswith("kinesis-proxy: fault: ")
    assert "latency_ms" in result.stderr


@pytest.mark.parametrize(
    ("flag", "value", "told"),
    [
        ("--fault", "throttle_ratio=2", "fault: throttle_ratio must be a number between 0 and 1, not 2.0"),
        (
            "--forwarded-operations",
            "bogus",
            (
                "forwarded_operations: Kinesis has no operation 'bogus'; write none, read-stream, all or auto, "
                "or operations with commas, for example GetRecords"
            ),
        ),
        ("--inbound-keys-file", "/nowhere", "inbound_keys_file: /nowhere does not exist"),
    ],
)
def test_what_only_the_command_can_judge_is_told_with_its_source_too(flag: str, value: str, told: str) -> None:
    """Whoever set it learns where it stands, as of every other value."""
    auth = ("--inbound-auth", "sigv4") if "keys" in flag else ()
    addresses = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
    result = run("serve", "--upstream", "embedded", *addresses, *auth, flag, value)
    assert (result.returncode, result.stderr) == (2, f"kinesis-proxy: {told} (from flag {flag})\n")


def test_settings_come_from_a_file_named_in_the_environment(tmp_path: Path) -> None:
    """What a container is given, the command reads."""
    file = tmp_path / "proxy.toml"
    file.write_text("linger_ms = 9\n")
    result = run("config", "--format", "json", environment={"KINESIS_PROXY_CONFIG": str(file)})
    assert result.returncode == 0
    (row,) = [row for row in json.loads(result.stdout) if row["name"] == "linger_ms"]
    assert (row["value"], row["source"]) == ("9", f"file {file}")


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    """`kinesis-proxy config | head -1` ends quietly."""
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, b"")


def test_the_readmes_example_works_as_it_stands() -> None:
    """What a newcomer copies does what the README says."""
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    with serve("embedded", stream=["orders:4"]) as proxy:
        program = example.replace("http://127.0.0.1:4567", proxy.url)
        result = subprocess.run(  # noqa: S603 - the README's own program
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
        )
    assert (result.stdout, result.stderr) == ("True b'hello'\n", "")


def test_a_fresh_proxy_shows_every_metric() -> None:
    """A dashboard or alert on any of them finds it before anything has happened."""
    with serve("embedded", stream=["orders:4"]) as proxy:
        text = get(f"{proxy.admin_url}/metrics")
    shown = {family.name for family in text_string_to_metric_families(text)}
    wanted = {PREFIX + family.name.removesuffix("_total") for family in FAMILIES}
    assert wanted <= shown


def test_the_emulator_shows_its_streams_and_takes_faults_while_it_runs() -> None:
    """The emulator's own pages stand on its admin port."""
    with emulate(stream=["orders:2", "clicks:1"]) as emulator:
        streams = json.loads(get(f"{emulator.admin_url}/streams"))["streams"]
        assert [(stream["name"], stream["open_shards"]) for stream in streams] == [("clicks", 1), ("orders", 2)]
        request = urllib.request.Request(f"{emulator.admin_url}/faults", b'{"latency_ms": 7}', method="PUT")  # noqa: S310 - as above
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310 - as above
            assert json.load(response)["latency_ms"] == 7
        assert emulator.metrics().total("kinesis_proxy_emulator_records_total", outcome="accepted") == 0


def test_the_status_follows_the_records() -> None:
    """A person sees what became of the records, by stream."""
    with serve("embedded", stream=["orders:2"]) as proxy:
        kinesis = client_of(proxy)
        kinesis.put_records(
            StreamName="orders", Records=[{"Data": b"hello", "PartitionKey": f"key-{number}"} for number in range(20)]
        )
        kinesis.close()
        status = json.loads(get(f"{proxy.admin_url}/status"))
    (stream,) = status["streams"]
    assert stream["name"] == "orders"
    assert stream["records"]["delivered"] == status["records"]["received"] == 20
    assert len(stream["shards"]) == 2
    assert "key-" not in json.dumps(status)


def test_a_low_limit_of_open_files_is_raised_at_the_start() -> None:
    """Else clients could take every descriptor, and the process would be deaf to probes too."""
    before = _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with serve("embedded", connections_max=300) as proxy:
            metrics = proxy.metrics()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert metrics.total("process_max_fds") == 300 + 64 + 32 + 100
    assert metrics.total("kinesis_proxy_http_connections_limit") == 300


def test_the_counts_of_a_stream_that_is_forgotten_do_not_move_to_others() -> None:
    """There they would pass for records of now."""
    with serve("embedded", stream=["orders:1", "clicks:1"], streams_max=1) as proxy:
        kinesis = client_of(proxy)
        for stream in ("orders", "clicks"):
            kinesis.put_record(StreamName=stream, Data=b"hello", PartitionKey="key")
        kinesis.close()
        metrics = proxy.metrics()
    delivered = {
        label: metrics.total("kinesis_proxy_delivered_records_total", stream=label)
        for label in ("orders", "clicks", "other")
    }
    assert delivered == {"orders": 1, "clicks": 1, "other": 0}


def test_the_log_is_json_without_data_or_keys() -> None:
    """A container's log has an object a line, and nothing of what producers send."""
    with serve("embedded", stream=["orders:2"], log_level="debug") as proxy:
        kinesis = client_of(proxy)
        kinesis.put_record(StreamName="orders", Data=b"a secret payload", PartitionKey="customer-4711")
        kinesis.close()
    output = proxy.output()
    events = [json.loads(line)["event"] for line in output.splitlines()]
    assert events[0] == "serving"
    assert events[-3:] == ["signal_received", "draining", "stopped"]
    for secret in ("customer-4711", "secret payload", "YSBzZWNyZXQ", CREDENTIALS["AWS_SECRET_ACCESS_KEY"]):
        assert secret not in output


@pytest.mark.parametrize(
    ("disposition", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)], ids=["terminal", "nohup"]
)
def test_the_end_of_its_terminal_asks_a_proxy_to_stop_in_order(disposition: signal.Handlers, *, ends: bool) -> None:
    """But not one that was started under nohup."""
    before = signal.signal(signal.SIGHUP, disposition)  # which the process inherits
    try:
        with serve("embedded") as proxy:
            proxy.send_signal(signal.SIGHUP)
            if not ends:
                proxy.send_signal(signal.SIGTERM)
            assert proxy.wait() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    received = [json.loads(line)["signal"] for line in proxy.output().splitlines() if "signal_received" in line]
    assert received == ["SIGHUP" if ends else "SIGTERM"]


def test_a_second_signal_ends_the_drain_and_the_exit_code_tells_of_what_was_not_delivered() -> None:
    """Whoever is in a hurry gets an end at once, and the truth about it."""
    with serve("embedded", stream=["orders:1"], fault=["latency_ms=60000"], drain_timeout_ms=60_000) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            body = b'{"StreamName": "orders", "PartitionKey": "a", "Data": "aGVsbG8="}'
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: proxy\r\nContent-Type: application/x-amz-json-1.1\r\n"
                b"X-Amz-Target: Kinesis_20131202.PutRecord\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/e, "
                b"SignedHeaders=host, Signature=f\r\nX-Amz-Date: 20261123T000000Z\r\n"
                b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
            )
            proxy.wait_until(lambda: proxy.metrics().total("kinesis_proxy_buffer_records") == 1)
            proxy.send_signal(signal.SIGTERM)
            proxy.wait_until(lambda: "draining" in proxy.output())
            proxy.send_signal(signal.SIGTERM)
            answer = client.recv(65_536)
        assert proxy.wait() == 1
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"InternalFailure" in answer
    assert proxy.output().splitlines()[-1] == "kinesis-proxy: 1 accepted record was not delivered"
