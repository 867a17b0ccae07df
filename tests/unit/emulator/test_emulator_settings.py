from __future__ import annotations

import pytest

from proxy.emulator.settings import EmulatorSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shard_records_per_second", -1),
        ("shard_bytes_per_second", 10**12 + 1),
        ("retention_records_max", -1),
        ("retention_bytes_max", -1),
        ("retention_hours", 0),
        ("create_delay_ms", 600_001),
        ("create_on_first_use_shards", 10_001),
        ("shards_max", 0),
        ("request_bytes_max", 0),
        ("account_id", "12"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(name: str, value: int | str) -> None:
    """The message names the setting and its bounds."""
    with pytest.raises(ValueError, match=f"^{name} must be"):
        EmulatorSettings(**{name: value})  # type: ignore[arg-type] # one name at a time, each of its own type
