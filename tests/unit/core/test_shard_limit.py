"""What a shard may be sent: two buckets, and credit where little was sent of late."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.shard_limit import ShardLimit
from tests.unit.core.builders import MS, SECOND


def limit_of(records_per_second: int = 1000, bytes_per_second: int = 1000_000) -> ShardLimit:
    """Return a limit that is three seconds old, whose buckets are full."""
    return ShardLimit(records_per_second, bytes_per_second, 100 * MS, now_ns=-3 * SECOND)


def sent_at_once(limit: ShardLimit, now_ns: int, *, size_bytes: int = 10) -> int:
    """Send as many records as may go now, and return how many."""
    sent = 0
    while limit.ready_at_ns(size_bytes) <= now_ns and sent < 5000:
        limit.take(size_bytes, now_ns)
        sent += 1
    return sent


def test_a_shard_that_was_quiet_may_be_sent_a_seconds_worth_at_once() -> None:
    """Who puts 500 records now and then waits for no tokens."""
    limit = limit_of()
    assert sent_at_once(limit, 0) == 1000
    assert limit.records.level(0) == -900


def test_a_seconds_worth_is_one_of_bytes_too() -> None:
    """Ten records of 100 KB."""
    assert sent_at_once(limit_of(), 0, size_bytes=100_000) == 10


def test_what_went_in_advance_is_waited_for() -> None:
    """The next goes when the debt is paid, and then at the rate."""
    limit = limit_of()
    sent_at_once(limit, 0)
    assert limit.ready_at_ns(10) == 901 * MS
    assert sent_at_once(limit, 901 * MS) == 1
    assert limit.ready_at_ns(10) == 902 * MS


def test_credit_is_what_is_left_of_two_spans() -> None:
    """Ten records a second leave credit for nearly a whole second's worth; half of the rate leaves half of it."""
    for before, credit in ((10, 990), (500, 500), (900, 100)):
        limit = limit_of()
        limit.take(10, 0)
        for number in range(1, before):
            limit.take(10, number * SECOND // before)
        assert sent_at_once(limit, SECOND) == credit


def test_a_lane_at_full_rate_has_no_credit() -> None:
    """However long it goes on: what it sends is spaced by the rate."""
    limit = limit_of()
    now_ns = 0
    for _ in range(3500):
        now_ns = max(now_ns, limit.ready_at_ns(10))
        limit.take(10, now_ns)
    assert now_ns >= 2400 * MS
    assert sent_at_once(limit, now_ns) == 0


def test_nobody_knows_what_a_predecessor_sent() -> None:
    """So there is no credit in the first spans, and what is used starts the count anew where shards are others."""
    limit = ShardLimit(1000, 0, 100 * MS, now_ns=0)
    assert sent_at_once(limit, 200 * MS) == 100
    assert sent_at_once(limit, SECOND) == 100
    changed = limit_of()
    changed.change_nominal(4000, 1000_000, 0)
    assert sent_at_once(changed, 0) == 100
    same = limit_of()
    same.change_nominal(1000, 1000_000, 0)
    assert sent_at_once(same, 0) == 1000


def test_a_lane_that_uses_a_share_of_its_limit_has_no_credit() -> None:
    """Its shard is full: a burst would be throttled."""
    limit = limit_of()
    limit.scale(0.5, 0)
    assert sent_at_once(limit, 0) == 50


def test_a_record_larger_than_a_seconds_worth_gets_no_credit() -> None:
    """It goes when the bucket is full, as ever."""
    limit = limit_of()
    limit.take(50_000, 0)
    assert limit.ready_at_ns(1000_001) == 50 * MS


def test_a_large_record_keeps_its_shard_from_others_for_a_second_not_for_its_size() -> None:
    """Of 8 MB, on a shard of one a second: the rest is drawn from what the shard has not used."""
    limit = limit_of()
    limit.take(8_000_000, 0)
    assert limit.ready_at_ns(10_000) == 910 * MS


@given(
    idle_ms=st.lists(st.integers(0, 1500), min_size=1, max_size=12),
    wanted=st.lists(st.integers(1, 150), min_size=12, max_size=12),
    size_bytes=st.sampled_from((1, 10, 30)),
)
@example(idle_ms=[0, 999, 1, 900], wanted=[1, 150, 150, 150] * 3, size_bytes=1)
def test_no_second_has_more_than_the_limit_and_one_burst(
    idle_ms: list[int], wanted: list[int], size_bytes: int
) -> None:
    """By records or by bytes, whatever comes when: each goes as soon as it may, if it may within its time."""
    limit = ShardLimit(100, 1000, 100 * MS, now_ns=-3 * SECOND)
    sent: list[int] = []
    now_ns = 0
    for idle, count in zip(idle_ms, wanted, strict=False):
        now_ns += idle * MS
        for _ in range(count):
            now_ns = max(now_ns, limit.ready_at_ns(size_bytes))
            limit.take(size_bytes, now_ns)
            sent.append(now_ns)
    most = min(100, 1000 // size_bytes) + max(1, min(10, 100 // size_bytes)) + 1
    first = 0
    for last, at_ns in enumerate(sent):
        while sent[first] <= at_ns - SECOND:
            first += 1
        assert last - first + 1 <= most
    assert all(before <= after for before, after in pairwise(sent))


def test_what_is_allowed_now_counts_credit() -> None:
    """As it is shown: what the buckets hold, or more; and a debt."""
    limit = limit_of()
    limit.take(10, 0)
    assert limit.allowed(0) == (999, 999_990)
    sent_at_once(limit, 0)
    assert limit.allowed(0) == (-900, 90_000)
    assert limit.allowed(2 * SECOND) == (1000, 1000_000)
    assert sent_at_once(limit, 2 * SECOND) == 1000


def test_a_record_takes_from_both_buckets_of_its_shard() -> None:
    """Records and bytes are counted together."""
    limit = ShardLimit(1000, 1000_000, 100 * MS, now_ns=0)
    limit.take(50_000, 100 * MS)
    assert limit.records.level(100 * MS) == 99
    assert limit.bytes.level(100 * MS) == 50_000


def test_a_shard_is_ready_when_both_its_buckets_are() -> None:
    """The scarcer of records and bytes decides."""
    limit = ShardLimit(1000, 1000_000, 100 * MS, now_ns=0)
    assert limit.ready_at_ns(500) == MS
    assert limit.ready_at_ns(30_000) == 30 * MS


def test_each_limit_of_a_shard_can_be_switched_off_alone() -> None:
    """Records without a limit still count their bytes."""
    limit = ShardLimit(0, 1000_000, 100 * MS, now_ns=0)
    assert limit.ready_at_ns(30_000) == 30 * MS
    assert ShardLimit(1000, 0, 100 * MS, now_ns=0).ready_at_ns(30_000) == MS


def test_a_ratio_scales_both_buckets_of_a_shard() -> None:
    """By one factor, and back again."""
    limit = ShardLimit(1000, 1000_000, 100 * MS, now_ns=0)
    limit.scale(0.25, 0)
    assert (limit.records.rate_per_second, limit.bytes.rate_per_second) == (250, 250_000)
    limit.scale(1.0, 0)
    assert (limit.records.rate_per_second, limit.bytes.rate_per_second) == (1000, 1000_000)


def test_other_nominal_rates_keep_the_ratio() -> None:
    """More shards are more to share."""
    limit = ShardLimit(1000, 0, 100 * MS, now_ns=0)
    limit.scale(0.5, 0)
    limit.change_nominal(4000, 0, 0)
    assert (limit.records.rate_per_second, limit.bytes.rate_per_second) == (2000, 0)


def test_what_records_cost_is_the_time_of_the_scarcer_limit() -> None:
    """A small record costs a record's time, a large one its bytes'; where nothing is limited nothing costs anything."""
    limit = ShardLimit(1000, 1000_000, 100 * MS, now_ns=0)
    assert limit.cost_ms(3, 300) == 3
    assert limit.cost_ms(1, 50_000) == 50
    limit.scale(0.1, 0)
    assert limit.cost_ms(1, 50_000) == 50
    assert ShardLimit(0, 0, 100 * MS, now_ns=0).cost_ms(5, 5000) == 0
