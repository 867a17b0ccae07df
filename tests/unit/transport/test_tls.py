"""TLS over real sockets, on both event loops, and the files that it is made from."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from proxy.kinesis.http import Reply, Request
from proxy.transport.arrival import PREFACE
from proxy.transport.tls import ServerTls, TlsError, TlsFiles
from tests.unit.transport.transport_clients import Http2Client, RawClient, connected, serving, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.transport.server import HttpServer
    from tests.unit.transport.transport_clients import Run

PEMS = Path(__file__).parents[2] / "support" / "tls"
LOCALHOST, RENEWED, CLIENT = PEMS / "localhost.pem", PEMS / "renewed.pem", PEMS / "client.pem"
STRANGER, AUTHORITY, ENCRYPTED = PEMS / "stranger.pem", PEMS / "authority.pem", PEMS / "encrypted.pem"
PING = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nping"


def server_tls(identity: Path = LOCALHOST, client_ca: Path | None = None) -> ServerTls:
    """Make a server's TLS."""
    return ServerTls(TlsFiles(str(identity), str(identity), None if client_ca is None else str(client_ca)))


def client_context(*alpn: str, trusted: Path = LOCALHOST, identity: Path | None = None) -> ssl.SSLContext:
    """Make a client's TLS."""
    context = ssl.create_default_context(cafile=trusted)
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if identity is not None:
        context.load_cert_chain(identity)
    return context


def agreed(client: RawClient) -> str | None:
    """Return what was agreed on."""
    chosen: str | None = client.writer.get_extra_info("ssl_object").selected_alpn_protocol()
    return chosen


async def ask_http1(client: RawClient) -> None:
    """Ask and be answered over HTTP/1.1."""
    client.send(PING)
    assert (await client.reader.readuntil(b"POST / ping")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2"], "h2"), (["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), ([], None), (["other"], None)],
)
def test_http2_is_agreed_on_or_recognised(run: Run, offered: list[str], chosen: str | None) -> None:
    """JavaScript and Java demand the agreement; older Java clients begin without one."""

    async def main() -> None:
        async with serving(tls=server_tls()) as server, connected(server, client_context(*offered)) as raw:
            assert agreed(raw) == chosen
            client = Http2Client(raw)
            assert (await client.ask(b"ping")).body == b"POST / ping"
            assert (await client.ask(b"x" * 900)).body == b"POST / " + b"x" * 900

    run(main())


@pytest.mark.parametrize("offered", [["http/1.1"], [], ["http/1.0", "http/1.1"]])
def test_http1_is_agreed_on_or_recognised(run: Run, offered: list[str]) -> None:
    """Most clients speak it."""

    async def main() -> None:
        async with serving(tls=server_tls()) as server, connected(server, client_context(*offered)) as raw:
            for _ in range(3):
                await ask_http1(raw)
            assert server.connections == 1

    run(main())


def test_server_says_its_settings_as_soon_as_http2_is_agreed_on(run: Run) -> None:
    """The client need not speak first."""

    async def main() -> None:
        async with serving(tls=server_tls()) as server, connected(server, client_context("h2")) as raw:
            assert (await raw.reader.readexactly(9))[3] == 4

    run(main())


def test_last_answer_may_be_taken_slowly(run: Run) -> None:
    """What of it waits in our memory when the connection is closed has the time that it has without TLS."""
    large = b"x" * 16 * 2**20  # more than the kernel's buffers take
    last = PING.replace(b"Host", b"Connection: close\r\nHost")

    async def answer(request: Request) -> Reply:
        del request
        return Reply(200, large)

    async def main() -> None:
        async with (
            serving(answer, tls=server_tls(), linger_seconds=0.01) as server,
            connected(server, client_context()) as client,
        ):
            client.send(last)
            received = await client.reader.read(65_536)
            (connection,) = server._connections
            while not connection._own_transport.is_closing():  # type: ignore[attr-defined]
                received += await client.reader.read(65_536)
            await asyncio.sleep(0.2)
            received += await client.read_to_end()
            assert received.endswith(b"\r\n\r\n" + large)

    run(main())


