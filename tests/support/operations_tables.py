"""The tables of deploy/METRICS.md and deploy/RUNBOOK.md, written from the catalogue of metrics and the rule file.

`make tables` runs this file and rewrites both; tests hold them to what it would write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from proxy.metrics.catalogue import FAMILIES, PREFIX, as_markdown

PROJECT = Path(__file__).parents[2]
RULES = PROJECT / "deploy" / "prometheus" / "rules.yaml"
METRICS = PROJECT / "deploy" / "METRICS.md"
RUNBOOK = PROJECT / "deploy" / "RUNBOOK.md"
RUNBOOK_URL = "deploy/RUNBOOK.md"


def read_rules() -> list[dict[str, Any]]:
    """Return every rule of every group, in order."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def read_alerts() -> list[dict[str, Any]]:
    """Return the rules that are alerts."""
    return [rule for rule in read_rules() if "alert" in rule]


def documents() -> dict[Path, dict[str, str]]:
    """Return the tables of each document by the names that its comments give them."""
    return {
        METRICS: {"metrics": as_markdown(), "kpl": _kpl(), "rules": _recorded()},
        RUNBOOK: {"alerts": _alerts()},
    }


def with_tables(text: str, tables: dict[str, str]) -> str:
    """Return a document with each table, between its two comments, written anew."""
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by make tables -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the document must hold {begin} and {end}")
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


def _kpl() -> str:
    lines = ["| KPL | Here |", "|---|---|"]
    lines += sorted(f"| `{family.kpl}` | `{PREFIX}{family.name}` |" for family in FAMILIES if family.kpl)
    return "\n".join(lines)


def _recorded() -> str:
    lines = ["| Rule | Expression |", "|---|---|"]
    for rule in read_rules():
        if "record" in rule:
            expression = " ".join(rule["expr"].split()).replace("|", "\\|")
            lines.append(f"| `{rule['record']}` | `{expression}` |")
    return "\n".join(lines)


def _alerts() -> str:
    lines = ["| Alert | Severity | Fires after | What to do |", "|---|---|---|---|"]
    for alert in read_alerts():
        section = alert["annotations"]["runbook_url"].removeprefix(RUNBOOK_URL)
        name = alert["alert"]
        lines.append(
            f"| `{name}` | {alert['labels']['severity']} | {alert.get('for', 'at once')} | [{section[1:]}]({section}) |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    for path, tables in documents().items():
        path.write_text(with_tables(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
