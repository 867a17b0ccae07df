"""`kinesis-proxy emulate`: the embedded Kinesis on a port of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

import proxy
from proxy.admin.health import Health
from proxy.admin.pulse import Pulse
from proxy.admin.readings import read_listener, read_process
from proxy.admin.server import AdminServer
from proxy.commands.embedded import make_emulator, pages, read_emulator
from proxy.commands.listener import http_limits, server_tls
from proxy.commands.process import Signals, listen, log_what_nobody_caught
from proxy.metrics.registry import make_registry
from proxy.transport.server import HttpServer

if TYPE_CHECKING:
    from proxy.config import EmulateSettings
    from proxy.metrics.collector import Readings

log = structlog.get_logger(__name__)

COMMAND = "emulate"
# How long requests in progress may take to be answered at the end.
ANSWER_SECONDS = 5.0


async def emulate(settings: EmulateSettings) -> None:
    """Serve until a signal comes.

    Raises:
        CommandError: it cannot start.
    """
    log_what_nobody_caught()
    signals = Signals()
    service = make_emulator(settings)
    server = HttpServer(service.handle, http_limits(settings), server_tls(settings))
    health = Health(upstream_ready=lambda: True)
    pulse = Pulse(dict)

    def read() -> Readings:
        return {
            **read_emulator(service),
            **read_listener(server),
            **read_process(proxy.__version__, COMMAND, health, pulse.lag_seconds),
        }

    def status() -> dict[str, Any]:
        return {
            "version": proxy.__version__,
            "command": COMMAND,
            "obstacles": health.obstacles(),
            "streams": "see /streams",
        }

    admin = AdminServer(health, pulse, make_registry(read), status, pages(service))
    pulse.start()
    try:
        await listen("admin_listen", settings.admin_listen, admin.start(settings.admin_listen))
        await listen("listen", settings.listen, server.start(settings.listen.host, settings.listen.port))
        health.listening()
        log.info(
            "emulating",
            endpoint=f"{server.scheme}://{settings.listen._replace(port=server.port)}",
            admin=f"http://{settings.admin_listen._replace(port=admin.port)}/",
            streams=[str(spec) for spec in settings.stream],
        )
        await signals.stop.wait()
        health.drains()
        await server.close(ANSWER_SECONDS)
    finally:
        pulse.stop()
        await admin.close()
    log.info("stopped")
