"""The page to watch, at / for browsers: its files, which lie beside this one, and the data that they poll.

Polling rather than server-sent events: every answer is whole, so a viewer may miss any; a page that is hidden, or a
phone that sleeps, asks for nothing; no connection is held that a shutdown must end; and the same bytes serve all.

The browser is told to run, load and connect to nothing but this origin, and never to take a text for markup.
"""

from __future__ import annotations

from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.watch import TooManyViewersError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.admin.watch import Watch

    Handler = Callable[[web.Request], Awaitable[web.Response]]

FOLDER = "page"
INDEX = "index.html"
CONTENT_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Kept by browsers, but asked about each time: a page of another version than the data would misread it.
FILE_HEADERS = {**SECURITY_HEADERS, "Cache-Control": "no-cache"}
DATA_HEADERS = {**SECURITY_HEADERS, "Cache-Control": "no-store", "Content-Type": "application/json"}
RETRY_AFTER_SECONDS = 5


class File:
    """One file of the page, read once.

    Args:
        name: in the folder.
        body: its bytes.
    """

    def __init__(self, name: str, body: bytes) -> None:
        self.name = name
        self._body = body
        self._tag = sha256(body).hexdigest()[:32]
        self._headers = {**FILE_HEADERS, "Content-Type": CONTENT_TYPES[name.rpartition(".")[2]]}

    async def answer(self, request: web.Request) -> web.Response:
        """Serve it, or say that the browser has it already."""
        headers = {**self._headers, "ETag": f'"{self._tag}"'}
        if self.name == INDEX:
            headers["Vary"] = "Accept"
        if any(tag.value in {self._tag, "*"} for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=self._body, headers=headers)


def read_files() -> dict[str, File]:
    """Read the page's files from the package."""
    folder = resources.files("proxy.admin") / FOLDER
    return {each.name: File(each.name, each.read_bytes()) for each in folder.iterdir() if each.is_file()}


def wants_page(request: web.Request) -> bool:
    """Whether a browser asks; programs that take anything get text."""
    return "text/html" in request.headers.get("Accept", "")


def routes(watch: Watch, files: dict[str, File]) -> list[web.RouteDef]:
    """Return the routes of the page's files and data; / is the server's own."""

    async def now(_request: web.Request) -> web.Response:
        return _data(watch.now)

    async def history(_request: web.Request) -> web.Response:
        return _data(watch.history)

    async def stream(request: web.Request) -> web.Response:
        return _data(lambda: watch.stream(request.query.get("id", "")))

    return [
        *(web.get(f"/page/{name}", file.answer) for name, file in files.items()),
        web.get("/page/now", now),
        web.get("/page/history", history),
        web.get("/page/stream", stream),
    ]


def _data(make: Callable[[], bytes | None]) -> web.Response:
    try:
        body = make()
    except TooManyViewersError:
        headers = {**DATA_HEADERS, "Retry-After": str(RETRY_AFTER_SECONDS)}
        return web.Response(status=429, body=b'{"error":"too many viewers"}', headers=headers)
    if body is None:
        return web.Response(status=404, body=b'{"error":"no such stream"}', headers=DATA_HEADERS)
    return web.Response(body=body, headers=DATA_HEADERS)
