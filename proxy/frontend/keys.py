"""The keys that callers sign with: issued by the operator, read from files, read again when those change.

A file is TOML, with a table for each key; only the first two members must be there:

    [[key]]
    access_key_id = "ORDERSERVICE1"                  # 1 to 128 of [A-Za-z0-9_-]
    secret_access_key = "at least 16 characters"
    session_token = "..."                            # callers must send it with each request
    streams = ["orders", "clicks-*"]                 # * and ? stand for any characters; absent: every stream
    operations = ["PutRecord", "PutRecords"]         # absent: every operation that the proxy serves
    expires_at = 2027-01-01T00:00:00Z                # with an offset from UTC

The path names one such file, or a directory in which every file is one, as Kubernetes mounts a Secret. All keys count
at once; to rotate one, add its successor, move the callers, and take it out.

A change is taken over when the files have looked the same twice, since they may still be being written. What cannot be
used changes nothing: the keys stay as they are, the log says why, once, and it is tried again at each look. That
includes files without any key: to lock everyone out, stop the proxy.

Must never know: requests, signatures. Secrets are in no repr, log line or error text.
"""

from __future__ import annotations

import asyncio
import re
import tomllib
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import msgspec
import structlog
from msgspec import Meta

from proxy.kinesis.operations import KNOWN_OPERATIONS

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

KEYS_MAX = 1000
FILES_MAX = 100
FILE_BYTES_MAX = 1024 * 1024

_ACCESS_KEY_ID = "[A-Za-z0-9_-]{1,128}"
_AccessKeyId = Annotated[str, Meta(pattern=f"^{_ACCESS_KEY_ID}$")]
# Whoever reads a signed request can guess at its secret without asking us, so it must be long.
_Secret = Annotated[str, Meta(min_length=16, max_length=256)]
# Printable and without blanks, as a header carries it unchanged.
_Token = Annotated[str, Meta(pattern="^[!-~]{1,8192}$")]
_StreamPattern = Annotated[str, Meta(pattern="^[a-zA-Z0-9_.*?-]{1,128}$")]
_Streams = Annotated[list[_StreamPattern], Meta(min_length=1, max_length=100)]
_Operations = Annotated[frozenset[str], Meta(min_length=1)]
_Instant = Annotated[datetime, Meta(tz=True)]


class KeysError(Exception):
    """The keys cannot be used; the text says which file, and what is wrong with it."""


class InboundKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key, and what may be done with it; the members are those of the file."""

    access_key_id: _AccessKeyId
    secret_access_key: _Secret
    session_token: _Token | None = None
    streams: _Streams | None = None
    operations: _Operations | None = None
    expires_at: _Instant | None = None

    def __repr__(self) -> str:
        """Name the key, and nothing that is secret."""
        return f"InboundKey({self.access_key_id})"

    def has_expired(self, wall_seconds: int) -> bool:
        """Tell whether the key's time is over."""
        return self.expires_at is not None and wall_seconds >= self.expires_at.timestamp()

    def allows_operation(self, operation: str) -> bool:
        """Tell whether the key may be used for an operation."""
        return self.operations is None or operation in self.operations

    def allows_stream(self, stream_name: str) -> bool:
        """Tell whether the key may be used for a stream."""
        return self.streams is None or any(fnmatchcase(stream_name, pattern) for pattern in self.streams)


# What each member must be, for whoever wrote another thing.
_WANTED = {
    "access_key_id": "1 to 128 of A-Z, a-z, 0-9, _ and -",
    "secret_access_key": "a text of 16 to 256 characters",
    "session_token": "a text of 1 to 8192 characters of ASCII without blanks",
    "streams": "a list of 1 to 100 names of streams, in which * and ? stand for any characters",
    "operations": "a list of operations, one at least",
    "expires_at": "a date and time with an offset from UTC, as 2027-01-01T00:00:00Z",
}
assert _WANTED.keys() == set(InboundKey.__struct_fields__)  # noqa: S101 - a relation, checked once at import


# What tells that files have changed: for each its name, inode, time of change and size.
_Marks = tuple[tuple[str, int, int, int], ...]


