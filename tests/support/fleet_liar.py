"""Upstreams that break a promise on purpose, to see that a fleet's run finds it: they stand before a true one.

A liar hands PutRecords on to the service behind it, but deals falsely with one record in some. Everything else is
handed on as it is.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import Enum
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from aiohttp import web

from tests.support.kinesis_client import TARGET_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

# One record in so many meets the lie.
EVERY = 20
WRITTEN_LATE_SECONDS = 0.5
HEADERS = ("Content-Type", "X-Amz-Target", "X-Amz-Date", "Authorization")


class Lie(Enum):
    """What is done falsely."""

    FORGET = "acknowledge a record and never write it"
    DEFER = "acknowledge a record and write it later"
    REPEAT = "write a record twice"


def lying(lie: Lie) -> Callable[[str], AbstractAsyncContextManager[str]]:
    """Return what stands between a service's URL and the proxies, as `Fleet.run` wants it."""

    @asynccontextmanager
    async def between(url: str) -> AsyncIterator[str]:
        async with aiohttp.ClientSession() as session:
            runner = web.AppRunner(_application(_Liar(lie, url, session)), access_log=None)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            try:
                host, port = runner.addresses[0][:2]
                yield f"http://{host}:{port}"
            finally:
                await runner.cleanup()

    return between


def _application(liar: _Liar) -> web.Application:
    application = web.Application(client_max_size=16 * 1024 * 1024)
    application.router.add_post("/", liar.handle)
    return application


class _Liar:
    def __init__(self, lie: Lie, url: str, session: aiohttp.ClientSession) -> None:
        self._lie = lie
        self._url = url
        self._session = session
        self._records = 0
        self._later: set[asyncio.Task[None]] = set()

    async def handle(self, request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
        body = await request.read()
        if headers.get("X-Amz-Target") != f"{TARGET_PREFIX}PutRecords":
            status, answer = await self._forward(headers, body)
        else:
            status, answer = await self._put(headers, msgspec.json.decode(body))
        return web.Response(status=status, body=answer, content_type="application/x-amz-json-1.1")

    async def _put(self, headers: dict[str, str], put: dict[str, Any]) -> tuple[int, bytes]:
        entries = put["Records"]
        chosen = [position for position in range(len(entries)) if (self._records + position) % EVERY == 0]
        self._records += len(entries)
        lied = [entries[position] for position in chosen]
        kept = [entry for position, entry in enumerate(entries) if position not in chosen]
        sent = [*entries, *lied] if self._lie is Lie.REPEAT else kept or entries
        status, answer = await self._forward(headers, msgspec.json.encode({**put, "Records": sent}))
        results = msgspec.json.decode(answer).get("Records", [])
        if self._lie is Lie.REPEAT:
            return status, _answer(results[: len(entries)]) if results else answer
        written = [result for result in results if result.get("SequenceNumber")]
        if not kept or not written:
            return status, answer
        for position in chosen:
            # Beside a record that was written, and with a number that none has.
            false = {**written[0], "SequenceNumber": str(int(written[-1]["SequenceNumber"]) + 1)}
            results.insert(position, false)
        if self._lie is Lie.DEFER and lied:
            writing = asyncio.create_task(self._write_later(headers, msgspec.json.encode({**put, "Records": lied})))
            self._later.add(writing)
            writing.add_done_callback(self._later.discard)
        return status, _answer(results)

    async def _write_later(self, headers: dict[str, str], body: bytes) -> None:
        await asyncio.sleep(WRITTEN_LATE_SECONDS)
        await self._forward(headers, body)

    async def _forward(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        async with self._session.post(self._url, headers=headers, data=body) as response:
            return response.status, await response.read()


def _answer(results: list[dict[str, Any]]) -> bytes:
    failed = sum("ErrorCode" in result for result in results)
    return msgspec.json.encode({"FailedRecordCount": failed, "Records": results})
