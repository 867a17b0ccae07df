"""The upstream that is a Kinesis endpoint: AWS itself, or whatever speaks its API at a URL.

Theory of operation: puts go the lean way (own encoding, botocore's signature, an aiohttp pool), forwarded requests the
same way over a pool of their own, so that slow reads never hold up records; ListShards and DescribeStreamSummary go
through aiobotocore's client. Nothing here retries.

At a loopback URL, where the credential chain has nothing, made-up credentials are used: local servers do not check
them, and trying things out should need no set-up.

Must never know: queues, shards' limits, what an error means for a record.
"""

from __future__ import annotations

import asyncio
import math
import random as random_module
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiobotocore.credentials import AioCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError

from proxy.core.batch import Answer, Failure
from proxy.core.verdicts import MALFORMED_RESPONSE
from proxy.kinesis.codecs import CBOR, JSON
from proxy.kinesis.errors import InternalFailure, LimitExceededException
from proxy.kinesis.front_door import REQUEST_ID, RETRY_AFTER, code_reply, codec_of, error_reply, new_request_id
from proxy.kinesis.http import Reply
from proxy.log import Occasional
from proxy.upstream import wire
from proxy.upstream.control import ControlPlane, Resigner
from proxy.upstream.counters import (
    DESCRIBE_STREAM_SUMMARY,
    FORWARD,
    LIST_SHARDS,
    PUT_RECORD,
    PUT_RECORDS,
    Outcome,
    UpstreamCounters,
    outcome_of,
)
from proxy.upstream.credentials import CredentialKeeper, KeptCredentialsResolver
from proxy.upstream.endpoint import (
    Endpoints,
    endpoint_of,
    find_region,
    is_loopback,
    proxy_of,
    tls_context,
    trusted_roots,
)
from proxy.upstream.failures import malformed
from proxy.upstream.settings import UpstreamConfigurationError, UpstreamSettings
from proxy.upstream.signed_http import REPEATED_EVENT_INTERVAL_NS, HttpLimits, HttpReply, SignedHttp
from proxy.upstream.signing import Signer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.core.batch import Batch
    from proxy.core.batch import Reply as PutReply
    from proxy.core.shard_map import Shard, StreamSummary
    from proxy.kinesis.http import Request
    from proxy.upstream.endpoint import Endpoint

TARGET_PREFIX = "Kinesis_20131202."

# Headers of a forwarded response that mean something to the caller; all others belong to our connection upstream.
FORWARDED_HEADERS = frozenset({"content-encoding", "content-type", "retry-after"})
FORWARDED_HEADER_PREFIX = "x-amz"
# What Kinesis, or a server in its place, writes errors in; what a load balancer writes no SDK can read.
ERROR_CONTENT_TYPES = frozenset({CBOR.content_type, JSON.content_type, "application/json"})
# Of an error that is written anew: how long to wait may be told by whoever answers.
WAIT_HEADERS = frozenset({RETRY_AFTER, "retry-after"})

