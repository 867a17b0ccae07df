"""Values that are written as one text: an address to listen on, a stream to make, an upstream, a fault.

Each parser raises ValueError with the form that it wants; the caller adds the setting's name and source.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

PORT_MAX = 65_535
SHARDS_PER_STREAM_MAX = 10_000
_STREAM_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_STREAM_PATTERN = re.compile(r"[a-zA-Z0-9_.*?-]{1,128}")
ANY_STREAM = "*"
ORDERING_MODES = ("strict", "call", "relaxed", "none")
UPSTREAM_WORDS = ("aws", "embedded")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?")


class Address(NamedTuple):
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write the address as it is parsed, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the address; a name other than localhost counts as reachable."""
        return is_loopback(self.host)


class StreamSpec(NamedTuple):
    """A stream that the emulator makes at start."""

    name: str
    shard_count: int

    def __str__(self) -> str:
        """Write the stream as it is parsed."""
        return f"{self.name}:{self.shard_count}"


class OrderingRule(NamedTuple):
    """What is promised about the order of a partition key's records, in the streams whose names match a pattern."""

    pattern: str
    mode: str

    def __str__(self) -> str:
        """Write the rule as it is parsed."""
        return self.mode if self.pattern == ANY_STREAM else f"{self.pattern}={self.mode}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return a question that names the nearest known name, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine; a name other than localhost counts as another."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_own_address(upstream: str, listen: Address) -> bool:
    """Return whether an upstream is a URL that leads to the very port that is listened on."""
    url = urlsplit(upstream)
    return url.port == listen.port and url.hostname is not None and is_loopback(url.hostname)


def parse_address(value: object) -> Address:
    """Parse HOST:PORT, with an IPv6 host in brackets."""
    if isinstance(value, Address):
        return value
    wanted = "write HOST:PORT, for example 127.0.0.1:4567 or [::1]:4567; port 0 takes any free port"
    host, colon, port_text = str(value).rpartition(":")
    if not colon or not host or not (port_text.isascii() and port_text.isdigit()):
        raise ValueError(wanted)
    if len(port_text) > len(str(PORT_MAX)) or int(port_text) > PORT_MAX:
        raise ValueError(f"the port must be in 0..{PORT_MAX}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_ip(host, version=6):
            raise ValueError(wanted)
    elif ":" in host:
        raise ValueError("put an IPv6 address in brackets, for example [::1]:4567")
    elif not _is_ip(host, version=4) and not _is_host_name(host):
        raise ValueError(wanted)
    return Address(host, int(port_text))


def _is_ip(host: str, *, version: int) -> bool:
    try:
        return ip_address(host).version == version
    except ValueError:
        return False


def _is_host_name(host: str) -> bool:
    """Whether the text can be a name; digits and dots alone are a mistyped address."""
    return _HOST_NAME.fullmatch(host) is not None and not host.replace(".", "").isdigit()


def parse_streams(value: object) -> object:
    """Parse streams given as NAME:SHARDS: one text with commas, or a list."""
    specs = tuple(_parse_stream(item) for item in _items(value))
    names = [spec.name for spec in specs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"stream {doubled[0]} is given twice")
    return specs


def _parse_stream(item: object) -> StreamSpec:
    if isinstance(item, StreamSpec):
        return item
    name, _, shards_text = str(item).partition(":")
    if not _STREAM_NAME.fullmatch(name) or not (shards_text.isascii() and shards_text.isdigit()):
        raise ValueError(f"write NAME:SHARDS, for example orders:4, not {item!r}; a name is 1..128 of [a-zA-Z0-9_.-]")
    shard_count = int(shards_text[:9])
    if not 1 <= shard_count <= SHARDS_PER_STREAM_MAX:
        raise ValueError(f"stream {name} needs 1..{SHARDS_PER_STREAM_MAX} shards")
    return StreamSpec(name, shard_count)


def parse_orderings(value: object) -> object:
    """Parse orderings given as MODE, for every stream, or PATTERN=MODE; what stands first counts first."""
    rules = tuple(_parse_ordering(item) for item in _items(value))
    patterns = [rule.pattern for rule in rules]
    doubled = sorted({pattern for pattern in patterns if patterns.count(pattern) > 1})
    if doubled:
        raise ValueError(f"the ordering of {doubled[0]} is given twice")
    # whatever it is set to, streams that no rule names have an order
    general = [rule for rule in rules if rule.pattern == ANY_STREAM] or [OrderingRule(ANY_STREAM, ORDERING_MODES[0])]
    return (*(rule for rule in rules if rule.pattern != ANY_STREAM), *general)


def _parse_ordering(item: object) -> OrderingRule:
    if isinstance(item, OrderingRule):
        return item
    pattern, equals, mode = str(item).rpartition("=")
    pattern = pattern if equals else ANY_STREAM
    if mode not in ORDERING_MODES or not _STREAM_PATTERN.fullmatch(pattern):
        modes = ", ".join(ORDERING_MODES)
        raise ValueError(
            f"write one of {modes}, or PATTERN=MODE with * and ? for any characters of a stream's name, not {item!r}"
        )
    return OrderingRule(pattern, mode)


def ordering_mode_of(rules: Iterable[OrderingRule], stream_name: str) -> str:
    """Return the mode of the first rule that a stream's name matches; the last rule matches every name."""
    return next(rule.mode for rule in rules if fnmatchcase(stream_name, rule.pattern))


def parse_faults(value: object) -> object:
    """Parse faults given as name=value: one text with commas, a list, or a table; the emulator knows the names."""
    if isinstance(value, dict):
        return tuple(f"{name}={fault}" for name, fault in value.items())
    pairs = [str(item).partition("=") for item in _items(value)]
    for name, _, text in pairs:
        if not name.strip() or not text.strip():
            raise ValueError(f"write name=value, not {name!r}")
    return tuple(f"{name.strip()}={text.strip()}" for name, _, text in pairs)


def parse_words(value: object) -> object:
    """Parse words: one text with commas, or a list; whoever uses them knows which there are."""
    words = tuple(dict.fromkeys(str(item) for item in _items(value)))
    if not words:
        raise ValueError("write at least one word; none, where there is that choice, is a word too")
    return words


def _items(value: object) -> list[object]:
    """Return the items of a list, or of one text with commas."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in (_items(item) if isinstance(item, str) else [item])]
    raise ValueError("write a list, or one text with commas")


def parse_upstream(value: object) -> str:
    """Parse `aws`, `embedded`, or the URL of an endpoint.

    A URL with a user name or password is refused without repeating it: credentials come from the AWS chain.
    """
    wanted = "write aws, embedded, or the URL of an endpoint such as https://kinesis.eu-central-1.amazonaws.com"
    text = str(value)
    if text in UPSTREAM_WORDS:
        return text
    if ":" not in text:
        wanted += suggestion(text, UPSTREAM_WORDS)
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise ValueError(wanted) from error
    if url.username is not None or url.password is not None:
        raise ValueError("the URL must not carry credentials: they are found as every AWS SDK finds them")
    if url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        raise ValueError(wanted)
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError("the URL must end after the host and port")
    return text.rstrip("/")


def parse_truth(value: object) -> bool:
    """Parse true or false, in any case: one word for each, so that nobody wonders what `off` or `0` does."""
    word = str(value).lower()
    if word not in {"true", "false"}:
        raise ValueError(f"{value!r} is not true or false")
    return word == "true"


def parse_region(value: object) -> object:
    """Parse an AWS region: it becomes part of a host name."""
    if value is not None and not _REGION.fullmatch(str(value)):
        raise ValueError("write an AWS region, for example eu-central-1")
    return value