class KeyStore:
    """The keys of a path.

    Args:
        path: of a file, or of a directory of files.

    Call `load` before anything else; then `refresh`, or `watch`, for changes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, InboundKey] = {}
        self._loaded_marks: _Marks | None = None
        self._seen_marks: _Marks | None = None
        self._told: tuple[_Marks | None, str] | None = None  # which files were last found to be unusable, and why

    def find(self, access_key_id: str) -> InboundKey | None:
        """Return the key of a name."""
        return self._keys.get(access_key_id)

    def load(self) -> None:
        """Read the keys.

        Raises:
            KeysError: they cannot be used; those that were there stay.
        """
        marks = _marks_of(self._path)
        self._keys = _keys_of(self._path)
        self._loaded_marks = self._seen_marks = marks

    def refresh(self) -> None:
        """Read the keys again if the files have changed and no longer change."""
        marks = _marks_of(self._path)
        settled = marks == self._seen_marks
        self._seen_marks = marks
        if marks == self._loaded_marks or not settled:
            return
        try:
            self.load()
        except KeysError as error:
            found = (marks, str(error))
            if found != self._told:
                log.error("inbound_keys_not_reloaded", reason=str(error), kept_keys=len(self._keys))  # noqa: TRY400 - the reason says it all
            self._told = found
        else:
            log.info("inbound_keys_reloaded", keys=len(self._keys))

    async def watch(self, interval_seconds: float) -> None:
        """Look for changes until cancelled; files may be slow, so the loop does not wait for them."""
        while True:
            await asyncio.sleep(interval_seconds)
            await asyncio.to_thread(self.refresh)


def _files_of(path: Path) -> list[Path]:
    """Return the files of a path; names that begin with a dot are Kubernetes' own."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if not file.name.startswith(".") and not file.is_dir())


def _marks_of(path: Path) -> _Marks | None:
    try:
        stats = [(file.name, file.stat()) for file in _files_of(path)]
    except OSError:
        return None
    return tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


def _keys_of(path: Path) -> dict[str, InboundKey]:
    try:
        files = _files_of(path)
    except OSError as error:
        raise KeysError(f"{path} cannot be read: {error.strerror}") from error
    if len(files) > FILES_MAX:
        raise KeysError(f"{path} has more than {FILES_MAX} files")
    keys: dict[str, InboundKey] = {}
    for file in files:
        for key in _keys_in(file):
            if key.access_key_id in keys:
                raise KeysError(f"{file} has access_key_id {key.access_key_id}, which is given twice")
            keys[key.access_key_id] = key
            if len(keys) > KEYS_MAX:
                raise KeysError(f"{path} has more than {KEYS_MAX} keys")
    if not keys:
        raise KeysError(f"{path} has no key: write a [[key]] with access_key_id and secret_access_key")
    return keys


def _keys_in(file: Path) -> list[InboundKey]:
    try:
        if not file.exists():
            raise KeysError(f"{file} does not exist")
        if not file.is_file():
            raise KeysError(f"{file} is neither a file nor a directory of files")
        if file.stat().st_size > FILE_BYTES_MAX:
            raise KeysError(f"{file} is larger than {FILE_BYTES_MAX} bytes")
        text = file.read_bytes().decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise KeysError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeysError(f"{file} is not text in UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # the parser's own text may quote what stands there
        place = re.search(r"\(at [a-z0-9, ]+\)$", str(error))
        raise KeysError(f"{file} is not TOML{' ' + place[0] if place else ''}") from None
    for name, value in document.items():
        if name != "key" or not isinstance(value, list):
            raise KeysError(f"{file} has a {name} where only tables [[key]] may stand")
    return [_key_of(table, number, file) for number, table in enumerate(document.get("key", []), 1)]


def _key_of(table: object, number: int, file: Path) -> InboundKey:
    try:
        key = msgspec.convert(table, InboundKey)
    except msgspec.ValidationError as error:
        raise KeysError(f"{file}: {_named(table, number)} {_wrong(error)}") from None
    unknown = sorted((key.operations or frozenset()) - KNOWN_OPERATIONS)
    if unknown:
        raise KeysError(f"{file}: key {key.access_key_id} names the operation {unknown[0]}, which there is not")
    return key


def _named(table: object, number: int) -> str:
    """Return what a key is called in errors: as it calls itself, or by its place in the file."""
    name = table.get("access_key_id") if isinstance(table, dict) else None
    usable = isinstance(name, str) and re.fullmatch(_ACCESS_KEY_ID, name)
    return f"key {name}" if usable else f"key number {number}"


def _wrong(error: msgspec.ValidationError) -> str:
    """Say what is wrong with a key, in the words of the file; msgspec's own speak of types and paths."""
    text = str(error)
    for words, found in (("lacks", "missing required field"), ("has an unknown", "unknown field")):
        if found in text:
            return f"{words} {text.partition('`')[2].partition('`')[0]}"
    place = re.search(r"\$\.(\w+)", text)
    return f"has {place[1]}, which must be {_WANTED[place[1]]}" if place else "is no table"