T = TypeVar("T")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What exists once the upstream has started."""

    region: str
    endpoints: Endpoints
    keeper: CredentialKeeper
    puts: SignedHttp
    forwards: SignedHttp
    control: ControlPlane


class AwsUpstream:
    """A Kinesis endpoint as `proxy.ports.Upstream`.

    Args:
        settings: how to reach it.
        wall_clock: seconds since the epoch; signatures and credentials live by it.
        random: uniform in [0, 1).

    Call `start`, and `close` at the end. `counters` may be read at any time.
    """

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        wall_clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._settings = settings
        self._wall_clock = wall_clock
        self._random = random
        self._parts: _Parts | None = None
        self._forwards_in_flight = 0
        self._occasional = Occasional(REPEATED_EVENT_INTERVAL_NS)
        self.counters = UpstreamCounters()

    @property
    def region(self) -> str:
        """Region of the streams; known once started."""
        return self._started().region

    async def start(self) -> None:
        """Open the pools and look for credentials, for a bounded time: without any it starts, and is not ready.

        Raises:
            UpstreamConfigurationError: region, URL, profile or trusted certificates make serving impossible.
        """
        settings = self._settings
        override = None if settings.endpoint_url is None else endpoint_of(settings.endpoint_url)
        try:
            session = AioSession(profile=settings.profile)
            region = find_region(session, settings.region, has_url=override is not None)
            session.set_config_variable("region", region)  # for the clients that the credential chain makes
            endpoints = Endpoints(session, region, override)
            roots = trusted_roots(session)
            tls = await asyncio.to_thread(tls_context, roots)
            signer = Signer(region, self._wall_clock)
            keeper = CredentialKeeper(
                _finder(session, made_up=override is not None and is_loopback(override)),
                self.counters,
                signer.now,
                self._random,
                settings.credentials_wait_ms / 1000,
            )
            session.register_component("credential_provider", KeptCredentialsResolver(keeper))
            session.register("before-send.kinesis", Resigner(signer, keeper))
            control = _control_plane(settings, session, region, override, roots)
            await control.open()
        except BotoCoreError as error:
            raise UpstreamConfigurationError(f"the AWS configuration cannot be used: {error}") from error
        proxy = proxy_of(endpoints.regional)
        self._parts = _Parts(
            region=region,
            endpoints=endpoints,
            keeper=keeper,
            puts=SignedHttp(signer, keeper, _put_limits(settings), tls, proxy),
            forwards=SignedHttp(signer, keeper, _forward_limits(settings), tls, proxy),
            control=control,
        )
        _log.info("upstream_opened", endpoint=str(endpoints.regional.url), region=region)
        await keeper.start()

    async def close(self) -> None:
        """Close every connection; requests that are under way fail."""
        parts, self._parts = self._parts, None
        if parts is not None:
            await parts.puts.close()
            await parts.forwards.close()
            await parts.control.close()
            await parts.keeper.close()

    def ready(self) -> bool:
        """Whether requests could be signed now."""
        return self._parts is not None and self._parts.keeper.usable

    async def put(self, batch: Batch) -> PutReply:
        """Send one batch by PutRecords, or PutRecord when `batch.ordered`, in exactly one attempt."""
        if batch.ordered:
            return await self._counted(PUT_RECORD, self._put_record(batch))
        return await self._counted(PUT_RECORDS, self._put_records(batch))

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the open shards of a stream."""
        return await self._counted(LIST_SHARDS, self._started().control.list_shards(stream_name, stream_arn))

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the summary of a stream."""
        asked = self._started().control.describe_stream_summary(stream_name, stream_arn)
        return await self._counted(DESCRIBE_STREAM_SUMMARY, asked)

    async def forward(self, operation: str, request: Request) -> Reply:
        """Send an operation upstream, body and content type untouched, signed anew; return the service's reply.

        An error that is not written as Kinesis writes it, as a load balancer's, is written anew for the caller; so is a
        success, as a login page is one, of which SDKs would make an operation's output.

        The operation is the one that was checked, not the request's header read once more.
        It goes to the regional endpoint: which account's endpoint an SDK would choose stands in the body, unread.
        """
        if self._forwards_in_flight >= self._settings.forwards_in_flight_max:
            return error_reply(request, LimitExceededException("Too many requests are being forwarded."))
        content_type = request.headers.get("Content-Type", "")
        if not (content_type and content_type.isascii() and content_type.isprintable()):
            # upstream may sign such text otherwise than we do, and doubt our credentials
            content_type = codec_of(request).content_type
        self._forwards_in_flight += 1
        try:
            reply = await self._counted(
                FORWARD,
                self._post_forward(operation, content_type, request.body),
            )
        finally:
            self._forwards_in_flight -= 1
        if isinstance(reply, Failure):
            answer = error_reply(request, InternalFailure(reply.message))
            self._report_forward(operation, reply, answer.headers[REQUEST_ID])
            return answer
        if reply.failure is not None and not _is_readable(reply):
            answer = _written_anew(request, reply, reply.failure)
            self._report_forward(operation, reply.failure, answer.headers[REQUEST_ID])
            return answer
        headers = {name: value for name, value in reply.headers.items() if _is_kept(name)}
        if REQUEST_ID.lower() not in map(str.lower, headers):
            headers[REQUEST_ID] = new_request_id()
        return Reply(reply.status, reply.body, headers)

    async def _post_forward(self, operation: str, content_type: str, body: bytes) -> HttpReply | Failure:
        """Post a request that is forwarded, and return its reply unless that is a success of another service."""
        parts = self._started()
        reply = await parts.forwards.post(parts.endpoints.regional, TARGET_PREFIX + operation, content_type, body)
        if isinstance(reply, HttpReply) and reply.failure is None and not _is_output(reply):
            return malformed(reply.status, f"not a response of {operation}")
        return reply

    def _report_forward(self, operation: str, failure: Failure, request_id: str) -> None:
        """Log that a forward failed, the first of its kind at once and then now and again."""
        held_back = self._occasional.admit((failure.code,), time.monotonic_ns())
        if held_back is not None:
            _log.warning(
                "forward_failed",
                operation=operation,
                code=failure.code,
                reason=failure.message,
                request_id=request_id,
                held_back=held_back,
            )

    async def _put_records(self, batch: Batch) -> PutReply:
        reply = await self._post_put(batch, PUT_RECORDS, wire.encode_put_records(batch))
        if isinstance(reply, Failure):
            return reply
        return wire.decode_put_records(reply.body) or malformed(reply.status, "not a response of PutRecords")

    async def _put_record(self, batch: Batch) -> PutReply:
        reply = await self._post_put(batch, PUT_RECORD, wire.encode_put_record(batch))
        if isinstance(reply, Failure):
            return reply
        return wire.decode_put_record(reply.body) or malformed(reply.status, "not a response of PutRecord")

    async def _post_put(self, batch: Batch, operation: str, body: bytes) -> HttpReply | Failure:
        """Post a put and return its reply only where the service took it."""
        parts = self._started()
        reply = await parts.puts.post(
            parts.endpoints.for_put(batch.stream_arn, parts.keeper.account_id),
            TARGET_PREFIX + operation,
            wire.CONTENT_TYPE,
            body,
            batch.timeout_ns / 1e9 if batch.timeout_ns else math.inf,
        )
        return reply.failure if isinstance(reply, HttpReply) and reply.failure is not None else reply

    async def _counted(self, operation: str, asked: Awaitable[T]) -> T:
        """Count a request, whatever becomes of it."""
        self.counters.started()
        started_at_ns = time.perf_counter_ns()
        try:
            result = await asked
        except BaseException:
            self.counters.abandoned()
            raise
        self.counters.ended(operation, _outcome_of(result), time.perf_counter_ns() - started_at_ns)
        return result

    def _started(self) -> _Parts:
        if self._parts is None:
            raise RuntimeError("the upstream is not started, or closed")
        return self._parts


def _finder(session: AioSession, *, made_up: bool) -> Callable[[], Awaitable[Any]]:
    """Return how to look for credentials: by the session's chain, and where that has none, made-up ones if allowed."""
    chain = session.get_component("credential_provider")

    async def find() -> Any:  # noqa: ANN401 - botocore has no types
        found = await chain.load_credentials()
        if found is None and made_up:
            _log.info("credentials_made_up", reason="the chain has none, and the upstream is on this machine")
            return AioCredentials("local", "local", method="made-up")
        return found

    return find


