"""What a record costs, beside the yardstick: aiohttp's low-level server that answers a constant."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.measure import (
    BOTTOMLESS,
    MICRO,
    PUT_RECORDS_CONNECTIONS,
    RECORDS_PER_CALL,
    STREAM,
    UNLIMITED,
    Cost,
    Plan,
    Ratio,
    Subject,
    batches_of,
    generate,
    median_of,
    put_record,
    put_records,
    ratio_of,
    remark_on,
    take_turns,
)
from tests.benchmarks.report import Row
from tests.support.processes import Independent, emulate, free_port, serve

if TYPE_CHECKING:
    from tests.benchmarks.load import Options
    from tests.support.processes import Service

COST = "CPU of the proxy"
RATE = "Throughput of one process"
MANY, FEW = 256, 64
FIRST_SECONDS = 0.2
# By connections.
RATIO_MAX = {FEW: 0.85, MANY: 0.5}
US_PER_RECORD_MAX = 8.0
REQUESTS_PER_SECOND_MIN, RECORDS_PER_SECOND_MIN = 50_000.0, 120_000.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured.

    Args:
        bare: the yardstick's cost of a PutRecord, by connections.
        single: the proxy's.
        ratio: of both.
        bulk: the proxy's cost of PutRecords.
        bulk_bare: the yardstick's.
        fill: records in an upstream request of `single`, by connections.
        bulk_fill: likewise of `bulk`.
    """

    bare: dict[int, Cost]
    single: dict[int, Cost]
    ratio: dict[int, Ratio]
    bulk: Cost
    bulk_bare: Cost
    fill: dict[int, float]
    bulk_fill: float

    def rows(self) -> list[Row]:
        """Return the rows of both sections."""
        bulk, yardstick = self.bulk, self.bare[MANY].cpu_us_per_request
        return [
            *(self._ratio_row(connections) for connections in (MANY, FEW)),
            Row(
                COST,
                f"PutRecords({RECORDS_PER_CALL}), {PUT_RECORDS_CONNECTIONS} connections: CPU per record",
                bulk.cpu_us_per_record,
                "µs",
                US_PER_RECORD_MAX,
                remarks=f"bare aiohttp reads such a request for {self.bulk_bare.cpu_us_per_record:.2f} µs a record; "
                f"{self.bulk_fill:.0f} records in an upstream request{remark_on(bulk)}",
            ),
            Row(
                COST,
                f"the same ÷ bare aiohttp's PutRecord at {MANY} connections",
                bulk.cpu_us_per_record / yardstick,
                remarks="for comparing machines",
            ),
            self._rate_row("PutRecord requests/s", self.single[MANY], REQUESTS_PER_SECOND_MIN),
            self._rate_row("records/s by PutRecords", bulk, RECORDS_PER_SECOND_MIN),
        ]

    def _ratio_row(self, connections: int) -> Row:
        ours, bare = self.single[connections], self.bare[connections]
        return Row(
            COST,
            f"PutRecord, {connections} connections: CPU per record ÷ bare aiohttp's echo",
            self.ratio[connections].median,
            target=RATIO_MAX[connections],
            remarks=f"{ours.cpu_us_per_record:.1f} ÷ {bare.cpu_us_per_request:.1f} µs; {self.ratio[connections]}; "
            f"{self.fill[connections]:.0f} records in an upstream request{remark_on(ours)}",
        )

    @staticmethod
    def _rate_row(measure: str, cost: Cost, least: float) -> Row:
        return Row(
            RATE,
            f"{measure}, one core's worth",
            MICRO / cost.cpu_us_per_record,
            target=least,
            at_least=True,
            remarks=f"1 s ÷ CPU per record; seen here: {cost.records_per_second:,.0f}/s, proxy, upstream and generator "
            f"on {os.cpu_count()} cores",
        )


def measure(plan: Plan) -> Costs:
    """Let yardstick and proxy take turns."""
    with (
        bare_server(1) as bare,
        bare_server(RECORDS_PER_CALL) as bulk_bare,
        emulate(stream=[STREAM], **BOTTOMLESS) as upstream,
        serve(upstream.url, **UNLIMITED) as proxy,
    ):
        found = {
            connections: compare(bare, proxy, put_record(proxy.port, connections), plan) for connections in (FEW, MANY)
        }
        bulk = compare(bulk_bare, proxy, put_records(proxy.port), plan)
    return Costs(
        bare={connections: median_of(of_one.bare) for connections, of_one in found.items()},
        single={connections: median_of(of_one.proxy) for connections, of_one in found.items()},
        ratio={connections: ratio_of(of_one.proxy, of_one.bare) for connections, of_one in found.items()},
        bulk=median_of(bulk.proxy),
        bulk_bare=median_of(bulk.bare),
        fill={connections: of_one.fill for connections, of_one in found.items()},
        bulk_fill=bulk.fill,
    )


class Comparison(NamedTuple):
    """What both spent in each round, and how many records the proxy put into an upstream request."""

    bare: list[Cost]
    proxy: list[Cost]
    fill: float


def compare(bare: Independent, proxy: Service, load: Options, plan: Plan) -> Comparison:
    """Load both in turn."""
    generate(replace(load, seconds=FIRST_SECONDS))  # so that there is a stream to count batches of
    requests_before, records_before = batches_of(proxy)
    both = {"bare": Subject(bare, replace(load, port=bare.port)), "proxy": Subject(proxy, load)}
    costs = take_turns(both, plan.finer())
    requests, records = batches_of(proxy)
    return Comparison(costs["bare"], costs["proxy"], (records - records_before) / (requests - requests_before))


def bare_server(records_per_call: int) -> Independent:
    """Start the yardstick."""
    port = free_port()
    program = [sys.executable, "-m", "tests.benchmarks.bare_server", str(port), str(records_per_call)]
    return Independent("bare aiohttp", port, program)
