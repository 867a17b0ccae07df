"""An upstream at a URL, and what is put there: for tests over real sockets."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proxy.core.batch import Batch, Failure
from proxy.core.record import Record
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.settings import UpstreamSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.core.batch import Reply

# Long enough that a busy machine does not meet one of them, and that a test which waits for one has failed.
PATIENT = dict.fromkeys(("connect_timeout_ms", "read_timeout_ms", "request_timeout_ms", "forward_timeout_ms"), 50000)

# Long enough for a busy machine to connect and to send, and short enough to be waited for.
SOON_MS = 1_500


@asynccontextmanager
async def opened(
    url: str,
    wall_clock: Callable[[], float] = time.time,
    /,
    **settings: Any,  # noqa: ANN401 - any setting
) -> AsyncIterator[AwsUpstream]:
    """Open an upstream at a URL, patient but for the timeouts that are given."""
    upstream = AwsUpstream(UpstreamSettings(endpoint_url=url, **{**PATIENT, **settings}), wall_clock=wall_clock)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


def batch_of(count: int = 1, data: str = "aGVsbG8=", *, timeout_ms: int = 0) -> Batch:
    """Return a batch of so many small records, which may take so long."""
    batch = Batch("orders", None, [Record(f"key-{n}", data, 10, n, 0) for n in range(count)])
    batch.timeout_ns = timeout_ms * 1_000_000
    return batch


def failed(reply: Reply) -> Failure:
    """Return what a put came to, which must be a failure."""
    assert isinstance(reply, Failure)
    return reply
