"""Every metric family of the program: name, type, unit, labels, meaning. Data only.

At any moment, each summed up over its labels:

    received_records_total = delivered_records_total + failed_records_total + buffer_records
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "kinesis_proxy_"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Args:
        name: without the prefix.
        kind: counters only grow; gauges are of now.
        unit: of the value.
        meaning: what a person reads.
        labels: names of the labels.
        kpl: the CloudWatch name that the KPL uses for the same thing.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    kpl: str = ""


FAMILIES: tuple[Family, ...] = (
    # Records, from their arrival to their one outcome
    Family(
        "received_records_total",
        "counter",
        "records",
        "Records accepted into the queue.",
        ("stream",),
        "UserRecordsReceived",
    ),
    Family("received_bytes_total", "counter", "bytes", "Data and partition keys of accepted records.", ("stream",)),
    Family(
        "delivered_records_total", "counter", "records", "Records that the service took.", ("stream",), "UserRecordsPut"
    ),
    Family(
        "delivered_bytes_total",
        "counter",
        "bytes",
        "Data and partition keys of delivered records.",
        ("stream",),
        "UserRecordsDataPut",
    ),
    Family(
        "failed_records_total",
        "counter",
        "records",
        "Accepted records that failed: refused by the service, expired in the proxy, or withdrawn with their client.",
        ("stream", "reason"),
        "UserRecordExpired",
    ),
    Family(
        "rejected_records_total",
        "counter",
        "records",
        "Records answered without being accepted; a call that is invalid as a whole counts as one.",
        ("reason",),
    ),
    Family(
        "buffer_records",
        "gauge",
        "records",
        "Accepted records without an outcome, waiting or in flight.",
        ("stream", "state"),
        "UserRecordsPending",
    ),
    Family("buffer_bytes", "gauge", "bytes", "Memory that these records are counted with."),
    Family("buffer_limit_records", "gauge", "records", "Most records held at once."),
    Family("buffer_limit_bytes", "gauge", "bytes", "Most memory that records may be counted with."),
    Family(
        "buffer_oldest_record_age_seconds",
        "gauge",
        "seconds",
        "Age of the oldest record without an outcome; 0 without any.",
        ("stream",),
    ),
    Family("delivery_timeout_seconds", "gauge", "seconds", "Age at which a record without an outcome expires."),
    Family("partition_keys", "gauge", "keys", "Partition keys with a record without an outcome.", ("stream",)),
    Family(
        "record_buffer_time_seconds",
        "histogram",
        "seconds",
        "Time from a record's arrival to its first attempt.",
        ("stream",),
        "BufferingTime",
    ),
    Family(
        "record_retries_total",
        "counter",
        "records",
        "Records put back to be sent again.",
        ("stream",),
        "RetriesPerRecord",
    ),
    Family(
        "record_errors_total",
        "counter",
        "records",
        "Errors that records met, by the service's or a local code; a retried record can meet several. "
        "Rare codes appear when they are first met.",
        ("error_code",),
        "ErrorsByCode",
    ),
    Family(
        "throttled_records_total",
        "counter",
        "records",
        "Records that came back because their shard's limit was exceeded; they are sent again.",
        ("stream",),
    ),
    Family(
        "unknown_outcome_records_total",
        "counter",
        "records",
        "Records sent again although the request before may have written them.",
        ("stream",),
    ),
    Family(
        "late_acknowledgements_total",
        "counter",
        "records",
        "Records that turned out to be written after they had expired in flight.",
        ("stream",),
    ),
    Family(
        "order_inversions_total",
        "counter",
        "records",
        "Records that a younger one of their key has passed, where ordering is call or relaxed.",
        ("stream",),
    ),
    Family(
        "sequence_regressions_total",
        "counter",
        "records",
        "Records whose sequence number was not above that of their key's record before.",
        ("stream",),
    ),
    Family(
        "mispredicted_records_total",
        "counter",
        "records",
        "Records that landed in another shard than predicted; they are delivered all the same.",
        ("stream",),
    ),
    # Batches and shards
    Family(
        "batch_records",
        "histogram",
        "records",
        "Records in an upstream put request.",
        ("stream",),
        "KinesisRecordsPerPutRecordsRequest",
    ),
    Family("batch_bytes", "histogram", "bytes", "Data and partition keys in an upstream put request.", ("stream",)),
    Family(
        "stream_open_shards", "gauge", "shards", "Open shards by the newest shard map; 0 while unknown.", ("stream",)
    ),
    Family("shard_map_refreshes_total", "counter", "refreshes", "Shard maps fetched.", ("stream",)),
    Family(
        "shard_utilization_ratio",
        "gauge",
        "ratio",
        "Share of its limits that the busiest shard was sent in the last second.",
        ("stream",),
    ),
    Family(
        "shard_rate_limit_ratio",
        "gauge",
        "ratio",
        "Share of its limits that the proxy allows itself now, of the worst shard.",
        ("stream",),
    ),
    Family(
        "shards_backing_off",
        "gauge",
        "shards",
        "Shards that are sent nothing for a moment after a throttle or an error.",
        ("stream",),
    ),
    Family("streams", "gauge", "streams", "Streams that are known."),
    # The upstream
    Family("upstream_requests_total", "counter", "requests", "Requests to the upstream.", ("operation", "outcome")),
    Family(
        "upstream_request_duration_seconds",
        "histogram",
        "seconds",
        "Duration of put requests to the upstream.",
        kpl="RequestTime",
    ),
    Family("upstream_requests_in_flight", "gauge", "requests", "Requests to the upstream without an answer."),
    Family(
        "credentials_expiry_timestamp_seconds",
        "gauge",
        "seconds",
        "When the credentials in use expire, since the epoch; +Inf for lasting ones, and while there are none.",
    ),
    # The listener
    Family("http_requests_total", "counter", "requests", "Answers to clients.", ("operation", "code")),
    Family(
        "http_request_duration_seconds",
        "histogram",
        "seconds",
        "Time from a whole request to its answer.",
        ("operation",),
    ),
    Family(
        "joined_requests_total",
        "counter",
        "requests",
        "Attempts at a put call that got the outcome of an earlier one instead of being queued beside it.",
    ),
    Family(
        "abandoned_requests_total", "counter", "requests", "Put requests whose clients left before they were answered."
    ),
    Family("http_requests_in_progress", "gauge", "requests", "Requests without an answer."),
    Family("http_connections", "gauge", "connections", "Open connections."),
    Family("http_connections_limit", "gauge", "connections", "Most connections open at once."),
    Family(
        "http_connections_refused_total", "counter", "connections", "Connections closed because there were too many."
    ),
    Family("http_malformed_requests_total", "counter", "requests", "Requests that were no HTTP."),
    Family(
        "tls_certificate_expiry_timestamp_seconds",
        "gauge",
        "seconds",
        "When the certificate that clients are shown expires, since the epoch; +Inf without TLS.",
    ),
    # The embedded Kinesis
    Family("emulator_requests_total", "counter", "requests", "Requests to the embedded Kinesis.", ("operation",)),
    Family(
        "emulator_records_total",
        "counter",
        "records",
        "Records put into the embedded Kinesis: accepted, throttled by a shard's limits, or failed by a fault.",
        ("outcome",),
    ),
    Family("emulator_accepted_bytes_total", "counter", "bytes", "Data and partition keys that it accepted."),
    Family("emulator_faults_total", "counter", "faults", "Faults injected.", ("fault",)),
    Family("emulator_retained_records", "gauge", "records", "Records kept to be read back."),
    Family("emulator_retained_bytes", "gauge", "bytes", "Data and partition keys kept to be read back."),
    # The process
    Family("event_loop_lag_seconds", "gauge", "seconds", "Longest delay of the event loop in the last ten seconds."),
    Family(
        "not_ready",
        "gauge",
        "flag",
        "1 for each reason for which /readyz refuses work now, else 0.",
        ("reason",),
    ),
    Family("draining", "gauge", "flag", "1 while shutting down, else 0."),
    Family("build_info", "gauge", "flag", "Always 1; the labels tell what runs.", ("version", "command")),
)


def as_markdown() -> str:
    """Write the documentation's table of all families."""
    lines = ["| Metric | Type | Unit | Labels | Meaning | KPL's name |", "|---|---|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        kpl = f"`{family.kpl}`" if family.kpl else ""
        lines.append(
            f"| `{PREFIX}{family.name}` | {family.kind} | {family.unit} | {labels} | {family.meaning} | {kpl} |"
        )
    return "\n".join(lines)
