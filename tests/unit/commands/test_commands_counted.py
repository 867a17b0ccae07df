from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.commands.counted import CountedUpstream
from proxy.core.batch import Answer, Batch, Failure, Written
from proxy.core.batch import Reply as PutReply
from proxy.emulator.put_result import PutResult
from proxy.kinesis.http import Reply, Request
from proxy.upstream.counters import Outcome

if TYPE_CHECKING:
    from proxy.core.shard_map import Shard, StreamSummary

DONE = PutResult("1", "shardId-000000000000")
THROTTLED = PutResult(error_code="ProvisionedThroughputExceededException", error_message="slow down")
FAILURE = Failure("ResourceNotFoundException", None, Written.REFUSED, 400)


class ScriptedUpstream:
    """Answers what it was made with."""

    region = "us-east-1"

    def __init__(self, put: PutReply | None = None, reply: Reply | None = None) -> None:
        self._put = put
        self._reply = reply

    async def start(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""

    def ready(self) -> bool:
        """Be ready always."""
        return True

    async def put(self, batch: Batch) -> PutReply:
        """Answer what was given, or never."""
        del batch
        if self._put is None:
            await asyncio.Event().wait()
            raise AssertionError
        return self._put

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return no shards."""
        del stream_name, stream_arn
        return []

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Fail."""
        del stream_name, stream_arn
        return FAILURE

    async def forward(self, operation: str, request: Request) -> Reply:
        """Return what was given."""
        del operation, request
        assert self._reply is not None
        return self._reply


def counted(upstream: CountedUpstream) -> dict[tuple[str, Outcome], int]:
    """Return what was counted, without the zeros."""
    return {key: count for key, count in upstream.counters.requests.items() if count}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Answer([DONE, DONE]), Outcome.OK),
        (Answer([DONE, THROTTLED]), Outcome.PARTIAL),
        (FAILURE, Outcome.REFUSED),
        (Failure("ConnectionReset", None, Written.UNKNOWN), Outcome.UNKNOWN),
    ],
)
async def test_a_put_is_counted_by_what_became_of_it(reply: PutReply, outcome: Outcome) -> None:
    """The embedded Kinesis shows in the same metrics as the real one."""
    upstream = CountedUpstream(ScriptedUpstream(reply))
    assert await upstream.put(Batch("orders", None, [])) is reply
    assert await upstream.put(Batch("orders", None, [], ordered=True)) is reply
    assert counted(upstream) == {("PutRecords", outcome): 1, ("PutRecord", outcome): 1}
    assert sum(upstream.counters.put_duration_seconds.counts) == 2
    assert upstream.counters.in_flight == 0


@pytest.mark.parametrize(("status", "outcome"), [(200, Outcome.OK), (400, Outcome.REFUSED), (500, Outcome.ERROR)])
async def test_other_requests_are_counted_too(status: int, outcome: Outcome) -> None:
    """What is forwarded counts by its status, reads of the shard map by their result."""
    upstream = CountedUpstream(ScriptedUpstream(reply=Reply(status, b"")))
    await upstream.forward("GetRecords", Request("POST", "/", {}, b""))
    await upstream.list_shards("orders", None)
    await upstream.describe_stream_summary("orders", None)
    assert counted(upstream) == {
        ("Forward", outcome): 1,
        ("ListShards", Outcome.OK): 1,
        ("DescribeStreamSummary", Outcome.REFUSED): 1,
    }


async def test_a_cancelled_request_is_no_longer_in_flight() -> None:
    """The gauge does not drift when the proxy gives up."""
    upstream = CountedUpstream(ScriptedUpstream())
    task = asyncio.create_task(upstream.put(Batch("orders", None, [])))
    await asyncio.sleep(0)
    assert upstream.counters.in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.counters.in_flight == 0
    assert counted(upstream) == {}
