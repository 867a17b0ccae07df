from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.log_events import PROGRAM, events_of

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = PROGRAM.parent / "deploy" / "LOGS.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$", re.MULTILINE)
# Made by proxy/log.py of what libraries log.
LIBRARY = "library"


def test_every_event_is_documented_once_with_its_level_and_fields() -> None:
    """Who writes an alert on an event can rely on the list, and nothing stays in it that is gone."""
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    documented = {event: ({level}, set(re.findall(r"`(\w+)`", fields))) for event, level, fields, _ in rows}
    assert len(documented) == len(rows)
    assert documented.pop(LIBRARY)
    assert documented == events_of()


def test_events_are_named_in_snake_case() -> None:
    """One form, for whoever searches."""
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) for name in events_of())


def test_an_event_that_is_no_literal_is_found_out(tmp_path: Path) -> None:
    """A name that is made while the program runs could be any."""
    (tmp_path / "module.py").write_text('def tell(name):\n    log.info("a_" + name)\n')
    with pytest.raises(ValueError, match=r"module\.py:2"):
        events_of(tmp_path)


def test_an_event_that_is_handed_on_counts_where_it_is_named(tmp_path: Path) -> None:
    """Methods that log for others take the name as their parameter."""
    (tmp_path / "module.py").write_text(
        "class A:\n"
        "    def _tell(self, event):\n"
        "        log.warning(event, stream=1, exc_info=error)\n"
        "    def act(self):\n"
        '        self._tell("one_thing")\n'
        '        _log.exception("another_thing", code=2)\n'
    )
    assert events_of(tmp_path) == {
        "one_thing": ({"warning"}, {"stream", "exception", "at"}),
        "another_thing": ({"error"}, {"code", "exception", "at"}),
    }
