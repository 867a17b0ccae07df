"""What the page to watch costs the proxy: CPU of a real one with no viewer, one and many; run on demand.

    python -m tests.page.cost

A viewer here asks as the page does: once a second for the present and for one opened stream.
"""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import pairwise

import aiohttp

from tests.support.kinesis_client import KinesisClient
from tests.support.processes import Service, serve

SECONDS = 15.0
VIEWERS = (0, 1, 8)
FEW = ["orders:4"]
MANY = [*(f"team-{place:03d}-events:1" for place in range(199)), "wide:1000"]


async def view(session: aiohttp.ClientSession, stream_name: str, end_at: float) -> int:
    """Poll until then; return the bytes that came."""
    received = 0
    while time.monotonic() < end_at:
        began_at = time.monotonic()
        for path in ("/page/now", f"/page/stream?id={stream_name}"):
            async with session.get(path) as response:
                assert response.status == 200, response.status
                received += len(await response.read())
        await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - began_at)))
    return received


async def measure(proxy: Service, stream_name: str) -> list[tuple[int, float, float]]:
    """Return the CPU's share and the bytes a second for each number of viewers."""
    rows = []
    async with aiohttp.ClientSession(proxy.admin_url) as session:
        for viewers in VIEWERS:
            began, began_at = proxy.cpu_seconds(), time.monotonic()
            end_at = began_at + SECONDS
            received = sum(await asyncio.gather(*(view(session, stream_name, end_at) for _ in range(viewers))))
            await asyncio.sleep(max(0.0, end_at - time.monotonic()))
            seconds = time.monotonic() - began_at
            rows.append((viewers, (proxy.cpu_seconds() - began) / seconds, received / seconds))
        async with session.get("/page/history") as response:
            print(f"  the last minutes, once a visit: {len(await response.read()):,} bytes")  # noqa: T201 - its purpose
    return rows


async def main() -> None:
    """Measure a small and a large proxy, with a record put into every stream before."""
    for title, streams in (("1 stream, 4 shards", FEW), ("200 streams, 1,199 shards", MANY)):
        names = [each.partition(":")[0] for each in streams]
        with serve("embedded", stream=streams, streams_max=300) as proxy:
            print(title)  # noqa: T201 - its purpose
            async with KinesisClient(proxy.url) as client:
                for name in names:
                    await client.call("PutRecord", {"StreamName": name, "PartitionKey": "a", "Data": "aGVsbG8="})
            await asyncio.sleep(5)
            rows = await measure(proxy, names[-1])
            for viewers, cpu_ratio, bytes_per_second in rows:
                print(f"  {viewers} viewers: {cpu_ratio:.2%} of a core, {bytes_per_second:,.0f} bytes/s")  # noqa: T201
            for (before, least, _), (after, most, _) in pairwise(rows):
                print(f"  each of viewers {before + 1} to {after}: {(most - least) / (after - before):.2%}")  # noqa: T201
            print(f"  resident: {proxy.resident_bytes() / 2**20:.0f} MiB")  # noqa: T201


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
