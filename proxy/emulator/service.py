"""The embedded Kinesis behind a handler: a request is read, meets its faults, is carried out and answered.

The order is the service's: is it a request at all, can it be read, does it hold, then the streams. Faults come when a
request is known to be sound: latency first, then what ends it before or after the model has carried it out.

Must never know: sockets; how requests arrive.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.emulator import writing
from proxy.emulator.clock import MS_PER_SECOND, NS_PER_MS, NS_PER_SECOND, Now
from proxy.emulator.operations import OPERATIONS
from proxy.emulator.put_result import PutRecordsOutput
from proxy.kinesis import errors, front_door, operations, puts
from proxy.kinesis.http import AbortConnection
from proxy.kinesis.stream_names import resolve_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.emulator.faults import FaultInjector, RequestFaults
    from proxy.emulator.model import Model
    from proxy.emulator.stream import Refuse
    from proxy.kinesis.http import Reply, Request
    from proxy.kinesis.put_inputs import PutRecordInput, PutRecordsInput

# The streams are not encrypted, and every answer says so.
ENCRYPTION_TYPE = "NONE"


def loop_clock() -> Callable[[], Now]:
    """Return a clock that follows the running loop's, so that neither of its times steps back."""
    loop_time = asyncio.get_running_loop().time
    started_ns = int(loop_time() * NS_PER_SECOND)
    wall_ms_at_zero = time.time_ns() // NS_PER_MS - started_ns // NS_PER_MS

    def now() -> Now:
        ns = int(loop_time() * NS_PER_SECOND)
        return Now(ns, wall_ms_at_zero + ns // NS_PER_MS)

    return now


class EmulatorService:
    """Answers requests from a model.

    Args:
        model: the streams.
        injector: the faults.
        clock: tells the present.
        sleep: waits for so many seconds; the faults' latency.
    """

    def __init__(
        self,
        model: Model,
        injector: FaultInjector,
        clock: Callable[[], Now],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.model = model
        self.injector = injector
        self.clock = clock
        self.requests = dict.fromkeys(sorted(operations.OPERATIONS), 0)
        self._sleep = sleep

    async def handle(self, request: Request) -> Reply:
        """Answer one request; whatever it is, it is answered in the service's shape.

        Raises:
            AbortConnection: a fault resets the connection.
        """
        try:
            operation = front_door.operation_of(request)
            if operation not in self.requests:
                raise errors.UnknownOperationException
            self.requests[operation] += 1
            return await self._carry_out(operation, request)
        except front_door.NotKinesis as error:
            return error.reply
        except errors.KinesisError as error:
            return front_door.error_reply(request, error)

    async def meet(self, operation: str, stream_name: str | None) -> RequestFaults:
        """Roll a request's faults and wait out its latency; what else it meets is the caller's to carry out."""
        faults = self.injector.roll(operation, stream_name)
        if faults.delay_ms:
            await self._sleep(faults.delay_ms / MS_PER_SECOND)
        return faults

    async def _carry_out(self, operation: str, request: Request) -> Reply:
        stream_name, run = self._prepare(operation, request)
        faults = await self.meet(operation, stream_name)
        if faults.reset_before:
            raise AbortConnection
        if faults.request_error:
            raise errors.InternalFailure
        output = run(faults)
        if faults.reset_after:
            raise AbortConnection
        reply = front_door.ok_reply(request, output)
        reply.pace_bytes_per_second = faults.pace_bytes_per_second
        return reply

    def _prepare(self, operation: str, request: Request) -> tuple[str | None, Callable[[RequestFaults], object]]:
        """Read a request; return the stream that it names, and what carries it out and returns its output."""
        body, codec = request.body, front_door.codec_of(request)
        match operation:
            case "PutRecord":
                put = puts.parse_put_record(body, codec)
                stream_name = resolve_stream(put.stream_name, put.stream_arn)
                return stream_name, lambda _faults: self._put_record(stream_name, put)
            case "PutRecords":
                put_many = puts.parse_put_records(body, codec)
                stream_name = resolve_stream(put_many.stream_name, put_many.stream_arn)
                return stream_name, lambda faults: self._put_records(stream_name, put_many, faults)
            case _:
                members = operations.parse(operation, body, codec)
                return members.get("StreamName"), lambda _faults: self._other(operation, members)

    def _put_record(self, stream_name: str, put: PutRecordInput) -> dict[str, Any]:
        result = writing.put_record(self.model, stream_name, put, self.clock(), self._refuse(stream_name))
        return {**msgspec.to_builtins(result), "EncryptionType": ENCRYPTION_TYPE}

    def _put_records(self, stream_name: str, put: PutRecordsInput, faults: RequestFaults) -> PutRecordsOutput:
        results = writing.put_records(self.model, stream_name, put, self.clock(), self._refuse(stream_name))
        failed = sum(result.error_code is not None for result in results)
        if faults.short_response:
            results.pop()
        return PutRecordsOutput(results, failed, ENCRYPTION_TYPE)

    def _other(self, operation: str, members: dict[str, Any]) -> dict[str, Any] | None:
        return OPERATIONS[operation](self.model, members, self.clock())

    def _refuse(self, stream_name: str) -> Refuse | None:
        return self.injector.refuse(stream_name, self.model.settings.account_id)
