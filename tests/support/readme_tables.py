"""The README's tables of settings and metrics, written from the program's own catalogues.

`make tables` runs this file and rewrites the README; a test holds the README to what it would write.
"""

from __future__ import annotations

from pathlib import Path

from proxy.config import ServeSettings
from proxy.config.describe import as_markdown as settings_as_markdown
from proxy.metrics.catalogue import as_markdown as metrics_as_markdown

README = Path(__file__).parents[2] / "README.md"


def with_tables(text: str) -> str:
    """Return the README with each table, between its two comments, written anew."""
    tables = {"settings": settings_as_markdown(ServeSettings()), "metrics": metrics_as_markdown()}
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by make tables -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the README must hold {begin} and {end}")
        text = f"{before}{begin}\n\n{table}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
