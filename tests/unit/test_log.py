from __future__ import annotations

import contextlib
import io
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from proxy import log

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND_NS = 1_000_000_000


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    levels = {name: logging.getLogger(name).level for name in (*log.LIBRARIES, *log.SAID_BETTER)}
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)
    for name, library_level in levels.items():
        logging.getLogger(name).setLevel(library_level)


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_object_a_line_where_there_is_no_terminal() -> None:
    """A container's log is read by machines."""
    stream = io.StringIO()
    log.configure("auto", "info", stream)
    structlog.get_logger("proxy").info("listening", address="127.0.0.1:4567")
    (line,) = lines_of(stream)
    assert list(line) == ["time", "level", "event", "address"]
    assert (line["level"], line["event"], line["address"]) == ("info", "listening", "127.0.0.1:4567")


def test_the_end_of_the_logs_reader_is_told_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """As with `kinesis-proxy serve | head -1`: no traceback for each line, and the proxy goes on."""
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as stream:
        log.configure("json", "info", stream)
        os.close(read_end)
        for _ in range(3):
            structlog.get_logger("proxy").info("listening")
    assert capsys.readouterr().err == "kinesis-proxy: nobody reads the log any more: it is written no longer\n"


def test_a_reader_that_sleeps_holds_nothing_up(capsys: pytest.CaptureFixture[str]) -> None:
    """The event loop writes the lines; it is told later how many there was no room for."""
    read_end, write_end = os.pipe()
    for end in (read_end, write_end):
        os.set_blocking(end, False)  # so that a write which would wait is an error here
    with os.fdopen(write_end, "w") as stream, os.fdopen(read_end, "rb", buffering=0) as reader:
        log.configure("json", "info", stream)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_end, bytes(4096))
        for _ in range(3):
            structlog.get_logger("proxy").info("listening")
        while reader.read(65_536):
            pass
        structlog.get_logger("proxy").info("serving")
        lost, serving = map(json.loads, reader.read(65_536).splitlines())
    assert (lost["event"], lost["lines"], serving["event"]) == ("log_lines_lost", 3, "serving")
    assert not capsys.readouterr().err


def test_of_an_exception_that_went_deep_the_innermost_places_are_told() -> None:
    """A line has an end, and fits into a pipe."""
    stream = io.StringIO()
    log.configure("json", "info", stream)

    def deep(levels: int) -> None:
        if levels == 0:
            raise ValueError
        deep(levels - 1)

    try:
        deep(100)
    except ValueError:
        structlog.get_logger("proxy").exception("unexpected_error")
    (line,) = lines_of(stream)
    assert len(line["at"]) == log.PLACES_MAX
    assert line["at"][-1].endswith(" deep")


def test_a_terminal_gets_readable_lines() -> None:
    """A person's log is no JSON."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    log.configure("auto", "info", stream)
    structlog.get_logger("proxy").info("listening")
    assert "listening" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_events_below_the_level_are_not_written() -> None:
    """The level is a least one."""
    stream = io.StringIO()
    log.configure("json", "warning", stream)
    structlog.get_logger("proxy").info("quiet")
    structlog.get_logger("proxy").warning("loud")
    assert [line["event"] for line in lines_of(stream)] == ["loud"]


def test_what_libraries_log_goes_the_same_way_under_one_event_name() -> None:
    """An alert on an event's name cannot break with a library's wording."""
    stream = io.StringIO()
    log.configure("json", "info", stream)
    logging.getLogger("aiohttp.server").warning("odd request from %s", "10.0.0.1")
    (line,) = lines_of(stream)
    assert (line["event"], line["logger"], line["message"]) == (
        "library",
        "aiohttp.server",
        "odd request from 10.0.0.1",
    )


def test_what_an_event_of_ours_says_a_library_does_not_say_too() -> None:
    """That credentials were found is `credentials_found`; what goes wrong with them is told by all."""
    stream = io.StringIO()
    log.configure("json", "info", stream)
    logging.getLogger("botocore.credentials").info("Found credentials in environment variables.")
    logging.getLogger("aiobotocore.credentials").warning("Refreshing temporary credentials failed")
    (line,) = lines_of(stream)
    assert line["logger"] == "aiobotocore.credentials"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_told_by_its_type_and_places_without_its_text(log_format: str) -> None:
    """The text of an exception can quote a client's bytes."""
    stream = io.StringIO()
    log.configure(log_format, "debug", stream)
    try:
        os.environ["CUSTOMER-4711"]
    except KeyError:
        logging.getLogger("aiohttp.server").exception("Error handling request")
        structlog.get_logger("proxy").exception("unexpected_error")
    assert "CUSTOMER-4711" not in stream.getvalue()
    assert stream.getvalue().count("builtins.KeyError") == 2
    assert stream.getvalue().count("test_log.py") == 2


