"""The settings themselves: one flat list, each with its unit, default, bounds and group, and how they relate.

A setting `linger_ms` is written `linger_ms` in the TOML file, `KINESIS_PROXY_LINGER_MS` in the environment and
`--linger-ms` as a flag. No setting may end in `_port`: Kubernetes puts `KINESIS_PROXY_PORT` into the environment of
every pod beside a Service called kinesis-proxy.

Must never know: where a value came from, what is done with it.
"""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 - pydantic reads the annotations
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, cast

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from proxy.config.values import (
    Address,
    OrderingRule,
    StreamSpec,
    is_own_address,
    parse_address,
    parse_faults,
    parse_orderings,
    parse_region,
    parse_streams,
    parse_truth,
    parse_upstream,
    parse_words,
)

if TYPE_CHECKING:
    from pydantic.config import JsonDict

ENVIRONMENT_PREFIX = "KINESIS_PROXY_"

KIB = 1024
MIB = 1024 * KIB

AddressField = Annotated[Address, NoDecode, PlainValidator(parse_address)]
StreamsField = Annotated[tuple[StreamSpec, ...], NoDecode, BeforeValidator(parse_streams)]
WordsField = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_words)]
OrderingsField = Annotated[tuple[OrderingRule, ...], NoDecode, BeforeValidator(parse_orderings)]
FaultsField = Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_faults)]
TruthField = Annotated[bool, BeforeValidator(parse_truth)]
UpstreamField = Annotated[str, BeforeValidator(parse_upstream)]
RegionField = Annotated[str | None, BeforeValidator(parse_region)]

# Groups in the order in which help, tables and documentation show them.
GROUPS: dict[str, str] = {
    "listen": "listening for producers",
    "auth": "who may call",
    "admin": "health, metrics and status",
    "upstream": "the service behind the proxy",
    "delivery": "batching, retrying, giving up",
    "rate": "the limits of each shard",
    "bounds": "bounds on memory and shutdown",
    "emulator": "the embedded Kinesis",
    "log": "logging",
}


class Problem(NamedTuple):
    """What is wrong between settings that are each in bounds, and which they are."""

    names: tuple[str, ...]
    text: str


def _setting(default: object, group: str, description: str, unit: str = "", **bounds: float) -> Any:  # noqa: ANN401 - a field's default has the field's type
    """Declare one setting; `bounds` are ge, gt, le and lt as pydantic knows them."""
    extra: JsonDict = {"group": group, "unit": unit, "bounds": {**bounds}}
    # The bounds are pydantic's own keywords; its overloads cannot see through the mapping.
    return Field(default=default, description=description, json_schema_extra=extra, **bounds)  # type: ignore[call-overload]


_TLS_NEEDS = (
    ("tls_certificate_file", "tls_key_file"),
    ("tls_key_file", "tls_certificate_file"),
    ("tls_client_ca_file", "tls_certificate_file"),
)


