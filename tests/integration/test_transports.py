"""The listener in a real process, before clients that others wrote, and before senders who mean no good."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

from tests.support.processes import CREDENTIALS, Service, emulate, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

PEM = Path(__file__).parents[1] / "support" / "tls" / "localhost.pem"
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.PutRecord"}
PUT = json.dumps({"StreamName": "s", "PartitionKey": "a", "Data": "YWJj"})
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FIELDS = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "a")]
MIB = 1024 * 1024


def program(name: str) -> str:
    """Return a program's path; where the checks decide, it must be there."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return path


@pytest.fixture(scope="module")
def plain() -> Iterator[Service]:
    """Serve without TLS."""
    with emulate(stream="s:8", shard_limits=False) as service:
        yield service


@pytest.fixture(scope="module")
def secure() -> Iterator[Service]:
    """Serve with TLS."""
    with emulate(stream="s:8", shard_limits=False, tls_certificate_file=str(PEM), tls_key_file=str(PEM)) as service:
        service.url = service.url.replace("http:", "https:")
        yield service


def curl(url: str, *arguments: str, body: str = PUT) -> tuple[int, str]:
    """Put a record with curl; return status and version of HTTP."""
    headers = [part for name, value in HEADERS.items() for part in ("-H", f"{name}: {value}")]
    write_out = ["-o", os.devnull, "-w", "%{http_code} %{http_version}"]
    done = subprocess.run(  # noqa: S603 - the arguments are the tests' own
        [program("curl"), "-sS", "-k", "-m", "10", *arguments, *headers, *write_out, "--data-binary", "@-", url],
        input=body,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    status, version = done.stdout.split()
    return int(status), version


@pytest.mark.parametrize(
    ("arguments", "version"),
    [
        (["--http1.1"], "1.1"),
        (["--http1.0"], "1.0"),
        (["--http2-prior-knowledge"], "2"),
        # an upgrade is declined
        (["--http2"], "1.1"),
    ],
)
def test_curl_is_served_on_a_plain_port(plain: Service, arguments: list[str], version: str) -> None:
    """In every version of HTTP, on one port."""
    status, spoken = curl(plain.url, *arguments)
    assert status == 200
    assert spoken in {version, "1.1"}
    assert (version == "2") == (spoken == "2")


@pytest.mark.parametrize(
    ("arguments", "version"),
    [
        (["--http1.1"], "1.1"),
        (["--http2"], "2"),
        (["--no-alpn"], "1.1"),
        (["--tlsv1.3"], "2"),
        (["--tls-max", "1.2"], "2"),
    ],
)
def test_curl_is_served_in_tls(secure: Service, arguments: list[str], version: str) -> None:
    """What it agrees on is what it gets."""
    assert curl(secure.url, *arguments) == (200, version)


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_expectation_costs_no_second(plain: Service, version: str) -> None:
    """The C++ SDK sends one with every request, and waits a second where it is not met; here it would wait too long."""
    arguments = [version, "--expect100-timeout", "60", "-H", "Expect: 100-continue"]
    assert curl(plain.url, *arguments, body=PUT + " " * 100_000)[0] == 200


NODE = """
const http2 = require('http2');
const [url, put] = process.argv.slice(1);
const headers = {':method': 'POST', 'content-type': 'application/x-amz-json-1.1',
                 'x-amz-target': 'Kinesis_20131202.PutRecord'};
const connect = () => http2.connect(url, {rejectUnauthorized: false});
const ask = (session, body) => new Promise((resolve, reject) => {
  const stream = session.request(headers);
  let status, text = '';
  stream.on('response', received => status = received[':status']);
  stream.setEncoding('utf8');
  stream.on('data', piece => text += piece);
  stream.on('end', () => resolve([status, text]));
  stream.on('error', reject);
  stream.end(body);
});
(async () => {
  const seen = {};
  const count = ([status]) => seen[status] = (seen[status] || 0) + 1;
  for (let i = 0; i < 50; i++) {
    const session = connect();
    count(await ask(session, put));
    await new Promise(resolve => session.close(resolve));
  }
  const session = connect();
  (await Promise.all(Array.from({length: 1000}, () => ask(session, put)))).forEach(count);
  await new Promise((resolve, reject) => session.ping(error => error ? reject(error) : resolve()));
  await new Promise(resolve => session.close(resolve));
  const other = connect();
  count(await ask(other, 'x'.repeat(40000000)));
  count(await ask(other, put));
  // the large body was not taken to its end: Node would wait for that
  other.destroy();
  console.log(JSON.stringify(seen));
})().catch(error => { console.error(error); process.exit(1); });
"""


@pytest.mark.parametrize("kind", ["plain", "secure"])
def test_node_is_served_over_http2(kind: str, request: pytest.FixtureRequest) -> None:
    """A connection for each request, as JavaScript's SDK has it; and a thousand requests at once on one."""
    service = request.getfixturevalue(kind)
    done = subprocess.run(  # noqa: S603 - the arguments are the tests' own
        [program("node"), "-e", NODE, service.url, PUT], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"200": 1051, "400": 1}
    assert service.metrics().total("kinesis_proxy_http_malformed_requests_total") == 0


def test_boto3_is_served_in_tls(secure: Service) -> None:
    """With the certificate checked."""
    client = boto3.client(
        "kinesis",
        endpoint_url=secure.url,
        region_name="us-east-1",
        verify=str(PEM),
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )
    for number in range(3):
        answer = client.put_record(StreamName="s", PartitionKey=str(number), Data=b"abc")
        assert answer["ShardId"].startswith("shardId-")
    client.close()


def test_tls_file_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    """With the setting's name, and without a listener."""
    service = emulate(tls_certificate_file=str(PEM), tls_key_file=str(tmp_path / "none"))
    assert service.wait() != 0
    assert "tls_key_file" in service.output()
    assert "cannot be read" in service.output()
    service.__exit__(None, None, None)


class Neighbour:
    """A caller who is served while others misbehave."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.served = 0

    async def put_on(self, done: asyncio.Event) -> None:
        """Put records, one after the other, until it is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        request = f"POST / HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(PUT)}\r\n\r\n{PUT}".encode()
        while not done.is_set():
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            length = re.search(rb"Content-Length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            self.served += 1
            await asyncio.sleep(0.01)
        writer.transport.abort()


async def send(port: int, data: bytes) -> None:
    """Send bytes on a connection of their own, and wait for its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for start in range(0, len(data), 65_536):
            writer.write(data[start : start + 65_536])
            await writer.drain()
        while await reader.read(65_536):
            pass
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()


@asynccontextmanager
async def held(port: int, count: int, data: bytes) -> AsyncIterator[None]:
    """Hold connections open that each sent something."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    for _, writer in opened:
        writer.write(data)
    await asyncio.sleep(0.5)
    yield
    for _, writer in opened:
        writer.transport.abort()


def whole(frames: list[Frame]) -> bytes:
    """Return a connection's bytes."""
    return PREFACE + b"".join(frame.serialize() for frame in [SettingsFrame(0), *frames])


def rapid_reset() -> bytes:
    """Make a thousand requests, each reset at once."""
    encoder = Encoder()
    frames: list[Frame] = []
    for stream_id in range(1, 2001, 2):
        frames += [
            HeadersFrame(stream_id, encoder.encode(FIELDS), flags=["END_HEADERS", "END_STREAM"]),
            RstStreamFrame(stream_id, error_code=8),
        ]
    return whole(frames)


async def idle(port: int) -> None:
    """Hold connections that say nothing, and others that stop in the middle."""
    half = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000
    async with held(port, 300, b""), held(port, 300, half[:40]), held(port, 100, half), held(port, 100, whole([])):
        await asyncio.sleep(0.5)


async def resets(port: int) -> None:
    """Reset requests as fast as they are made."""
    await asyncio.gather(*(send(port, rapid_reset()) for _ in range(10)))


async def continuations(port: int) -> None:
    """Never come to the end of the headers."""
    flood = whole([HeadersFrame(1), *[ContinuationFrame(1)] * 20_000])
    large = whole([HeadersFrame(1, b"h" * 16_384), *[ContinuationFrame(1, b"h" * 16_384)] * 64])
    await asyncio.gather(*(send(port, data) for data in [flood, large] * 10))


async def pings(port: int) -> None:
    """Ask for what is cheap to ask for."""
    await asyncio.gather(*(send(port, whole([PingFrame(0, b"12345678")] * 20_000)) for _ in range(10)))


async def large_bodies(port: int) -> None:
    """Send a hundred megabytes, announced or not."""
    announced = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 30_000_000
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    unannounced = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 60
    await asyncio.gather(*(send(port, data) for data in [announced, unannounced] * 5))


@pytest.mark.parametrize("attack", [idle, resets, continuations, pings, large_bodies])
def test_hostile_senders_harm_nobody_else(attack: Callable[[int], Awaitable[None]]) -> None:
    """Memory stays within bounds, and another caller is served all the while."""

    async def main(service: Service) -> None:
        neighbour, done = Neighbour(service.port), asyncio.Event()
        putting = asyncio.create_task(neighbour.put_on(done))
        await asyncio.sleep(0.2)
        enough = neighbour.served + 5
        # One attack may be over before the neighbour's next record is due: they follow each other until he is served.
        async with asyncio.timeout(60):
            while neighbour.served < enough and not putting.done():
                await attack(service.port)
        done.set()
        await putting

    settings: dict[str, Any] = {"stream": "s:8", "shard_limits": False, "request_bodies_bytes_max": 32 * MIB}
    with serve("embedded", **settings) as service:
        before = service.resident_bytes()
        asyncio.run(main(service))
        assert service.peak_resident_bytes() - before < 128 * MIB
        service.wait_until(lambda: service.metrics().total("kinesis_proxy_http_connections") == 0)
        assert service.metrics().total("kinesis_proxy_http_requests_in_progress") == 0
        assert "error" not in service.output()
