"""Signed POST requests over a bounded pool of keep-alive connections.

Decides nothing about what an answer means; only whether there was one, and what it teaches about credentials and time.
Exactly one attempt is made per call: aiohttp repeats only idempotent methods on a broken connection, which POST is
not, and redirects are off, so that no duplicate ever comes from below.

One timer bounds a call in all: waiting for credentials and for a connection, sending, and reading the response. It is
ours and not aiohttp's, which knows nothing of credentials and rounds what is five seconds or more up to whole ones.

Must never know: what the body says.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping  # noqa: TC003 - a compiled dataclass looks at its fields' types
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import structlog

from proxy import __version__
from proxy.core.batch import Failure, Written
from proxy.core.verdicts import CONNECT_FAILED
from proxy.log import Occasional
from proxy.upstream.failures import (
    CREDENTIALS_CODES,
    SKEW_CODES,
    TRANSPORT_ERRORS,
    CredentialsUnavailableError,
    ResponseTooLargeError,
    credentials_failure,
    detail_of,
    service_failure,
    service_time_of,
    transport_failure,
)
from proxy.upstream.lean import LeanExchange, Response
from proxy.upstream.pool import Pool
from proxy.upstream.sending import WRITE_BYTES_MAX, Body, Sending

if TYPE_CHECKING:
    import ssl

    from botocore.credentials import ReadOnlyCredentials
    from yarl import URL

    from proxy.upstream.credentials import CredentialKeeper
    from proxy.upstream.endpoint import Endpoint
    from proxy.upstream.signing import Signer

# Below the idle time after which load balancers of AWS close a connection; the same as aiobotocore's.
KEEP_ALIVE_SECONDS = 12.0
DNS_CACHE_SECONDS = 30
UNSIGNED_HEADERS = {"User-Agent": f"kinesis-proxy/{__version__}", "Accept-Encoding": "identity"}
# So long a silence is no slowness: the service answers within a tenth of it.
SUSPECT_SILENCE_SECONDS = 1.0
REPEATED_EVENT_INTERVAL_NS = 10_000_000_000
LATE_CREDENTIALS = "the credentials are still being fetched"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of one pool: on connections, on time and on the size of a response."""

    connections_max: int
    connect_timeout_seconds: float
    read_timeout_seconds: float
    request_timeout_seconds: float
    response_bytes_max: int


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A complete response; `failure` is what it tells unless its status is 200."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    failure: Failure | None


