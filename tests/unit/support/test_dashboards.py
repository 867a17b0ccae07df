from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.support.dashboards.files import FOLDER, documents, text_of
from tests.support.promql import selectors

PROVISIONING = FOLDER.parent / "provisioning"
DASHBOARDS = {path.name: dashboard for path, dashboard in documents().items()}


def panels_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def without_variables(expr: str) -> str:
    """Return an expression that is PromQL as it stands."""
    return re.sub(r"\$__(rate_interval|range)", "5m", expr)


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_dashboards_are_what_make_tables_writes(path: Any) -> None:  # noqa: ANN401 - pytest's ids
    """What is reviewed is what Grafana gets."""
    assert path.read_text(encoding="utf-8") == text_of(documents()[path]), "run `make tables`"


def test_no_other_dashboards_lie_about() -> None:
    """Grafana would show what nobody tests."""
    assert {path.name for path in FOLDER.glob("*.json")} == set(DASHBOARDS)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_has_a_title_a_description_a_unit_and_the_viewers_data_source(name: str) -> None:
    """Whoever looks at a panel for the first time knows what to make of it."""
    panels = panels_of(DASHBOARDS[name])
    assert len(panels) >= 15
    for panel in panels:
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    titles = [panel["title"] for panel in panels if panel["type"] != "stat"]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_is_for_the_chosen_jobs_and_instances(name: str) -> None:
    """One dashboard serves every fleet; a rate covers what is shown, whatever the scrape interval."""
    stream = name == "stream.json"
    for panel in panels_of(DASHBOARDS[name]):
        for target in panel["targets"]:
            assert not re.search(r"\[\d", target["expr"]), target["expr"]
            for selector in selectors(without_variables(target["expr"])):
                if selector.name == "ALERTS":
                    continue
                assert {("job", "=~", "$job"), ("instance", "=~", "$instance")} <= set(selector.matchers)
                if stream and selector.name != "kinesis_proxy_delivery_timeout_seconds":
                    assert ("stream", "=~", "$stream") in selector.matchers, selector.name


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_lie_side_by_side_and_never_on_each_other(name: str) -> None:
    """Each has its place within 24 columns and an id of its own."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    identities = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(identities) == len(set(identities))


def test_the_dashboards_have_uids_that_stay() -> None:
    """Links to them are in wikis and alerts."""
    assert {name: dashboard["uid"] for name, dashboard in DASHBOARDS.items()} == {
        "overview.json": "kinesis-proxy-overview",
        "stream.json": "kinesis-proxy-stream",
    }


def test_every_variable_that_is_asked_for_exists() -> None:
    """And a variable's own query asks only for those before it."""
    for dashboard in DASHBOARDS.values():
        known = {"__rate_interval", "__range"}
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                assert set(re.findall(r"\$(\w+)", variable["query"]["query"])) <= known
            known.add(variable["name"])
        for panel in panels_of(dashboard):
            for target in panel["targets"]:
                assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= known


def test_grafana_is_provisioned_with_a_data_source_and_the_dashboards() -> None:
    """On a laptop there is nothing to click."""
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    providers = yaml.safe_load((PROVISIONING / "dashboards" / "kinesis-proxy.yaml").read_text(encoding="utf-8"))
    (provider,) = providers["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
