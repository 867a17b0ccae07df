"""Every SDK as it is, but for the endpoint: `sdks/README.md` has the scenario, `sdks/matrix.py` the SDKs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.conformance.sdks.aggregation import user_records
from tests.conformance.sdks.matrix import CLIENTS, JSON, PUTS, TRUST_STORE_PASSWORD, Client
from tests.conformance.sdks.scenario import (
    STREAM_SHARDS,
    THROTTLED_STREAM_NAME,
    Located,
    check_absent,
    check_order,
    check_read_back,
    check_throttled,
    located,
    read_records,
    scenario,
)
from tests.conformance.sdks.wiretap import Wiretap
from tests.support.fault_server import TLS_IDENTITY
from tests.support.processes import CREDENTIALS, Service, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.sdks.scenario import Step

PROGRAM_TIMEOUT_SECONDS = 100
CURL_TIMEOUT_SECONDS = 20
# How often each SDK tries a call, by its own setting: so a throttled stream is given up soon.
ATTEMPTS = 2
# What callers sign with; the proxy's own credentials are others.
CALLER = {
    **CREDENTIALS,
    "AWS_ACCESS_KEY_ID": "ASIACALLER",
    "AWS_SECRET_ACCESS_KEY": "a/secret+of/the+caller",
    "AWS_SESSION_TOKEN": "a/token+of/the+caller==",
}
CURL_KEY = ("AKIACURL", "a/secret+of/curl")
RUNS = [(name, scheme) for name, client in CLIENTS.items() for scheme in client.schemes]

pytestmark = pytest.mark.timeout(PROGRAM_TIMEOUT_SECONDS + 60)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the keys that the proxy takes: a temporary one for the SDKs, a lasting one for curl."""
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    file.write_text(
        f"""
        [[key]]
        access_key_id = "{CALLER["AWS_ACCESS_KEY_ID"]}"
        secret_access_key = "{CALLER["AWS_SECRET_ACCESS_KEY"]}"
        session_token = "{CALLER["AWS_SESSION_TOKEN"]}"

        [[key]]
        access_key_id = "{CURL_KEY[0]}"
        secret_access_key = "{CURL_KEY[1]}"
        """,
        encoding="ascii",
    )
    return file


def _serve(keys_file: Path, **settings: str) -> Service:
    """Start the proxy with a stream for each SDK, and one that throttles whatever is put into it."""
    return serve(
        "embedded",
        stream=[*(f"{name}:{STREAM_SHARDS}" for name in CLIENTS), f"{THROTTLED_STREAM_NAME}:1"],
        fault=["throttle_ratio=1", f"stream_name={THROTTLED_STREAM_NAME}"],
        # The scenario's largest record would keep its shard busy for a second.
        shard_limits=False,
        shard_bytes_per_second=0,
        # The throttled calls last so long.
        delivery_timeout_ms=1000,
        request_timeout_ms=1000,
        inbound_auth="sigv4",
        inbound_keys_file=str(keys_file),
        **settings,
    )


