from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from proxy.metrics.catalogue import FAMILIES, PREFIX
from tests.support.operations_tables import (
    METRICS,
    PROJECT,
    RULES,
    RUNBOOK,
    RUNBOOK_URL,
    documents,
    read_alerts,
    read_rules,
    with_tables,
)
from tests.support.promql import selectors

RULES_TEST = RULES.with_name("rules_test.yaml")


def sections_of(markdown: str) -> set[str]:
    """Return the anchors of a document's headings, as hosts of repositories make them."""
    headings = re.findall(r"^#+ (.+)$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def expectations_by_test() -> dict[str, list[dict[str, Any]]]:
    """Return what the unit tests of the rules expect, by the tests' names."""
    tests = yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]
    return {test["name"]: test["promql_expr_test"] for test in tests}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_tables_are_what_make_tables_writes(path: Any) -> None:  # noqa: ANN401 - pytest's ids
    """What is documented is what the program and the rules have."""
    text = path.read_text(encoding="utf-8")
    assert with_tables(text, documents()[path]) == text, "run `make tables`"


def test_a_document_without_the_place_for_a_table_is_refused() -> None:
    """A table must not silently go missing."""
    with pytest.raises(ValueError, match="metrics"):
        with_tables("nothing here", {"metrics": "table"})


def test_the_metrics_document_tells_every_label() -> None:
    """Whoever writes a query finds the values of each label."""
    text = METRICS.read_text(encoding="utf-8").partition("## Labels")[2]
    explained = {"version", "command", "fault"}
    for label in {label for family in FAMILIES for label in family.labels} - explained:
        assert f"`{label}`" in text, label


def test_every_alert_tells_what_it_is_and_what_to_do() -> None:
    """Whoever is woken gets a sentence, an explanation, and a section of the runbook that exists."""
    sections = sections_of(RUNBOOK.read_text(encoding="utf-8"))
    alerts = read_alerts()
    assert len(alerts) >= 15
    names = [alert["alert"] for alert in alerts]
    assert len(names) == len(set(names))
    for alert in alerts:
        assert re.fullmatch(r"KinesisProxy[A-Z][A-Za-z]+", alert["alert"])
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        annotations = alert["annotations"]
        assert set(annotations) == {"summary", "description", "runbook_url"}
        assert annotations["summary"].endswith(".")
        assert annotations["description"].endswith(".")
        document, _, section = annotations["runbook_url"].partition("#")
        assert document == RUNBOOK_URL
        assert (PROJECT / document).is_file()
        assert section in sections, section


def test_every_section_of_the_runbook_that_is_linked_exists() -> None:
    """Sections send their reader on to others."""
    text = RUNBOOK.read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= sections_of(text)


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    """`make watch` runs these with promtool; here it is seen that none is missing."""
    expected = expectations_by_test()
    for alert in read_alerts():
        expectations = [
            each for each in expected[alert["alert"].removeprefix("KinesisProxy")] if alert["alert"] in each["expr"]
        ]
        outcomes = {bool(each["exp_samples"]) for each in expectations}
        assert outcomes == {True, False}, alert["alert"]


def test_every_rule_is_promql_and_asks_for_what_exists() -> None:
    """A misspelt metric would make an alert that never fires."""
    recorded = {rule["record"] for rule in read_rules() if "record" in rule}
    exported = {f"{PREFIX}{family.name}" for family in FAMILIES}
    exported |= {f"{name}_{part}" for name in exported for part in ("bucket", "sum", "count")}
    process = {"process_start_time_seconds", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"}
    for rule in read_rules():
        for selector in selectors(rule["expr"]):
            assert selector.name in exported | recorded | process | {"up"}, selector.name


def test_every_recorded_rule_has_a_use() -> None:
    """A rule that nothing asks for costs every Prometheus something."""
    asked = {selector.name for rule in read_rules() for selector in selectors(rule["expr"])}
    for rule in read_rules():
        assert rule.get("record") is None or rule["record"] in asked, rule["record"]


def test_the_prometheus_of_the_compose_file_scrapes_under_a_name_that_the_rules_know() -> None:
    """The alert on a proxy that is down finds its job by name."""
    settings = yaml.safe_load(RULES.with_name("prometheus.yaml").read_text(encoding="utf-8"))
    (job,) = settings["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["proxy:9464"]}]
    assert settings["rule_files"] == [RULES.name]
    down = next(alert for alert in read_alerts() if alert["alert"] == "KinesisProxyDown")
    (selector,) = selectors(down["expr"])
    assert selector.selects("up", {"job": job["job_name"]})
    assert not selector.selects("up", {"job": "node-exporter"})
