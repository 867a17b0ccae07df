"""The records through async-kinesis, as its README has it: one task calls `put` in turn, then `flush`.

It reports nothing of single records: if `flush` returns, all that was put counts as acknowledged; a `put` that raises
counts as a failure of its record. StringProcessor sends a text as it is, a Kinesis record each. Its limit is set anew
once it knows the shards, by the method that it has for that: it multiplies by the number of shards, but looks before
it has asked for them, and would send 1,000 records a second whatever the stream. With the option `499` its `batch_size`
is that: with the default of 500 it puts 501 records into a request, which the service refuses.
"""

from __future__ import annotations

from kinesis import Producer, StringProcessor

from tests.benchmarks.peers.program import ACKNOWLEDGED, REGION, Run, main

# Its default.
BATCH_SIZE = 500


async def produce(run: Run) -> None:
    """Put all records, flush, and enter the outcomes."""
    task = run.task
    outcomes = run.report.outcomes
    put: list[int] = []
    async with Producer(
        stream_name=task.stream_name,
        endpoint_url=task.endpoint,
        region_name=REGION,
        processor=StringProcessor(),
        use_list_shards=True,
        batch_size=int(task.option or BATCH_SIZE),
    ) as producer:
        producer.set_put_rate_throttle()
        async for index, partition_key, data in run.paced():
            try:
                await producer.put(data, partition_key=partition_key)
            except Exception as error:  # noqa: BLE001 - its way to report a failure
                outcomes[index] = repr(error)
            else:
                put.append(index)
        await producer.flush()
        for index in put:
            outcomes[index] = ACKNOWLEDGED
        run.settled()


if __name__ == "__main__":
    main(produce)
