"""What a PromQL expression asks for: its selectors, and whether samples answer them.

The grammar is that of `promql_parser`, which is Prometheus's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import promql_parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHILDREN = ("lhs", "rhs", "expr", "param", "vector_selector")


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector of an expression: a metric's name, and what its labels must be as (label, operator, value)."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    def selects(self, name: str, labels: Mapping[str, str]) -> bool:
        """Tell whether it selects a sample; a label that is absent is empty."""
        return name == self.name and all(
            _holds(operator, labels.get(label, ""), value) for label, operator, value in self.matchers
        )


def selectors(expr: str) -> list[Selector]:
    """Return the selectors of an expression.

    Raises:
        ValueError: it is no PromQL.
    """
    return list(_walk(promql_parser.parse(expr)))


def _walk(node: object) -> Iterator[Selector]:
    if isinstance(node, promql_parser.VectorSelector):
        matchers = node.matchers.matchers
        yield Selector(
            node.name or "", tuple((matcher.name, _OPERATORS[str(matcher.op)], matcher.value) for matcher in matchers)
        )
        return
    for attribute in CHILDREN:
        child = getattr(node, attribute, None)
        if child is not None:
            yield from _walk(child)
    for argument in getattr(node, "args", ()):
        yield from _walk(argument)


def _holds(operator: str, present: str, value: str) -> bool:
    if operator in {"=", "!="}:
        return (present == value) == (operator == "=")
    return bool(re.fullmatch(value, present)) == (operator == "=~")


_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}
