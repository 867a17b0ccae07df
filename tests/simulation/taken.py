"""One accepted record as seen from outside the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.core.batch import Batch
    from proxy.core.record import Record, State


class Taken:
    """One accepted record as seen from outside.

    `ordinal` counts acceptances of its proxy, `call` the calls; `refusals` are the codes by which the service refused a
    whole request that held it; `kept` is whether its proxy keeps the order of its key; `batches` are the requests that
    held it, `in_flight` how many of them are out.
    """

    __slots__ = (
        "attempts",
        "batches",
        "call",
        "in_flight",
        "invocation_id",
        "kept",
        "ordinal",
        "outcome",
        "proxy",
        "record",
        "refusals",
        "settled_at_ns",
        "stream_name",
        "withdrawn",
        "written",
    )

    def __init__(
        self,
        record: Record,
        proxy: str,
        stream_name: str,
        ordinal: int,
        call: int,
        kept: bool,  # noqa: FBT001
    ) -> None:
        self.record = record
        self.proxy = proxy
        self.stream_name = stream_name
        self.ordinal = ordinal
        self.call = call
        self.kept = kept
        self.batches: list[Batch] = []
        self.in_flight = 0
        self.withdrawn = False
        self.invocation_id: str | None = None
        self.attempts = 0
        self.outcome: State | None = None
        self.settled_at_ns = 0
        self.written = False
        self.refusals: frozenset[str] = frozenset()

    def __str__(self) -> str:
        record = self.record
        return f"record {self.ordinal} of {self.proxy} ({record.state.name}, attempts {record.attempts})"

    @property
    def key(self) -> tuple[str, str]:
        """Its stream and partition key."""
        return self.stream_name, self.record.partition_key
