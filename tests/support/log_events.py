"""Which events the program can log, read from its source: the list in deploy/LOGS.md is held to it.

An event is the literal first argument of a call on a module's logger, or of a function that hands its own parameter
`event` on to one.
"""

from __future__ import annotations

import ast
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "proxy"
LOGGERS = frozenset({"log", "_log"})
LEVEL_OF_METHOD = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
PARAMETER = "event"
# What a line has of an exception, and of every event.
EXCEPTION_FIELDS = frozenset({"exception", "at"})

# By event, its levels and its fields.
Events = dict[str, tuple[set[str], set[str]]]


def events_of(folder: Path = PROGRAM) -> Events:
    """Return every event of the program.

    Raises:
        ValueError: an event's name cannot be read from the source.
    """
    events: Events = {}
    for path in sorted(folder.rglob("*.py")):
        for event, level, fields in _events_of_module(ast.parse(path.read_text(encoding="utf-8")), str(path)):
            levels, all_fields = events.setdefault(event, (set(), set()))
            levels.add(level)
            all_fields |= fields
    return events


def _events_of_module(module: ast.Module, where: str) -> list[tuple[str, str, set[str]]]:
    passed_on = {
        function.name: _shape_of(call)
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for call in _calls_in(function)
        if _is_logged(call) and _is_parameter(call.args[0])
    }
    found = []
    for call in _calls_in(module):
        if _is_logged(call) and not _is_parameter(call.args[0]):
            found.append((_literal(call, where), *_shape_of(call)))
        elif isinstance(call.func, ast.Attribute) and call.func.attr in passed_on:
            found.append((_literal(call, where), *passed_on[call.func.attr]))
    return found


def _calls_in(node: ast.AST) -> list[ast.Call]:
    return [call for call in ast.walk(node) if isinstance(call, ast.Call)]


def _is_logged(call: ast.Call) -> bool:
    method = call.func
    return (
        isinstance(method, ast.Attribute)
        and method.attr in LEVEL_OF_METHOD
        and isinstance(method.value, ast.Name)
        and method.value.id in LOGGERS
    )


def _is_parameter(first: ast.expr) -> bool:
    return isinstance(first, ast.Name) and first.id == PARAMETER


def _literal(call: ast.Call, where: str) -> str:
    first = call.args[0]
    if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        raise ValueError(f"{where}:{call.lineno}: an event must be named by a literal")  # noqa: TRY004 - in what is read
    return first.value


def _shape_of(call: ast.Call) -> tuple[str, set[str]]:
    assert isinstance(call.func, ast.Attribute)
    fields = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
    if call.func.attr == "exception" or "exc_info" in fields:
        fields = fields - {"exc_info"} | EXCEPTION_FIELDS
    return LEVEL_OF_METHOD[call.func.attr], fields