class Settings(BaseSettings):
    """Every setting that any command knows.

    Build it with `proxy.config.load`, which gathers flags, environment and file and names the source of what is wrong.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    # The groups that the command offers as flags, and settings of other groups.
    flag_groups: ClassVar[tuple[str, ...]] = tuple(GROUPS)
    flags_besides: ClassVar[tuple[str, ...]] = ()

    listen: AddressField = _setting(Address("127.0.0.1", 4567), "listen", "Where producers connect.", "HOST:PORT")
    allow_anonymous: TruthField = _setting(
        False,  # noqa: FBT003 - a default, not an argument
        "listen",
        "Serve callers from other machines without authenticating them.",
    )
    connections_max: int = _setting(
        4096, "listen", "Connections served at once; more are closed at once.", "connections", ge=1, le=65_535
    )
    request_bytes_max: int = _setting(
        16 * MIB,
        "listen",
        "Largest request body. PutRecords carries up to 10 MiB of data, a third more in base64.",
        "bytes",
        ge=64 * KIB,
        le=64 * MIB,
    )
    request_bodies_bytes_max: int = _setting(
        128 * MIB,
        "listen",
        "Request bodies held at once while they arrive and are answered, and as much again of large answers while they "
        "are taken; more are refused.",
        "bytes",
        ge=1 * MIB,
        le=64 * 1024 * MIB,
    )
    request_header_bytes_max: int = _setting(
        32 * KIB, "listen", "All headers of one request.", "bytes", ge=8 * KIB, le=256 * KIB
    )
    http2_streams_max: int = _setting(
        128, "listen", "Requests at once on one HTTP/2 connection; more are refused.", "requests", ge=1, le=10_000
    )
    header_timeout_ms: int = _setting(
        10_000, "listen", "How long a request's headers, or a TLS handshake, may take.", "ms", ge=10, le=600_000
    )
    body_timeout_ms: int = _setting(
        60_000, "listen", "How long a body may take to arrive, and an answer to be taken.", "ms", ge=10, le=600_000
    )
    idle_timeout_ms: int = _setting(
        75_000, "listen", "How long a connection stays open without a request.", "ms", ge=10, le=3_600_000
    )
    connection_age_max_ms: int = _setting(
        600_000,
        "listen",
        "After this time, less up to a fifth, a connection is asked to go, so that load balancers can spread; 0 never.",
        "ms",
        ge=0,
        le=86_400_000,
    )
    tls_certificate_file: str | None = _setting(
        None, "listen", "Certificate chain in PEM; with it, connections are TLS. Read again when it changes.", "PATH"
    )
    tls_key_file: str | None = _setting(None, "listen", "Private key of the certificate, in PEM.", "PATH")
    tls_client_ca_file: str | None = _setting(
        None,
        "listen",
        "Authorities, in PEM, one of which must have signed the certificate that each client has to show.",
        "PATH",
    )
    inbound_auth: Literal["none", "sigv4"] = _setting(
        "none",
        "auth",
        "How callers prove who they are; sigv4: every request must be signed with a key of inbound_keys_file.",
    )
    inbound_keys_file: str | None = _setting(
        None, "auth", "Keys that callers sign with: a TOML file, or a directory of them. Read again on change.", "PATH"
    )
    admin_listen: AddressField = _setting(
        Address("127.0.0.1", 9464), "admin", "Where /livez, /readyz, /metrics and /status are served.", "HOST:PORT"
    )

    upstream: UpstreamField = _setting(
        "aws", "upstream", "Where records go: aws, embedded (a Kinesis inside this process), or an endpoint's URL."
    )
    region: RegionField = _setting(
        None,
        "upstream",
        "AWS region; unset takes what the AWS SDK would: AWS_REGION, AWS_DEFAULT_REGION, the profile.",
    )
    aws_profile: str | None = _setting(
        None, "upstream", "Profile of the AWS configuration files that gives credentials and region."
    )
    forwarded_operations: WordsField = _setting(
        ("auto",),
        "upstream",
        "Operations other than puts that are forwarded, signed with the proxy's credentials: none, all, or a list with "
        "commas, in which read-stream is DescribeStream, DescribeStreamSummary, ListShards, ListStreams and "
        "DescribeLimits; auto: all where the upstream is embedded or on this machine's loopback, else read-stream.",
        "LIST",
    )
    forwards_in_flight_max: int = _setting(
        32,
        "upstream",
        "Forwarded requests at once, over connections of their own; more are refused.",
        "requests",
        ge=1,
        le=1_024,
    )
    forward_timeout_ms: int = _setting(
        10_000, "upstream", "How long one forwarded request may take in all.", "ms", ge=20, le=120_000
    )
    forward_response_bytes_max: int = _setting(
        32 * MIB,
        "upstream",
        "Largest answer that is forwarded. GetRecords carries up to 10 MiB of data, a third more in base64.",
        "bytes",
        ge=64 * KIB,
        le=64 * MIB,
    )
    connect_timeout_ms: int = _setting(
        1_000, "upstream", "How long a connection to the upstream may take to open.", "ms", ge=10, le=60_000
    )
    request_timeout_ms: int = _setting(
        2_000, "upstream", "How long one request to the upstream may take in all.", "ms", ge=20, le=120_000
    )
    upstream_connections_max: int = _setting(
        64, "upstream", "Connections to the upstream.", "connections", ge=1, le=4_096
    )

    delivery_timeout_ms: int = _setting(
        2_500,
        "delivery",
        "How long a record may stay in the proxy before its caller is told that it failed. C++ SDKs wait 3 s.",
        "ms",
        ge=50,
        le=600_000,
    )
    ordering: OrderingsField = _setting(
        (OrderingRule("*", "strict"),),
        "delivery",
        "What is promised about the order of a partition key's records: strict, call, relaxed or none, for every "
        "stream or, as PATTERN=MODE, for some.",
        "LIST",
    )
    linger_ms: int = _setting(
        2, "delivery", "How long a record may wait for company while another batch is in flight.", "ms", ge=0, le=1_000
    )
    batch_records_max: int = _setting(500, "delivery", "Records in one upstream request.", "records", ge=1, le=500)
    batch_bytes_max: int = _setting(
        5 * MIB - 64 * KIB,  # 5 MiB sharp has been refused
        "delivery",
        "Data and partition keys in one upstream request; a larger record travels alone.",
        "bytes",
        ge=64 * KIB,
        le=10 * MIB,
    )
    shard_slice_bytes_max: int = _setting(
        256 * KIB, "delivery", "One shard's share of one upstream request.", "bytes", ge=1 * KIB, le=10 * MIB
    )
    in_flight_max: int = _setting(
        8, "delivery", "Batches of one stream sent and not yet answered.", "batches", ge=1, le=256
    )
    backoff_base_ms: int = _setting(
        50,
        "delivery",
        "Longest wait before a first retry; it doubles with each, unless a shard's rate adapts.",
        "ms",
        ge=1,
        le=10_000,
    )
    backoff_max_ms: int = _setting(1_000, "delivery", "Longest wait between two attempts.", "ms", ge=1, le=60_000)

    shard_records_per_second: int = _setting(
        1_000, "rate", "Records that one shard takes; 0 is unlimited.", "records/s", ge=0, le=1_000_000
    )
    shard_bytes_per_second: int = _setting(
        1 * MIB, "rate", "Data and partition keys that one shard takes; 0 is unlimited.", "bytes/s", ge=0, le=1024 * MIB
    )
    shard_rate_ratio: float = _setting(
        1.0, "rate", "Share of a shard's limits that this proxy uses.", "ratio", gt=0, le=1.5
    )
    shard_rate_adapts: TruthField = _setting(
        True,  # noqa: FBT003 - a default, not an argument
        "rate",
        "Find out by throttles how much of each shard's limits other producers leave; false keeps to the ratio above.",
    )
    shard_rate_ratio_min: float = _setting(
        0.0,
        "rate",
        "Share of a shard's limits below which a rate that adapts never falls, however much is throttled.",
        "ratio",
        ge=0,
        le=1.5,
    )
    shard_burst_ms: int = _setting(
        100,
        "rate",
        "A shard's limits over this time may be sent at once; a second's worth after a quiet one.",
        "ms",
        ge=1,
        le=10_000,
    )

    buffer_records_max: int = _setting(
        50_000, "bounds", "Records held in all, queued or in flight.", "records", ge=1, le=10_000_000
    )
    buffer_bytes_max: int = _setting(
        # A full buffer, with the bodies and requests around it, then stays below 200 MiB of resident memory.
        48 * MIB,
        "bounds",
        "Memory that held records may take: data in base64 and about 1 KiB for each record.",
        "bytes",
        ge=1 * MIB,
        le=64 * 1024 * MIB,
    )
    stream_buffer_ratio: float = _setting(
        0.8, "bounds", "Share of the buffer, in records and in bytes, that one stream may hold.", "ratio", gt=0, le=1
    )
    admission_wait_ms: int = _setting(
        1_000,
        "bounds",
        "A record whose turn would come later, at the present rate of its shard, is refused at once. In strict order "
        "the wait for its own key's records counts apart, to four fifths of delivery_timeout_ms.",
        "ms",
        ge=10,
        le=600_000,
    )
    data_bytes_max: int = _setting(
        0,
        "bounds",
        "Largest Data of a record; 0 takes the stream's own limit, 51200 is the limit of the first Kinesis API.",
        "bytes",
        ge=0,
        le=10 * MIB,
    )
    streams_max: int = _setting(128, "bounds", "Streams that records are held for.", "streams", ge=1, le=100_000)
    stream_idle_timeout_ms: int = _setting(
        3_600_000, "bounds", "A stream without records is forgotten after this time.", "ms", ge=1_000, le=604_800_000
    )
    drain_timeout_ms: int = _setting(
        5_000, "bounds", "How long shutdown waits for the outcome of accepted records.", "ms", ge=0, le=600_000
    )

    stream: StreamsField = _setting(
        (), "emulator", "Stream to make at start; repeat the flag, or separate several with commas.", "NAME:SHARDS"
    )
    stream_record_kib_max: int = _setting(
        1_024, "emulator", "Largest record of the streams made at start.", "KiB", ge=1_024, le=10_240
    )
    create_on_first_use_shards: int = _setting(
        0, "emulator", "Shards of a stream that is made when it is first named; 0 makes none.", "shards", ge=0, le=1_000
    )
    create_delay_ms: int = _setting(
        0, "emulator", "How long a stream is CREATING, UPDATING or DELETING.", "ms", ge=0, le=600_000
    )
    shard_limits: TruthField = _setting(
        True,  # noqa: FBT003 - a default, not an argument
        "emulator",
        "The embedded Kinesis throttles each shard beyond 1000 records/s and 1 MiB/s, as the service does.",
    )
    retain: Literal["latest", "none"] = _setting(
        "latest", "emulator", "What is kept to be read back; none suits load tests."
    )
    retain_records_max: int = _setting(
        200_000, "emulator", "Records kept over all streams, the oldest go first.", "records", ge=1, le=100_000_000
    )
    retain_bytes_max: int = _setting(
        64 * MIB, "emulator", "Data and partition keys kept over all streams.", "bytes", ge=1 * MIB, le=64 * 1024 * MIB
    )
    fault: FaultsField = _setting(
        (), "emulator", "Fault to inject from the start; `GET /faults` on the admin port lists them.", "NAME=VALUE"
    )

    log_format: Literal["auto", "json", "console"] = _setting(
        "auto", "log", "How events are written; auto: console on a terminal, else one JSON object a line."
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "log", "Least level that is written.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values as given: `proxy.config.load` gathers them, so that it can name each one's source."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse TOML's true where a number belongs: Python would read it as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("write a value, not true or false")
        return value

    @classmethod
    def reads(cls, name: str) -> bool:
        """Tell whether the command has a use for a setting, and so a flag."""
        return group_of(name) in cls.flag_groups or name in cls.flags_besides

    def problems(self) -> Iterator[Problem]:
        """Say what is wrong between settings that are each in bounds."""
        yield from _ascending(self, "request_bytes_max", "request_bodies_bytes_max")
        for name, needed in _TLS_NEEDS:
            if getattr(self, name) is not None and getattr(self, needed) is None:
                yield Problem((name, needed), f"{name} is of no use without {needed}: set both")


class ServeSettings(Settings):
    """The settings as `serve` reads them."""

    def problems(self) -> Iterator[Problem]:
        """Say what is wrong between settings that are each in bounds."""
        yield from super().problems()
        authenticated = self.inbound_auth != "none" or self.tls_client_ca_file is not None
        if not self.listen.is_loopback and not self.allow_anonymous and not authenticated:
            yield _anonymous("listen", self.listen)
        if self.inbound_auth == "sigv4" and self.inbound_keys_file is None:
            yield Problem(("inbound_auth", "inbound_keys_file"), "inbound_auth sigv4 needs inbound_keys_file: set it")
        if self.inbound_auth == "none" and self.inbound_keys_file is not None:
            text = "inbound_keys_file is of no use while inbound_auth is none: set inbound_auth to sigv4"
            yield Problem(("inbound_keys_file", "inbound_auth"), text)
        if self.upstream == "embedded" and not self.admin_listen.is_loopback and not self.allow_anonymous:
            yield _anonymous("admin_listen", self.admin_listen)
        yield from _colliding(self)
        if is_own_address(self.upstream, self.listen):
            text = f"upstream {self.upstream} is the proxy's own address: it would send to itself"
            yield Problem(("upstream", "listen"), text)
        yield from _ascending(self, "connect_timeout_ms", "request_timeout_ms", "delivery_timeout_ms")
        yield from _ascending(self, "connect_timeout_ms", "forward_timeout_ms")
        yield from _ascending(self, "backoff_base_ms", "backoff_max_ms")
        yield from _ascending(self, "shard_rate_ratio_min", "shard_rate_ratio")
        yield from _ascending(self, "linger_ms", "shard_burst_ms")
        yield from _ascending(self, "linger_ms", "delivery_timeout_ms")
        yield from _ascending(self, "admission_wait_ms", "delivery_timeout_ms")
        yield from _ascending(self, "shard_slice_bytes_max", "batch_bytes_max", "buffer_bytes_max")
        yield from _ascending(self, "batch_records_max", "buffer_records_max")
        if self.upstream != "embedded":
            for name in sorted(self.model_fields_set & set(names_of_group("emulator"))):
                text = f"{name} is for the embedded Kinesis, but upstream is {self.upstream}: set upstream to embedded"
                yield Problem((name, "upstream"), text)


class EmulateSettings(Settings):
    """The settings as `emulate` reads them: other ports than `serve`, so that both run side by side."""

    flag_groups: ClassVar[tuple[str, ...]] = ("listen", "admin", "emulator", "log")
    flags_besides: ClassVar[tuple[str, ...]] = ("region",)

    listen: AddressField = _setting(Address("127.0.0.1", 4568), "listen", "Where producers connect.", "HOST:PORT")
    admin_listen: AddressField = _setting(
        Address("127.0.0.1", 9465), "admin", "Where /livez, /readyz, /metrics and /status are served.", "HOST:PORT"
    )

    def problems(self) -> Iterator[Problem]:
        """Say what is wrong between settings that are each in bounds."""
        yield from super().problems()
        for name in ("listen", "admin_listen"):
            address: Address = getattr(self, name)
            known = self.allow_anonymous or (name == "listen" and self.tls_client_ca_file)
            if not address.is_loopback and not known:
                yield _anonymous(name, address)
        yield from _colliding(self)


def names_of_group(group: str) -> list[str]:
    """Return the names of a group's settings, in the order of their declaration."""
    return [name for name in Settings.model_fields if group_of(name) == group]


