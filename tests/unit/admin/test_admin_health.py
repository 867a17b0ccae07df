from __future__ import annotations

from proxy.admin.health import BUFFER_FULL, DRAINING, NO_CREDENTIALS, STARTING, Health
from proxy.core.buffer import Buffer


def test_it_is_ready_once_it_listens() -> None:
    """A probe holds the application back until the first call would be answered."""
    health = Health(lambda: True)
    assert health.obstacles() == [STARTING]
    health.listening()
    assert health.obstacles() == []


def test_without_credentials_it_is_not_ready() -> None:
    """Records would only wait and expire."""
    ready = True
    health = Health(lambda: ready)
    health.listening()
    ready = False
    assert health.obstacles() == [NO_CREDENTIALS]


def test_with_a_full_buffer_it_is_not_ready_until_there_is_room() -> None:
    """Work sent elsewhere meanwhile is not rejected."""
    buffer = Buffer(100, 1_000_000)
    health = Health(lambda: True, buffer)
    health.listening()
    buffer.records = 94
    assert health.obstacles() == []
    buffer.records = 95
    assert health.obstacles() == [BUFFER_FULL]
    buffer.records, buffer.bytes = 1, 950_000
    assert health.obstacles() == [BUFFER_FULL]
    buffer.bytes = 0
    assert health.obstacles() == []


def test_once_draining_it_is_never_ready_again() -> None:
    """The orchestrator must not send anything to what is going away."""
    health = Health(lambda: True)
    health.listening()
    health.drains()
    assert health.draining
    assert health.obstacles() == [DRAINING]