@pytest.fixture(scope="module")
def http_proxy(keys_file: Path) -> Iterator[Service]:
    """Give the proxy on http://, its embedded Kinesis behind it."""
    with _serve(keys_file) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def https_proxy(keys_file: Path) -> Iterator[Service]:
    """Give the proxy on https://, its embedded Kinesis behind it."""
    with _serve(keys_file, tls_certificate_file=str(TLS_IDENTITY), tls_key_file=str(TLS_IDENTITY)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables by which each SDK is told to trust the proxy's certificate."""
    folder = tmp_path_factory.mktemp("trust")
    certificate, store = folder / "certificate.pem", folder / "certificate.p12"
    begin = "-----BEGIN CERTIFICATE-----"
    certificate.write_text(begin + TLS_IDENTITY.read_text(encoding="ascii").partition(begin)[2], encoding="ascii")
    if shutil.which("keytool"):
        command = ["keytool", "-importcert", "-noprompt", "-alias", "proxy", "-file", str(certificate)]
        command += ["-keystore", str(store), "-storetype", "PKCS12", "-storepass", TRUST_STORE_PASSWORD]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the arguments are ours
    java = {"trustStore": store, "trustStorePassword": TRUST_STORE_PASSWORD}
    return {
        "AWS_CA_BUNDLE": str(certificate),
        "SSL_CERT_FILE": str(certificate),
        "NODE_EXTRA_CA_CERTS": str(certificate),
        "JDK_JAVA_OPTIONS": " ".join(f"-Djavax.net.ssl.{name}={value}" for name, value in java.items()),
    }


def _run(client: Client, stream_name: str, steps: tuple[str, ...], environment: dict[str, str]) -> dict[str, Step]:
    """Run a client's program; return what it wrote for each step."""
    scenario_file = f"{environment['TMPDIR']}/scenario.json"
    with open(scenario_file, "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(scenario(stream_name), file)
    done = subprocess.run(  # noqa: S603 - the arguments are ours
        [*client.program(), scenario_file, *steps],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**environment, **client.environment},
        timeout=PROGRAM_TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    sdk, *answers = [json.loads(line) for line in done.stdout.splitlines()]
    print(sdk["sdk"])  # noqa: T201 - pytest shows it with a failure, and with -s
    return dict(zip(steps, answers, strict=True))


def _need(client: Client) -> None:
    reason = client.missing()
    if reason is not None:
        _missing(reason)


def _missing(reason: str) -> NoReturn:
    # On a developer's machine an SDK may be missing; where the checks decide, nothing goes unproved.
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _environment(folder: Path, endpoint: str, trust: dict[str, str]) -> dict[str, str]:
    """Return all that a program finds in its environment: nothing of the machine's but the way to its tools."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        **CALLER,
        # As boto3 calls it.
        "AWS_DEFAULT_REGION": CALLER["AWS_REGION"],
        "AWS_MAX_ATTEMPTS": str(ATTEMPTS),
        "AWS_ENDPOINT_URL_KINESIS": endpoint,
        **trust,
    }


def _user_records(records: list[Located]) -> list[Located]:
    return [
        Located(record.shard_id, record.sequence_number, partition_key, data)
        for record in records
        for partition_key, data in user_records(record.partition_key, record.data)
    ]


def _refused(proxy: Service) -> float:
    """Return how many PutRecord calls the proxy has answered with an error that is the caller's."""
    return proxy.metrics().total("kinesis_proxy_http_requests_total", operation="PutRecord", code="400")


@pytest.mark.parametrize(("name", "scheme"), RUNS)
def test_an_sdk_puts_reads_and_understands_errors(
    name: str, scheme: str, tmp_path: Path, request: pytest.FixtureRequest, trust: dict[str, str]
) -> None:
    """Puts by name and by ARN, 500 at once, reading back, and the errors that every producer must tell apart."""
    client = CLIENTS[name]
    _need(client)
    proxy: Service = request.getfixturevalue(f"{scheme}_proxy")
    refused = _refused(proxy)
    with Wiretap(proxy.port) as wiretap:
        environment = _environment(tmp_path, f"{scheme}://127.0.0.1:{wiretap.port}", trust)
        answers = _run(client, name, client.steps, environment)
        requests, offers = wiretap.requests(), wiretap.offers()
        if client.reader:
            answers |= _run(CLIENTS[client.reader], name, ("read",), environment)

    put = [record for step, answer in answers.items() if step in PUTS for record in located(step, answer)]
    check_read_back(put, _user_records(read_records(answers["read"])))
    check_absent(answers["put_record_to_absent_stream"])
    check_throttled(answers["put_record_to_throttled_stream"])
    if scheme == "http":
        assert not offers
        assert {(sent.protocol, sent.headers["content-type"]) for sent in requests} == {
            (client.http, client.content_type)
        }
    else:
        assert not requests
        assert set(offers) == {client.alpn}
    if client.counts_attempts:
        check_order(put)
        # An absent stream is not asked again, a throttled one is.
        assert _refused(proxy) - refused == 1 + ATTEMPTS


def test_a_wrong_secret_is_refused(http_proxy: Service, tmp_path: Path) -> None:
    """The signatures of the other tests count: one that is made with another secret does not pass."""
    environment = _environment(tmp_path, http_proxy.url, {"AWS_SECRET_ACCESS_KEY": "another secret"})
    error = _run(CLIENTS["boto3"], "boto3", ("put_record",), environment)["put_record"]["error"]
    assert error["message"].startswith("The request signature we calculated does not match")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_client_that_expects_100_continue_is_told_to_go_on(
    scheme: str, tmp_path: Path, request: pytest.FixtureRequest, trust: dict[str, str]
) -> None:
    """SDKs for C++ hold every body back until they are told to send it: they are, request after request."""
    if shutil.which("curl") is None:
        _missing("there is no curl")
    proxy: Service = request.getfixturevalue(f"{scheme}_proxy")
    puts = scenario("boto3")
    calls = [
        _call("PutRecord", puts["record"]),
        _call("PutRecords", *puts["entries"]),
        _call("PutRecord", puts["record"]),
    ]
    calls[2][1]["StreamName"] = puts["absent_stream_name"]

    trace = tmp_path / "trace"
    command = ["curl", "--silent", "--show-error", "--trace-ascii", str(trace)]
    for number, (operation, body) in enumerate(calls):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(body), encoding="utf-8")
        command += ["--next"] if number else []
        command += ["--http1.1", "--cacert", trust["SSL_CERT_FILE"], "--max-time", str(CURL_TIMEOUT_SECONDS)]
        # It would send without having been told to only long after the end of its time.
        command += ["--header", "Expect: 100-continue", "--expect100-timeout", str(10 * CURL_TIMEOUT_SECONDS)]
        command += ["--header", f"X-Amz-Target: Kinesis_20131202.{operation}", "--header", f"Content-Type: {JSON}"]
        command += ["--aws-sigv4", "aws:amz:us-east-1:kinesis", "--user", ":".join(CURL_KEY)]
        command += ["--data-binary", f"@{file}", f"{scheme}://127.0.0.1:{proxy.port}/"]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - the arguments are ours

    wait = ["request", "100 Continue", "body"]
    assert _events(trace) == [*wait, "200 OK", *wait, "200 OK", *wait, "400 Bad Request"]


def _call(operation: str, *records: dict[str, str]) -> tuple[str, dict[str, Any]]:
    names = {"partition_key": "PartitionKey", "data": "Data", "explicit_hash_key": "ExplicitHashKey"}
    entries = [{names[name]: value for name, value in record.items()} for record in records]
    return operation, {"StreamName": "boto3", **({"Records": entries} if operation == "PutRecords" else entries[0])}


def _events(trace: Path) -> list[str]:
    """Return what curl sent and received, in order: a request's head, its body however cut, and each status."""
    events: list[str] = []
    for line in trace.read_text(encoding="latin-1").splitlines():
        if line.startswith("=> Send header"):
            events.append("request")
        elif line.startswith("=> Send data") and events[-1] != "body":
            events.append("body")
        elif line.startswith("0000: HTTP/1.1 "):
            events.append(line.removeprefix("0000: HTTP/1.1 "))
    return events
