"""The keys of callers: what a file may say, when a change counts, and that secrets stay where they are."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from proxy.frontend import keys as keys_module
from proxy.frontend.keys import FILE_BYTES_MAX, FILES_MAX, KEYS_MAX, InboundKey, KeysError, KeyStore

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "0123456789abcdef-top-secret"  # noqa: S105 - a test's
KEY = f'[[key]]\naccess_key_id = "{{}}"\nsecret_access_key = "{SECRET}"\n'


def store_of(path: Path, text: str | None = None) -> KeyStore:
    """Load the keys of a path, after writing a file there if there is a text."""
    if text is not None:
        path.write_text(text, encoding="utf-8")
    store = KeyStore(path)
    store.load()
    return store


def refusal_of(path: Path, text: str | None = None) -> str:
    """Return why the keys of a path cannot be used."""
    with pytest.raises(KeysError) as error:
        store_of(path, text)
    return str(error.value)


def test_every_member_of_a_key_is_read(tmp_path: Path) -> None:
    """The format is the one that the module's docstring shows."""
    store = store_of(
        tmp_path / "keys.toml",
        f"""
        [[key]]
        access_key_id = "ORDERSERVICE1"
        secret_access_key = "{SECRET}"
        session_token = "a/token=="
        streams = ["orders", "clicks-*"]
        operations = ["PutRecord", "PutRecords"]
        expires_at = 2027-01-01T00:00:00Z

        [[key]]
        access_key_id = "OTHER"
        secret_access_key = "{SECRET}"
        """,
    )
    assert store.find("OTHER") == InboundKey("OTHER", SECRET)
    assert store.find("ORDERSERVICE1") == InboundKey(
        "ORDERSERVICE1",
        SECRET,
        "a/token==",
        ["orders", "clicks-*"],
        frozenset({"PutRecord", "PutRecords"}),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    assert store.find("THIRD") is None


def test_key_without_limits_may_do_everything_for_ever() -> None:
    """What the file does not say is not limited."""
    key = InboundKey("A", SECRET)
    assert key.allows_stream("orders")
    assert key.allows_operation("DeleteStream")
    assert not key.has_expired(2**40)


@pytest.mark.parametrize(
    ("patterns", "allowed", "denied"),
    [
        (["orders"], ["orders"], ["orders2", "Orders", "xorders", "order", ""]),
        (["orders", "clicks-*"], ["orders", "clicks-", "clicks-a.b"], ["clicks", "xclicks-a"]),
        (["shard-?"], ["shard-1"], ["shard-", "shard-12"]),
        (["*"], ["orders", ""], []),
        (["a.b"], ["a.b"], ["axb"]),
    ],
)
def test_streams_are_allowed_by_pattern(patterns: list[str], allowed: list[str], denied: list[str]) -> None:
    """A star stands for any characters, a question mark for one, and everything else for itself."""
    key = InboundKey("A", SECRET, streams=patterns)
    assert all(key.allows_stream(name) for name in allowed)
    assert not any(key.allows_stream(name) for name in denied)


def test_operations_are_allowed_by_name() -> None:
    """Only those that are named."""
    key = InboundKey("A", SECRET, operations=frozenset({"PutRecord"}))
    assert key.allows_operation("PutRecord")
    assert not key.allows_operation("PutRecords")


def test_key_expires_at_its_instant() -> None:
    """From that second on."""
    key = InboundKey("A", SECRET, expires_at=datetime(2027, 1, 1, tzinfo=UTC))
    instant = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())
    assert not key.has_expired(instant - 1)
    assert key.has_expired(instant)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no key: write a [[key]] with access_key_id and secret_access_key"),
        ("# later", "has no key"),
        ("[[key]]", ": key number 1 lacks access_key_id"),
        ('[[key]]\naccess_key_id = "A"', ": key A lacks secret_access_key"),
        (
            f'[[key]]\naccess_key_id = "A/B"\nsecret_access_key = "{SECRET}"',
            "key number 1 has access_key_id, which must be 1 to 128 of",
        ),
        (
            '[[key]]\naccess_key_id = "A"\nsecret_access_key = "short-secret"',
            ": key A has secret_access_key, which must be a text of 16 to 256 characters",
        ),
        (KEY.format("A") + 'stream = ["orders"]', ": key A has an unknown stream"),
        (KEY.format("A") + "streams = []", "key A has streams, which must be a list of 1 to 100 names"),
        (KEY.format("A") + 'streams = "orders"', "key A has streams, which must be a list"),
        (KEY.format("A") + 'streams = ["orders/*"]', "key A has streams, which must be a list"),
        (KEY.format("A") + "operations = []", "key A has operations, which must be a list of operations, one at least"),
        (KEY.format("A") + 'operations = ["PutRecrd"]', "key A names the operation PutRecrd, which there is not"),
        (
            KEY.format("A") + "expires_at = 2027-01-01T00:00:00",
            "key A has expires_at, which must be a date and time with an offset from UTC",
        ),
        (KEY.format("A") + "expires_at = 2027-01-01", "key A has expires_at, which must be a date and time"),
        (KEY.format("A") + 'session_token = ""', "key A has session_token, which must be a text of 1 to 8192"),
        (KEY.format("A") + 'session_token = "a b"', "key A has session_token, which must be a text of 1 to 8192"),
        (KEY.format("A") * 2, "has access_key_id A, which is given twice"),
        ("keys = []", "has a keys where only tables [[key]] may stand"),
        ("key = 5", "has a key where only tables [[key]] may stand"),
        ("key = [5]", "key number 1 is no table"),
        (KEY.format("A") + KEY.format("B/"), "key number 2 has access_key_id"),
        ("[[key]]\nsecret_access_key = top-secret", "is not TOML (at line 2, column 21)"),
        ("[[key]\n", "is not TOML (at line 1"),
        ("a = " + "[" * 100_000, "is not TOML"),
        ("".join(KEY.format(f"A{number}") for number in range(KEYS_MAX + 1)), f"has more than {KEYS_MAX} keys"),
        ("#" * (FILE_BYTES_MAX + 1), f"is larger than {FILE_BYTES_MAX} bytes"),
    ],
)
def test_file_that_cannot_be_used_is_refused_with_the_reason(text: str, reason: str, tmp_path: Path) -> None:
    """A misspelt limit must not mean no limit, and no text repeats a secret."""
    refusal = refusal_of(tmp_path / "keys.toml", text)
    assert refusal.startswith(str(tmp_path / "keys.toml"))
    assert reason in refusal
    assert "top-secret" not in refusal
    assert SECRET not in refusal


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Absent, no text, or no file."""
    assert refusal_of(tmp_path / "absent").endswith("absent does not exist")
    (tmp_path / "latin").write_bytes(b"# \xe9")
    assert refusal_of(tmp_path / "latin").endswith("latin is not text in UTF-8")
    os.mkfifo(tmp_path / "fifo")
    assert refusal_of(tmp_path / "fifo").endswith("fifo is neither a file nor a directory of files")


def test_directory_is_read_file_by_file(tmp_path: Path) -> None:
    """All keys count at once, whichever file they stand in."""
    (tmp_path / "old.toml").write_text(KEY.format("OLD"), encoding="utf-8")
    (tmp_path / "new").write_text(KEY.format("NEW"), encoding="utf-8")
    (tmp_path / ".hidden").write_text("no TOML", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    store = store_of(tmp_path)
    assert store.find("OLD")
    assert store.find("NEW")


def test_directory_without_keys_or_with_bad_ones_is_refused(tmp_path: Path) -> None:
    """With the file's name."""
    assert "has no key" in refusal_of(tmp_path)
    (tmp_path / "a").write_text(KEY.format("A"), encoding="utf-8")
    (tmp_path / "b").write_text(KEY.format("A"), encoding="utf-8")
    assert refusal_of(tmp_path) == f"{tmp_path / 'b'} has access_key_id A, which is given twice"
    for number in range(FILES_MAX):
        (tmp_path / str(number)).touch()
    assert refusal_of(tmp_path) == f"{tmp_path} has more than {FILES_MAX} files"


