"""Writes grafana/dashboards/ anew, for `make tables`."""

from __future__ import annotations

from tests.support.dashboards.files import FOLDER, documents, text_of

FOLDER.mkdir(parents=True, exist_ok=True)
for path, dashboard in documents().items():
    path.write_text(text_of(dashboard), encoding="utf-8")
