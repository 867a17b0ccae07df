"""The emulator's own administration: its faults, which change while it runs, and what its streams hold.

Plain functions of a request, for whoever owns an admin port to mount:

    GET, PUT /faults    all faults as JSON; what a PUT does not name is switched off
    GET /streams        streams and shards with their records
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from proxy.emulator.faults import Faults
from proxy.kinesis.http import Reply

if TYPE_CHECKING:
    from proxy.emulator.clock import Now
    from proxy.emulator.service import EmulatorService
    from proxy.emulator.shard import Shard
    from proxy.emulator.stream import Stream
    from proxy.kinesis.http import Request


class EmulatorAdmin:
    """Answers administrative requests about one emulator.

    Args:
        service: the emulator.
    """

    def __init__(self, service: EmulatorService) -> None:
        self._service = service

    def faults_admin(self, request: Request) -> Reply:
        """Tell the faults, or replace all of them."""
        injector = self._service.injector
        match request.method:
            case "GET" | "HEAD":
                pass
            case "PUT":
                try:
                    members = msgspec.json.decode(request.body, type=dict[str, Any])
                    injector.faults = Faults.from_mapping(members)
                except ValueError as error:  # msgspec's errors are among them
                    return _reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            case _:
                return _not_allowed("GET, PUT")
        return _reply(HTTPStatus.OK, injector.faults.as_mapping())

    def streams_admin(self, request: Request) -> Reply:
        """Tell each shard's records, and what has happened since the start."""
        if request.method not in {"GET", "HEAD"}:
            return _not_allowed("GET")
        service = self._service
        now = service.clock()
        return _reply(
            HTTPStatus.OK,
            {
                "streams": [_stream(stream, now) for stream in service.model.streams(now)],
                "kept_records": service.model.retention.kept_records,
                "kept_bytes": service.model.retention.kept_bytes,
                "requests": service.requests,
                "faults_injected": service.injector.injected,
            },
        )


def _stream(stream: Stream, now: Now) -> dict[str, Any]:
    return {
        "name": stream.name,
        "status": stream.status(now).value,
        "open_shards": len(stream.topology.open_shards),
        "shards": [_shard(shard) for shard in stream.topology.shards.values()],
    }


def _shard(shard: Shard) -> dict[str, Any]:
    return {
        "shard_id": shard.shard_id,
        "open": shard.closed_at_ms is None,
        "accepted_records": shard.accepted_records,
        "accepted_bytes": shard.accepted_bytes,
        "throttled_records": shard.throttled_records,
        "kept_records": len(shard.log),
    }


def _not_allowed(methods: str) -> Reply:
    reply = _reply(HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"the methods allowed are {methods}"})
    reply.headers["Allow"] = methods
    return reply


def _reply(status: HTTPStatus, document: dict[str, Any]) -> Reply:
    return Reply(status, msgspec.json.encode(document), {"Content-Type": "application/json"})
