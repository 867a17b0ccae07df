"""What the benchmark says: rows of figures beside their targets, as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy.core import stream

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER = "| measure | figure | target | | remarks |\n|---|---|---|---|---|"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Args:
        section: of the table.
        measure: what was measured.
        value: the figure; None where it could not be had, and the remarks say why.
        unit: of the figure; empty for ratios.
        target: what it is held against; None where it is for orientation.
        at_least: whether the target is the least that will do, instead of the most.
        remarks: what it was made of.
    """

    section: str
    measure: str
    value: float | None
    unit: str = ""
    target: float | None = None
    at_least: bool = False
    remarks: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target or a figure."""
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def markdown(self) -> str:
        """Return the row for a reader."""
        target = ""
        if self.target is not None:
            target = f"{'≥' if self.at_least else '≤'} {shown(self.target, self.unit)}"
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        return f"| {self.measure} | {shown(self.value, self.unit)} | {target} | {verdict} | {self.remarks} |"


def shown(value: float | None, unit: str) -> str:
    """Return a figure with as many digits as it is good for."""
    if value is None:
        return "–"  # noqa: RUF001 - a dash
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2
    return f"{value:,.{digits}f}{f' {unit}' if unit else ''}"


def markdown(rows: Iterable[Row]) -> str:
    """Return a table for each section."""
    lines: list[str] = []
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            lines += ["", f"**{section}**", "", HEADER]
        lines.append(row.markdown())
    return "\n".join(lines)


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows with their verdicts."""
    return [{**asdict(row), "met": row.met} for row in rows]


def machine() -> dict[str, str]:
    """Say where and with what this was measured."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": f"{os.cpu_count()} x {models[0] if models else platform.machine()}",
        "system": f"{platform.system()} {platform.release()}",
        "load average": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        "hot path": "interpreted" if stream.__file__.endswith(".py") else "compiled",
        **{name: version(name) for name in ("aiohttp", "uvloop", "msgspec", "httptools", "kinesis-proxy")},
    }
