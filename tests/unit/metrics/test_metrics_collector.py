from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.counters import Histogram
from proxy.metrics.catalogue import FAMILIES, PREFIX, as_markdown
from proxy.metrics.collector import ReadingsCollector
from proxy.metrics.labels import OTHER, StreamLabels, error_code_label
from proxy.metrics.registry import make_registry

if TYPE_CHECKING:
    from proxy.metrics.collector import Readings


def exposed(readings: Readings) -> dict[str, float]:
    """Return what a scrape of these readings shows, by sample name and labels."""
    registry = CollectorRegistry()
    registry.register(ReadingsCollector(lambda: readings))
    return {
        sample.name.removeprefix(PREFIX) + "".join(f" {name}={value}" for name, value in sample.labels.items()): (
            sample.value
        )
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def test_counters_and_gauges_are_exposed_with_their_labels() -> None:
    """What was read stands in the scrape, under the catalogue's names."""
    readings: Readings = {
        "failed_records_total": {("orders", "expired"): 3, ("orders", "refused"): 0},
        "buffer_bytes": {(): 17},
    }
    assert exposed(readings) == {
        "failed_records_total reason=expired stream=orders": 3,
        "failed_records_total reason=refused stream=orders": 0,
        "buffer_bytes": 17,
    }


def test_a_histograms_buckets_are_cumulative() -> None:
    """The core counts by bucket, Prometheus up to each bound."""
    histogram = Histogram((1, 10))
    for value in (1, 2, 10, 11, 12):
        histogram.observe(value)
    assert exposed({"batch_records": {("orders",): histogram}}) == {
        "batch_records_bucket le=1.0 stream=orders": 1,
        "batch_records_bucket le=10.0 stream=orders": 3,
        "batch_records_bucket le=+Inf stream=orders": 5,
        "batch_records_count stream=orders": 5,
        "batch_records_sum stream=orders": 36,
    }


def test_a_family_that_is_not_in_the_catalogue_is_a_defect() -> None:
    """Nothing is exported that the documentation does not name, and no typing error silently drops a metric."""
    with pytest.raises(AssertionError, match="no_such_family"):
        exposed({"no_such_family": {(): 1}})


@pytest.mark.parametrize("readings", [{"buffer_bytes": {(): Histogram((1,))}}, {"batch_bytes": {("orders",): 1}}])
def test_a_value_of_the_wrong_kind_is_a_defect(readings: Readings) -> None:
    """A histogram is no number."""
    with pytest.raises(TypeError, match="histogram"):
        exposed(readings)


def test_everything_is_read_in_one_go() -> None:
    """A scrape is one moment: what it shows is not read piece by piece."""
    reads = 0

    def read() -> Readings:
        nonlocal reads
        reads += 1
        return {"buffer_bytes": {(): 1}, "draining": {(): 0}, "batch_records": {}}

    registry = make_registry(read)
    assert reads == 0
    generate_latest(registry)
    assert reads == 1


def test_series_of_creation_times_are_off() -> None:
    """They would double the number of series."""
    readings: Readings = {"received_records_total": {("orders",): 1}, "batch_records": {("orders",): Histogram((1,))}}
    assert b"_created" not in generate_latest(make_registry(lambda: readings))


def test_names_follow_the_conventions_of_prometheus() -> None:
    """Counters end in _total, units are base units and stand in the name, nothing is named twice."""
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    for family in FAMILIES:
        assert (family.kind == "counter") == family.name.endswith("_total")
        stem = family.name.removesuffix("_total")
        assert family.unit not in {"seconds", "bytes", "ratio"} or family.unit in stem.split("_"), family.name
        assert family.meaning.endswith(".")


def test_the_table_of_metrics_names_every_family() -> None:
    """The documentation is made from the catalogue."""
    for family in FAMILIES:
        assert f"| `{PREFIX}{family.name}` | {family.kind} | {family.unit} |" in as_markdown()


def test_a_streams_label_stays_the_same_and_their_number_is_bounded() -> None:
    """The first streams keep labels of their own, all others share one."""
    labels = StreamLabels(labels_max=2)
    assert [labels.label(name) for name in ("a", "b", "c", "a", "d", "b")] == ["a", "b", OTHER, "a", OTHER, "b"]


def test_an_error_code_is_a_label_only_if_it_is_known() -> None:
    """The service could invent codes without end."""
    assert error_code_label("ProvisionedThroughputExceededException") == "ProvisionedThroughputExceededException"
    assert error_code_label("BrandNewException") == OTHER
