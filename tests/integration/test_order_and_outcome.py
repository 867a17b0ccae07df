"""Order and outcome through real processes: the short form, which `make soak` has the long form of."""

from __future__ import annotations

from tests.support.kinesis_client import KinesisClient
from tests.support.processes import emulate, serve
from tests.support.proof import prove
from tests.support.readback import read_stream, verify
from tests.support.workload import Load, produce_in_waves

STREAM_NAME = "proof"
RECORDS = 15_000
PARTITION_KEYS = 1_000
FAULTS = ["throttle_ratio=0.02", "reset_after_ratio=0.05", "latency_spread_ms=10"]
# Independent servers limit nothing; the proxy is told so, or it would take its time.
UNLIMITED: dict[str, int] = {"shard_records_per_second": 0, "shard_bytes_per_second": 0}


async def test_order_and_outcome_survive_throttling_lost_answers_and_resharding() -> None:
    """Through limits, throttles, resets after the write, a split and a merge each record has its one true outcome."""
    with emulate(fault=FAULTS) as upstream, serve(upstream.url) as proxy:
        load = Load(RECORDS, PARTITION_KEYS)
        proof = await prove(proxy, upstream.url, STREAM_NAME, load, shards=4, reshard=True)
    proof.check(lost_answers=True)
    assert proof.verdict.acknowledged == RECORDS
    assert proof.books[-1].unknown_outcomes > 0, "answers were lost"
    assert proof.books[-1].throttled > 0, "records were throttled"


async def test_records_that_arrive_while_one_of_their_key_is_out_wait_their_turn() -> None:
    """Ten records of each of two hundred keys are in the proxy at once, and a fifth of all attempts fails."""
    faults = ["latency_ms=50", "throttle_ratio=0.2", "reset_after_ratio=0.05"]
    keys, waves = [f"k{number}" for number in range(200)], 10
    with (
        emulate(stream=[f"{STREAM_NAME}:4"], fault=faults) as upstream,
        serve(upstream.url, delivery_timeout_ms=60_000) as proxy,
    ):
        ledger = await produce_in_waves(proxy, STREAM_NAME, keys, waves)
        async with KinesisClient(upstream.url) as reader:
            verdict = verify(ledger, await read_stream(reader, STREAM_NAME))
    assert verdict.problems == {}, verdict.examples
    assert verdict.acknowledged == ledger.sent() == len(keys) * waves
    assert verdict.late_duplicates == 0


async def test_order_and_outcome_hold_on_kinesalite(kinesalite_url: str) -> None:
    """A server that others wrote to behave as AWS finds order and outcome the same, across a resharding."""
    with serve(kinesalite_url, **UNLIMITED) as proxy:
        load = Load(RECORDS, PARTITION_KEYS)
        proof = await prove(proxy, kinesalite_url, STREAM_NAME, load, shards=4, reshard=True)
    proof.check(lost_answers=False)
    assert proof.verdict.acknowledged == RECORDS


async def test_order_and_outcome_hold_on_ministack(ministack_url: str) -> None:
    """Another server, with sequence numbers of its own kind, finds order and outcome the same."""
    with serve(ministack_url, **UNLIMITED) as proxy:
        load = Load(RECORDS, PARTITION_KEYS)
        # ministack drops a closed shard with all its records: nothing could be read back after a resharding.
        proof = await prove(proxy, ministack_url, STREAM_NAME, load, shards=4, reshard=False)
    proof.check(lost_answers=False)
    assert proof.verdict.acknowledged == RECORDS
