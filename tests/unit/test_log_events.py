from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from proxy.config import Settings
from proxy.metrics.catalogue import FAMILIES
from tests.support.log_events import PROGRAM, events_of

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = PROGRAM.parent / "deploy" / "LOGS.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.+) \|$", re.MULTILINE)
RUNBOOK = DOCUMENT.with_name("RUNBOOK.md")
STATUS = PROGRAM / "admin" / "status.py"
WORD = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9]+)+)`")
WITH_FIELDS = re.compile(r"`(\w+)`\s+\(with\s+((?:`\w+`(?:,\s+|\s+and\s+)?)+)\)")
# Labels of metrics, and a metric of Kubernetes.
OTHER_WORDS = {
    "buffer_full",
    "container_cpu_cfs_throttled_periods_total",
    "internal_failure",
    "not_sent",
    "throughput_exceeded",
}
# Made by proxy/log.py of what libraries log.
LIBRARY = "library"


def test_every_event_is_documented_once_with_its_level_and_fields() -> None:
    """Who writes an alert on an event can rely on the list, and nothing stays in it that is gone."""
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    documented = {event: ({level}, set(re.findall(r"`(\w+)`", fields))) for event, level, fields, _ in rows}
    assert len(documented) == len(rows)
    assert documented.pop(LIBRARY)
    assert documented == events_of()


def test_the_runbook_names_events_that_there_are() -> None:
    """Who is woken searches the log for what the runbook says: every word there is an event's, or another known one."""
    words = set(WORD.findall(RUNBOOK.read_text(encoding="utf-8")))
    events = events_of()
    fields = {field for _, fields in events.values() for field in fields}
    metrics = {family.name for family in FAMILIES}
    shown = set(re.findall(r'"(\w+)":', STATUS.read_text(encoding="utf-8")))
    assert words - set(Settings.model_fields) - fields - metrics - shown - OTHER_WORDS - set(events) == set()


def test_the_runbook_promises_fields_that_its_events_have() -> None:
    """An event is named for what it says."""
    promised = WITH_FIELDS.findall(RUNBOOK.read_text(encoding="utf-8"))
    assert len(promised) > 5
    events = events_of()
    for event, fields in promised:
        assert set(re.findall(r"`(\w+)`", fields)) <= events[event][1], event


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
