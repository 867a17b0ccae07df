"""Turns plain counters into metric families at scrape time.

Whoever counts knows nothing of it: `read` hands over everything in one go, so that a scrape is one consistent moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from proxy.core.counters import Histogram
from proxy.metrics.catalogue import FAMILIES, PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

    from proxy.metrics.catalogue import Family

Labels = tuple[str, ...]
# By family, without the prefix, the value of each label set.
Readings = Mapping[str, Mapping[Labels, float | Histogram]]


class ReadingsCollector(Collector):
    """Hands Prometheus the families of one reading.

    Args:
        read: returns everything at once, without awaiting anything; a family that it leaves out is not exported.
    """

    def __init__(self, read: Callable[[], Readings]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        """Describe nothing beforehand, so that registering reads nothing."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families in the catalogue's order."""
        readings = dict(self._read())
        for family in FAMILIES:
            samples = readings.pop(family.name, None)
            if samples is not None:
                yield _metric(family, samples)
        if readings:
            raise AssertionError(f"not in the catalogue: {sorted(readings)}")


def _metric(family: Family, samples: Mapping[Labels, float | Histogram]) -> Metric:
    name, text = PREFIX + family.name, family.meaning
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(name, text, labels=family.labels)
        for labels, value in samples.items():
            if not isinstance(value, Histogram):
                raise TypeError(f"{family.name} is a histogram")
            histogram.add_metric(labels, _buckets(value), value.sum)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric: CounterMetricFamily | GaugeMetricFamily = kind(name, text, labels=family.labels)
    for labels, value in samples.items():
        if isinstance(value, Histogram):
            raise TypeError(f"{family.name} is no histogram")
        metric.add_metric(labels, value)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return cumulative counts by upper bound."""
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*histogram.bounds, inf), histogram.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == inf else str(float(bound)), total))
    return buckets
