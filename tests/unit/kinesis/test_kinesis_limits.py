"""Relations between the limits."""

from __future__ import annotations

import json
from base64 import b64encode

from proxy.kinesis.limits import BODY_BYTES_MAX, RECORDS_PER_REQUEST_MAX, REQUEST_BYTES_MAX


def test_largest_call_that_the_service_takes_fits_into_a_body() -> None:
    """500 records, keys of 256 characters that are escaped to twelve bytes each, 10 MiB together."""
    key = "😀" * 256
    data_bytes = REQUEST_BYTES_MAX // RECORDS_PER_REQUEST_MAX - len(key.encode())
    record = {"ExplicitHashKey": "9" * 39, "PartitionKey": key, "Data": b64encode(bytes(data_bytes)).decode()}
    call = {"StreamName": "a" * 128, "StreamARN": "a" * 2048, "Records": [record] * RECORDS_PER_REQUEST_MAX}
    assert len(json.dumps(call, indent=4).encode()) <= BODY_BYTES_MAX
