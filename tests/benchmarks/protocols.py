"""What other ways in cost beside plain JSON over HTTP/1.1: PutRecord, a hundred at once, each way in turn."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.measure import (
    BOTTOMLESS,
    STREAM,
    UNLIMITED,
    Plan,
    Subject,
    median_of,
    put_record,
    ratio_of,
    remark_on,
    take_turns,
)
from tests.benchmarks.report import Row
from tests.support.fault_server import TLS_IDENTITY
from tests.support.processes import CREDENTIALS, emulate, serve

if TYPE_CHECKING:
    from tests.benchmarks.measure import Cost
    from tests.support.processes import Service, Setting

SECTION = "Other ways in: CPU per record ÷ plain JSON over HTTP/1.1, PutRecord, 100 at once"
AT_ONCE = 100
PLAIN = "JSON, HTTP/1.1"
ROUND_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way in.

    Args:
        title: for the table.
        server: which of the proxies it goes to.
        load: what differs from the plain load.
    """

    title: str
    server: str = "plain"
    load: dict[str, Any] = field(default_factory=dict)


WAYS = (
    Way(PLAIN),
    Way("CBOR, HTTP/1.1", load={"encoding": "cbor"}),
    Way("SigV4 verified, JSON, HTTP/1.1", "sigv4", {"signed": True}),
    Way("TLS, JSON, HTTP/1.1", "tls", {"tls": True}),
    Way("JSON, HTTP/1.1, a connection for each request", load={"fresh": True}),
    Way("JSON, HTTP/2, one connection with 100 streams", load={"protocol": "http2"}),
    Way("JSON, HTTP/2, a connection for each request", load={"protocol": "http2", "fresh": True}),
)


def measure(plan: Plan) -> list[Row]:
    """Let all ways take turns."""
    short = Plan(plan.rounds, min(plan.seconds, ROUND_SECONDS_MAX))
    with tempfile.TemporaryDirectory() as directory:
        settings = settings_of(Path(directory))
        with (
            emulate(stream=[STREAM], **BOTTOMLESS) as upstream,
            serve(upstream.url, **UNLIMITED) as plain,
            serve(upstream.url, **UNLIMITED, **settings["sigv4"]) as sigv4,
            serve(upstream.url, **UNLIMITED, **settings["tls"]) as tls,
        ):
            proxies: dict[str, Service] = {"plain": plain, "sigv4": sigv4, "tls": tls}
            subjects = {}
            for way in WAYS:
                proxy = proxies[way.server]
                subjects[way.title] = Subject(proxy, replace(put_record(proxy.port, AT_ONCE), **way.load))
            return rows_of(take_turns(subjects, short))


def settings_of(directory: Path) -> dict[str, dict[str, Setting]]:
    """Return what the proxies that are not plain are set to, their files in a directory."""
    keys = directory / "keys.toml"
    keys.write_text(
        f'[[key]]\naccess_key_id = "{CREDENTIALS["AWS_ACCESS_KEY_ID"]}"\n'
        f'secret_access_key = "{CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}"\n',
        encoding="utf-8",
    )
    identity = str(TLS_IDENTITY)
    return {
        "sigv4": {"inbound_auth": "sigv4", "inbound_keys_file": str(keys)},
        "tls": {"tls_certificate_file": identity, "tls_key_file": identity},
    }


def rows_of(costs: dict[str, list[Cost]]) -> list[Row]:
    """Return each way's cost as a multiple of the plain one's."""
    plain = median_of(costs[PLAIN]).cpu_us_per_record
    rows = []
    for title, rounds in costs.items():
        cost, ratio = median_of(rounds), ratio_of(rounds, costs[PLAIN])
        remarks = f"{cost.cpu_us_per_record:.1f} µs, {cost.cpu_us_per_record - plain:+.1f}; {ratio}; "
        rows.append(
            Row(
                SECTION,
                title,
                ratio.median,
                remarks=f"{remarks}{cost.records_per_second:,.0f} requests/s{remark_on(cost)}",
            )
        )
    return rows
