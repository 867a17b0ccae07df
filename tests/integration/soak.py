"""The long form of the proofs: `make soak` prints what it found and fails if a promise was broken.

Usage: `python -m tests.integration.soak [--records N] [--only NAME]`

Order and outcome: 200,000 records over 2,000 keys from 64 concurrent producers, through the proxy to our emulator with
its limits on, throttling, resetting 5 % of the connections after the write, and resharded in the middle; to kinesalite;
and to ministack. Goodput: a stream of four shards, saturated; then the same while one shard takes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.processes import emulate, kinesalite, ministack, serve
from tests.support.proof import Proof, prove
from tests.support.saturation import SHARDS, STREAM_NAME, Stretch, saturated, stretch_of
from tests.support.workload import Load

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.processes import Independent, Service, Setting

RECORDS = 200_000
PARTITION_KEYS = 2_000
PRODUCERS = 64
PROOF_STREAM_NAME = "proof"
SHARD_RECORDS_PER_SECOND = 1_000
MEBI = 1024 * 1024
FAULTS = ["throttle_ratio=0.02", "reset_after_ratio=0.05", "latency_spread_ms=10"]
# Enough to read back every record and every repetition.
RETENTION: dict[str, Setting] = {"retain_records_max": 10_000_000, "retain_bytes_max": 4096 * MEBI}
# Independent servers limit nothing; the proxy is told so, or it would take its time.
UNLIMITED: dict[str, Setting] = {"shard_records_per_second": 0, "shard_bytes_per_second": 0}

WARM_UP_SECONDS = 5.0
STRETCH_SECONDS = 20.0
GOODPUT_MIN = 0.95
THROTTLED_SHARE_MAX = 0.01


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream to prove order and outcome on, and what may happen there."""

    title: str
    start: Callable[[], Service | Independent]
    settings: dict[str, Setting]
    shards: int = 8
    reshard: bool = True
    lost_answers: bool = False
    records_per_call: int = 10


UPSTREAMS = {
    "emulator": Upstream(
        "emulator: limits, throttles, resets, resharding",
        lambda: emulate(fault=FAULTS, **RETENTION),
        {},
        lost_answers=True,
    ),
    "kinesalite": Upstream("kinesalite: resharding", kinesalite, UNLIMITED),
    # It drops a closed shard with all its records: nothing could be read back after a resharding. Each of its calls
    # goes through all that it holds, hence few and full batches: one at a time, from longer calls.
    "ministack": Upstream(
        "ministack", ministack, {**UNLIMITED, "in_flight_max": 1}, reshard=False, records_per_call=40
    ),
}
GOODPUT = "goodput"


async def order_and_outcome(upstream: Upstream, records: int) -> list[str]:
    """Run one proof, print its row, and return what was broken."""
    load = Load(records, PARTITION_KEYS, PRODUCERS, upstream.records_per_call)
    with upstream.start() as server, serve(server.url, **upstream.settings) as proxy:
        proof = await prove(
            proxy, server.url, PROOF_STREAM_NAME, load, shards=upstream.shards, reshard=upstream.reshard
        )
    _print(_row(upstream.title, proof))
    try:
        proof.check(lost_answers=upstream.lost_answers)
    except AssertionError as error:
        return [f"{upstream.title}: {error}"]
    return []


def _row(title: str, proof: Proof) -> str:
    verdict = proof.verdict
    cells = (
        title,
        f"{proof.ledger.sent():,}",
        f"{verdict.acknowledged:,}",
        ", ".join(f"{count} {code}" for code, count in proof.ledger.failures.items()) or "none",
        f"{verdict.duplicates:,}",
        verdict.inversions,
        verdict.lost,
        verdict.foreign + verdict.misrouted,
        f"{proof.throttled_share:.2%}",
        f"{proof.records_per_request:.1f}",
        f"{proof.goodput:,.0f}",
        f"{proof.cpu_seconds:.1f}",
        len(proof.books),
    )
    return f"| {' | '.join(map(str, cells))} |"


async def goodput() -> list[str]:
    """Saturate four shards, then do so while one takes nothing; print both and return what was broken."""
    stream = f"{STREAM_NAME}:{SHARDS}"
    broken: list[str] = []
    with emulate(stream=[stream], **RETENTION) as upstream, serve(upstream.url) as proxy:
        async with saturated(proxy, upstream) as saturation:
            await asyncio.sleep(WARM_UP_SECONDS)
            stretch = await stretch_of(saturation, STRETCH_SECONDS)
    _print(_goodput_row("all shards", stretch))
    share = stretch.goodput / (SHARDS * SHARD_RECORDS_PER_SECOND)
    if share < GOODPUT_MIN:
        broken.append(f"goodput is {share:.1%} of the shards' limits")
    if stretch.throttled_share >= THROTTLED_SHARE_MAX:
        broken.append(f"{stretch.throttled_share:.2%} of the records were throttled")
    fault = ["throttle_shard_id=shardId-000000000000"]
    with emulate(stream=[stream], fault=fault, **RETENTION) as upstream, serve(upstream.url) as proxy:
        async with saturated(proxy, upstream) as saturation:
            await asyncio.sleep(WARM_UP_SECONDS)
            stretch = await stretch_of(saturation, STRETCH_SECONDS)
    _print(_goodput_row("one takes nothing", stretch))
    slowest = min(stretch.taken[1:]) / stretch.seconds / SHARD_RECORDS_PER_SECOND
    if slowest < GOODPUT_MIN:
        broken.append(f"beside a shard that takes nothing another one got only {slowest:.1%} of its limit")
    return broken


def _goodput_row(title: str, stretch: Stretch) -> str:
    taken = ", ".join(f"{count / stretch.seconds:,.0f}" for count in stretch.taken)
    return f"| {title} | {stretch.seconds:.1f} | {stretch.goodput:,.0f} | {taken} | {stretch.throttled_share:.2%} |"


async def soak(records: int, only: str | None) -> list[str]:
    """Run the proofs and return what was broken."""
    broken: list[str] = []
    _print(
        f"{records:,} records over {PARTITION_KEYS:,} keys from {PRODUCERS} producers\n\n"
        "| upstream | sent | acknowledged | failed, sent again | duplicates | inversions | lost | foreign or misrouted "
        "| throttled | records in a request upstream | records/s | CPU-seconds of the proxy | books checked |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, upstream in UPSTREAMS.items():
        if only in {None, name}:
            broken += await order_and_outcome(upstream, records)
    if only in {None, GOODPUT}:
        _print(
            "\n| four shards, saturated | seconds | goodput, records/s | each shard took, records/s | throttled |\n"
            "|---|---|---|---|---|"
        )
        broken += await goodput()
    return broken


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the program's result


def main() -> None:
    """Run the proofs; the exit code is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--only", choices=[*UPSTREAMS, GOODPUT])
    options = parser.parse_args()
    broken = asyncio.run(soak(options.records, options.only))
    if broken:
        sys.exit("broken:\n" + "\n".join(broken))


if __name__ == "__main__":
    main()
