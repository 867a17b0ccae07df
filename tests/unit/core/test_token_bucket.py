from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.token_bucket import ShardLimit, TokenBucket
from tests.unit.core.builders import MS, SECOND


def test_a_bucket_starts_empty() -> None:
    """The shard's last second may have been used up by a predecessor."""
    bucket = TokenBucket(1000, 100 * MS, now_ns=7 * SECOND)
    assert bucket.level(7 * SECOND) == 0
    assert bucket.ready_at_ns(1) == 7 * SECOND + MS


def test_a_bucket_refills_at_its_rate() -> None:
    """A thousand a second is one a millisecond."""
    bucket = TokenBucket(1000, 100 * MS, now_ns=0)
    assert bucket.level(30 * MS) == 30
    bucket.take(20, 30 * MS)
    assert bucket.level(30 * MS) == 10
    assert bucket.level(35 * MS) == 15
    assert bucket.ready_at_ns(16) == 36 * MS


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    """What flows in while the bucket is full is lost."""
    bucket = TokenBucket(1000, 100 * MS, now_ns=0)
    assert bucket.level(SECOND) == 100
    bucket.take(100, SECOND)
    assert bucket.level(SECOND) == 0
    assert bucket.ready_at_ns(1) == SECOND + MS


def test_a_take_larger_than_the_burst_passes_only_when_the_bucket_is_full() -> None:
    """No record is too large to ever go, and a full bucket is enough for any."""
    bucket = TokenBucket(1000, 100 * MS, now_ns=0)
    assert bucket.ready_at_ns(100) == 100 * MS
    assert bucket.ready_at_ns(101) == 100 * MS
    assert bucket.ready_at_ns(1_000_000) == 100 * MS
    bucket.take(1, 100 * MS)
    assert bucket.ready_at_ns(1_000_000) == 101 * MS


def test_a_take_larger_than_the_burst_leaves_a_debt_that_keeps_the_average() -> None:
    """After ten bursts at once, nothing goes for nine bursts' time."""
    bucket = TokenBucket(1000, 100 * MS, now_ns=0)
    bucket.take(1000, 100 * MS)
    assert bucket.level(100 * MS) == -900
    assert bucket.ready_at_ns(1) == 1001 * MS


def test_an_unlimited_bucket_is_always_ready_and_never_in_debt() -> None:
    """Rate 0 switches the limit off."""
    bucket = TokenBucket(0, 100 * MS, now_ns=SECOND)
    bucket.take(10**12, SECOND)
    assert bucket.ready_at_ns(10**12) <= SECOND
    assert bucket.level(SECOND) == 0


@given(
    rate=st.integers(1, 2_000_000),
    burst_ns=st.integers(MS, 2 * SECOND),
    takes=st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 3_000_000)), min_size=1, max_size=40),
)
@example(rate=3, burst_ns=SECOND, takes=[(3 * SECOND, 1)] + [(0, 1)] * 9)
def test_no_window_sees_more_than_its_share_and_one_burst(
    rate: int, burst_ns: int, takes: list[tuple[int, int]]
) -> None:
    """Between any two takes, to the last token: rate times window plus burst, the last take counted up to a burst."""
    bucket = TokenBucket(rate, burst_ns, now_ns=0)
    now_ns = 0
    taken: list[tuple[int, int]] = []
    for idle_ns, tokens in takes:
        now_ns = max(now_ns + idle_ns, bucket.ready_at_ns(tokens))
        bucket.take(tokens, now_ns)
        taken.append((now_ns, tokens))
    for first, (start_ns, _) in enumerate(taken):
        sent_before_last = 0
        for end_ns, tokens in taken[first:]:
            allowed = rate * (end_ns - start_ns + burst_ns)
            assert sent_before_last + min(tokens * SECOND, rate * burst_ns) <= allowed
            sent_before_last += tokens * SECOND


@given(st.integers(1, 2_000_000), st.lists(st.integers(0, SECOND), max_size=30))
def test_level_is_never_above_the_burst(rate: int, idle_ns: list[int]) -> None:
    """However long nothing is taken."""
    bucket = TokenBucket(rate, 100 * MS, now_ns=0)
    now_ns = 0
    for idle in idle_ns:
        now_ns += idle
        assert bucket.level(now_ns) <= rate / 10
        if bucket.ready_at_ns(1) <= now_ns:
            bucket.take(1, now_ns)


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
