"""Every operation but the puts: its name, and the function from decoded input to output.

Inputs come from `proxy.kinesis.operations.parse`; an operation without output returns None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.emulator import control, describing, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.emulator.clock import Now
    from proxy.emulator.model import Model

    Operation = Callable[[Model, Mapping[str, Any], Now], dict[str, Any] | None]

OPERATIONS: dict[str, Operation] = {
    "CreateStream": control.create_stream,
    "DeleteStream": control.delete_stream,
    "DescribeLimits": control.describe_limits,
    "DescribeStream": describing.describe_stream,
    "DescribeStreamSummary": describing.describe_stream_summary,
    "GetRecords": reading.get_records,
    "GetShardIterator": reading.get_shard_iterator,
    "ListShards": describing.list_shards,
    "ListStreams": describing.list_streams,
    "MergeShards": control.merge_shards,
    "SplitShard": control.split_shard,
    "UpdateMaxRecordSize": control.update_max_record_size,
    "UpdateShardCount": control.update_shard_count,
    "UpdateStreamMode": control.update_stream_mode,
    "UpdateStreamRecordDistributionStrategy": control.update_stream_record_distribution_strategy,
}
