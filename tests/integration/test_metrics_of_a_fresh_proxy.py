from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.dashboards.files import documents
from tests.support.operations_tables import METRICS, read_rules
from tests.support.processes import Service, emulate, serve
from tests.support.promql import selectors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.samples import Sample

# Prometheus's own.
PROMETHEUS_OWN = {"ALERTS", "up"}
# What it adds to every sample.
TARGET = {"job": "kinesis-proxy", "instance": "proxy:9464"}
SERIES_MAX = 300


def put_one_record(proxy: Service, stream: str) -> None:
    """Put a record, so that the proxy comes to know the stream."""
    request = urllib.request.Request(  # noqa: S310 - a server of the test's own
        proxy.url,
        json.dumps({"StreamName": stream, "PartitionKey": "a", "Data": "aGVsbG8="}).encode(),
        {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecord"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - as above
        assert response.status == 200


def scrape(proxy: Service) -> list[Sample]:
    """Return all samples of /metrics."""
    with urllib.request.urlopen(f"{proxy.admin_url}/metrics", timeout=10) as response:  # noqa: S310 - as above
        text = response.read().decode()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


@pytest.fixture(scope="module")
def scrapes() -> Iterator[list[list[Sample]]]:
    """Give what a proxy shows at its start, with one stream, and with two."""
    with emulate(stream=["orders:2", "clicks:1"]) as kinesis, serve(kinesis.url) as proxy:
        fresh = scrape(proxy)
        put_one_record(proxy, "orders")
        with_one_stream = scrape(proxy)
        put_one_record(proxy, "clicks")
        yield [fresh, with_one_stream, scrape(proxy)]


def test_the_number_of_series_is_within_the_budget_of_a_sidecar(scrapes: list[list[Sample]]) -> None:
    """With a thousand sidecars it is what a Prometheus has to hold; and the document tells what a stream adds."""
    _, with_one_stream, with_two = scrapes
    assert len(with_one_stream) <= SERIES_MAX
    (each,) = re.findall(r"Each further stream adds (\d+)\.", METRICS.read_text(encoding="utf-8"))
    assert len(with_two) - len(with_one_stream) == int(each)


def test_no_label_is_a_callers(scrapes: list[list[Sample]]) -> None:
    """No key, no data, no address of a caller is in any series."""
    for sample in scrapes[-1]:
        assert not {"partition_key", "shard", "shard_id", "client", "message"} & set(sample.labels)
    streams = {sample.labels["stream"] for sample in scrapes[-1] if "stream" in sample.labels}
    assert streams == {"orders", "clicks", "other"}


def expressions() -> dict[str, str]:
    """Return every expression of the rules and the dashboards by where it is."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in read_rules()}
    for path, dashboard in documents().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expr = re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
                expr = re.sub(r'"\$(job|instance|stream)"', '".*"', expr)
                found[f"{path.stem}: {panel['title']} {target['refId']}"] = expr
    return found


@pytest.mark.parametrize(("where", "expr"), expressions().items(), ids=expressions())
def test_what_is_asked_for_is_there_from_the_start(scrapes: list[list[Sample]], where: str, expr: str) -> None:
    """Every selector, with its labels and their values, selects something before anything has gone wrong."""
    recorded = {rule["record"] for rule in read_rules() if "record" in rule}
    for selector in selectors(expr):
        if selector.name in recorded | PROMETHEUS_OWN:
            continue
        # with one stream: `stream!="other"` asks for a stream
        samples = [(sample.name, {**sample.labels, **TARGET}) for sample in scrapes[1]]
        assert any(selector.selects(name, labels) for name, labels in samples), f"{where}: {selector}"
        if not any(label == "stream" for label, _, _ in selector.matchers):
            samples = [(sample.name, {**sample.labels, **TARGET}) for sample in scrapes[0]]
            assert any(selector.selects(name, labels) for name, labels in samples), f"{where}: {selector}"
