from __future__ import annotations

import pytest

from tests.benchmarks.report import Row, as_json, markdown, shown


def row(value: float | None, target: float | None = None, *, at_least: bool = False) -> Row:
    """Return a row in which only the figure and its target matter."""
    return Row("section", "measure", value, "µs", target, at_least)


@pytest.mark.parametrize(
    ("value", "target", "at_least", "met"),
    [
        (0.5, 0.5, False, True),
        (0.51, 0.5, False, False),
        (5.0, 5.0, True, True),
        (4.99, 5.0, True, False),
        (1.0, None, False, None),
        (None, 5.0, True, None),
    ],
)
def test_target_itself_is_met(value: float | None, target: float | None, at_least: bool, met: bool | None) -> None:  # noqa: FBT001
    """A figure on its target meets it, one beyond misses it, and what was not measured does neither."""
    assert row(value, target, at_least=at_least).met is met


def test_missed_target_is_said_in_the_table_and_in_json() -> None:
    """A reader of either output learns that a target was missed."""
    missed = row(9.0, 8.0)
    assert "| measure | 9.00 µs | ≤ 8.00 µs | **missed** |" in markdown([missed])
    assert as_json([missed])[0]["met"] is False


def test_row_without_a_figure_is_neither_met_nor_missed() -> None:
    """A producer that is not installed is told in the remarks, and counts as nothing."""
    text = markdown([Row("section", "measure", None, target=5.0, at_least=True, remarks="not installed")])
    assert "| measure | – | ≥ 5.00 |  | not installed |" in text  # noqa: RUF001 - a dash


def test_each_section_has_one_heading() -> None:
    """Rows of one section stand in one table."""
    rows = [Row("one", "a", 1.0), Row("one", "b", 2.0), Row("two", "c", 3.0)]
    text = markdown(rows)
    assert text.count("**one**") == text.count("**two**") == 1
    assert text.count("| measure | figure |") == 2


def test_figures_are_shown_with_the_digits_that_they_are_good_for() -> None:
    """Large figures have no decimals, small ones two, so that a narrow miss can be seen."""
    assert [shown(value, "") for value in (0.494, 85.02, 123.44, 11_212.4)] == ["0.49", "85.02", "123.4", "11,212"]
