"""Which dashboards there are, and their files; a test holds these to what `make tables` would write."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.dashboards.overview import overview
from tests.support.dashboards.panels import Json, document
from tests.support.dashboards.stream import stream

FOLDER = Path(__file__).parents[3] / "grafana" / "dashboards"


def documents() -> dict[Path, Json]:
    """Return each dashboard by its file."""
    return {FOLDER / "overview.json": document(overview()), FOLDER / "stream.json": document(stream())}


def text_of(dashboard: Json) -> str:
    """Return a dashboard's file."""
    return json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
