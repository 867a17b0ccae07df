from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import aiohttp
import pytest

from proxy.admin.health import Health
from proxy.admin.page_routes import CONTENT_TYPES, read_files
from proxy.admin.pulse import Pulse
from proxy.admin.server import AdminServer
from proxy.admin.watch import TooManyViewersError
from proxy.config import Address
from proxy.metrics.registry import make_registry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.admin.watch import Watch

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "proxy" / "admin" / "page"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FILES = sorted(path.name for path in FOLDER.iterdir())


class FakeWatch:
    """Answers what a test says."""

    def __init__(self) -> None:
        self.busy = False

    def now(self) -> bytes:
        """Return a document, or say that there are too many viewers."""
        if self.busy:
            raise TooManyViewersError
        return b'{"tick":1}'

    def history(self) -> bytes:
        """Return a document."""
        return b'{"points":[]}'

    def stream(self, identity: str) -> bytes | None:
        """Return the one stream there is."""
        return b'{"id":"<b>"}' if identity == "<b>" else None


@pytest.fixture
def watch() -> FakeWatch:
    """Return what the page asks."""
    return FakeWatch()


@pytest.fixture
async def client(watch: FakeWatch) -> AsyncIterator[aiohttp.ClientSession]:
    """Give a client of a running admin server with the page."""
    server = AdminServer(Health(lambda: True), Pulse(dict), make_registry(dict), dict, watch=cast("Watch", watch))
    await server.start(Address("127.0.0.1", 0))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield session
    await server.close()


async def test_a_browser_gets_the_page_where_a_program_gets_the_list(client: aiohttp.ClientSession) -> None:
    """What / says to curl stays what it was, and caches keep the two apart."""
    async with client.get("/", headers=BROWSER) as response:
        assert response.content_type == "text/html"
        assert (await response.text()).startswith("<!doctype html>")
        assert response.headers["Vary"] == "Accept"
    async with client.get("/") as response:
        assert response.content_type == "text/plain"
        assert "/metrics " in await response.text()
        assert response.headers["Vary"] == "Accept"


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served_with_its_type_and_kept_until_it_changes(
    client: aiohttp.ClientSession, name: str
) -> None:
    """A browser asks each time, and is told in a few bytes that it has the file already."""
    async with client.get(f"/page/{name}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == CONTENT_TYPES[name.rpartition(".")[2]]
        assert response.headers["Cache-Control"] == "no-cache"
        assert await response.read() == (FOLDER / name).read_bytes()
        tag = response.headers["ETag"]
    async with client.get(f"/page/{name}", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
    async with client.get(f"/page/{name}", headers={"If-None-Match": '"older"'}) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/", "/page/watch.js", "/page/now", "/page/history", "/page/stream?id=nobody"])
async def test_the_browser_may_run_and_load_nothing_of_elsewhere(client: aiohttp.ClientSession, path: str) -> None:
    """The policy is strict on whatever is served, errors too."""
    async with client.get(path, headers=BROWSER) as response:
        policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
        assert policy.pop("default-src") == "'none'"
        for directive in ("script-src", "style-src", "img-src", "connect-src"):
            assert policy.pop(directive) == "'self'"
        assert policy == {
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
            "require-trusted-types-for": "'script'",
            "trusted-types": "'none'",
        }
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_data_is_never_stored(client: aiohttp.ClientSession) -> None:
    """What streams there are stays in no cache, on disk or between."""
    for path in ("/page/now", "/page/history", "/page/stream?id=%3Cb%3E"):
        async with client.get(path) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert response.headers["Cache-Control"] == "no-store"


async def test_a_stream_that_is_not_known_is_not_found(client: aiohttp.ClientSession) -> None:
    """The answer repeats nothing of what was asked."""
    async with client.get("/page/stream?id=%3Cscript%3E") as response:
        assert (response.status, await response.text()) == (404, '{"error":"no such stream"}')
        assert response.headers["Cache-Control"] == "no-store"


async def test_too_many_viewers_are_told_when_to_come_back(client: aiohttp.ClientSession, watch: FakeWatch) -> None:
    """429, which the page understands."""
    watch.busy = True
    async with client.get("/page/now") as response:
        assert (response.status, response.headers["Retry-After"]) == (429, "5")


async def test_without_a_watch_there_is_no_page() -> None:
    """The embedded Kinesis alone has no streams of records to show: a browser gets the list."""
    server = AdminServer(Health(lambda: True), Pulse(dict), make_registry(dict), dict)
    await server.start(Address("127.0.0.1", 0))
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        async with session.get("/", headers=BROWSER) as response:
            assert response.content_type == "text/plain"
        async with session.get("/page/now") as response:
            assert response.status == 404
    await server.close()


def test_the_page_names_only_files_that_are_served() -> None:
    """No asset of elsewhere, no inline script or style, which the policy would stop."""
    index = (FOLDER / "index.html").read_text(encoding="utf-8")
    styles = (FOLDER / "watch.css").read_text(encoding="utf-8")
    named = [
        *re.findall(r'(?:src|href)="(/page/[^"]+)"', index),
        *re.findall(r'url\("([^"]+)"\)', styles),
        *(
            f"/page/{name}"
            for path in FOLDER.glob("*.js")
            for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8"))
        ),
    ]
    assert named
    assert {path.removeprefix("/page/") for path in named} <= set(read_files())
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=|https?://", index)
    for path in FOLDER.glob("*.js"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://", text), (
            path.name
        )


def test_the_page_is_in_the_wheel(tmp_path: Path) -> None:
    """An installed proxy has its page."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)  # noqa: S603 - the arguments are our own
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert {f"proxy/admin/page/{name}" for name in FILES} <= set(archive.namelist())
