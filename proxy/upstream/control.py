"""ListShards and DescribeStreamSummary, through aiobotocore's own client.

The client is made at start, though nothing is asked then: loading its model of the service holds the loop for 50 ms or
more, which the first record should not meet. Its retries are off: one authority retries, and that is the core. It signs
with the keeper's credentials, by the machine's clock; where the put path has learned that this is wrong, what the
client is about to send is signed anew.

Must never know: what the answers are used for.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from yarl import URL

from proxy.core.batch import Failure
from proxy.core.shard_map import Shard, StreamSummary
from proxy.upstream.endpoint import endpoint_of
from proxy.upstream.failures import CONTROL_ERRORS, control_failure, malformed

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

    from proxy.upstream.credentials import CredentialKeeper
    from proxy.upstream.signing import Signer

# 1000 shards a page; no account has a stream of a hundred thousand.
PAGES_MAX = 100
CONNECTIONS_MAX = 4
KIB = 1024


class Resigner:
    """Signs what a client of botocore is about to send anew, by the corrected clock, while there is a correction.

    Args:
        signer: knows the time.
        keeper: has the credentials.

    It is a handler of botocore's event `before-send`.
    """

    def __init__(self, signer: Signer, keeper: CredentialKeeper) -> None:
        self._signer = signer
        self._keeper = keeper

    async def __call__(self, request: Any, **_: object) -> None:  # noqa: ANN401 - botocore has no types
        """Replace the headers that carry time and signature."""
        if not self._signer.skew_seconds:
            return
        host = endpoint_of(str(URL(request.url).origin())).host
        target, content_type = (_text(request.headers[name]) for name in ("X-Amz-Target", "Content-Type"))
        signed = self._signer.headers(host, target, content_type, request.body, await self._keeper.get())
        request.headers.update(signed)


class ControlPlane:
    """The calls that only read.

    Args:
        session: its credential provider is what the client signs with.
        region: the region.
        endpoint_url: the operator's URL, or None for AWS's own endpoints.
        roots: file of trusted certificates.
        connect_timeout_seconds: to open a connection.
        request_timeout_seconds: one page in all.

    Call `open` before all else, and `close` at the end.
    """

    def __init__(
        self,
        session: AioSession,
        *,
        region: str,
        endpoint_url: str | None,
        roots: str,
        connect_timeout_seconds: float,
        request_timeout_seconds: float,
    ) -> None:
        self._session = session
        self._request_timeout_seconds = request_timeout_seconds
        self._client_options: dict[str, Any] = {
            "region_name": region,
            "endpoint_url": endpoint_url,
            "verify": roots,
            "config": AioConfig(
                connect_timeout=connect_timeout_seconds,
                read_timeout=request_timeout_seconds,
                max_pool_connections=CONNECTIONS_MAX,
                retries={"total_max_attempts": 1, "mode": "standard"},
                # Set by endpoint_url alone, for the same reason as in `proxy.upstream.endpoint`.
                ignore_configured_endpoint_urls=True,
            ),
        }
        self._exit = AsyncExitStack()
        self._client: Any = None

    async def open(self) -> None:
        """Make the client.

        Raises:
            botocore.exceptions.BotoCoreError: the AWS configuration makes it impossible.
        """
        made = self._session.create_client("kinesis", **self._client_options)
        self._client = await self._exit.enter_async_context(made)

    async def close(self) -> None:
        """Close every connection."""
        await self._exit.aclose()

    async def list_shards(self, stream_name: str, stream_arn: str | None) -> list[Shard] | Failure:
        """Return the open shards of a stream."""
        shards: list[Shard] = []
        # A server that does not know the filter sends closed shards too: they have an ending sequence number.
        question: dict[str, Any] = {**_addressed(stream_name, stream_arn), "ShardFilter": {"Type": "AT_LATEST"}}
        for _ in range(PAGES_MAX):
            page = await self._call("list_shards", question)
            if isinstance(page, Failure):
                return page
            try:
                shards += [_shard(told) for told in page["Shards"] if not _is_closed(told)]
            except (KeyError, ValueError) as error:
                return malformed(0, f"ListShards: {error!r}")
            if not page.get("NextToken"):
                return shards
            question = {"NextToken": page["NextToken"]}
        return malformed(0, f"ListShards: more than {PAGES_MAX} pages")

    async def describe_stream_summary(self, stream_name: str, stream_arn: str | None) -> StreamSummary | Failure:
        """Return the summary of a stream."""
        reply = await self._call("describe_stream_summary", _addressed(stream_name, stream_arn))
        if isinstance(reply, Failure):
            return reply
        try:
            told = reply["StreamDescriptionSummary"]
            return StreamSummary(
                stream_arn=told["StreamARN"],
                open_shard_count=told["OpenShardCount"],
                record_bytes_max=told.get("MaxRecordSizeInKiB", KIB) * KIB,
                auto_distribution=told.get("RecordDistributionStrategy") == "AUTO",
            )
        except KeyError as error:
            return malformed(0, f"DescribeStreamSummary: no {error}")

    async def _call(self, method: str, question: dict[str, Any]) -> dict[str, Any] | Failure:
        try:
            async with asyncio.timeout(self._request_timeout_seconds):
                reply: dict[str, Any] = await getattr(self._client, method)(**question)
                return reply
        except CONTROL_ERRORS as error:
            return control_failure(error)


def _text(value: str | bytes) -> str:
    """Return a header's value, which botocore keeps in either form."""
    return value.decode() if isinstance(value, bytes) else value


def _addressed(stream_name: str, stream_arn: str | None) -> dict[str, str]:
    return {"StreamName": stream_name} if stream_arn is None else {"StreamARN": stream_arn}


def _is_closed(told: dict[str, Any]) -> bool:
    return "EndingSequenceNumber" in told.get("SequenceNumberRange", {})


def _shard(told: dict[str, Any]) -> Shard:
    hash_keys = told["HashKeyRange"]
    return Shard(int(hash_keys["StartingHashKey"]), int(hash_keys["EndingHashKey"]), told["ShardId"])
