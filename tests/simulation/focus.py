"""Short scenarios that dwell on what few others come near: for planted bugs that show in rare places only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from proxy.core.limits import MILLISECOND_NS, SECOND_NS, StreamLimits
from proxy.core.ordering import Ordering
from tests.simulation.scenario import Faults, Habits, Phase, Scenario, StreamShape

# By the name of the bug: what differs from `Scenario.dense`.
FOCUSED: dict[str, dict[str, Any]] = {
    # streams take one another's place while requests that hold their keys are out
    "forgotten_with_a_request_out": {
        "streams": (StreamShape(1),) * 3,
        "phases": (Phase("burst", 20, 10),),
        "habits": (Habits(tries=1, records_max=1),),
        "faults": Faults(black_hole=0.5),
        "limits": StreamLimits(delivery_timeout_ns=500 * MILLISECOND_NS, response_grace_ns=3 * SECOND_NS),
        "streams_max": 1,
        "keys": 1,
    },
    # of two records in a refused request one has expired when the refusal comes
    "the_last_one_is_guilty": {
        "phases": (Phase("burst", 10, 20),),
        "faults": Faults(guilty=0.3),
        "limits": StreamLimits(
            batch_records_max=2, in_flight_max=1, delivery_timeout_ns=800 * MILLISECOND_NS, response_grace_ns=SECOND_NS
        ),
        "latency_ms": (50, 350),
    },
    # a large record finds no room and a small one behind it does
    "door_lets_the_younger_pass": {
        "phases": (Phase("burst", 3, 60),),
        "habits": (Habits(tries=1, records_max=8, calls_max=1_000),),
        "faults": Faults(slow=0.3),
        "keys": 1,
        "sizes": (60, 20_000),
        "buffer_bytes_max": 100_000,
    },
    # probes come back throttled after they have expired
    "probe_is_waited_for_to_the_end": {
        "phases": (Phase("burst", 10, 60),),
        "habits": (Habits(tries=1, records_max=1, calls_max=1_000),),
        "faults": Faults(throttled=0.5),
        "limits": StreamLimits(in_flight_max=4, delivery_timeout_ns=400 * MILLISECOND_NS, response_grace_ns=SECOND_NS),
        "latency_ms": (50, 150),
    },
    # records of a key fail one by one in the requests that they share
    "inversions_are_not_counted": {
        "streams": (StreamShape(2, ordering=Ordering.RELAXED),),
        "phases": (Phase("burst", 2, 40),),
        "faults": Faults(ill=0.3),
        "keys": 4,
    },
    # a shard at its limit, whose requests fail as a whole: each of their records goes twice
    "retries_take_no_tokens": {
        "streams": (StreamShape(1),),
        "phases": (Phase("burst", 10, 60),),
        "faults": Faults(reset_before=0.3),
        "limits": StreamLimits(shard_records_per_second=25),
    },
    # a shard that nobody has used for long, and then all at once
    "bucket_without_a_bottom": {
        "streams": (StreamShape(1),),
        "phases": (Phase("burst", 2, 60), Phase("idle", 30, 0), Phase("burst", 5, 100)),
        "faults": Faults(),
        "limits": StreamLimits(shard_records_per_second=25),
    },
    # a shard at its limit all the time
    "credit_forgets_the_span_before": {
        "streams": (StreamShape(1),),
        "phases": (Phase("burst", 10, 60),),
        "faults": Faults(),
        "limits": StreamLimits(shard_records_per_second=25),
    },
    # clients that do not come again for what they have missed
    "undelivered_answers_pile_up": {
        "frontend": True,
        "habits": (Habits(tries=1, records_max=2, cut=0.8, calls_max=1_000),),
        "faults": Faults(reset_before=0.1),
        "undelivered_calls_max": 1,
    },
    # a stream that says by no answer that it is not what it was
    "summary_is_kept_for_ever": {
        "phases": (Phase("burst", 3, 30),),
        "faults": Faults(strategies=1, record_limits=2),
    },
    # the drain's time is over while much waits
    "lost_on_drain": {
        "phases": (Phase("burst", 1, 100),),
        "faults": Faults(black_hole=0.5),
        "drain_timeout_ms": 50,
        "ends_well": False,
    },
    # a share of a shard that is found again, and much that waits for it
    "lane_waits_by_its_old_rate": {
        "phases": (Phase("burst", 2, 60), Phase("trickle", 60, 2), Phase("burst", 5, 60)),
        "faults": Faults(throttled=0.15),
        "limits": StreamLimits(shard_records_per_second=25),
        "latency_ms": (1, 50),
    },
}


def scenario_for(bug: str, seed: int) -> Scenario:
    """Return the scenario in which a planted bug is looked for."""
    return replace(Scenario.dense(seed), **FOCUSED.get(bug, {}))
