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
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import structlog
from aiohttp.payload import Payload

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
    service_failure,
    service_time_of,
    transport_failure,
)
from proxy.upstream.pool import Pool, cut_off

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter
    from botocore.credentials import ReadOnlyCredentials
    from yarl import URL

    from proxy.upstream.credentials import CredentialKeeper
    from proxy.upstream.endpoint import Endpoint
    from proxy.upstream.signing import Signer

# Below the idle time after which load balancers of AWS close a connection; the same as aiobotocore's.
KEEP_ALIVE_SECONDS = 12.0
DNS_CACHE_SECONDS = 30
# More at once would only be copied into the transport's buffer.
WRITE_BYTES_MAX = 256 * 1024
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


class Body(Payload):
    """A request's body that knows whether its last byte was handed to the transport.

    Until then the service cannot have acted on the request: see `proxy.upstream.failures`.
    """

    def __init__(self, value: bytes) -> None:
        super().__init__(value)
        self._size = len(value)
        self._transport: asyncio.Transport | None = None
        self.content = value
        self.handed_over = False

    @property
    def begun(self) -> bool:
        """Whether there was a connection to write it to."""
        return self._transport is not None

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the body to the transport, in pieces that the peer's pace allows."""
        self._transport = getattr(writer, "transport", None)  # only the abstract class lacks it
        rest = memoryview(self._value)
        while len(rest) > WRITE_BYTES_MAX:
            await writer.write(rest[:WRITE_BYTES_MAX])
            rest = rest[WRITE_BYTES_MAX:]
        # Not drained, for that could raise after the last byte has left.
        await writer.write(rest, drain=False)  # type: ignore[call-arg]  # only the abstract class lacks it
        self.handed_over = True

    def cut_off(self) -> None:
        """Reset the connection that it was written to, so that no more of it goes out."""
        cut_off(self._transport)


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
            headers={"User-Agent": f"kinesis-proxy/{__version__}", "Accept-Encoding": "identity"},
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
        payload = Body(body)
        credentials: ReadOnlyCredentials | None = None
        started_at_seconds = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(timeout_seconds, self._limits.request_timeout_seconds)):
                credentials = await self._keeper.get()
                return await self._exchange(endpoint, target, content_type, payload, credentials)
        except CredentialsUnavailableError as error:
            return credentials_failure(error)
        except TRANSPORT_ERRORS as error:
            if credentials is None:
                return credentials_failure(CredentialsUnavailableError(LATE_CREDENTIALS))
            self._give_up(payload, asyncio.get_running_loop().time() - started_at_seconds)
            return transport_failure(error, handed_over=payload.handed_over)
        except BaseException:
            payload.cut_off()
            raise

    async def _exchange(
        self, endpoint: Endpoint, target: str, content_type: str, payload: Body, credentials: ReadOnlyCredentials
    ) -> HttpReply | Failure:
        """Send a request over a connection of the pool and read the response.

        Raises:
            aiohttp.ClientError, OSError: the network did not carry it through.
        """
        if self._session.closed:
            return Failure(CONNECT_FAILED, "the upstream is closed", Written.NOT_SENT)
        signed_at_seconds = self._signer.now()
        headers = self._signer.headers(endpoint.host, target, content_type, payload.content, credentials)
        async with self._session.post(
            endpoint.url, data=payload, headers=headers, proxy=self._proxy, allow_redirects=False
        ) as response:
            content = await self._read(response)
        if not payload.handed_over:
            payload.cut_off()  # answered before it was read: what is left of it would wait for a reader
        if response.status == HTTPStatus.OK:
            return HttpReply(HTTPStatus.OK, response.headers, content, None)
        failure = service_failure(response.status, response.headers, content)
        self._learn(failure, response.headers, credentials, signed_at_seconds)
        return HttpReply(response.status, response.headers, content, failure)

    def _give_up(self, payload: Body, lasted_seconds: float) -> None:
        """End the connection of a request that failed, and the idle ones beside it where it met a long silence.

        Where there was no connection, addresses are asked for anew: they may have changed with the trouble.
        """
        payload.cut_off()
        if not payload.begun:
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

    def _report_clock(self, code: str) -> None:
        now_ns = int(asyncio.get_running_loop().time() * 1e9)
        held_back = self._occasional.admit(("clock_corrected",), now_ns)
        if held_back is not None:
            skew_seconds = round(self._signer.skew_seconds)
            _log.warning("clock_corrected", skew_seconds=skew_seconds, code=code, held_back=held_back)
