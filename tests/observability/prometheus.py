"""A real Prometheus (Debian's packages `prometheus`), its promtool, and rules that are in a hurry.

Rules are shipped with windows of minutes; to see alerts fire and resolve in a test, all their durations are divided.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, Self

import yaml

from tests.support.processes import Process, ProcessError, free_port, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HURRY = 20
SCRAPE_SECONDS = 1
# What Grafana would make of $__rate_interval at this scrape interval, and a little more for a busy machine.
RATE_INTERVAL = "8s"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
QUERY_TIMEOUT_SECONDS = 20


def promtool(*arguments: str, cwd: Path, stdin: bytes | None = None) -> str:
    """Run promtool and return what it says.

    Raises:
        ProcessError: it is not content, or not installed.
    """
    program = shutil.which("promtool")
    if program is None:
        raise ProcessError("no promtool found: apt-get install prometheus")
    result = subprocess.run(  # noqa: S603 - the arguments are the tests' own
        [program, *arguments], cwd=cwd, input=stdin, capture_output=True, check=False
    )
    output = (result.stdout + result.stderr).decode()
    if result.returncode:
        raise ProcessError(f"promtool {' '.join(arguments)}:\n{output}")
    return output


def hurried(rules: str) -> str:
    """Divide every duration of a rule file: windows, waits and the age of a process in seconds."""

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match[1]) * UNITS[match[2]]
        return f"{max(5, seconds // HURRY)}s"

    windows = re.sub(r"(?<=\[)(\d+)([smhd])(?=\])", shorter, rules)
    waits = re.sub(r"(?<=for: )(\d+)([smhd])\b", shorter, windows)
    return waits.replace("process_start_time_seconds) > 5 * 60", f"process_start_time_seconds) > {5 * 60 // HURRY}")


class Prometheus(Process):
    """A Prometheus on a folder of its own; ready once entered.

    Args:
        folder: for its settings and data; what is recorded there already is served too.
        targets: admin ports by the names that they are given as instances.
        rules: a rule file's text.
    """

    def __init__(self, folder: Path, targets: Mapping[str, int], rules: str) -> None:
        program = shutil.which("prometheus")
        if program is None:
            raise ProcessError("no prometheus found: apt-get install prometheus")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yaml").write_text(rules, encoding="utf-8")
        settings = {
            "global": {"scrape_interval": f"{SCRAPE_SECONDS}s", "evaluation_interval": f"{SCRAPE_SECONDS}s"},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": "kinesis-proxy",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}}
                        for name, port in targets.items()
                    ],
                }
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        arguments = [
            program,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.cors.origin=.*",
            "--storage.tsdb.retention.time=100d",
            "--log.level=warn",
        ]
        super().__init__("prometheus", arguments)

    def __enter__(self) -> Self:
        return self._entered(lambda: status_of(f"{self.url}/-/ready") == 200)

    def ask(self, path: str, **parameters: str | float) -> Any:  # noqa: ANN401 - JSON
        """Ask its API and return the data.

        Raises:
            ProcessError: it refused; the text is its own.
        """
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=QUERY_TIMEOUT_SECONDS) as response:  # noqa: S310 - a server of the test's own
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise ProcessError(f"{path} {parameters}: {error.read().decode(errors='replace')}") from error

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the samples that an expression has now."""
        result: list[dict[str, Any]] = self.ask("query", query=expr)["result"]
        return result

    def query_range(self, expr: str, start: float, end: float, step: float = SCRAPE_SECONDS) -> list[dict[str, Any]]:
        """Return the series that an expression had."""
        result: list[dict[str, Any]] = self.ask("query_range", query=expr, start=start, end=end, step=step)["result"]
        return result

    def firing(self, alert: str) -> list[dict[str, Any]]:
        """Return what an alert fires for now."""
        alerts: list[dict[str, Any]] = self.ask("alerts")["alerts"]
        return [each for each in alerts if each["labels"]["alertname"] == alert and each["state"] == "firing"]

    def quiet(self, alert: str) -> bool:
        """Tell whether an alert fires for nothing."""
        return not self.firing(alert)

    def all_firing(self) -> list[str]:
        """Return the names of all alerts that fire now."""
        alerts: list[dict[str, Any]] = self.ask("alerts")["alerts"]
        return sorted({each["labels"]["alertname"] for each in alerts if each["state"] == "firing"})
