"""The README's tables of settings and metrics, written from the program's own catalogues.

`make tables` runs this file and rewrites the README; a test holds the README to what it would write.
"""

from __future__ import annotations

from pathlib import Path

from proxy.config import ServeSettings
from proxy.config.describe import as_markdown as settings_as_markdown
from proxy.metrics.catalogue import as_markdown as metrics_as_markdown
from tests.support import operations_tables

README = Path(__file__).parents[2] / "README.md"


def with_tables(text: str) -> str:
    """Return the README with its tables written anew."""
    tables = {"settings": settings_as_markdown(ServeSettings()), "metrics": metrics_as_markdown()}
    return operations_tables.with_tables(text, tables)


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
