from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

BREACHES = {
    "proxy/core/record.py": "import time",
    "proxy/core/batch.py": "from proxy.kinesis import errors",
    "proxy/kinesis/limits.py": "import asyncio",
    "proxy/driver.py": "import botocore.session",
    "proxy/frontend/counters.py": "from proxy.upstream import counters",
    "proxy/metrics/labels.py": "from proxy.admin import health",
    "proxy/transport/http1.py": "import prometheus_client",
    "proxy/stray.py": "import json",
}


def check(project: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of a project's pyproject.toml."""
    # The file's own folder must come first, before the installed package.
    program = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(  # noqa: S603 - the arguments are the test's own
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_only_where_the_contracts_let_them() -> None:
    """Rooms know each other in one direction, and the core and the codecs are pure."""
    result = check(PROJECT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("path", BREACHES)
def test_a_breach_of_the_import_contracts_is_noticed(path: str, tmp_path: Path) -> None:
    """A contract that could not fail would prove nothing."""
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    shutil.copytree(PROJECT / "proxy", tmp_path / "proxy", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / path).open("a", encoding="utf-8") as file:
        file.write(f"\n{BREACHES[path]}\n")
    result = check(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert " BROKEN" in result.stdout
