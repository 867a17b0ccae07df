"""The records through aiokpl, as its README has it: `put_record` in turn, and `wait` for every outcome.

Its defaults are left as they are: 100 ms of buffering, the shards' limits, 30 s until a record expires. With the
option `single` each record is a Kinesis record of its own (`aggregation_enabled=False`); otherwise it aggregates in
the KPL's format, its default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokpl import Config, Producer

from tests.benchmarks.peers.program import ACKNOWLEDGED, REGION, Run, main

if TYPE_CHECKING:
    from aiokpl import Outcome, RecordResult


async def produce(run: Run) -> None:
    """Put all records and enter each one's outcome."""
    task = run.task
    config = Config(region=REGION, endpoint_url=task.endpoint, aggregation_enabled=task.option != "single")
    waiting: list[tuple[int, Outcome[RecordResult]]] = []
    async with Producer(config) as producer:
        try:
            async for index, partition_key, data in run.paced():
                outcome = await producer.put_record(
                    stream=task.stream_name, partition_key=partition_key, data=data.encode()
                )
                waiting.append((index, outcome))
            for _, outcome in waiting:
                await outcome.wait()
            run.settled()
        finally:
            for index, outcome in waiting:
                if outcome.is_set():
                    run.report.outcomes[index] = _outcome_of(await outcome.wait())


def _outcome_of(result: RecordResult) -> str:
    return ACKNOWLEDGED if result.success else str(result.attempts[-1].error_code)


if __name__ == "__main__":
    main(produce)