def group_of(name: str) -> str:
    """Return the group of a setting."""
    return cast("str", _extra(name)["group"])


def unit_of(name: str) -> str:
    """Return a setting's unit; empty where it has none."""
    return cast("str", _extra(name)["unit"])


def numeric_bounds_of(name: str) -> dict[str, float]:
    """Return a setting's bounds by their names in pydantic: ge, gt, le, lt."""
    return cast("dict[str, float]", _extra(name)["bounds"])


def _extra(name: str) -> JsonDict:
    return cast("JsonDict", Settings.model_fields[name].json_schema_extra)


_REMEDIES = {
    "listen": "listen on 127.0.0.1, authenticate callers (inbound_auth or tls_client_ca_file), ",
    "admin_listen": "listen on 127.0.0.1, ",
}


def _anonymous(name: str, address: Address) -> Problem:
    text = (
        f"{name} {address} can be reached from other machines and callers are not authenticated: "
        f"{_REMEDIES[name]}or set allow_anonymous if the network is trusted"
    )
    return Problem((name,), text)


def _colliding(settings: Settings) -> Iterator[Problem]:
    """Demand two addresses for the two listeners."""
    if settings.listen.port and settings.listen == settings.admin_listen:
        yield Problem(("listen", "admin_listen"), f"listen and admin_listen are both {settings.listen}: choose two")


def _ascending(settings: Settings, *names: str) -> Iterator[Problem]:
    """Demand that each named setting is at most the next."""
    for low, high in pairwise(names):
        low_value, high_value = getattr(settings, low), getattr(settings, high)
        if low_value > high_value:
            yield Problem((low, high), f"{low} ({low_value}) must be at most {high} ({high_value})")
