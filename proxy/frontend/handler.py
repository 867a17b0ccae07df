"""The frontend's handler: takes every request, answers each one, and lets no exception out.

Puts are queued; the other operations are forwarded, if they are on the allowlist: the proxy's role upstream must not
become every caller's. While draining, puts are refused with InternalFailure (500): every SDK tries that again, on
the new connection that the answer's `Connection: close` asks for, and so reaches another proxy.

Must never know: sockets, how records travel upstream.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from proxy.core.limits import SECOND_NS
from proxy.frontend.authentication import require_stream_of_put, require_streams_of_request
from proxy.frontend.calls import Calls, UndeliveredLimits
from proxy.frontend.counters import DENIED, DRAINING, INVALID, UNKNOWN_OPERATION, FrontendCounters
from proxy.frontend.identity import identity_of
from proxy.frontend.outputs import Refusal
from proxy.frontend.puts import ForwardAlone, PutPath
from proxy.kinesis.errors import (
    ERRORS,
    AccessDeniedException,
    InternalFailure,
    KinesisError,
    UnknownOperationException,
)
from proxy.kinesis.front_door import (
    REQUEST_ID,
    RETRY_AFTER,
    NotKinesis,
    codec_of,
    encoded_error_reply,
    encoded_reply,
    error_reply,
    operation_of,
)
from proxy.kinesis.http import AbortConnection, Reply
from proxy.kinesis.limits import REQUEST_BYTES_MAX
from proxy.kinesis.put_inputs import PutRecordsInput
from proxy.kinesis.puts import parse_put_record, parse_put_records
from proxy.log import Occasional

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.frontend.authentication import Authentication
    from proxy.frontend.keys import InboundKey
    from proxy.frontend.outputs import Answer
    from proxy.frontend.puts import RecordQueue
    from proxy.kinesis.codecs import Codec
    from proxy.kinesis.http import Request
    from proxy.kinesis.put_inputs import PutRecordInput

log: Final = structlog.get_logger(__name__)

PUT_RECORD: Final = "PutRecord"
PUT_RECORDS: Final = "PutRecords"
PUTS: Final = frozenset({PUT_RECORD, PUT_RECORDS})
_DEFECT: Final = Refusal(InternalFailure.code)
_SHUTTING_DOWN: Final = Refusal(InternalFailure.code, "The proxy is shutting down.")
# Of a reply that reaches nobody, as nginx writes it into its log.
_STATUS_CLIENT_GONE: Final = 499
_STATUS_FAULT: Final = 500
REPEATED_EVENT_INTERVAL_NS: Final = 10 * SECOND_NS
# Operations that no setting lets through, each with the reason that its caller is told.
NEVER_FORWARDED: Final = {
    "SubscribeToShard": (
        "SubscribeToShard is answered by a stream of events that lasts minutes, and the proxy carries whole answers "
        "only: send it to the service's own endpoint, or read with GetRecords."
    )
}


class Forwarder(Protocol):
    """What the frontend asks of its upstream; a part of `proxy.ports.Upstream`."""

    async def forward(self, operation: str, request: Request) -> Reply:
        """Send an operation upstream, body untouched, and return the service's reply."""


@dataclass(frozen=True, slots=True)
class FrontendSettings:
    """What an operator decides about the frontend.

    Args:
        forwarded_operations: operations other than puts that are forwarded; None forwards all.
        forwarded_operations_setting: the name under which the operator sets the above, for error texts.
        data_bytes_max: largest data of one record; 0 leaves it to the stream's limit. 51,200 is the first API's.
        request_bytes_max: largest sum of data and partition keys in one PutRecords.
        undelivered: what is kept of answers that have reached nobody.
    """

    forwarded_operations: frozenset[str] | None
    forwarded_operations_setting: str
    data_bytes_max: int = 0
    request_bytes_max: int = REQUEST_BYTES_MAX
    undelivered: UndeliveredLimits = UndeliveredLimits()  # noqa: RUF009 - frozen


