"""How the cost of a record depends on shards, partition keys and streams: one varies, the others stay.

By PutRecord and by PutRecords, because what a wide spread costs differs: records of different streams cannot share an
upstream request, and a key has one record in flight, so that few keys or many streams make small requests whatever
the program does. The records in an upstream request are shown beside the cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.benchmarks.measure import (
    BOTTOMLESS,
    SHARDS,
    STREAM_NAME,
    UNLIMITED,
    WARM_UP_SECONDS,
    Cost,
    Plan,
    Subject,
    batches_of,
    cost_of,
    median_of,
    put_record,
    put_records,
    remark_on,
)
from tests.benchmarks.report import Row
from tests.support.processes import emulate, serve

if TYPE_CHECKING:
    from tests.benchmarks.load import Options
    from tests.support.processes import Service

SECTION = "CPU per record over shards, keys and streams: dearest ÷ cheapest"
RATIO_MAX = 1.2
ROUND_SECONDS_MAX = 1.5
ROUNDS_MAX = 2
CONNECTIONS = 256
USUAL_KEYS = 100_000
SHARD_COUNTS = (1, SHARDS, 1_000)
KEY_COUNTS = (10, 1_000, USUAL_KEYS, 1_000_000)
STREAM_COUNTS = (1, 20, 200)
STREAMS_MAX = 256


@dataclass(frozen=True, slots=True)
class Point:
    """One place in the spread."""

    shards: int = SHARDS
    keys: int = USUAL_KEYS
    streams: int = 1

    def options(self, load: Options) -> Options:
        """Return a load at this place."""
        name = STREAM_NAME if self.streams > 1 else f"{STREAM_NAME}-of-{self.shards}"
        # Calls of fewer keys than records take many round trips each; several at once would wait beyond their deadline.
        connections = 1 if load.records_per_call > self.keys else load.connections
        return replace(load, connections=connections, stream_name=name, streams=self.streams, partition_keys=self.keys)


AXES: dict[str, dict[int, Point]] = {
    "shards": {count: Point(shards=count) for count in SHARD_COUNTS},
    "keys": {count: Point(keys=count) for count in KEY_COUNTS},
    "streams": {count: Point(streams=count) for count in STREAM_COUNTS},
}


@dataclass(frozen=True, slots=True)
class Found:
    """The cost at one place, and the records in an upstream request there."""

    cost: Cost
    fill: float


def streams() -> list[str]:
    """Return all streams that are needed."""
    many = Point(streams=max(STREAM_COUNTS)).options(put_record(0, 1)).stream_names()
    return [f"{STREAM_NAME}-of-{count}:{count}" for count in SHARD_COUNTS] + [f"{name}:{SHARDS}" for name in many]


def measure(plan: Plan) -> list[Row]:
    """Measure every place once a round."""
    short = Plan(min(plan.rounds, ROUNDS_MAX), min(plan.seconds, ROUND_SECONDS_MAX))
    rows: list[Row] = []
    with (
        emulate(stream=streams(), **BOTTOMLESS) as upstream,
        serve(upstream.url, streams_max=STREAMS_MAX, **UNLIMITED) as proxy,
    ):
        loads = {"PutRecord": put_record(proxy.port, CONNECTIONS), "PutRecords(500)": put_records(proxy.port)}
        for title, load in loads.items():
            found = measure_points(proxy, load, short)
            rows += [
                row_of(axis, title, {count: found[point] for count, point in axis_points.items()})
                for axis, axis_points in AXES.items()
            ]
    return rows


def measure_points(proxy: Service, load: Options, plan: Plan) -> dict[Point, Found]:
    """Measure one load at every place."""
    points = list(dict.fromkeys(point for of_axis in AXES.values() for point in of_axis.values()))
    costs: dict[Point, list[Cost]] = {point: [] for point in points}
    requests = dict.fromkeys(points, 0.0)
    records = dict.fromkeys(points, 0.0)
    for point in points:
        cost_of(Subject(proxy, point.options(load)), WARM_UP_SECONDS)
    for _ in range(plan.rounds):
        for point in points:
            requests_before, records_before = batches_of(proxy)
            costs[point].append(cost_of(Subject(proxy, point.options(load)), plan.seconds))
            requests_after, records_after = batches_of(proxy)
            requests[point] += requests_after - requests_before
            records[point] += records_after - records_before
    return {point: Found(median_of(costs[point]), records[point] / requests[point]) for point in points}


def row_of(axis: str, title: str, found: dict[int, Found]) -> Row:
    """Return one axis's row: the dearest place as a multiple of the cheapest."""
    each = [of_one.cost.cpu_us_per_record for of_one in found.values()]
    shown = "; ".join(
        f"{count:,}: {of_one.cost.cpu_us_per_record:.1f} µs, {of_one.fill:.0f} a request{remark_on(of_one.cost)}"
        for count, of_one in found.items()
    )
    return Row(
        SECTION,
        f"{min(found):,} to {max(found):,} {axis}, {title}",
        max(each) / min(each),
        target=RATIO_MAX,
        remarks=shown,
    )
