"""How settings are named, bounded and shown to people: one row for each, as a table, JSON or Markdown.

Must never know: where values are gathered from.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, get_args, get_origin

from proxy.config.settings import ENVIRONMENT_PREFIX, GROUPS, Settings, group_of, numeric_bounds_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def environment_name(name: str) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


def flag_of(name: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def choices_of(name: str) -> tuple[str, ...]:
    """Return the words that a setting may take; empty where any may."""
    annotation = Settings.model_fields[name].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def bounds_of(name: str) -> str:
    """Return what a setting may be, in words; empty where its parser says it."""
    annotation = Settings.model_fields[name].annotation
    if annotation is bool:
        return "true or false"
    choices = choices_of(name)
    if choices:
        return " or ".join([", ".join(choices[:-1]), choices[-1]])
    bounds = numeric_bounds_of(name)
    if not bounds:
        return ""
    low = f"above {bounds['gt']}, " if "gt" in bounds else f"{bounds['ge']}.."
    high = f"at most {bounds['le']}" if "gt" in bounds else str(bounds["le"])
    kind = "a whole number in " if annotation is int else ""
    return kind + low + high


def shown(value: object) -> str:
    """Write a value as a person would type it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # An address is a tuple too, but writes itself.
    if type(value) is tuple:
        return ",".join(str(part) for part in value)
    return str(value)


@dataclass(frozen=True, slots=True)
class Row:
    """One setting as it is shown."""

    name: str
    value: str
    unit: str
    source: str
    default: str
    bounds: str
    flag: str
    environment: str
    group: str
    description: str


def rows(settings: Settings, origins: Mapping[str, str]) -> list[Row]:
    """Return a row for every setting that the command reads, by group."""
    fields = type(settings).model_fields
    names = sorted(filter(settings.reads, fields), key=lambda name: list(GROUPS).index(group_of(name)))
    return [
        Row(
            name=name,
            value=shown(getattr(settings, name)),
            unit=unit_of(name),
            source=origins.get(name, "default"),
            default=shown(fields[name].default),
            bounds=bounds_of(name).removeprefix("a whole number in "),
            flag=flag_of(name),
            environment=environment_name(name),
            group=group_of(name),
            description=fields[name].description or "",
        )
        for name in names
    ]


def as_table(settings: Settings, origins: Mapping[str, str]) -> str:
    """Write a line for each setting, in columns."""
    columns = ("name", "value", "unit", "source", "default", "bounds", "flag", "environment")
    lines = [
        tuple(columns),
        *(tuple(getattr(row, column) or "-" for column in columns) for row in rows(settings, origins)),
    ]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_json(settings: Settings, origins: Mapping[str, str]) -> str:
    """Write an object for each setting."""
    return json.dumps([asdict(row) for row in rows(settings, origins)], indent=2)


def as_markdown(settings: Settings, origins: Mapping[str, str] | None = None) -> str:
    """Write a table for each group: for the documentation with defaults and bounds, with origins also what is set."""
    lines: list[str] = []
    group = ""
    columns = ["Flag", "Environment", *(() if origins is None else ("Value", "Source"))]
    columns += ["Default", "Unit", "Bounds", "Meaning"]
    for row in rows(settings, origins or {}):
        if row.group != group:
            group = row.group
            lines += [
                "",
                f"**{group}**: {GROUPS[group]}",
                "",
                f"| {' | '.join(columns)} |",
                f"|{'---|' * len(columns)}",
            ]
        in_effect = "" if origins is None else f" {_quoted(row.value)} | {row.source} |"
        lines.append(
            f"| `{row.flag}` | `{row.environment}` |{in_effect} {_quoted(row.default)} | {row.unit} | {row.bounds} "
            f"| {row.description} |"
        )
    return "\n".join(lines[1:])


def _quoted(value: str) -> str:
    return f"`{value}`" if value else ""