def test_change_counts_once_the_file_has_stopped_changing(tmp_path: Path) -> None:
    """A file may be found half written; two equal looks tell that it is not."""
    file = tmp_path / "keys.toml"
    store = store_of(file, KEY.format("OLD"))
    store.refresh()
    file.write_text(KEY.format("OLD") + KEY.format("NEW"), encoding="utf-8")
    store.refresh()
    assert store.find("NEW") is None
    file.write_text(KEY.format("NEW"), encoding="utf-8")
    store.refresh()
    assert store.find("NEW") is None
    with capture_logs() as logs:
        store.refresh()
        store.refresh()
    assert store.find("NEW")
    assert store.find("OLD") is None
    assert [(entry["event"], entry["keys"]) for entry in logs] == [("inbound_keys_reloaded", 1)]


def test_file_that_takes_anothers_place_counts(tmp_path: Path) -> None:
    """Though it has the same size and time."""
    file = tmp_path / "keys.toml"
    store = store_of(file, KEY.format("OLD"))
    other = tmp_path / "other"
    other.write_text(KEY.format("NEW"), encoding="utf-8")
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    store.refresh()
    store.refresh()
    assert store.find("NEW")


def test_secret_that_kubernetes_replaces_counts(tmp_path: Path) -> None:
    """It moves one symbolic link, to a new folder with all files."""
    for name, key in (("..1", "OLD"), ("..2", "NEW")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys.toml").write_text(KEY.format(key), encoding="utf-8")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.toml").symlink_to("..data/keys.toml")
    store = store_of(tmp_path)
    assert store.find("OLD")
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    store.refresh()
    store.refresh()
    assert store.find("NEW")
    assert store.find("OLD") is None


