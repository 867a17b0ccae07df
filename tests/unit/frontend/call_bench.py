"""A frontend on a queue that settles nothing by itself, and attempts at calls as SDKs make them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from proxy.frontend.calls import UndeliveredLimits
from proxy.frontend.handler import Frontend, FrontendSettings
from tests.unit.frontend.frontend_fakes import SETTING, FakeQueue, FakeUpstream, output_of, put_record_request

if TYPE_CHECKING:
    from proxy.kinesis.http import Reply, Request

ID = "1b3e7d0c-6f6c-4e0c-9d3f-0f6f3f8f2a11"
THROTTLED = "ProvisionedThroughputExceededException"
SECOND_NS = 1_000_000_000
CLIENT_GONE = 499


class Bench:
    """A frontend on a queue that settles nothing by itself, and attempts at calls."""

    def __init__(self, **limits: int) -> None:
        self.now_ns = 0
        self.queue = FakeQueue(acknowledges=False)
        settings = FrontendSettings(None, SETTING, undelivered=UndeliveredLimits(**limits))
        self.frontend = Frontend(self.queue, FakeUpstream(), settings, lambda: self.now_ns)
        self.calls = self.frontend._calls

    async def begin(self, request: Request) -> Attempt:
        """Let a request come as far as it gets."""
        attempt = Attempt(request, asyncio.ensure_future(self.frontend.handle(request)))
        await turns()
        return attempt

    async def orphan(self, request: Request) -> None:
        """Have a call sent and left by its client, which is then acknowledged."""
        place = len(self.queue.queued)
        attempt = await self.begin(request)
        self.queue.send(place)
        await attempt.leave()
        self.queue.finish(place)


class Attempt:
    """One request and its answer."""

    def __init__(self, request: Request, task: asyncio.Future[Reply]) -> None:
        self.request = request
        self.task = task

    async def leave(self) -> None:
        """Have the client leave, as the transport tells it."""
        self.request.leave()
        await turns()

    @property
    def waits(self) -> bool:
        """Whether it has no answer yet."""
        return not self.task.done()

    @property
    def output(self) -> dict[str, Any]:
        """What it was answered."""
        return output_of(self.task.result())

    @property
    def status(self) -> int:
        """The status that it was answered with."""
        return self.task.result().status


async def turns(count: int = 4) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def attempt_of(number: int | None = 1, *, invocation_id: str = ID, caller: str = "A", **members: Any) -> Request:  # noqa: ANN401
    """Build a PutRecord as an SDK sends it in one of its attempts."""
    return signed(put_record_request(**members), number, invocation_id, caller)


def signed(request: Request, number: int | None = 1, invocation_id: str = ID, caller: str = "A") -> Request:
    """Give a request the headers of an attempt."""
    headers: Any = request.headers
    headers["amz-sdk-invocation-id"] = invocation_id
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={caller}/20260101/us-east-1/kinesis/aws4_request"
    if number is not None:
        headers["amz-sdk-request"] = f"attempt={number}; max=5"
    return request