def _outcome_of(result: object) -> Outcome:
    """Return the outcome that a result is counted under."""
    failure = result.failure if isinstance(result, HttpReply) else result
    if isinstance(failure, Failure):
        return outcome_of(failure)
    if isinstance(result, Answer) and wire.any_failed(result):
        return Outcome.PARTIAL
    return Outcome.OK


def _is_kept(header: str) -> bool:
    """Return whether a header of a forwarded response goes on to the caller."""
    name = header.lower()
    return name in FORWARDED_HEADERS or name.startswith(FORWARDED_HEADER_PREFIX)


def _is_readable(reply: HttpReply) -> bool:
    """Return whether a reply says that it is in a format which SDKs can read."""
    return reply.headers.get("Content-Type", "").partition(";")[0].strip().lower() in ERROR_CONTENT_TYPES


def _is_output(reply: HttpReply) -> bool:
    """Return whether a success can be an operation's; servers in Kinesis's place name what they write as they like."""
    return not reply.body or _is_readable(reply) or reply.body.lstrip().startswith(b"{")


def _written_anew(request: Request, reply: HttpReply, failure: Failure) -> Reply:
    """Answer an error with its status and whatever code it tells, in the caller's format."""
    refused = HTTPStatus.BAD_REQUEST <= reply.status < HTTPStatus.INTERNAL_SERVER_ERROR
    code, status = failure.code, reply.status
    if code == MALFORMED_RESPONSE:
        code = _name_of(status) if refused else InternalFailure.code
    if status < HTTPStatus.BAD_REQUEST:  # a redirect, which is no answer to a caller
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    answer = code_reply(request, int(status), code, failure.message)
    answer.headers.update({name: value for name, value in reply.headers.items() if name.lower() in WAIT_HEADERS})
    return answer


def _name_of(status: int) -> str:
    """Return a status as an error code, as `Forbidden`."""
    try:
        return "".join(HTTPStatus(status).phrase.title().split())
    except ValueError:
        return f"Http{status}"


def _control_plane(
    settings: UpstreamSettings, session: AioSession, region: str, override: Endpoint | None, roots: str
) -> ControlPlane:
    return ControlPlane(
        session,
        region=region,
        endpoint_url=None if override is None else str(override.url),
        roots=roots,
        connect_timeout_seconds=settings.connect_timeout_ms / 1000,
        request_timeout_seconds=settings.request_timeout_ms / 1000,
    )


def _put_limits(settings: UpstreamSettings) -> HttpLimits:
    return HttpLimits(
        connections_max=settings.connections_max,
        connect_timeout_seconds=settings.connect_timeout_ms / 1000,
        read_timeout_seconds=settings.read_timeout_ms / 1000,
        request_timeout_seconds=settings.request_timeout_ms / 1000,
        response_bytes_max=settings.response_bytes_max,
    )


def _forward_limits(settings: UpstreamSettings) -> HttpLimits:
    return HttpLimits(
        connections_max=settings.forwards_in_flight_max,
        connect_timeout_seconds=settings.connect_timeout_ms / 1000,
        read_timeout_seconds=settings.forward_timeout_ms / 1000,
        request_timeout_seconds=settings.forward_timeout_ms / 1000,
        response_bytes_max=settings.forward_response_bytes_max,
    )
