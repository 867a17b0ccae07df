from __future__ import annotations

import re

import yaml

from tests.observability.prometheus import HURRY, hurried
from tests.support.operations_tables import RULES, read_rules
from tests.support.promql import selectors


def seconds_of(text: str) -> list[int]:
    """Return all durations of a rule file's expressions and waits, in seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    found = re.findall(r"(?:\[|for: )(\d+)([smh])\b", text)
    return [int(number) * units[unit] for number, unit in found]


def test_rules_in_a_hurry_are_the_rules_that_are_shipped() -> None:
    """What fires in `make watch` is what fires in earnest, only sooner."""
    shipped = RULES.read_text(encoding="utf-8")
    quick = hurried(shipped)
    assert seconds_of(quick) == [max(5, seconds // HURRY) for seconds in seconds_of(shipped)]
    rules = [rule for group in yaml.safe_load(quick)["groups"] for rule in group["rules"]]
    for rule, earnest in zip(rules, read_rules(), strict=True):
        assert selectors(rule["expr"]) == selectors(earnest["expr"])
        assert rule.get("labels") == earnest.get("labels")


def test_a_young_process_is_younger_in_a_hurry() -> None:
    """Otherwise what a process has lost at its start would fire for five minutes."""
    assert f"process_start_time_seconds) > {300 // HURRY}" in hurried(RULES.read_text(encoding="utf-8"))
