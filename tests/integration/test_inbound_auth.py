"""The proxy as a process that serves only callers who sign with a key of its operator's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support.processes import free_port, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # noqa: S105 - AWS's example
KEY = f'[[key]]\naccess_key_id = "{{}}"\nsecret_access_key = "{SECRET}"\n'


@contextmanager
def client(url: str, access_key_id: str, secret: str = SECRET) -> Iterator[Any]:
    """Make a client as any program does, but for the endpoint and the key."""
    kinesis = boto3.client(
        "kinesis",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
    )
    try:
        yield kinesis
    finally:
        kinesis.close()


def put(kinesis: Any) -> str:  # noqa: ANN401 - boto3 has no types
    """Put a record; return ok, or the error's code."""
    try:
        kinesis.put_record(StreamName="orders", PartitionKey="a", Data=b"x")
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def test_only_callers_with_a_key_are_served(tmp_path: Path) -> None:
    """A wrong secret, an unknown key and no signature get nothing, and no secret gets into the log or a page."""
    keys = tmp_path / "keys.toml"
    keys.write_text(KEY.format("PRODUCER1"), encoding="utf-8")
    settings = {"inbound_auth": "sigv4", "inbound_keys_file": str(keys), "log_level": "debug"}
    with serve("embedded", stream=["orders:1"], **settings) as proxy:
        with client(proxy.url, "PRODUCER1") as kinesis:
            assert put(kinesis) == "ok"
            assert kinesis.list_streams()["StreamNames"] == ["orders"]
        with client(proxy.url, "PRODUCER1", "another secret") as kinesis:
            assert put(kinesis) == "InvalidSignatureException"
        with client(proxy.url, "PRODUCER2") as kinesis:
            assert put(kinesis) == "UnrecognizedClientException"
        headers = {
            "X-Amz-Target": "Kinesis_20131202.PutRecord",
            "Content-Type": "application/x-amz-json-1.1",
        }
        body = b'{"StreamName":"orders","PartitionKey":"a","Data":"YQ=="}'
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(urllib.request.Request(proxy.url, body, headers), timeout=5)  # noqa: S310 - a loopback URL of the test's own
        with refusal.value as answer:
            assert json.load(answer)["__type"] == "MissingAuthenticationTokenException"
        metrics = proxy.metrics()
        assert metrics.total("kinesis_proxy_rejected_records_total", reason="denied") == 3
        assert metrics.total("kinesis_proxy_received_records_total") == 1
    assert SECRET not in proxy.output()


def test_keys_are_exchanged_while_the_proxy_serves(tmp_path: Path) -> None:
    """The new key counts, and the old one no longer does, without a restart."""
    keys = tmp_path / "keys.toml"
    keys.write_text(KEY.format("OLD"), encoding="utf-8")
    settings = {"inbound_auth": "sigv4", "inbound_keys_file": str(keys)}
    with (
        serve("embedded", stream=["orders:1"], **settings) as proxy,
        client(proxy.url, "OLD") as old,
        client(proxy.url, "NEW") as new,
    ):
        assert (put(old), put(new)) == ("ok", "UnrecognizedClientException")
        keys.write_text(KEY.format("OLD") + KEY.format("NEW"), encoding="utf-8")
        proxy.wait_until(lambda: put(new) == "ok")
        assert put(old) == "ok"
        keys.write_text(KEY.format("NEW"), encoding="utf-8")
        proxy.wait_until(lambda: put(old) == "UnrecognizedClientException")
        assert put(new) == "ok"


@pytest.mark.parametrize("text", [None, "", "[[key]]\naccess_key_id = 'A'\nsecret_access_key = top-secret"])
def test_proxy_does_not_start_without_its_keys(text: str | None, tmp_path: Path) -> None:
    """One line says what is wrong with which file, and nothing of what is in it."""
    keys = tmp_path / "keys.toml"
    if text is not None:
        keys.write_text(text, encoding="utf-8")
    arguments = ["--upstream", "embedded", "--inbound-auth", "sigv4", "--inbound-keys-file", str(keys)]
    addresses = ["--listen", f"127.0.0.1:{free_port()}", "--admin-listen", "127.0.0.1:0"]
    result = subprocess.run(  # noqa: S603 - the arguments are the test's own
        [sys.executable, "-m", "proxy", "serve", *arguments, *addresses],
        env={name: value for name, value in os.environ.items() if not name.startswith("KINESIS_PROXY_")},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"kinesis-proxy: inbound_keys_file: {keys} ")
    assert result.stderr.count("\n") == 1
    assert "top-secret" not in result.stdout + result.stderr
