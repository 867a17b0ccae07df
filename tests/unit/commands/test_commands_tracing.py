from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from structlog.testing import capture_logs

from proxy.commands.tracing import make_tracing


@pytest.mark.parametrize("environment", [{}, {"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_TRACES_EXPORTER": "zipkin"}])
def test_nothing_is_traced_unless_asked_for(environment: dict[str, str]) -> None:
    """Then nothing is wrapped, nothing imported, nothing paid."""
    with capture_logs() as logs:
        assert make_tracing(environment) is None
    assert not logs
    assert "opentelemetry.sdk" not in sys.modules


@pytest.mark.skipif(find_spec("opentelemetry") is not None, reason="the extra is installed")
def test_an_environment_that_asks_for_traces_does_not_keep_a_proxy_without_the_extra_from_starting() -> None:
    """The variable may be set for a whole cluster."""
    with capture_logs() as logs:
        assert make_tracing({"OTEL_TRACES_EXPORTER": "otlp"}) is None
    assert [entry["event"] for entry in logs] == ["tracing_unavailable"]
