"""The admin port: /livez, /readyz, /metrics, /status, the page to watch, and whatever else a part has to show.

Decides nothing about any of it; gives each an address and lists them all at /, where a browser gets the page instead.
No hot path: plain aiohttp.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from proxy.admin.page_routes import INDEX, read_files, routes, wants_page
from proxy.kinesis.http import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler
    from prometheus_client import CollectorRegistry

    from proxy.admin.health import Health
    from proxy.admin.pulse import Pulse
    from proxy.admin.watch import Watch
    from proxy.config import Address
    from proxy.kinesis.http import Reply

BODY_BYTES_MAX = 64 * 1024
SHUTDOWN_SECONDS = 1.0
# Longer than scrapes are apart, so that Prometheus keeps its connection; aiohttp's own is an hour.
IDLE_SECONDS = 75.0
NOT_THERE = "there is no such page: / lists those that there are, /faults and /streams only with the embedded Kinesis"


class Page(NamedTuple):
    """A page of another part of the program."""

    path: str
    meaning: str
    answer: Callable[[Request], Reply]


class AdminServer:
    """Serves the admin port.

    Args:
        health: for /readyz.
        pulse: for /livez.
        registry: for /metrics.
        status: returns the status document.
        pages: others to serve.
        watch: for the page to watch; without one there is none.

    Call `start`, and `close` at the end.
    """

    def __init__(
        self,
        health: Health,
        pulse: Pulse,
        registry: CollectorRegistry,
        status: Callable[[], dict[str, Any]],
        pages: tuple[Page, ...] = (),
        watch: Watch | None = None,
    ) -> None:
        self._health = health
        self._pulse = pulse
        self._registry = registry
        self._status = status
        self._pages = pages
        self._watch = watch
        self._files = read_files() if watch else {}
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        if self._runner is None:
            raise RuntimeError("the admin server does not listen")
        port: int = self._runner.addresses[0][1]
        return port

    async def start(self, address: Address, idle_seconds: float = IDLE_SECONDS) -> None:
        """Listen; port 0 takes any that is free.

        Args:
            address: where.
            idle_seconds: how long a connection stays open that asks for nothing.
        """
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_with_errors_as_json])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status_page),
                *(routes(self._watch, self._files) if self._watch else ()),
                *(web.route("*", page.path, _answering(page)) for page in self._pages),
            ]
        )
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=idle_seconds,
            shutdown_timeout=SHUTDOWN_SECONDS,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner

    async def close(self) -> None:
        """Close the listener and every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _index(self, request: web.Request) -> web.Response:
        if self._files and wants_page(request):
            return await self._files[INDEX].answer(request)
        lines = [
            *([("/", "in a browser: the page to watch, live")] if self._files else []),
            ("/livez", "whether the process is alive"),
            ("/readyz", "whether it should be given work, and if not, why"),
            ("/metrics", "metrics for Prometheus"),
            ("/status", "streams, shards, rates, queues and outcomes as JSON"),
            *((page.path, page.meaning) for page in self._pages),
        ]
        text = "kinesis-proxy\n\n" + "".join(f"{path:<10} {meaning}\n" for path, meaning in lines)
        return web.Response(text=text, headers={"Vary": "Accept"})

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"live": True, "event_loop_lag_seconds": self._pulse.lag_seconds})

    async def _readyz(self, _request: web.Request) -> web.Response:
        obstacles = self._health.obstacles()
        status = HTTPStatus.SERVICE_UNAVAILABLE if obstacles else HTTPStatus.OK
        return web.json_response({"ready": not obstacles, "obstacles": obstacles}, status=status)

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        response = web.Response(body=encode(self._registry), headers={"Content-Type": content_type})
        response.enable_compression()
        return response

    async def _status_page(self, _request: web.Request) -> web.Response:
        return web.json_response(self._status(), dumps=_indented)


def _indented(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"


@web.middleware
async def _with_errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write aiohttp's own errors as those of the pages are written."""
    try:
        return await handler(request)
    except web.HTTPClientError as error:
        text = NOT_THERE if error.status == HTTPStatus.NOT_FOUND else error.reason
        headers = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
        return web.json_response({"error": text}, status=error.status, headers=headers)


def _answering(page: Page) -> Callable[[web.Request], Any]:
    """Return an aiohttp handler for a page that knows nothing of aiohttp."""

    async def answer(http: web.Request) -> web.Response:
        body = await http.read()
        reply = page.answer(Request(http.method, http.path_qs, http.headers, body))
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    return answer
