from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.emulator.admin import EmulatorAdmin
from proxy.emulator.faults import FaultInjector, Faults
from proxy.emulator.service import EmulatorService
from proxy.kinesis.http import Request
from tests.unit.emulator.emulator_driver import Emulator, shard_id


class Admin:
    """The admin interface of an emulator with one stream."""

    def __init__(self) -> None:
        self.emulator = Emulator()
        self.emulator.create(shards=2)
        self.injector = FaultInjector(lambda: 0.5)
        self.admin = EmulatorAdmin(EmulatorService(self.emulator.model, self.injector, lambda: self.emulator.now))

    def faults(self, method: str, body: bytes = b"") -> tuple[int, Any]:
        """Send a request to /faults."""
        reply = self.admin.faults_admin(Request(method, "/faults", {}, body))
        return reply.status, json.loads(reply.body)


def test_faults_are_told_in_full() -> None:
    """Each by name, off ones included."""
    admin = Admin()
    assert admin.faults("GET") == (200, Faults().as_mapping())


def test_a_put_replaces_all_faults() -> None:
    """What it does not name is switched off; the answer tells what holds now."""
    admin = Admin()
    admin.faults("PUT", b'{"latency_ms": 5}')
    status, told = admin.faults("PUT", b'{"throttle_ratio": 0.5}')
    assert (status, told) == (200, Faults(throttle_ratio=0.5).as_mapping())
    assert admin.injector.faults == Faults(throttle_ratio=0.5)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"latency_ms": -1}', "latency_ms must be an integer between 0 and 600000, not -1"),
        (b'{"nonsense": 1}', "'nonsense' is no fault"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{", "Input data was truncated"),
        (b"", "Input data was truncated"),
    ],
)
def test_faults_that_cannot_be_are_refused_and_change_nothing(body: bytes, error: str) -> None:
    """With a text that says what is wrong."""
    admin = Admin()
    admin.faults("PUT", b'{"latency_ms": 5}')
    status, told = admin.faults("PUT", body)
    assert status == 400
    assert error in told["error"]
    assert admin.injector.faults == Faults(latency_ms=5)


def test_other_methods_are_not_allowed() -> None:
    """The answer names those that are."""
    admin = Admin()
    reply = admin.admin.faults_admin(Request("DELETE", "/faults", {}, b""))
    assert (reply.status, reply.headers["Allow"]) == (405, "GET, PUT")
    reply = admin.admin.streams_admin(Request("POST", "/streams", {}, b""))
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")


def test_streams_are_told_shard_by_shard() -> None:
    """What each took, refused and keeps."""
    admin = Admin()
    admin.emulator.put("a", b"data", ExplicitHashKey="0")
    told = json.loads(admin.admin.streams_admin(Request("GET", "/streams", {}, b"")).body)
    (stream,) = told["streams"]
    assert (stream["name"], stream["status"], stream["open_shards"]) == ("orders", "ACTIVE", 2)
    assert stream["shards"][0] == {
        "shard_id": shard_id(0),
        "open": True,
        "accepted_records": 1,
        "accepted_bytes": 5,
        "throttled_records": 0,
        "kept_records": 1,
    }
    assert (told["kept_records"], told["kept_bytes"]) == (1, 5)
    assert told["faults_injected"]["throttle"] == 0
    assert told["requests"]["PutRecord"] == 0
