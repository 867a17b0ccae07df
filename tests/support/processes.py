"""Real processes for the integration tests: the proxy, the emulator, and independent Kinesis servers.

Each is started on free loopback ports, waited for until it answers, and ended by its own process id. Its output goes
to a file, so that a chatty process never blocks on a full pipe.
"""

from __future__ import annotations

import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Mapping
    from types import TracebackType

SERVERS = Path(__file__).parents[1] / "servers"
START_TIMEOUT_SECONDS = 20.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.05
# Below the ports that the kernel gives to outgoing connections, which would take one between its choice and its use.
PORTS = range(20_000, 32_000)
CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Nothing of the machine's own AWS set-up may reach a process under test.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

Setting = str | int | float | bool | list[str]


class ProcessError(Exception):
    """A process ended, or did not answer, when it should have served."""


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time that a process has used in user and system mode (Linux)."""
    # The command's name, in parentheses, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    user_ticks, system_ticks = int(fields[11]), int(fields[12])
    return (user_ticks + system_ticks) / CLOCK_TICKS_PER_SECOND


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ProcessError("no free port")


class Process:
    """One real process; a context manager that ends it.

    Args:
        name: for messages.
        arguments: program and arguments.
        environment: added to this process's own environment, less its AWS settings.
    """

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "KINESIS_PROXY_"))}
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._popen = subprocess.Popen(  # noqa: S603 - the arguments are the tests' own
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**inherited, **(environment or {})},
        )
        self._last_output = ""
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._last_output = self.output()
        self._output.close()

    def _entered(self, answers: Callable[[], bool]) -> Self:
        """Wait until the process answers; leave nothing behind if it never does."""
        try:
            self.wait_until(answers)
        except ProcessError:
            self.__exit__(None, None, None)
            raise
        return self

    def output(self) -> str:
        """Return what the process has written to standard output and standard error."""
        if self._output.closed:
            return self._last_output
        # Read beside the file position that the process writes at, which the duplicated descriptor shares.
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def wait_until(self, answers: Callable[[], bool], timeout_seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Wait until the process answers.

        Raises:
            ProcessError: it ended, or did not answer in time.
        """
        give_up_at = time.monotonic() + timeout_seconds
        while not answers():
            if self._popen.poll() is not None:
                raise ProcessError(f"{self.name} ended with {self._popen.returncode}:\n{self.output()}")
            if time.monotonic() > give_up_at:
                raise ProcessError(f"{self.name} did not answer within {timeout_seconds} s:\n{self.output()}")
            time.sleep(POLL_SECONDS)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to a process that still runs."""
        self._popen.send_signal(number)

    def wait(self, timeout_seconds: float = STOP_TIMEOUT_SECONDS) -> int:
        """Wait for the process's own end and return its exit code.

        Raises:
            ProcessError: it still runs.
        """
        try:
            return self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} still runs after {timeout_seconds} s:\n{self.output()}") from None

    def stop(self) -> int:
        """End the process, by SIGTERM and, if it will not, by SIGKILL; return its exit code."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()

    def cpu_seconds(self) -> float:
        """Return the CPU time that the process has used in user and system mode (Linux)."""
        return cpu_seconds_of(self.pid)

    def resident_bytes(self) -> int:
        """Return the process's resident memory (Linux)."""
        return int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES

    def peak_resident_bytes(self) -> int:
        """Return the most resident memory that the process has had (Linux)."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


class Metrics:
    """One scrape: samples by name and labels."""

    def __init__(self, text: str) -> None:
        self._samples = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def total(self, name: str, **labels: str) -> float:
        """Add up the samples of a name whose labels include these.

        Raises:
            KeyError: there is none: a misspelt name must not count as zero.
        """
        values = [
            value
            for sample_name, sample_labels, value in self._samples
            if sample_name == name and labels.items() <= sample_labels.items()
        ]
        if not values:
            raise KeyError(f"no sample {name}{labels or ''}")
        return sum(values)


class Service(Process):
    """The proxy or the emulator: `python -m proxy COMMAND` with an endpoint and an admin port.

    Args:
        command: `serve` or `emulate`.
        python: the interpreter.
        settings: by name, as `kinesis-proxy config` prints them; a list is given as several flags.
    """

    def __init__(self, command: str, python: str = sys.executable, /, **settings: Setting) -> None:
        self.port, self.admin_port = free_port(), free_port()
        flags = {
            "listen": f"127.0.0.1:{self.port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "log_format": "json",
            **settings,
        }
        arguments = [python, "-m", "proxy", command]
        for name, value in flags.items():
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                arguments.append(flag if value else "--no-" + flag.removeprefix("--"))
                continue
            for item in value if isinstance(value, list) else [value]:
                arguments += [flag, str(item)]
        super().__init__(f"kinesis-proxy {command}", arguments, CREDENTIALS)
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"

    def __enter__(self) -> Self:
        return self._entered(lambda: status_of(f"{self.admin_url}/readyz") == http.client.OK)

    def metrics(self) -> Metrics:
        """Scrape the admin port."""
        status, body = _get(f"{self.admin_url}/metrics")
        assert status == http.client.OK, body
        return Metrics(body.decode())


def emulate(**settings: Setting) -> Service:
    """Start the emulator as a process of its own; ready once entered."""
    return Service("emulate", **settings)


def serve(upstream: str, python: str = sys.executable, /, **settings: Setting) -> Service:
    """Start the proxy in front of an upstream; ready once entered."""
    return Service("serve", python, upstream=upstream, **settings)


class Independent(Process):
    """A server that others wrote; ready once entered.

    Args:
        name: for messages.
        port: where it will listen.
        arguments: program and arguments.
        environment: added to this process's own.
    """

    def __init__(
        self, name: str, port: int, arguments: list[str], environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, arguments, environment)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Self:
        return self._entered(lambda: status_of(self.url) is not None)


def kinesalite() -> Independent:
    """Start kinesalite.

    Raises:
        ProcessError: it is not installed.
    """
    port = free_port()
    package = SERVERS / "node_modules" / "kinesalite"
    if not package.is_dir():
        raise ProcessError("kinesalite is not installed: run tests/servers/install where node and npm are")
    program = (
        "require(process.argv[1])({createStreamMs: 50, deleteStreamMs: 50, updateStreamMs: 50, shardLimit: 1000})"
        f".listen({port}, '127.0.0.1')"
    )
    return Independent("kinesalite", port, ["node", "-e", program, str(package)])


def ministack() -> Independent:
    """Start ministack.

    Raises:
        ProcessError: it is not installed.
    """
    port = free_port()
    program = SERVERS / ".venv" / "bin" / "ministack"
    if not program.exists():
        raise ProcessError("ministack is not installed: run tests/servers/install")
    return Independent("ministack", port, [str(program)], {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)})


def status_of(url: str) -> int | None:
    """Return the status of a GET, or None while nothing answers."""
    try:
        return _get(url)[0]
    except (OSError, http.client.HTTPException):
        return None


def _get(url: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
