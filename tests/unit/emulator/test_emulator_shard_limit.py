from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.emulator.shard_limit import ShardLimit

SECOND = 1_000_000_000
MIB = 1024 * 1024


def test_a_full_shard_takes_a_thousand_records_at_once_and_not_one_more() -> None:
    """The burst is one second of the rate."""
    limit = ShardLimit(1000, MIB, 0)
    assert all(limit.take(1, 0) for _ in range(1000))
    assert not limit.take(1, 0)


def test_a_record_is_taken_the_nanosecond_its_token_is_there() -> None:
    """One record per millisecond flows in, not a nanosecond sooner."""
    limit = ShardLimit(1000, MIB, 0)
    for _ in range(1000):
        limit.take(1, 0)
    assert not limit.take(1, 999_999)
    assert limit.take(1, 1_000_000)
    assert not limit.take(1, 1_000_000)


def test_bytes_are_limited_to_one_mebibyte_a_second() -> None:
    """Exactly a second's worth passes at once, and then what flows in."""
    limit = ShardLimit(1000, MIB, 0)
    assert limit.take(MIB, 0)
    assert not limit.take(1, 0)
    assert not limit.take(MIB // 2 + 1, SECOND // 2)
    assert limit.take(MIB // 2, SECOND // 2)


def test_a_refused_record_costs_nothing() -> None:
    """Records and bytes are taken together or not at all."""
    limit = ShardLimit(2, MIB, 0)
    assert limit.take(MIB, 0)
    assert not limit.take(1, 0)
    assert limit.take(MIB // 2, SECOND // 2)
    assert not limit.take(1, SECOND // 2)


def test_a_shard_never_saves_more_than_one_second() -> None:
    """However long it was idle."""
    limit = ShardLimit(10, MIB, 0)
    assert sum(limit.take(1, 3600 * SECOND) for _ in range(100)) == 10


def test_a_full_shard_takes_a_record_of_ten_mebibytes() -> None:
    """A large record draws on the reserve."""
    limit = ShardLimit(1000, MIB, 0)
    assert limit.take(10 * MIB, 0)


def test_small_records_go_on_as_the_rate_flows_after_a_large_one() -> None:
    """The reserve is emptied, and the first tank with it, but what flows in is for everyone."""
    limit = ShardLimit(1000, MIB, 0)
    limit.take(10 * MIB, 0)
    assert not limit.take(1024, 0)
    assert limit.take(1024, SECOND // 1000)


def test_the_reserve_is_for_records_above_a_seconds_worth_alone() -> None:
    """Small records cannot burst beyond one second."""
    limit = ShardLimit(0, MIB, 0)
    assert sum(limit.take(MIB // 4, 0) for _ in range(40)) == 4


def test_a_second_large_record_waits_until_the_average_allows_it() -> None:
    """Ten mebibytes take ten seconds of the rate."""
    limit = ShardLimit(1000, MIB, 0)
    limit.take(10 * MIB, 0)
    assert not limit.take(10 * MIB, 10 * SECOND - 1)
    assert limit.take(10 * MIB, 10 * SECOND)


def test_a_rate_of_zero_is_no_limit() -> None:
    """Either limit can be off."""
    unlimited_records = ShardLimit(0, 10, 0)
    assert sum(unlimited_records.take(1, 0) for _ in range(20)) == 10
    unlimited_bytes = ShardLimit(10, 0, 0)
    assert sum(unlimited_bytes.take(10 * MIB, 0) for _ in range(20)) == 10


def test_a_record_larger_than_a_small_rate_still_passes() -> None:
    """A limit set below the size of records slows them down and stops none for ever."""
    limit = ShardLimit(0, 1000, 0)
    assert limit.take(10 * MIB, 0)
    assert limit.take(MIB, 1049 * SECOND)


@given(st.lists(st.tuples(st.integers(0, SECOND), st.integers(1, 2 * MIB)), max_size=60))
def test_no_more_passes_than_the_tanks_hold_and_the_rate_brings(offers: list[tuple[int, int]]) -> None:
    """Over any time the bytes taken are within the full tanks plus the rate's flow, and so are the records."""
    limit = ShardLimit(20, MIB, 0)
    now_ns = taken_bytes = taken_records = 0
    for wait_ns, size_bytes in offers:
        now_ns += wait_ns
        if limit.take(size_bytes, now_ns):
            taken_bytes += size_bytes
            taken_records += 1
        assert taken_bytes * SECOND <= 10 * MIB * SECOND + now_ns * MIB
        assert taken_records * SECOND <= 20 * SECOND + now_ns * 20
