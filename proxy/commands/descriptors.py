"""File descriptors: each connection takes one, and a process that has none left is deaf, to probes and scrapes too.

Many systems start programs with a soft limit of 1,024 under a hard one that is far higher. So the soft limit is raised
to what the settings ask for, as far as it may be; where that is not enough, fewer connections are taken.
"""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from proxy.config import ServeSettings

log = structlog.get_logger(__name__)

# For the listeners, the loop, files that are read, and the admin port's connections; the runbook names the number.
SPARE = 100


def descriptors_wanted(settings: ServeSettings) -> int:
    """Return how many file descriptors there are when everything is in use."""
    return settings.connections_max + _others(settings)


def raise_descriptor_limit(wanted: int) -> int:
    """Raise the limit of the process, if need be and as far as it may be; return what it has then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):  # a system may allow less than it says
        return soft
    return raised


def connections_within(limit: int, settings: ServeSettings) -> int:
    """Return how many connections of clients may be served at once with so many file descriptors."""
    wanted = descriptors_wanted(settings)
    if limit >= wanted:
        return settings.connections_max
    # where there are next to none, the others will not be as many either
    connections_max = min(settings.connections_max, max(limit - _others(settings), limit // 2))
    log.warning("file_descriptors_few", limit=limit, wanted=wanted, connections_max=connections_max)
    return connections_max


def _others(settings: ServeSettings) -> int:
    return settings.upstream_connections_max + settings.forwards_in_flight_max + SPARE