@pytest.mark.parametrize("broken", ["", "[[key]", "[[key]]\nsecret_access_key = top-secret", None])
def test_broken_file_keeps_the_keys_and_is_told_once(broken: str | None, tmp_path: Path) -> None:
    """A slip of the operator's locks nobody out; an absent or empty file is one too."""
    file = tmp_path / "keys.toml"
    store = store_of(file, KEY.format("OLD"))
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken, encoding="utf-8")
    with capture_logs() as logs:
        for _ in range(5):
            store.refresh()
    assert store.find("OLD")
    assert [(entry["event"], entry["kept_keys"]) for entry in logs] == [("inbound_keys_not_reloaded", 1)]
    assert "top-secret" not in str(logs)
    file.write_text(KEY.format("NEW"), encoding="utf-8")
    store.refresh()
    store.refresh()
    assert store.find("NEW")


def test_what_could_not_be_used_is_taken_when_it_can_be_though_the_file_is_the_same(tmp_path: Path) -> None:
    """A right to read it that was missing does not show in a file's time and size."""
    file = tmp_path / "keys.toml"
    store = store_of(file, KEY.format("OLD"))
    good = KEY.format("NEW")
    file.write_text(good.replace("=", "?"), encoding="utf-8")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    with capture_logs() as logs:
        store.refresh()
        store.refresh()
        file.write_text(good, encoding="utf-8")
        os.utime(file, ns=times)
        store.refresh()
        store.refresh()
    assert store.find("NEW")
    assert [entry["event"] for entry in logs] == ["inbound_keys_not_reloaded", "inbound_keys_reloaded"]


async def test_watch_looks_again_and_again(tmp_path: Path) -> None:
    """Until it is cancelled."""
    file = tmp_path / "keys.toml"
    store = store_of(file, KEY.format("OLD"))
    watch = asyncio.create_task(store.watch(0))
    for name in ("NEW", "NEWER"):
        file.write_text(KEY.format(name), encoding="utf-8")
        while store.find(name) is None:  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(0)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch


def test_secrets_are_in_no_repr() -> None:
    """Nor in what a log line would make of a key."""
    key = InboundKey("A", SECRET, "the-token")
    assert repr(key) == str(key) == f"{key}" == "InboundKey(A)"
    assert SECRET not in repr(vars(keys_module))
