"""The event loop on virtual time."""

from __future__ import annotations

import asyncio

from tests.support.virtual_time import VirtualTimeLoop


def test_timer_that_is_due_in_less_than_a_nanosecond_fires() -> None:
    """Late in a long simulation, an instant in seconds is no more exact than that; the loop must not turn for ever."""
    loop = VirtualTimeLoop()
    try:
        before_ns = loop.clock_ns()
        loop.advance(0.99e-9)
        assert loop.clock_ns() > before_ns
    finally:
        loop.close()


def test_time_stands_still_while_something_is_ready() -> None:
    """A timeout of nothing moves nothing."""
    loop = VirtualTimeLoop()
    try:
        before_ns = loop.clock_ns()
        loop.run_until_complete(asyncio.sleep(0))
        assert loop.clock_ns() == before_ns
    finally:
        loop.close()
