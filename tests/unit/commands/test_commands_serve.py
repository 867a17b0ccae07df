from __future__ import annotations

import pytest

from proxy.commands import serve
from proxy.config import ServeSettings
from proxy.core.limits import SECOND_NS, StreamLimits
from proxy.core.ordering import Ordering
from proxy.core.rate_control import AdaptiveRate, FixedRate
from proxy.core.traffic import Traffic
from proxy.upstream.settings import UpstreamSettings


def settings(**values: object) -> ServeSettings:
    """Return settings that differ from the defaults in these."""
    return ServeSettings.model_validate(values)


def test_the_defaults_of_the_settings_are_those_of_the_parts() -> None:
    """What a part says of itself is what runs unless somebody sets it otherwise."""
    assert serve.stream_limits(settings()) == StreamLimits()
    assert serve.upstream_settings(settings()) == UpstreamSettings()


def test_a_share_of_the_shard_rates_is_taken_of_both() -> None:
    """Other producers on the shard get the rest."""
    limits = serve.stream_limits(settings(shard_rate_ratio=0.25))
    assert (limits.shard_records_per_second, limits.shard_bytes_per_second) == (250, 262_144)


def test_a_small_share_of_a_rate_is_not_unlimited() -> None:
    """Zero means unlimited only where it was written."""
    limits = serve.stream_limits(settings(shard_rate_ratio=0.0001, shard_bytes_per_second=0))
    assert (limits.shard_records_per_second, limits.shard_bytes_per_second) == (1, 0)


def test_what_is_forwarded_and_within_which_bounds_is_the_operators_choice() -> None:
    """The frontend gets the list and the name to tell callers; the upstream the bounds."""
    frontend = serve.frontend_settings(settings(forwarded_operations="ListShards"))
    assert frontend.forwarded_operations == frozenset({"ListShards"})
    assert frontend.forwarded_operations_setting == "forwarded_operations"
    upstream = serve.upstream_settings(
        settings(forwards_in_flight_max=3, forward_timeout_ms=2_000, forward_response_bytes_max=65_536)
    )
    bounds = (upstream.forwards_in_flight_max, upstream.forward_timeout_ms, upstream.forward_response_bytes_max)
    assert bounds == (3, 2_000, 65_536)


def test_an_operator_can_keep_the_rate_of_shards_from_adapting() -> None:
    """Then a lane uses its share of the limit, whatever is throttled."""
    assert isinstance(serve.stream_limits(settings()).rate_control(0), AdaptiveRate)
    assert isinstance(serve.stream_limits(settings(shard_rate_adapts=False)).rate_control(0), FixedRate)


def test_the_least_of_an_adapting_rate_is_of_the_whole_limit() -> None:
    """An operator who takes half of a shard's limits, and never less than a tenth, means a fifth of his half."""
    lane_rate = serve.stream_limits(settings(shard_rate_ratio=0.5, shard_rate_ratio_min=0.1)).rate_control(0)
    for second in range(60):
        lane_rate.learn(Traffic(100, 100.0, 100, 100.0), second * SECOND_NS)
    assert lane_rate.ratio == pytest.approx(0.2)


def test_each_stream_has_the_ordering_that_its_name_is_given() -> None:
    """The first rule that matches counts."""
    limits_of = serve.stream_limits_of(settings(ordering="call,clicks-*=none"))
    assert limits_of("clicks-eu").ordering is Ordering.NONE
    assert limits_of("orders").ordering is Ordering.CALL
