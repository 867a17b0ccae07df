from __future__ import annotations

import json
import re

import pytest
import yaml

import proxy
from proxy.config import ServeSettings
from tests.support.deploy_files import CHART, CHARTS_OWN_SETTINGS, DEPLOY, RULES, SCHEMA, derived_files

DERIVED = derived_files()


@pytest.mark.parametrize("file", DERIVED, ids=lambda file: file.name)
def test_a_derived_file_is_what_it_follows_from(file: object) -> None:
    """Rules, settings and values are written in one place, and everywhere else by `make tables`."""
    for path, content in DERIVED.items():
        if path == file:
            assert path.read_text(encoding="utf-8") == content, "run: make tables"


def test_every_cluster_is_woken_by_the_same_rules() -> None:
    """The Prometheus Operator's object and the chart's file hold exactly the groups of the plain rule file."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    operators = yaml.safe_load((DEPLOY / "kustomize/components/alerts/prometheus-rule.yaml").read_text("utf-8"))
    charts = yaml.safe_load((CHART / "files" / "rules.yaml").read_text(encoding="utf-8"))
    assert groups
    assert operators["spec"] == {"groups": groups}
    assert charts == {"groups": groups}
    assert "Files.Get" in (CHART / "templates" / "monitoring.yaml").read_text(encoding="utf-8")


def _paths(values: object, schema: dict[str, object], prefix: str = "") -> tuple[set[str], set[str]]:
    """Return the paths in the values and those in the schema, down to where the schema leaves members open."""
    described = schema.get("properties")
    if schema.get("additionalProperties", True) is not False or not isinstance(described, dict):
        return {prefix}, {prefix}
    assert isinstance(values, dict)
    given, known = set[str](), set[str]()
    for name in values.keys() | described.keys():
        below = f"{prefix}.{name}"
        if name not in described:
            given.add(below)
        elif name not in values:
            known.add(below)
        else:
            more_given, more_known = _paths(values[name], described[name], below)
            given |= more_given
            known |= more_known
    return given, known


def test_the_schema_describes_every_value_and_no_other() -> None:
    """A value without description would be in no table; one that the schema lacks would be refused."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    settings = schema["properties"].pop("settings")
    assert values.pop("settings") == {}
    # Helm itself adds this one in charts of charts.
    del schema["properties"]["global"]
    given, known = _paths(values, schema)
    assert given == known
    assert settings["properties"].keys() == ServeSettings.model_fields.keys() - CHARTS_OWN_SETTINGS


def test_the_chart_reads_every_value() -> None:
    """A value that no template reads would change nothing."""
    templates = "".join(path.read_text(encoding="utf-8") for path in (CHART / "templates").iterdir())
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    unread = [path for path in _leaves(values) if not re.search(rf"\.{path.rpartition('.')[2]}\b", templates)]
    assert unread == []


def _leaves(values: dict[str, object], prefix: str = "") -> list[str]:
    leaves: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict) and value and name != "resources":
            leaves += _leaves(value, f"{prefix}{name}.")
        else:
            leaves.append(prefix + name)
    return leaves


def test_the_chart_reckons_with_the_programs_own_drain_timeout() -> None:
    """It refuses a grace period that is too short also where the setting is left alone."""
    text = (CHART / "templates" / "_container.tpl").read_text(encoding="utf-8")
    (default,) = re.findall(r"\$drain := (\d+)", text)
    assert int(default) == ServeSettings.model_fields["drain_timeout_ms"].default


def test_image_chart_and_overlays_are_of_the_programs_version() -> None:
    """What is built here is what is deployed here."""
    version = proxy.__version__
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == version
    for overlay in ("deployment", "sidecar"):
        file = DEPLOY / "kustomize" / "overlays" / overlay / "kustomization.yaml"
        (image,) = yaml.safe_load(file.read_text(encoding="utf-8"))["images"]
        assert image["newTag"] == version
    assert f"ARG VERSION={version}\n" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
