"""What all parts of a run share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.promises import Promises
    from tests.simulation.scenario import Scenario
    from tests.simulation.service import SimulatedService
    from tests.simulation.standstill import Standstills
    from tests.simulation.trace import Trace


@dataclass(frozen=True)
class World:
    """One run's scenario, service, judge, notes, clock (virtual nanoseconds), and when it stood still."""

    scenario: Scenario
    service: SimulatedService
    promises: Promises
    trace: Trace
    clock: Callable[[], int]
    standstills: Standstills