def test_client_whose_tls_breaks_amid_its_body_leaves_nothing(run: Run) -> None:
    """No request in progress, no connection, no log."""

    async def main() -> None:
        async with serving(tls=server_tls()) as server, connected(server, client_context()) as client:
            client.send(PING[:-1])
            await until(lambda: server.requests_in_progress > 0)
            os.write(client.writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
            await until(lambda: server.requests_in_progress + server.connections == 0)

    with capture_logs() as logs:
        run(main())
    assert not logs


def test_tls_before_1_2_is_refused(run: Run) -> None:
    """By the server, whatever the client would take."""
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    async def main() -> None:
        async with serving(tls=server_tls()) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connected(server, context):
                    pass
            await until(lambda: server.connections == 0)

    run(main())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_show_a_certificate_where_it_is_asked_for(run: Run, version: ssl.TLSVersion) -> None:
    """Signed by the authority; none, or a stranger's, is refused."""

    async def main() -> None:
        async with serving(tls=server_tls(client_ca=AUTHORITY)) as server:
            for identity, known in ((CLIENT, True), (None, False), (STRANGER, False), (CLIENT, True)):
                context = client_context(identity=identity)
                context.maximum_version = version
                assert await _is_served(server, context) is known
            await until(lambda: server.connections == 0)
            assert server.malformed_requests == 0

    with capture_logs() as logs:
        run(main())
    assert [(entry["event"], entry["reason"], entry["client"]) for entry in logs] == [
        ("client_refused", "the client shows no certificate, and tls_client_ca_file asks for one", "127.0.0.1"),
        ("client_refused", "the client's certificate is not one that tls_client_ca_file vouches for", "127.0.0.1"),
    ]


@pytest.mark.parametrize(
    ("tls", "sent", "reason"),
    [
        (True, PING, "the client speaks no TLS, and the port does: let it use https"),
        (True, PREFACE, "the client speaks no TLS, and the port does: let it use https"),
        (
            False,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "the client speaks TLS, and the port is plain: set tls_certificate_file, or let it use http",
        ),
    ],
)
def test_client_of_the_wrong_scheme_is_told_of_now_and_then(run: Run, sent: bytes, reason: str, *, tls: bool) -> None:
    """It sees a closed connection; its owner looks into the log. What floods is held back."""

    async def main() -> None:
        async with serving(tls=server_tls() if tls else None) as server:
            for _ in range(3):
                async with connected(server) as raw:
                    raw.send(sent)
                    with contextlib.suppress(ConnectionError):
                        await raw.read_to_end()
            await until(lambda: server.connections == 0)

    with capture_logs() as logs:
        run(main())
    told = [(entry["event"], entry["reason"], entry["client"], entry["held_back"]) for entry in logs]
    assert told == [("client_refused", reason, "127.0.0.1", 0)]


def test_client_that_leaves_before_it_is_understood_is_not_told_of(run: Run) -> None:
    """Probes of load balancers open a connection and close it."""

    async def main() -> None:
        async with serving(tls=server_tls()) as server:
            for beginning in (b"", b"\x16\x03\x01\x02"):
                async with connected(server) as raw:
                    raw.send(beginning)
                    await asyncio.sleep(0.05)
            await until(lambda: server.connections == 0)

    with capture_logs() as logs:
        run(main())
    assert not logs


async def _is_served(server: HttpServer, context: ssl.SSLContext) -> bool:
    try:
        async with connected(server, context) as raw:
            await ask_http1(raw)
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return False
    return True


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00"])
def test_client_without_tls_leaves_nothing(run: Run, data: bytes) -> None:
    """Whether it goes by itself or is sent away; of one that speaks HTTP the log says so."""

    async def main() -> None:
        async with serving(tls=server_tls(), header_seconds=0.1, idle_seconds=0.1) as server:
            async with connected(server) as client:
                client.send(data)
                await until(lambda: server.connections == 1)
            await until(lambda: server.connections == 0)
            async with connected(server) as client:
                client.send(data)
                assert b"200" not in await client.read_to_end()
            await until(lambda: server.connections == 0)

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["client_refused"] * data.startswith(b"GET")


def test_handshakes_count_as_connections(run: Run) -> None:
    """A connection too many is closed before it costs one."""

    async def main() -> None:
        async with serving(tls=server_tls(), connections_max=1) as server, connected(server):
            await until(lambda: server.connections == 1)
            async with connected(server) as second:
                assert await second.read_to_end() == b""
            assert server.connections_refused == 1

    run(main())


def test_close_ends_connections_in_their_handshake(run: Run) -> None:
    """None keeps the server from going."""

    async def main() -> None:
        async with serving(tls=server_tls()) as server, connected(server) as client:
            await until(lambda: server.connections == 1)
            await server.close(1)
            assert await client.read_to_end() == b""
            await until(lambda: server.connections == 0)

    run(main())


class Secret:
    """Certificate and key as Kubernetes lays them out: links to a link that moves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        self.files = TlsFiles(str(folder / "tls.crt"), str(folder / "tls.key"))
        for name in ("tls.crt", "tls.key"):
            (folder / name).symlink_to(Path("..data") / name)

    def write(self, certificate: bytes, key: bytes) -> None:
        """Replace both at one moment."""
        self._version += 1
        version = self._folder / f"..{self._version}"
        version.mkdir()
        (version / "tls.crt").write_bytes(certificate)
        (version / "tls.key").write_bytes(key)
        link = self._folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self._folder / "..data")


def looks(tls: ServerTls, times: int, begin: list[float]) -> None:
    """Look so many times at the files."""
    for _ in range(times):
        begin[0] += 6.0
        tls.refresh(begin[0])


def test_changed_files_are_taken_for_new_connections(run: Run, tmp_path: Path) -> None:
    """Open ones stay as they are; what was trusted before is not trusted any more."""
    secret = Secret(tmp_path)
    secret.write(LOCALHOST.read_bytes(), LOCALHOST.read_bytes())

    async def main() -> None:
        tls = ServerTls(secret.files)
        clock = [0.0]
        async with serving(tls=tls) as server, connected(server, client_context()) as old:
            await ask_http1(old)
            looks(tls, 3, clock)
            secret.write(RENEWED.read_bytes(), RENEWED.read_bytes())
            looks(tls, 2, clock)
            async with connected(server, client_context(trusted=RENEWED)) as new:
                await ask_http1(new)
            with pytest.raises(ssl.SSLError):
                async with connected(server, client_context(trusted=LOCALHOST)):
                    pass
            await ask_http1(old)

    with capture_logs() as logs:
        run(main())
    assert [entry["event"] for entry in logs] == ["tls_files_taken"]


def test_server_tells_when_the_certificate_in_use_expires(run: Run, tmp_path: Path) -> None:
    """Not that of the file, where it cannot be used; a plain server has none."""
    secret = Secret(tmp_path)
    secret.write(LOCALHOST.read_bytes(), LOCALHOST.read_bytes())
    brief = (PEMS / "until_2049.pem").read_bytes()

    async def main() -> None:
        tls, clock = ServerTls(secret.files), [0.0]
        async with serving(tls=tls) as server, serving() as plain:
            assert plain.certificate_expires_at_seconds is None
            long = server.certificate_expires_at_seconds
            secret.write(brief, LOCALHOST.read_bytes())
            looks(tls, 2, clock)
            assert server.certificate_expires_at_seconds == long == datetime(2120, 1, 1, tzinfo=UTC).timestamp()
            secret.write(brief, brief)
            looks(tls, 2, clock)
            assert server.certificate_expires_at_seconds == datetime(2049, 1, 1, tzinfo=UTC).timestamp()

    run(main())


def test_server_looks_after_the_files(run: Run) -> None:
    """Again and again, by itself."""

    async def main() -> None:
        tls = server_tls()
        async with serving(tls=tls):
            await until(lambda: tls._looked_at > 0)

    run(main())


def test_files_are_looked_at_now_and_then(tmp_path: Path) -> None:
    """Not at every call; and taken when they have been found the same twice."""
    secret = Secret(tmp_path)
    secret.write(LOCALHOST.read_bytes(), LOCALHOST.read_bytes())
    tls = ServerTls(secret.files)
    before = tls.context
    tls.refresh(100.0)
    secret.write(RENEWED.read_bytes(), RENEWED.read_bytes())
    for now in (101.0, 104.9, 105.0, 109.9):
        tls.refresh(now)
        assert tls.context is before
    with capture_logs() as logs:
        tls.refresh(110.0)
    assert tls.context is not before
    assert [entry["event"] for entry in logs] == ["tls_files_taken"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda secret: secret.write(b"", LOCALHOST.read_bytes()),
        lambda secret: secret.write(RENEWED.read_bytes(), LOCALHOST.read_bytes()),
        lambda secret: secret.write(LOCALHOST.read_bytes(), b"garbage"),
    ],
)
def test_broken_files_leave_what_is_in_use(tmp_path: Path, damage: Callable[[Secret], None]) -> None:
    """It is told once, and good files are taken again."""
    secret = Secret(tmp_path)
    secret.write(LOCALHOST.read_bytes(), LOCALHOST.read_bytes())
    tls = ServerTls(secret.files)
    before, clock = tls.context, [0.0]
    damage(secret)
    with capture_logs() as logs:
        looks(tls, 5, clock)
        assert tls.context is before
        secret.write(RENEWED.read_bytes(), RENEWED.read_bytes())
        looks(tls, 2, clock)
        assert tls.context is not before
    assert [entry["event"] for entry in logs] == ["tls_files_unusable", "tls_files_taken"]


def test_missing_files_leave_what_is_in_use(tmp_path: Path) -> None:
    """They may be on their way; but what is in use will expire, and the log says once why it is not renewed."""
    secret = Secret(tmp_path)
    secret.write(LOCALHOST.read_bytes(), LOCALHOST.read_bytes())
    tls = ServerTls(secret.files)
    before, clock = tls.context, [0.0]
    (tmp_path / "..data").unlink()
    with capture_logs() as logs:
        looks(tls, 5, clock)
    assert tls.context is before
    assert [entry["event"] for entry in logs] == ["tls_files_unusable"]
    secret.write(RENEWED.read_bytes(), RENEWED.read_bytes())
    looks(tls, 3, clock)
    assert tls.context is not before


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (("/nowhere/cert", LOCALHOST), "tls_certificate_file /nowhere/cert cannot be read (No such file or directory)"),
        ((LOCALHOST, "/nowhere/key"), "tls_key_file /nowhere/key cannot be read (No such file or directory)"),
        ((LOCALHOST, "/"), "tls_key_file / cannot be read (Is a directory)"),
        ((LOCALHOST, LOCALHOST, "/nowhere/ca"), "tls_client_ca_file /nowhere/ca cannot be read"),
        ((__file__, LOCALHOST), f"tls_certificate_file {__file__} holds no certificate that can be used"),
        ((LOCALHOST, RENEWED), f"tls_key_file {RENEWED} is not the certificate's key"),
        ((LOCALHOST, AUTHORITY), f"tls_key_file {AUTHORITY} cannot be used"),
        ((RENEWED, ENCRYPTED), "tls_key_file is encrypted"),
        ((LOCALHOST, LOCALHOST, __file__), f"tls_client_ca_file {__file__} holds no certificate"),
    ],
)
def test_what_cannot_be_used_is_named(files: tuple[str | Path, ...], text: str) -> None:
    """By its setting, so that its owner knows where to look."""
    with pytest.raises(TlsError) as caught:
        ServerTls(TlsFiles(*map(str, files)))
    assert str(caught.value).startswith(text)


def test_what_could_not_be_used_is_taken_when_it_can_be_though_the_files_are_the_same(tmp_path: Path) -> None:
    """A right to read them that was missing does not show in a file's time and size."""
    secret = Secret(tmp_path)
    secret.write(LOCALHOST.read_bytes(), LOCALHOST.read_bytes())
    tls = ServerTls(secret.files)
    before, clock = tls.context, [0.0]
    good = RENEWED.read_bytes()
    secret.write(good, good.replace(b"BEGIN", b"begin"))
    key = tmp_path / "tls.key"
    times = (key.stat().st_atime_ns, key.stat().st_mtime_ns)
    with capture_logs() as logs:
        looks(tls, 3, clock)
        assert tls.context is before
        key.write_bytes(good)
        os.utime(key, ns=times)
        looks(tls, 2, clock)
    assert tls.context is not before
    assert [entry["event"] for entry in logs] == ["tls_files_unusable", "tls_files_taken"]
