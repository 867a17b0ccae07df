"""The yardstick of the benchmark: aiohttp's low-level server on uvloop, which reads a request and answers a constant.

python -m tests.benchmarks.bare_server PORT [RECORDS_PER_CALL]
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop
from aiohttp import web

from tests.support.kinesis_client import CONTENT_TYPE

PLACE = {
    "ShardId": "shardId-000000000007",
    "SequenceNumber": "49680494156213481303106083005075717961432234731128225794",
    "EncryptionType": "NONE",
}


def answer_of(records_per_call: int) -> bytes:
    """Return an answer as the service would give it."""
    if records_per_call == 1:
        return json.dumps(PLACE).encode()
    return json.dumps({"FailedRecordCount": 0, "Records": [PLACE] * records_per_call}).encode()


async def main(port: int, records_per_call: int) -> None:
    """Serve until ended by a signal."""
    answer = answer_of(records_per_call)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response(body=answer, headers={"Content-Type": CONTENT_TYPE})

    server = web.Server(handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