class SignedHttp:
    """One pool of connections and the requests over it.

    Args:
        signer: signs.
        keeper: has the credentials.
        limits: bounds.
        tls: for https endpoints.
        proxy: HTTP proxy to go through, or None.

    Create it inside a running loop; call `close` at the end.
    """

    def __init__(
        self, signer: Signer, keeper: CredentialKeeper, limits: HttpLimits, tls: ssl.SSLContext, proxy: URL | None
    ) -> None:
        self._signer = signer
        self._keeper = keeper
        self._limits = limits
        self._proxy = proxy
        self._occasional = Occasional(REPEATED_EVENT_INTERVAL_NS)
        self._pool = Pool(
            limit=limits.connections_max,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            ttl_dns_cache=DNS_CACHE_SECONDS,
            ssl=tls,
        )
        self._session = aiohttp.ClientSession(
            connector=self._pool,
            timeout=aiohttp.ClientTimeout(
                connect=limits.connect_timeout_seconds, sock_read=limits.read_timeout_seconds, total=None
            ),
            headers=UNSIGNED_HEADERS,
            skip_auto_headers=("Accept",),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection; requests that are under way fail."""
        await self._session.close()

    async def post(
        self, endpoint: Endpoint, target: str, content_type: str, body: bytes, timeout_seconds: float = math.inf
    ) -> HttpReply | Failure:
        """Send one signed request, once, and return the whole response, or why there is none.

        Args:
            endpoint: where to.
            target: X-Amz-Target.
            content_type: Content-Type.
            body: the whole body.
            timeout_seconds: for the call in all, where that is less than the pool's request timeout.
        """
        sending = Sending(body)
        credentials: ReadOnlyCredentials | None = None
        started_at_seconds = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(timeout_seconds, self._limits.request_timeout_seconds)):
                credentials = await self._keeper.get()
                return await self._exchange(endpoint, target, content_type, sending, credentials)
        except CredentialsUnavailableError as error:
            return credentials_failure(error)
        except TRANSPORT_ERRORS as error:
            if credentials is None:
                return credentials_failure(CredentialsUnavailableError(LATE_CREDENTIALS))
            self._give_up(sending, asyncio.get_running_loop().time() - started_at_seconds)
            failure = transport_failure(error, handed_over=sending.handed_over)
            self._report_unanswered(endpoint, failure.code, error)
            return failure
        except BaseException:
            sending.cut_off()
            raise

    async def _exchange(
        self, endpoint: Endpoint, target: str, content_type: str, sending: Sending, credentials: ReadOnlyCredentials
    ) -> HttpReply | Failure:
        """Send a request over a connection of the pool and read the response.

        Raises:
            aiohttp.ClientError, OSError: the network did not carry it through.
        """
        if self._session.closed:
            return Failure(CONNECT_FAILED, "the upstream is closed", Written.NOT_SENT)
        signed_at_seconds = self._signer.now()
        headers = self._signer.headers(endpoint.host, target, content_type, sending.content, credentials)
        head = _head_of(headers, len(sending.content))
        connection = await self._pool.idle(endpoint.url) if len(sending.content) <= WRITE_BYTES_MAX else None
        if connection is None:
            response = await self._by_aiohttp(endpoint, headers, sending)
        else:
            limits = self._limits
            exchange = LeanExchange(connection, limits.response_bytes_max, limits.read_timeout_seconds)
            response = await exchange.post(head, sending)
        if response.status == HTTPStatus.OK:
            return HttpReply(HTTPStatus.OK, response.headers, response.content, None)
        failure = service_failure(response.status, response.headers, response.content)
        self._learn(failure, response.headers, credentials, signed_at_seconds)
        return HttpReply(response.status, response.headers, response.content, failure)

    async def _by_aiohttp(self, endpoint: Endpoint, headers: dict[str, str], sending: Sending) -> Response:
        """Send a request that needs a new connection, or is written in pieces."""
        async with self._session.post(
            endpoint.url, data=Body(sending), headers=headers, proxy=self._proxy, allow_redirects=False
        ) as response:
            content = await self._read(response)
        if not sending.handed_over:
            sending.cut_off()  # answered before it was read: what is left of it would wait for a reader
        return Response(response.status, response.headers, content)

    def _give_up(self, sending: Sending, lasted_seconds: float) -> None:
        """End the connection of a request that failed, and the idle ones beside it where it met a long silence.

        Where there was no connection, addresses are asked for anew: they may have changed with the trouble.
        """
        sending.cut_off()
        if not sending.begun:
            self._pool.clear_dns_cache()
        elif lasted_seconds >= min(SUSPECT_SILENCE_SECONDS, self._limits.read_timeout_seconds):
            self._pool.drop_idle()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a response's body within the bound.

        Raises:
            ResponseTooLargeError: it is larger.
        """
        announced, bytes_max = response.content_length, self._limits.response_bytes_max
        if announced is not None and announced <= bytes_max:
            return await response.read()
        content = bytearray()
        async for piece in response.content.iter_any():
            content += piece
            if len(content) > bytes_max:
                raise ResponseTooLargeError(f"the response is larger than {bytes_max} bytes")
        return bytes(content)

    def _learn(
        self,
        failure: Failure,
        headers: Mapping[str, str],
        credentials: ReadOnlyCredentials,
        signed_at_seconds: float,
    ) -> None:
        """Correct the clock, or have the credentials renewed, where an error says so."""
        if failure.code in SKEW_CODES:
            service_time_seconds = service_time_of(headers)
            if service_time_seconds is not None and self._signer.learn_time(service_time_seconds, signed_at_seconds):
                self._report_clock(failure.code)
                return
        if failure.code in CREDENTIALS_CODES:
            self._keeper.refuse(credentials)

    def _report_unanswered(self, endpoint: Endpoint, code: str, error: Exception) -> None:
        """Log what the network said, the first of its kind at once and then now and again: callers are not told."""
        now_ns = int(asyncio.get_running_loop().time() * 1e9)
        held_back = self._occasional.admit(("upstream_unanswered", code, type(error)), now_ns)
        if held_back is not None:
            _log.warning(
                "upstream_unanswered",
                endpoint=str(endpoint.url),
                code=code,
                detail=detail_of(error),
                held_back=held_back,
            )

    def _report_clock(self, code: str) -> None:
        now_ns = int(asyncio.get_running_loop().time() * 1e9)
        held_back = self._occasional.admit(("clock_corrected",), now_ns)
        if held_back is not None:
            skew_seconds = round(self._signer.skew_seconds)
            _log.warning("clock_corrected", skew_seconds=skew_seconds, code=code, held_back=held_back)


def _head_of(headers: dict[str, str], content_bytes: int) -> bytes:
    """Return the head of a signed request as it goes out.

    Raises:
        ValueError: a header would become several.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    return f"POST / HTTP/1.1\r\n{lines}{_UNSIGNED_LINES}Content-Length: {content_bytes}\r\n\r\n".encode()


_UNSIGNED_LINES = "".join([f"{name}: {value}\r\n" for name, value in UNSIGNED_HEADERS.items()])
