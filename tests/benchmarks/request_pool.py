"""The requests of a load, built before they are needed.

A PutRecord is a template in which a key of fixed width is filled in; a PutRecords, and what is signed, come out of a
pool. Bodies are JSON or CBOR, as SDKs send them.

Must never know: sockets, and when a request is sent.
"""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any

import cbor2

from tests.support.kinesis_client import AUTHORIZATION, CONTENT_TYPE, TARGET_PREFIX
from tests.support.processes import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.load import Options

CBOR_CONTENT_TYPE = "application/x-amz-cbor-1.1"
PREBUILT_CALLS = 64
# Enough that two requests in flight are rarely the same.
SIGNED_POOL = 4096
KEY_OF_TEMPLATE = "0000000"


class Requests:
    """Gives one request after the other.

    Args:
        options: what to send.
        whole: makes of operation and body what is sent.
    """

    def __init__(self, options: Options, whole: Callable[[str, bytes], bytes]) -> None:
        self._random = random.Random(options.seed)  # noqa: S311 - a seeded load, no secret
        self._partition_keys = options.partition_keys
        self._encoding = options.encoding
        self._data = self._random.randbytes(options.data_bytes)
        self._templates: list[tuple[bytes, bytes]] = []
        self._pool: list[bytes] = []
        names = options.stream_names()
        if options.records_per_call > 1:
            for number in range(max(PREBUILT_CALLS, len(names))):
                records = [self._record(key) for key in self._keys(options.records_per_call)]
                body = self._encode({"StreamName": names[number % len(names)], "Records": records})
                self._pool.append(whole("PutRecords", body))
        elif options.signed:
            for number in range(SIGNED_POOL):
                record = self._record(self._random.randrange(self._partition_keys))
                body = self._encode({"StreamName": names[number % len(names)], **record})
                self._pool.append(whole("PutRecord", body))
        else:
            for name in names:
                body = self._encode({"StreamName": name, **self._record(0)})
                before, _, after = whole("PutRecord", body).rpartition(KEY_OF_TEMPLATE.encode())
                self._templates.append((before, after))

    def next(self) -> bytes:
        """Return a whole request."""
        if self._pool:
            return self._random.choice(self._pool)
        before, after = self._templates[0] if len(self._templates) == 1 else self._random.choice(self._templates)
        key = int(self._random.random() * self._partition_keys)
        return b"%b%07d%b" % (before, key, after)

    def _keys(self, count: int) -> list[int]:
        """Draw the keys of one call, different ones if there are so many."""
        if count <= self._partition_keys:
            return self._random.sample(range(self._partition_keys), count)
        return self._random.choices(range(self._partition_keys), k=count)

    def _record(self, key: int) -> dict[str, Any]:
        return {"Data": self._data, "PartitionKey": f"{key:0{len(KEY_OF_TEMPLATE)}d}"}

    def _encode(self, document: dict[str, Any]) -> bytes:
        if self._encoding == "cbor":
            return cbor2.dumps(document)
        return json.dumps(document, separators=(",", ":"), default=_base64).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def headers_of(options: Options, operation: str, body: bytes) -> dict[str, str]:
    """Return the headers of a request, with a signature that is real or only looks like one."""
    content_type = CBOR_CONTENT_TYPE if options.encoding == "cbor" else CONTENT_TYPE
    headers = {
        "Host": f"127.0.0.1:{options.port}",
        "Content-Type": content_type,
        "X-Amz-Target": f"{TARGET_PREFIX}{operation}",
        "X-Amz-Date": "20260101T000000Z",
        "Authorization": AUTHORIZATION,
        "Content-Length": str(len(body)),
    }
    if options.signed:
        headers |= _signature(options, headers, body)
    return headers


def _signature(options: Options, headers: dict[str, str], body: bytes) -> dict[str, str]:
    """Return the headers of a signature that holds for a quarter of an hour."""
    # Nearly half a second, and a run begins with a new process.
    from botocore.auth import SigV4Auth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415

    signed = {name: headers[name] for name in ("Content-Type", "X-Amz-Target")}
    request = AWSRequest("POST", f"http://127.0.0.1:{options.port}/", headers=signed, data=body)
    key = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(key, "kinesis", CREDENTIALS["AWS_REGION"]).add_auth(request)
    return {name: request.headers[name] for name in ("X-Amz-Date", "Authorization")}


def http1_request(options: Options, operation: str, body: bytes) -> bytes:
    """Return a whole request as HTTP/1.1 writes it."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers_of(options, operation, body).items())
    return f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body
