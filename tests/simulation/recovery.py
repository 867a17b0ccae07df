"""Whether a proxy is as good as new once the service is well: it takes a probe for every shard, and must deliver it.

So a lane that is never given its turn, a gate that stays shut or room that is not given back is found although every
record got its outcome; and so is a shard map that nothing corrects.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.core.hashing import hash_key_of
from proxy.core.record import Record, State
from tests.simulation.promises import Rule
from tests.simulation.service import arn_of

if TYPE_CHECKING:
    from tests.simulation.fleet import Fleet
    from tests.simulation.promises import Promises
    from tests.simulation.proxies import SimulatedProxy
    from tests.simulation.service import SimulatedService, SimulatedStream

# A failed fetch is tried again after a minute at the most, and one that was slow when the faults ended takes 10 s.
FETCHES_SECONDS = 75.0
# Below the slowest shard's rate, for all proxies together.
PROBE_SECONDS = 1.0
PROBED_SHARDS_MAX = 12
# The first contradicts a map, the second has fetched what could not be fetched before, the third is routed by it.
ROUNDS = 3


async def check_recovery(fleet: Fleet, service: SimulatedService, promises: Promises) -> None:
    """Send probes until every map has been contradicted and fetched, and look at what became of them."""
    await asyncio.sleep(FETCHES_SECONDS)
    for attempt in range(ROUNDS):
        for proxy in fleet.serving:
            for stream in service.streams.values():
                await _probe(proxy, stream, f"{proxy.name} {attempt}", promises)
                if attempt == ROUNDS - 1:
                    _check_map(proxy, stream, promises)
        await asyncio.sleep(FETCHES_SECONDS)


async def _probe(proxy: SimulatedProxy, stream: SimulatedStream, name: str, promises: Promises) -> None:
    """Append a record for each shard, one after another."""
    probes = []
    for shard in stream.topology.open[:PROBED_SHARDS_MAX]:
        key = f"probe {name} {stream.name} {shard.shard_id}"
        probe = Record(
            key,
            key,
            len(key),
            hash_key_of(key, str(shard.starting_hash_key)),
            proxy.clock(),
            str(shard.starting_hash_key),
        )
        probes.append(probe)
        proxy.driver.append(stream.name, _arn_named(stream), [probe])
        await asyncio.sleep(PROBE_SECONDS)
    for probe in probes:
        if probe.state is not State.ACKNOWLEDGED:
            text = f"{probe.partition_key} of {stream.name} is {probe.state.name}: {probe.error_message}"
            raise promises.note(Rule.ALIVE, text)


def _check_map(proxy: SimulatedProxy, stream: SimulatedStream, promises: Promises) -> None:
    """Compare what a proxy knows with the stream, and its lanes with the open shards, if each has been probed."""
    shard_ids = [shard.shard_id for shard in stream.topology.open]
    known = proxy.driver._directory.find(stream.name, _arn_named(stream))
    if known is None or known.summary is None:
        return
    told = (known.summary.record_bytes_max, known.summary.auto_distribution)
    if told != (stream.record_bytes_max, stream.auto):
        raise promises.note(Rule.SUMMARY, f"{proxy.name} knows {told} of {stream.name}")
    if stream.auto or len(shard_ids) > PROBED_SHARDS_MAX:
        return
    lanes = [lane.shard_id for lane in known.lanes]
    if lanes != shard_ids:
        raise promises.note(Rule.MAP, f"{proxy.name} knows {lanes} of {stream.name}, open are {shard_ids}")


def _arn_named(stream: SimulatedStream) -> str | None:
    """Return the ARN of a stream that its callers name by it."""
    return arn_of(stream.name) if stream.shape.by_arn else None
