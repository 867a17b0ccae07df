"""The registry behind /metrics: the proxy's families beside those of the process and the interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
)

from proxy.metrics.collector import ReadingsCollector

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.metrics.collector import Readings


def make_registry(read: Callable[[], Readings]) -> CollectorRegistry:
    """Return a registry whose scrapes read everything anew.

    Args:
        read: see `ReadingsCollector`.
    """
    registry = CollectorRegistry()
    registry.register(ReadingsCollector(read))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
