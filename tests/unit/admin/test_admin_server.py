from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp
import pytest

from proxy.admin.health import Health
from proxy.admin.pulse import Pulse
from proxy.admin.server import NOT_THERE, AdminServer, Page
from proxy.config import Address
from proxy.kinesis.http import Reply
from proxy.metrics.registry import make_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.kinesis.http import Request


def answer(request: Request) -> Reply:
    """Tell what was asked."""
    return Reply(
        201, f"{request.method} {request.target} {request.body.decode()}".encode(), {"Content-Type": "text/plain"}
    )


@pytest.fixture
def health() -> Health:
    """Return the health of a process that listens."""
    health = Health(lambda: True)
    health.listening()
    return health


@pytest.fixture
async def client(health: Health) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client of a running admin server."""
    server = AdminServer(
        health,
        Pulse(dict),
        make_registry(lambda: {"draining": {(): int(health.draining)}}),
        lambda: {"streams": []},
        (Page("/faults", "what goes wrong", answer),),
    )
    await server.start(Address("127.0.0.1", 0))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.close()


@pytest.mark.parametrize("said", [b"", b"GET /livez HTTP/1.1\r\nHost: a"])
async def test_a_connection_that_asks_for_nothing_does_not_stay(health: Health, said: bytes) -> None:
    """Each holds a file descriptor, which producers need too."""
    server = AdminServer(health, Pulse(dict), make_registry(dict), dict)
    await server.start(Address("127.0.0.1", 0), idle_seconds=0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(said)
    with contextlib.suppress(ConnectionResetError):  # an end as well
        assert await reader.read() == b""
    writer.close()
    await server.close()


async def test_the_index_names_every_page(client: aiohttp.ClientSession) -> None:
    """Whoever finds the port finds the rest."""
    async with client.get("/") as response:
        text = await response.text()
    for path in ("/livez", "/readyz", "/metrics", "/status", "/faults"):
        assert f"\n{path} " in text
        async with client.get(path) as response:
            assert response.status in {200, 201}


async def test_readiness_tells_its_obstacles(client: aiohttp.ClientSession, health: Health) -> None:
    """Orchestrators read the status, people the reasons."""
    async with client.get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True, "obstacles": []})
    health.drains()
    async with client.get("/readyz") as response:
        assert (response.status, await response.json()) == (503, {"ready": False, "obstacles": ["draining"]})
    async with client.get("/livez") as response:
        assert response.status == 200


async def test_metrics_are_prometheus_text(client: aiohttp.ClientSession) -> None:
    """A scrape gets the proxy's families beside those of the process."""
    async with client.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    assert "kinesis_proxy_draining 0.0" in text
    assert "process_resident_memory_bytes" in text
    assert "python_gc_collections_total" in text


async def test_a_page_of_another_part_gets_the_whole_request(client: aiohttp.ClientSession) -> None:
    """Method, path with query and body go through, and so does the reply."""
    async with client.put("/faults?x=1", data=b"hello") as response:
        assert (response.status, await response.text()) == (201, "PUT /faults?x=1 hello")


async def test_a_body_beyond_the_limit_is_refused(client: aiohttp.ClientSession) -> None:
    """The admin port holds no large requests in memory."""
    async with client.put("/faults", data=b"x" * 70_000) as response:
        assert response.status == 413
        assert (await response.json())["error"]


async def test_errors_are_json_as_all_that_is_answered_to_programs(client: aiohttp.ClientSession) -> None:
    """Of a page that there is not, too; a proxy without the embedded Kinesis has no faults."""
    async with client.get("/streams") as response:
        assert (response.status, await response.json()) == (404, {"error": NOT_THERE})
    async with client.post("/status") as response:
        assert (response.status, await response.json()) == (405, {"error": "Method Not Allowed"})
        assert response.headers["Allow"] == "GET,HEAD"


async def test_an_address_in_use_raises_and_leaves_nothing_open(client: aiohttp.ClientSession, health: Health) -> None:
    """The caller can tell its user, and no socket is left behind."""
    assert client._base_url is not None
    second = AdminServer(health, Pulse(dict), make_registry(dict), dict)
    with pytest.raises(OSError, match="in use"):
        await second.start(Address("127.0.0.1", int(client._base_url.port or 0)))
    await second.close()
