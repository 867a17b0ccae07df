"""The files in deploy/ that follow from others: who writes them by hand would have to remember it.

- The alerts, which Prometheus reads from a plain file, as the Prometheus Operator and the chart want them.
- The settings in the schema of the chart's values, from the program's own.
- The table of the chart's values in its README, from that schema and the values.

`make tables` runs this file; a test holds each file to what it would write.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from proxy.config import ServeSettings
from proxy.config.describe import choices_of
from proxy.config.settings import numeric_bounds_of

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "kinesis-proxy"
RULES = DEPLOY / "prometheus" / "rules.yaml"
SCHEMA = CHART / "values.schema.json"
CHART_README = CHART / "README.md"

# What the chart sets itself, from its own values.
CHARTS_OWN_SETTINGS = frozenset(
    {
        "listen",
        "allow_anonymous",
        "tls_certificate_file",
        "tls_key_file",
        "tls_client_ca_file",
        "inbound_auth",
        "inbound_keys_file",
        "admin_listen",
    }
)
TABLE_BEGINS, TABLE_ENDS = "<!-- values: written by make tables -->", "<!-- end of values -->"
# Values whose members are anybody's own, or an example too long for a table.
WHOLE = frozenset({"settings", "sidecar.producer.containers", "sidecar.producer.volumes"})
WRITTEN = "# Written by make tables from deploy/prometheus/rules.yaml."
JSON_TYPES = {bool: "boolean", int: "integer", float: "number"}
# JSON Schema's words for pydantic's.
JSON_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def derived_files() -> dict[Path, str]:
    """Return each derived file with what belongs into it."""
    rules = RULES.read_text(encoding="utf-8")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["settings"] |= {"additionalProperties": False, "properties": _settings_schema()}
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return {
        DEPLOY / "kustomize" / "components" / "alerts" / "prometheus-rule.yaml": _prometheus_rule(rules),
        CHART / "files" / "rules.yaml": f"{WRITTEN}\n{rules}",
        SCHEMA: json.dumps(schema, indent=2) + "\n",
        CHART_README: _with_table(CHART_README.read_text(encoding="utf-8"), schema, values),
    }


def _prometheus_rule(rules: str) -> str:
    head = f"""\
{WRITTEN}
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: kinesis-proxy
  labels:
    app.kubernetes.io/name: kinesis-proxy
spec:
"""
    return head + indent(rules, "  ")


def _settings_schema() -> dict[str, Any]:
    """Return a schema for each setting that is left to the chart's user."""
    names = sorted(ServeSettings.model_fields.keys() - CHARTS_OWN_SETTINGS)
    return {name: _setting_schema(name) for name in names}


def _setting_schema(name: str) -> dict[str, Any]:
    field = ServeSettings.model_fields[name]
    schema: dict[str, Any] = {"description": field.description}
    choices = choices_of(name)
    if choices:
        return schema | {"enum": list(choices)}
    bounds = {JSON_BOUNDS[bound]: limit for bound, limit in numeric_bounds_of(name).items()}
    kind = JSON_TYPES.get(field.annotation) if isinstance(field.annotation, type) else None
    if kind is None:
        # A text, or a list of them.
        return schema | {"type": ["string", "array"], "items": {"type": "string"}}
    return schema | {"type": kind} | bounds


def _with_table(text: str, schema: dict[str, Any], values: dict[str, Any]) -> str:
    before, found, rest = text.partition(TABLE_BEGINS)
    _, closed, after = rest.partition(TABLE_ENDS)
    if not found or not closed:
        raise ValueError(f"the chart's README must hold {TABLE_BEGINS} and {TABLE_ENDS}")
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    lines += [f"| `{path}` | {_shown(path, default)} | {meaning} |" for path, default, meaning in _rows(schema, values)]
    return "\n".join([before + TABLE_BEGINS, "", *lines, "", TABLE_ENDS]) + after


def _rows(schema: dict[str, Any], values: dict[str, Any], prefix: str = "") -> list[tuple[str, object, str]]:
    """Return path, default and meaning of each value, in the order of the values."""
    rows: list[tuple[str, object, str]] = []
    for name, default in values.items():
        path, described = prefix + name, schema["properties"][name]
        if "properties" in described and path not in WHOLE:
            rows += _rows(described, default, f"{path}.")
        else:
            rows.append((path, default, described["description"]))
    return rows


def _shown(path: str, default: object) -> str:
    if path in WHOLE and default:
        return "an example"
    text = default if isinstance(default, str) else json.dumps(default)
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    for file, content in derived_files().items():
        file.write_text(content, encoding="utf-8")
