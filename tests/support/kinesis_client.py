"""A lean asyncio client of the Kinesis API (JSON 1.1), fast enough to load a proxy from the same machine.

It does not sign: it sends the headers of a SigV4 request with a made-up signature, which is what servers that do not
verify expect. Source of the shapes: botocore's model of Kinesis.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType

TARGET_PREFIX = "Kinesis_20131202."
CONTENT_TYPE = "application/x-amz-json-1.1"
STATUS_OK = 200
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/kinesis/aws4_request, "
    f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={'0' * 64}"
)


class ServiceError(Exception):
    """An answer with an error in the service's shape."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class NoAnswer(Exception):  # noqa: N818 - what happened, in the words of its readers
    """The connection broke or the client's patience ended: the call may have been carried out."""


class KinesisClient:
    """Calls operations of one endpoint; an asynchronous context manager that owns its connections.

    Args:
        url: the endpoint, `http://host:port`.
        timeout_seconds: the client's patience for one call.
    """

    def __init__(self, url: str, *, timeout_seconds: float = 30.0) -> None:
        self.url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=self._timeout,
            headers={
                "Authorization": AUTHORIZATION,
                "Content-Type": CONTENT_TYPE,
                "X-Amz-Date": "20260101T000000Z",
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, operation: str, body: bytes | dict[str, Any]) -> dict[str, Any]:
        """Call an operation and return its output.

        Args:
            operation: as in the API reference.
            body: the input, encoded or not; blobs in base64.

        Raises:
            ServiceError: the service answered with an error.
            NoAnswer: there was no whole answer in time.
        """
        assert self._session is not None, "use `async with`"
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            async with self._session.post(
                self.url, data=payload, headers={"X-Amz-Target": TARGET_PREFIX + operation}
            ) as response:
                status = response.status
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise NoAnswer(f"{operation}: {error!r}") from error
        if status == STATUS_OK:
            output: dict[str, Any] = json.loads(answer) if answer else {}
            return output
        raise _service_error(status, answer)


def _service_error(status: int, answer: bytes) -> ServiceError:
    try:
        shape = json.loads(answer)
        code = str(shape["__type"]).rpartition("#")[2]
        message = str(shape.get("message") or shape.get("Message") or "")
    except (ValueError, KeyError, TypeError):
        # Not the service's shape: the text itself is the best account of it.
        return ServiceError(status, "", answer[:200].decode(errors="replace"))
    return ServiceError(status, code, message)
