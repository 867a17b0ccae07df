"""Renders deploy/ with the real kubectl and helm; as a program, writes deploy/rendered/ and the stamp of its sources.

The stamp says of which sources the checks of `make manifests` have passed: the target runs this file after them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.support.manifests import DEPLOY, RENDERED, STAMP, Objects, of_kind, parse, sources_digest

HERE = Path(__file__).parent
BIN = HERE / ".venv" / "bin"
BUILD = HERE.parents[1] / "build" / "manifests"
CHART = DEPLOY / "helm" / "kinesis-proxy"
OVERLAYS = DEPLOY / "kustomize" / "overlays"
COMPONENTS = DEPLOY / "kustomize" / "components"
RELEASE = "kinesis-proxy"


class RenderError(Exception):
    """A tool refused; the text is what it said."""


def run(program: str, *arguments: str | Path) -> str:
    """Run a tool of `tests/deploy/install` and return its output.

    Raises:
        RenderError: it failed.
    """
    ended = subprocess.run(  # noqa: S603 - the arguments are the tests' own
        [BIN / program, *arguments], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise RenderError(f"{program}: {ended.stdout}{ended.stderr}")
    return ended.stdout


def kustomize(overlay: str, *components: str) -> str:
    """Return what an overlay makes, with further components on top."""
    if not components:
        return run("kubectl", "kustomize", OVERLAYS / overlay)
    folder = BUILD / "-".join((overlay, *components))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = {
        "resources": [os.path.relpath(OVERLAYS / overlay, folder)],
        "components": [os.path.relpath(COMPONENTS / name, folder) for name in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return run("kubectl", "kustomize", folder)


def helm(*values: Path, chart: Path = CHART) -> str:
    """Return what the chart makes of files of values."""
    return run("helm", "template", RELEASE, chart, *(word for file in values for word in ("--values", file)))


def without_rules(objects: Objects) -> Objects:
    """Leave out the alerts, a copy of which would be of no use to a reader."""
    alerts = of_kind(objects, "PrometheusRule")
    return [item for item in objects if item not in alerts]


def main() -> None:
    """Write what the overlays make, and the stamp."""
    RENDERED.mkdir(exist_ok=True)
    for overlay in ("deployment", "sidecar"):
        head = (
            f"# What `kubectl kustomize deploy/kustomize/overlays/{overlay}` makes, but for the PrometheusRule.\n"
            "# Written by make manifests.\n"
        )
        objects = without_rules(parse(kustomize(overlay)))
        text = yaml.safe_dump_all(objects, sort_keys=False, width=120)
        (RENDERED / f"{overlay}.yaml").write_text(head + text, encoding="utf-8")
    STAMP.write_text(f"{sources_digest()}\n", encoding="ascii")


if __name__ == "__main__":
    main()
