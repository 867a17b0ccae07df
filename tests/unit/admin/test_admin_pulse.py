from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from proxy.admin.pulse import BEAT_SECONDS, WINDOW_BEATS, Pulse
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Hashable


def test_the_lag_is_told_as_exactly_as_it_is_known() -> None:
    """A person reads it, and timers are no better than that."""

    async def main() -> None:
        loop = cast("virtual_time.VirtualTimeLoop", asyncio.get_running_loop())
        pulse = Pulse(dict)
        pulse.start()
        loop.call_later(BEAT_SECONDS / 2, loop.advance, BEAT_SECONDS + 1 / 3000)
        await asyncio.sleep(3 * BEAT_SECONDS)
        assert pulse.lag_seconds == 0.2503
        pulse.stop()

    virtual_time.run(main())


def test_the_lag_is_the_longest_delay_of_a_beat() -> None:
    """Whatever held up the loop held up the beat too."""

    async def main() -> None:
        loop = cast("virtual_time.VirtualTimeLoop", asyncio.get_running_loop())
        pulse = Pulse(dict)
        pulse.start()
        loop.call_later(BEAT_SECONDS / 2, loop.advance, BEAT_SECONDS)
        await asyncio.sleep(3 * BEAT_SECONDS)
        assert round(pulse.lag_seconds, 3) == BEAT_SECONDS / 2
        await asyncio.sleep(WINDOW_BEATS * BEAT_SECONDS)
        assert pulse.lag_seconds < 0.001
        pulse.stop()

    virtual_time.run(main())


def test_a_rate_is_growth_over_the_window() -> None:
    """Rates follow the last ten seconds, and old growth is forgotten."""

    async def main() -> None:
        totals: dict[Hashable, int] = {}
        pulse = Pulse(lambda: dict(totals))
        assert pulse.per_second("orders") == 0
        pulse.start()
        assert pulse.per_second("orders") == 0
        for second in range(1, 11):
            totals["orders"] = 100 * second
            await asyncio.sleep(1)
        assert 95 < pulse.per_second("orders") < 105
        assert pulse.per_second("unheard of") == 0
        await asyncio.sleep((WINDOW_BEATS + 1) * BEAT_SECONDS)
        assert pulse.per_second("orders") == 0
        pulse.stop()

    virtual_time.run(main())


def test_a_stopped_pulse_beats_no_more() -> None:
    """Nothing is left behind in the loop."""

    async def main() -> int:
        beats = 0

        def totals() -> dict[Hashable, int]:
            nonlocal beats
            beats += 1
            return {}

        pulse = Pulse(totals)
        pulse.start()
        await asyncio.sleep(BEAT_SECONDS * 2.5)
        pulse.stop()
        await asyncio.sleep(BEAT_SECONDS * 5)
        return beats

    assert virtual_time.run(main()) == 3