class Frontend:
    """Answers the requests of producers.

    Args:
        queue: takes records and reports their outcomes.
        upstream: answers what is forwarded.
        settings: the operator's.
        clock: monotonic nanoseconds.
        authentication: tells whose request it is and refuses everyone else's; None serves everyone.

    Set `draining` to refuse new puts; those that are queued already still get their outcomes.
    """

    def __init__(
        self,
        queue: RecordQueue,
        upstream: Forwarder,
        settings: FrontendSettings,
        clock: Callable[[], int],
        authentication: Authentication | None = None,
    ) -> None:
        self.draining = False
        self.counters = FrontendCounters()
        self._upstream = upstream
        self._settings = settings
        self._clock = clock
        self._authentication = authentication
        self._puts = PutPath(
            queue,
            self.counters,
            data_bytes_max=settings.data_bytes_max,
            request_bytes_max=settings.request_bytes_max,
        )
        self._occasional = Occasional(REPEATED_EVENT_INTERVAL_NS)
        self._calls = Calls(queue, self.counters, clock, settings.undelivered)

    async def handle(self, request: Request) -> Reply:
        """Answer one request.

        Raises:
            AbortConnection: upstream wants the connection cut.
        """
        started_at_ns = self._clock()
        operation = UNKNOWN_OPERATION
        try:
            operation = operation_of(request)
            key = self._caller_of(request, operation)
            if operation in PUTS:
                answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
                try:
                    self._put(operation, request, key, started_at_ns, partial(_resolve, answered))
                except ForwardAlone:
                    reply = await self._upstream.forward(operation, request)
                else:
                    return await self._answer_of(request, answered)
            else:
                reply = await self._forward(operation, request, key)
        except NotKinesis as finding:
            reply = finding.reply
        except AbortConnection:
            raise
        except Exception as error:  # noqa: BLE001 - a caller waits
            reply = _error_reply(operation, request, error)
        self._count(operation, reply, started_at_ns)
        return reply

    def start(self, request: Request, deliver: Callable[[Reply], None]) -> bool:
        """Answer a put without a task of its own.

        Args:
            request: as for `handle`.
            deliver: called once, perhaps from inside here; when the client has left, with a reply for nobody.

        Returns:
            Whether it is done; if not, the request is for `handle`, and nothing has happened.
        """
        started_at_ns = self._clock()
        operation = UNKNOWN_OPERATION
        try:
            operation = operation_of(request)
            if operation not in PUTS:
                return False
            self._put(operation, request, self._caller_of(request, operation), started_at_ns, deliver)
        except (NotKinesis, ForwardAlone):
            return False
        except Exception as error:  # noqa: BLE001 - a caller waits
            reply = _error_reply(operation, request, error)
            self._count(operation, reply, started_at_ns)
            deliver(reply)
        return True

    def _count(self, operation: str, reply: Reply, started_at_ns: int) -> None:
        if reply.status >= _STATUS_FAULT:
            self._report_fault(operation, reply)
        self.counters.count_request(operation, reply.status, (self._clock() - started_at_ns) / SECOND_NS)

    def _report_fault(self, operation: str, reply: Reply) -> None:
        """Log that a caller is told of a fault of ours or the service's, the first at once and then now and again."""
        held_back = self._occasional.admit((operation, reply.status), self._clock())
        if held_back is not None:
            request_id = reply.headers.get(REQUEST_ID)
            status = int(reply.status)  # a member of an Enum is written with its name and class
            log.warning(
                "fault_answered", operation=operation, status=status, request_id=request_id, held_back=held_back
            )

    def _caller_of(self, request: Request, operation: str) -> InboundKey | None:
        if self._authentication is None:
            return None
        try:
            return self._authentication.caller_of(request, operation)
        except KinesisError:
            if operation in PUTS:
                self.counters.rejected_records[DENIED] += 1
            raise

    async def _forward(self, operation: str, request: Request, key: InboundKey | None) -> Reply:
        if operation in NEVER_FORWARDED:
            raise UnknownOperationException(NEVER_FORWARDED[operation])
        forwarded = self._settings.forwarded_operations
        if forwarded is not None and operation not in forwarded:
            setting = self._settings.forwarded_operations_setting
            raise AccessDeniedException(f"The proxy does not forward {operation}: its setting {setting} decides.")
        require_streams_of_request(key, operation, request)
        return await self._upstream.forward(operation, request)

    def _put(
        self,
        operation: str,
        request: Request,
        key: InboundKey | None,
        started_at_ns: int,
        deliver: Callable[[Reply], None],
    ) -> None:
        """Queue a put, or join the call that it repeats, and have the answer delivered.

        Raises:
            KinesisError: it cannot be taken.
            ForwardAlone: it is for upstream to decide.
        """
        codec = codec_of(request)
        waiting = operation, codec, started_at_ns, deliver
        if request.gone:
            self._answered(waiting, None)
            return
        try:
            put: PutRecordInput | PutRecordsInput
            if operation == PUT_RECORD:
                put = parse_put_record(request.body, codec)
            else:
                put = parse_put_records(request.body, codec)
            require_stream_of_put(key, operation, put)
            identity = identity_of(request, operation, key)
            call = None if identity is None else self._calls.find(identity, request)
            if call is None:
                if self.draining:
                    records = len(put.entries) if isinstance(put, PutRecordsInput) else 1
                    self.counters.rejected_records[DRAINING] += records
                    self._answered(waiting, _SHUTTING_DOWN)
                    return
                call = self._puts.queue(put, started_at_ns)
                if identity is not None:
                    self._calls.add(call, identity, request.body)
        except KinesisError as error:
            self.counters.rejected_records[DENIED if isinstance(error, AccessDeniedException) else INVALID] += 1
            raise
        self._calls.attend(call, request, self._answered, waiting)

    def _answered(self, waiting: _Waiting, answer: Answer | None) -> None:
        """Write the reply to a put whose outcome has come; None if its client has left."""
        operation, codec, started_at_ns, deliver = waiting
        if answer is None:
            self.counters.abandoned_requests += 1
            deliver(Reply(_STATUS_CLIENT_GONE, b""))
            return
        try:
            reply = _refusal_reply(codec, answer) if isinstance(answer, Refusal) else encoded_reply(codec, answer)
        except Exception:
            log.exception("request_failed", operation=operation)
            reply = _refusal_reply(codec, _DEFECT)
        self._count(operation, reply, started_at_ns)
        deliver(reply)

    @staticmethod
    async def _answer_of(request: Request, answered: asyncio.Future[Reply]) -> Reply:
        """Wait for a reply in a task, which its transport may end."""
        try:
            return await answered
        except asyncio.CancelledError:
            request.leave()
            raise


# A put whose outcome is to come: its operation and format, when it came, and where its reply goes; not the request,
# whose body may be large.
_Waiting = tuple[str, "Codec", int, "Callable[[Reply], None]"]


def _resolve(answered: asyncio.Future[Reply], reply: Reply) -> None:
    if not answered.done():
        answered.set_result(reply)


def _error_reply(operation: str, request: Request, error: Exception) -> Reply:
    """Answer a request that came to an error: the service's, or a defect of ours, which goes into the log."""
    if isinstance(error, KinesisError):
        return error_reply(request, error)
    reply = error_reply(request, InternalFailure())
    log.error("request_failed", operation=operation, request_id=reply.headers[REQUEST_ID], exc_info=error)
    return reply


def _refusal_reply(codec: Codec, refusal: Refusal) -> Reply:
    error_class = ERRORS.get(refusal.code, KinesisError)
    reply = encoded_error_reply(codec, error_class.status, refusal.code, refusal.message, error_class.message_member)
    if refusal.retry_after_ms:
        reply.headers[RETRY_AFTER] = str(refusal.retry_after_ms)
    return reply
