"""The clients of a fleet as a process of their own: `python -m tests.support.fleet_generator`.

Standard input has one line with the `Load`; a second line starts the clients, a third one, or the input's end, stops
them. Standard output has one JSON document a line: a `News` when the connections stand and then again and again, and
at last a `Summary`. Nobody who dies leaves the clients running: their input ends with him.
"""

from __future__ import annotations

import asyncio
import fcntl
import random
import sys
from collections import Counter
from typing import Any

import msgspec
import uvloop

from tests.support.fleet_client import Ack, CallMade, Client, Tally
from tests.support.fleet_plan import ClientSpec  # noqa: TC001 - msgspec looks it up

NEWS_SECONDS = 0.1
LINE_BYTES_MAX = 64 * 1024 * 1024
# As large as Linux allows everyone.
PIPE_BYTES = 1024 * 1024


class Load(msgspec.Struct):
    """What to run.

    Args:
        stream_name: an existing stream.
        ports: of the proxies, by their numbers.
        clients: of this process.
        data_bytes: size of a payload.
        seed: of everything that is drawn.
    """

    stream_name: str
    ports: list[int]
    clients: list[ClientSpec]
    data_bytes: int
    seed: int


class News(msgspec.Struct, tag=True):
    """What happened since the last ones.

    Args:
        acks: acknowledged sendings.
        calls: ended calls.
        late: by how many seconds each turn came late.
    """

    acks: list[Ack] = []
    calls: list[CallMade] = []
    late: list[float] = []


class Summary(msgspec.Struct, tag=True):
    """What each client did in all.

    Args:
        tallies: by client.
        ordinals: by client: how many sendings each of its keys had.
        errors: that records met, by code and message, digits left out.
    """

    tallies: dict[int, Tally]
    ordinals: dict[int, list[int]]
    errors: dict[str, int]


class Recorder:
    """Collects what the clients see until it is sent."""

    def __init__(self) -> None:
        self._news = News([], [], [])

    def acked(self, ack: Ack) -> None:
        """Take an acknowledgement."""
        self._news.acks.append(ack)

    def called(self, call: CallMade) -> None:
        """Take a call."""
        self._news.calls.append(call)

    def late(self, seconds: float) -> None:
        """Take how late a turn came."""
        self._news.late.append(round(seconds, 4))

    def take(self) -> News:
        """Return what was collected, and begin anew."""
        news, self._news = self._news, News([], [], [])
        return news


async def generate() -> None:
    """Run the clients from the input's second line to its third."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    # What the reader does not take at once is held in the pipe and then in memory, rather than hold up the clients.
    fcntl.fcntl(sys.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    output = pipe

    def tell(document: News | Summary) -> None:
        output.write(msgspec.json.encode(document) + b"\n")

    load = msgspec.json.decode(await orders.readline(), type=Load)
    recorder = Recorder()
    clients = {
        spec.number: Client(
            spec,
            load.ports[spec.proxy],
            load.stream_name,
            load.data_bytes,
            recorder,
            random.Random(load.seed * 1_000_003 + spec.number),  # noqa: S311 - a seeded load, no secret
        )
        for spec in load.clients
    }
    for client in clients.values():
        await client.connect()
    tell(recorder.take())
    if not await orders.readline():
        return
    for client in clients.values():
        client.start()
    stop = asyncio.create_task(orders.readline())
    broken = _first_exception(loop)
    while not stop.done():
        await asyncio.wait((stop, broken), timeout=NEWS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if broken.done():
            broken.result()
        tell(recorder.take())
    for client in clients.values():
        client.stop()
    for client in clients.values():
        await client.idle.wait()
    tell(recorder.take())
    tell(_summary(clients))
    while output.get_write_buffer_size():  # noqa: ASYNC110 - a pipe tells nobody that it is empty
        await asyncio.sleep(NEWS_SECONDS)


def _first_exception(loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    """Return what fails as soon as anything goes wrong inside a client, which nobody waits for."""
    failed = loop.create_future()

    def fail(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        if not failed.done():
            failed.set_exception(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(fail)
    return failed


def _summary(clients: dict[int, Client]) -> Summary:
    errors: Counter[str] = Counter()
    for client in clients.values():
        errors += client.errors
    return Summary(
        {number: client.tally for number, client in clients.items()},
        {number: client.ordinals for number, client in clients.items()},
        dict(errors),
    )


def main() -> None:
    """Run."""
    uvloop.run(generate())


if __name__ == "__main__":
    main()
