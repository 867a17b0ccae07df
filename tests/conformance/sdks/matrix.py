"""The SDKs, how each program of README.md is started, and what it is known to send."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
JSON, CBOR = "application/x-amz-json-1.1", "application/x-amz-cbor-1.1"
PUTS = ("put_record", "put_record_by_arn", "put_records")
FAILURES = ("put_record_to_absent_stream", "put_record_to_throttled_stream")
STEPS = (*PUTS, "read", *FAILURES)
# Short lives on few cores: no second compiler, no threads for collecting.
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")
# The one way that Java takes a certificate by; it is made from the PEM file that all others take.
TRUST_STORE_PASSWORD = "changeit"  # noqa: S105 - Java's own default; it guards nothing


@dataclass(frozen=True)
class Client:
    """One SDK with one of its HTTP clients.

    Args:
        program: the program to run.
        missing: says what is not installed, or None.
        http: the protocol it speaks on http://; None if it insists on TLS.
        alpn: the protocols it offers on https://; None if it is not run there.
        content_type: of its bodies.
        steps: which of README.md's it can take.
        reader: whose `read` stands in for one of its own.
        counts_attempts: whether it tries a call so often as AWS_MAX_ATTEMPTS says.
        environment: besides the one that all get.
    """

    program: Callable[[], list[str]]
    missing: Callable[[], str | None]
    http: str | None = "HTTP/1.1"
    alpn: tuple[str, ...] | None = None
    content_type: str = JSON
    steps: tuple[str, ...] = STEPS
    reader: str | None = None
    counts_attempts: bool = True
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def schemes(self) -> tuple[str, ...]:
        """The kinds of endpoint that it is run against."""
        return (*(("http",) if self.http else ()), *(("https",) if self.alpn is not None else ()))


def _python(folder: str) -> list[str]:
    return [sys.executable, str(HERE / folder / "main.py")]


def _javascript(*options: str) -> list[str]:
    return ["node", str(HERE / "js" / "main.js"), *options]


def _java(folder: str, main_class: str) -> list[str]:
    target = HERE / folder / "target"
    class_path = os.pathsep.join([str(target / "classes"), str(target / "lib" / "*")])
    return ["java", *JAVA_OPTIONS, "-cp", class_path, f"sdks.{main_class}"]


def _nothing() -> None:
    return None


def _built(path: str, makers: str, runtime: str | None = None) -> Callable[[], str | None]:
    """Say what is missing of a program that `install` makes."""

    def missing() -> str | None:
        if runtime is not None and shutil.which(runtime) is None:
            return f"there is no {runtime}"
        return None if (HERE / path).exists() else f"{path} is not there: run `make sdks` where {makers} are"

    return missing


@cache
def _aws_cli() -> str | None:
    """Return the path of version 2 of the AWS command line; version 1 may well come before it."""
    for folder in os.get_exec_path():
        program = shutil.which("aws", path=folder)
        if program is not None:
            version = subprocess.run([program, "--version"], check=False, capture_output=True, text=True)  # noqa: S603 - whatever aws is
            if version.stdout.startswith("aws-cli/2."):
                return program
    return None


def _aws_cli_missing() -> str | None:
    return None if _aws_cli() else "there is no version 2 of the AWS command line: install the package awscli"


def _ruby(*options: str) -> list[str]:
    return ["ruby", str(HERE / "ruby" / "main.rb"), *options]


@cache
def _requirable(library: str) -> bool:
    if shutil.which("ruby") is None:
        return False
    command = ["ruby", "-e", "require ARGV.first", library]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603 - as above


def _ruby_library(library: str, package: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if _requirable(library) else f"Ruby has no {library}: install the package {package}"

    return missing


NODE = _built("js/node_modules/installed", "node and npm", "node")
GO = _built("go/build/installed", "go")
JAVA = _built("java/target/installed", "a JDK and Maven", "java")
KPL = _built("kpl/target/installed", "a JDK and Maven", "java")

CLIENTS = {
    "boto3": Client(lambda: _python("boto3"), _nothing, alpn=("http/1.1",)),
    "aiobotocore": Client(lambda: _python("aiobotocore"), _nothing, alpn=()),
    "awscli": Client(lambda: [*_python("awscli"), str(_aws_cli())], _aws_cli_missing),
    "js": Client(_javascript, NODE, http="HTTP/2", alpn=("h2",)),
    "js-http1": Client(lambda: _javascript("--http1"), NODE),
    "go": Client(lambda: [str(HERE / "go" / "build" / "main")], GO, alpn=("h2", "http/1.1")),
    "java": Client(lambda: _java("java", "Sync"), JAVA, alpn=(), content_type=CBOR),
    # On https:// it speaks HTTP/2 without having asked for it.
    "java-async": Client(lambda: _java("java", "Async"), JAVA, http="HTTP/2", alpn=(), content_type=CBOR),
    "ruby": Client(lambda: _ruby("--v3"), _ruby_library("aws-sdk-core", "ruby-aws-sdk-core"), alpn=()),
    "ruby-v1": Client(
        _ruby,
        _ruby_library("aws-sdk-v1", "ruby-aws-sdk"),
        # It is older than StreamARN.
        steps=tuple(step for step in STEPS if step != "put_record_by_arn"),
    ),
    "kpl": Client(
        lambda: _java("kpl", "Kpl"),
        KPL,
        http=None,
        alpn=("http/1.1",),
        steps=("put_record", "put_records", *FAILURES),
        reader="boto3",
        counts_attempts=False,
        # Three attempts at a stream that throttles each for as long as a record lives.
        environment={"KPL_RECORD_TTL_MS": "3000", "KPL_TEMP_DIRECTORY": str(HERE / "kpl" / "target")},
    ),
}
