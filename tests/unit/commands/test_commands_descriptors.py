from __future__ import annotations

import resource

import pytest
from structlog.testing import capture_logs

from proxy.commands.descriptors import connections_within, descriptors_wanted, raise_descriptor_limit
from proxy.config import ServeSettings

WANTED = 4096 + 64 + 32 + 100


def test_what_is_wanted_is_there_for_every_connection_at_once() -> None:
    """And some for what is no connection of a client or to the upstream."""
    assert descriptors_wanted(ServeSettings()) == WANTED


def test_a_low_soft_limit_is_raised_to_what_is_wanted_and_no_further() -> None:
    """Systems give 1,024 to begin with; a limit that is high enough stays."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 10, hard))
        assert raise_descriptor_limit(soft - 5) == soft - 5
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 5, hard)
        assert raise_descriptor_limit(soft - 10) == soft - 10
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 5, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_hard_limit_is_as_far_as_it_goes() -> None:
    """Nobody is to be root for it."""
    before = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert raise_descriptor_limit(hard + 1) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@pytest.mark.parametrize(("limit", "connections"), [(WANTED, 4096), (WANTED - 1, 4095), (1_024, 828), (256, 128)])
def test_no_more_connections_are_taken_than_there_are_descriptors_for(limit: int, connections: int) -> None:
    """Else the process is deaf when the last is taken, and its probes fail; the log says that it is so."""
    with capture_logs() as logs:
        assert connections_within(limit, ServeSettings()) == connections
    told = [(line["event"], line["limit"], line["connections_max"]) for line in logs]
    assert told == ([] if limit == WANTED else [("file_descriptors_few", limit, connections)])
