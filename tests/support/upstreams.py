"""An upstream at a URL, and what is put there: for tests over real sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from proxy.core.batch import Batch, Failure
from proxy.core.record import Record
from proxy.upstream.aws import AwsUpstream
from proxy.upstream.settings import UpstreamSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.core.batch import Reply

# Long enough that a test which waits for one of them has failed.
PATIENT = {"connect_timeout_ms": 50_000, "read_timeout_ms": 50_000, "request_timeout_ms": 50_000}


@asynccontextmanager
async def opened(url: str, **settings: Any) -> AsyncIterator[AwsUpstream]:  # noqa: ANN401 - any setting
    """Open an upstream at a URL, with timeouts that a test can wait for."""
    timeouts = {"connect_timeout_ms": 1_000, "read_timeout_ms": 1_000, "request_timeout_ms": 2_000}
    upstream = AwsUpstream(UpstreamSettings(endpoint_url=url, **{**timeouts, **settings}))
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
