"""The service's limits, one constant each, with unit and source.

Source: Kinesis Data Streams quotas and the API model of 2026, unless a line says otherwise.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# PutRecords: entries in one request, and their data and partition keys together. It was 5 MiB until October 2025.
RECORDS_PER_REQUEST_MAX: Final = 500
REQUEST_BYTES_MAX: Final = 10 * MIB
REQUEST_BYTES_CAREFUL: Final = 5 * MIB

# One record, data and partition key together: the stream's own limit (MaxRecordSizeInKiB) lies between these two.
RECORD_BYTES_DEFAULT: Final = 1 * MIB
RECORD_BYTES_MAX: Final = 10 * MIB
# Data alone, as the model says; and as the first API said.
DATA_BYTES_MAX: Final = 10 * MIB
DATA_BYTES_MAX_2013 = 51_200

# Counted in Unicode code points: the definition of `length` in Smithy, the model's language. Where a server counts
# UTF-16 units instead, this is the wider reading: it never refuses a key that the service takes.
PARTITION_KEY_CHARACTERS_MAX: Final = 256
STREAM_NAME_CHARACTERS_MAX: Final = 128
STREAM_ARN_CHARACTERS_MAX: Final = 2048
STREAM_ID_CHARACTERS_MAX: Final = 24
NEXT_TOKEN_CHARACTERS_MAX: Final = 1_048_576
SHARD_ITERATOR_CHARACTERS_MAX: Final = 512

# Writes to one shard, each second; partition keys count.
SHARD_RECORDS_PER_SECOND: Final = 1000
SHARD_BYTES_PER_SECOND: Final = 1 * MIB
# A record above the second's bytes lives from a burst.
SHARD_BURST_BYTES_MAX: Final = 10 * MIB
# Reads from one shard.
GET_RECORDS_LIMIT_MAX: Final = 10_000
GET_RECORDS_BYTES_MAX: Final = 10 * MIB
GET_RECORDS_CALLS_PER_SECOND: Final = 5

# Calls of the control plane, each second.
LIST_SHARDS_PER_STREAM: Final = 1000
DESCRIBE_STREAM_SUMMARY_PER_ACCOUNT: Final = 20
DESCRIBE_STREAM_PER_ACCOUNT: Final = 10
LIST_STREAMS_PER_ACCOUNT: Final = 5
DESCRIBE_LIMITS_PER_ACCOUNT: Final = 1
NEXT_TOKEN_LIFE_SECONDS: Final = 300
SHARD_ITERATOR_LIFE_SECONDS: Final = 300

# Base64 of a full PutRecords, plus names, punctuation and keys written as \uXXXX pairs: the largest body worth reading.
BODY_BYTES_MAX: Final = 16 * MIB
_ESCAPED_CHARACTER_BYTES: Final = 12
_ENTRY_OVERHEAD_BYTES: Final = 160
assert (  # noqa: S101 - a relation between constants, checked once at import
    REQUEST_BYTES_MAX * 4 // 3
    + RECORDS_PER_REQUEST_MAX * (PARTITION_KEY_CHARACTERS_MAX * _ESCAPED_CHARACTER_BYTES + _ENTRY_OVERHEAD_BYTES)
    <= BODY_BYTES_MAX
)
