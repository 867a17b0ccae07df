"""Reads dashboards into Grafana's own model of them and back: a field that gets lost on the way is none of Grafana's.

Runs in an environment of its own, with `grafana-foundation-sdk` and nothing of this project.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

# What an annotation's query is called: fields of the data source's plugin, which the model of dashboards does not know.
PLUGINS_OWN = {"titleFormat", "textFormat"}


def lost(before: Any, after: Any, path: tuple[str | int, ...] = ()) -> list[str]:  # noqa: ANN401 - JSON
    """Return where something is missing or different afterwards; what is new there are the model's defaults."""
    where = ".".join(map(str, path))
    if isinstance(before, dict):
        if not isinstance(after, dict):
            return [where] if before else []
        return [
            each
            for name in before
            if name not in PLUGINS_OWN
            for each in lost(before[name], after.get(name), (*path, name))
        ]
    if isinstance(before, list):
        if not isinstance(after, list) or len(before) != len(after):
            return [where] if before else []
        return [each for place, value in enumerate(before) for each in lost(value, after[place], (*path, place))]
    return [] if before == after else [f"{where}: {before!r} became {after!r}"]


def main(paths: list[str]) -> int:
    """Check each dashboard; return how many fields were lost."""
    register_default_plugins()
    count = 0
    for path in paths:
        before = json.loads(Path(path).read_text(encoding="utf-8"))
        after = json.loads(JSONEncoder().encode(Dashboard.from_json(before)))
        missing = lost(before, after)
        count += len(missing)
        verdict = f"loses {missing}" if missing else "loses nothing"
        print(f"{path} {verdict} on the way through Grafana's model")  # noqa: T201 - the report
    return count


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
