"""What comes through when the shards are full: counts alone; `make soak` measures rates."""

from __future__ import annotations

from tests.support.processes import emulate, serve
from tests.support.proof import Books
from tests.support.saturation import SHARDS, STREAM_NAME, saturated
from tests.support.workload import when

RECORDS = 12_000
STREAM = f"{STREAM_NAME}:{SHARDS}"


async def test_a_saturated_stream_is_hardly_ever_throttled() -> None:
    """The proxy keeps within the shards' limits by itself: the service throttles less than one record in a hundred."""
    with emulate(stream=[STREAM]) as upstream, serve(upstream.url) as proxy:
        async with saturated(proxy, upstream) as saturation:
            await when(lambda: sum(ledger.acknowledged() for ledger in saturation.ledgers) >= RECORDS)
        books = Books.of(proxy.metrics())
    assert books.acknowledged >= RECORDS
    assert books.throttled < 0.01 * books.attempts


async def test_a_throttled_shard_holds_up_no_other() -> None:
    """While one shard takes nothing, the others take as much as each other and fail no call of their producers."""
    faults = ["throttle_shard_id=shardId-000000000000"]
    with emulate(stream=[STREAM], fault=faults) as upstream, serve(upstream.url) as proxy:
        async with saturated(proxy, upstream) as saturation:
            throttled, *others = saturation.ledgers
            await when(lambda: all(ledger.acknowledged() >= RECORDS // SHARDS for ledger in others))
            counts = [ledger.acknowledged() for ledger in others]
            errors = Books.of(proxy.metrics()).throttled
    assert throttled.acknowledged() == 0
    assert all(not ledger.failures for ledger in others)
    assert min(counts) > 0.9 * max(counts)
    # A shard that refuses everything is tried now and then, not as often as one that takes what it is sent.
    assert errors < min(counts)
