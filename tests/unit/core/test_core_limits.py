from __future__ import annotations

from typing import Any

import pytest

from proxy.core.limits import MIB, StreamLimits
from tests.unit.core.builders import MS


def test_the_defaults_lie_within_what_the_service_takes() -> None:
    """500 records and 5 MiB a request; 1000 records and 1 MiB a second and shard."""
    limits = StreamLimits()
    assert limits.batch_records_max <= 500
    assert limits.batch_bytes_max <= 5 * MIB
    assert limits.shard_records_per_second <= 1000
    assert limits.shard_bytes_per_second <= MIB


@pytest.mark.parametrize("name", ["batch_records_max", "batch_bytes_max", "shard_slice_bytes_max", "in_flight_max"])
def test_a_limit_that_would_let_nothing_go_is_refused(name: str) -> None:
    """The error names the limit."""
    none: dict[str, Any] = {name: 0}
    one: dict[str, Any] = {name: 1}
    with pytest.raises(ValueError, match=name):
        StreamLimits(**none)
    StreamLimits(**one)


def test_a_burst_shorter_than_the_linger_is_refused() -> None:
    """Lanes wake on the linger grid: a smaller bucket would lose part of its rate there."""
    with pytest.raises(ValueError, match="shard_burst_ns"):
        StreamLimits(linger_ns=5 * MS, shard_burst_ns=5 * MS - 1)
    StreamLimits(linger_ns=5 * MS, shard_burst_ns=5 * MS)


def test_a_burst_shorter_than_a_millisecond_is_refused() -> None:
    """Event loops count in milliseconds, so lanes wake no oftener."""
    with pytest.raises(ValueError, match="shard_burst_ns"):
        StreamLimits(linger_ns=0, shard_burst_ns=MS - 1)
    StreamLimits(linger_ns=0, shard_burst_ns=MS)