@pytest.mark.parametrize("name", log.LIBRARIES)
def test_libraries_never_debug(name: str) -> None:
    """Their debugging writes out headers and bodies, with signatures and data."""
    stream = io.StringIO()
    log.configure("json", "debug", stream)
    logging.getLogger(f"{name}.any").debug("Authorization: AWS4-HMAC-SHA256 Credential=…")
    assert not stream.getvalue()


def test_a_repeated_event_is_let_through_once_an_interval_with_the_number_held_back() -> None:
    """A flood of equal events costs one line an interval and loses no count."""
    occasional = log.Occasional(SECOND_NS)
    assert occasional.admit(("a",), 0) == 0
    assert occasional.admit(("a",), 1) is None
    assert occasional.admit(("a",), SECOND_NS - 1) is None
    assert occasional.admit(("a",), SECOND_NS) == 2
    assert occasional.admit(("a",), 2 * SECOND_NS) == 0


def test_events_of_different_kinds_do_not_hold_each_other_back() -> None:
    """A rare event shows beside a frequent one."""
    occasional = log.Occasional(SECOND_NS)
    assert occasional.admit(("throttled", "orders"), 0) == 0
    assert occasional.admit(("throttled", "clicks"), 0) == 0


def test_the_number_of_kinds_remembered_is_bounded() -> None:
    """Kinds without end cost no memory without end: the one seen longest ago is forgotten."""
    occasional = log.Occasional(SECOND_NS, kinds_max=2)
    occasional.admit(("a",), 0)
    occasional.admit(("b",), 0)
    occasional.admit(("a",), 1)
    occasional.admit(("c",), 1)
    assert occasional.admit(("a",), 2) is None
    assert occasional.admit(("b",), 2) == 0


def test_a_flood_of_one_event_is_dropped_and_told_later() -> None:
    """A defect in a loop fills no disk, and hides no other event."""
    now_ns = 0
    flood = log.FloodFilter(lines_max=2, interval_ns=SECOND_NS, clock=lambda: now_ns)
    stream = io.StringIO()
    log.configure("json", "info", stream)
    (handler,) = logging.getLogger().handlers
    handler.filters = [flood]
    logger = structlog.get_logger("proxy")
    for _ in range(10):
        logger.error("request_failed")
    logger.info("serving")
    now_ns = SECOND_NS
    logger.error("request_failed")
    logger.error("request_failed")
    told = [(line["event"], line.get("dropped")) for line in lines_of(stream)]
    assert told == [
        ("request_failed", None),
        ("request_failed", None),
        ("serving", None),
        ("request_failed", 8),
        ("request_failed", None),
    ]


def test_a_flood_of_a_librarys_lines_is_dropped_too() -> None:
    """They have one event name, and count by their logger."""
    stream = io.StringIO()
    log.configure("json", "info", stream)
    for _ in range(3 * log.FLOOD_LINES_MAX):
        logging.getLogger("aiohttp.server").warning("odd request")
    logging.getLogger("asyncio").warning("slow callback")
    assert len(lines_of(stream)) == log.FLOOD_LINES_MAX + 1
