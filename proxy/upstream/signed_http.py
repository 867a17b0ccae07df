"""Signed POST requests over a bounded pool of keep-alive connections.

Decides nothing about what an answer means; only whether there was one, and what it teaches about credentials and time.
Exactly one attempt is made per call: aiohttp repeats only idempotent methods on a broken connection, which POST is
not, and redirects are off, so that no duplicate ever comes from below.

Must never know: what the body says.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
import structlog
from aiohttp.payload import Payload

from proxy import __version__
from proxy.core.batch import Failure, Written
from proxy.core.verdicts import CONNECT_FAILED
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
        self.handed_over = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the body to the transport, in pieces that the peer's pace allows."""
        rest = memoryview(self._value)
        while len(rest) > WRITE_BYTES_MAX:
            await writer.write(rest[:WRITE_BYTES_MAX])
            rest = rest[WRITE_BYTES_MAX:]
        # Not drained, for that could raise after the last byte has left.
        await writer.write(rest, drain=False)  # type: ignore[call-arg]  # only the abstract class lacks it
        self.handed_over = True


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
        self._response_bytes_max = limits.response_bytes_max
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=limits.connections_max,
                keepalive_timeout=KEEP_ALIVE_SECONDS,
                ttl_dns_cache=DNS_CACHE_SECONDS,
                ssl=tls,
            ),
            timeout=aiohttp.ClientTimeout(
                connect=limits.connect_timeout_seconds,
                sock_read=limits.read_timeout_seconds,
                total=limits.request_timeout_seconds,
            ),
            headers={"User-Agent": f"kinesis-proxy/{__version__}", "Accept-Encoding": "identity"},
            skip_auto_headers=("Accept",),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close every connection; requests that are under way fail."""
        await self._session.close()

    async def post(self, endpoint: Endpoint, target: str, content_type: str, body: bytes) -> HttpReply | Failure:
        """Send one signed request, once, and return the whole response, or why there is none.

        Args:
            endpoint: where to.
            target: X-Amz-Target.
            content_type: Content-Type.
            body: the whole body.
        """
        try:
            credentials = await self._keeper.get()
        except CredentialsUnavailableError as error:
            return credentials_failure(error)
        if self._session.closed:
            return Failure(CONNECT_FAILED, "the upstream is closed", Written.NOT_SENT)
        headers = self._signer.headers(endpoint.host, target, content_type, body, credentials)
        payload = Body(body)
        try:
            async with self._session.post(
                endpoint.url, data=payload, headers=headers, proxy=self._proxy, allow_redirects=False
            ) as response:
                content = await self._read(response)
        except TRANSPORT_ERRORS as error:
            return transport_failure(error, handed_over=payload.handed_over)
        if response.status == HTTPStatus.OK:
            return HttpReply(HTTPStatus.OK, response.headers, content, None)
        failure = service_failure(response.status, response.headers, content)
        self._learn(failure, response.headers, credentials)
        return HttpReply(response.status, response.headers, content, failure)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """Read a response's body within the bound.

        Raises:
            ResponseTooLargeError: it is larger.
        """
        announced = response.content_length
        if announced is not None and announced <= self._response_bytes_max:
            return await response.read()
        content = bytearray()
        async for piece in response.content.iter_any():
            content += piece
            if len(content) > self._response_bytes_max:
                raise ResponseTooLargeError(f"the response is larger than {self._response_bytes_max} bytes")
        return bytes(content)

    def _learn(self, failure: Failure, headers: Mapping[str, str], credentials: ReadOnlyCredentials) -> None:
        """Correct the clock, or have the credentials renewed, where an error says so."""
        if failure.code in SKEW_CODES:
            service_time_seconds = service_time_of(headers)
            if service_time_seconds is not None and self._signer.learn_time(service_time_seconds):
                _log.warning("clock_corrected", skew_seconds=round(self._signer.skew_seconds), code=failure.code)
                return
        if failure.code in CREDENTIALS_CODES:
            self._keeper.refuse(credentials)
