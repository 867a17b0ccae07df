from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.manifests import DEPLOY, USER

PROJECT = Path(__file__).parents[3]
DOCKERFILE = re.sub(r"\s*\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
INSTRUCTIONS = [
    (name, rest) for name, _, rest in (line.partition(" ") for line in DOCKERFILE.splitlines()) if name.isupper()
]
LAST_STAGE = INSTRUCTIONS[max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM") :]


def the(name: str) -> str:
    """Return what follows the only instruction of a name in the stage that is shipped."""
    (rest,) = (rest for found, rest in LAST_STAGE if found == name)
    return rest


def test_the_image_runs_as_a_numbered_user_who_is_not_root() -> None:
    """Kubernetes refuses runAsNonRoot with a name, and the manifests name the same number."""
    assert the("USER") == f"{USER}:{USER}"


def test_no_shell_stands_between_the_program_and_its_signals() -> None:
    """In exec form SIGTERM reaches the proxy, which drains."""
    assert json.loads(the("ENTRYPOINT")) == ["kinesis-proxy"]
    assert json.loads(the("CMD")) == ["serve"]
    assert the("STOPSIGNAL") == "SIGTERM"
    assert json.loads(the("HEALTHCHECK").partition("CMD ")[2])[0] == "python"


def test_nothing_is_installed_that_a_lock_file_does_not_name_with_its_hash() -> None:
    """Each pip install is of a lock with hashes, or of the wheel built here, without a look at an index."""
    commands = [command for _, rest in INSTRUCTIONS for command in rest.split("&&") if "pip install" in command]
    assert len(commands) == 3
    for command in commands:
        hashed = "--require-hashes" in command and re.search(r"--requirement \S+\.lock", command)
        assert hashed or ("--no-index" in command and "--no-deps" in command), command


def test_what_the_image_is_made_of_reaches_the_builder_and_nothing_else_does() -> None:
    """.dockerignore lets through exactly what is copied."""
    copied = {
        source.rstrip("/")
        for name, rest in INSTRUCTIONS
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert [path for path in copied if not (PROJECT / path).exists()] == []
