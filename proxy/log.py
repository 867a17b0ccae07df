"""Logging: events with stable names, one JSON object a line or readable on a terminal.

Decides the shape of a line and how often a repeated event is told. Events are named in snake_case, facts are members;
`deploy/LOGS.md` lists them all. Who expects repeats asks `Occasional` before it logs; `FloodFilter` bounds the rest.
Never logged: data, whole partition keys, secrets; nor therefore the texts of exceptions, which can quote a client's
bytes, and the libraries' debugging, which writes out headers and bodies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import time
import traceback
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict, Processor, WrappedLogger

_log = structlog.get_logger(__name__)

SECOND_NS = 1_000_000_000
# Of an exception, the innermost: a line is to fit into what a pipe takes at once, 4 KiB.
PLACES_MAX = 20
# Of one event; far beyond what is told of anything that goes as it should.
FLOOD_LINES_MAX = 100
FLOOD_INTERVAL_NS = 10 * SECOND_NS
# They tell where credentials were found, as our own event does.
SAID_BETTER = ("aiobotocore.credentials", "botocore.credentials")
LIBRARIES = ("aiobotocore", "aiohttp", "asyncio", "botocore", "urllib3")


def configure(log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """Send every event, ours and the libraries', to one stream.

    Args:
        log_format: json, console, or auto: console where the stream is a terminal.
        log_level: least level that is written.
        stream: standard output unless given.
    """
    stream = stream or sys.stdout
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[log_level.upper()]
    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console, key="time"),
        _without_exception_text,
    ]
    rendering: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=stream.isatty(), timestamp_key="time", sort_keys=False)]
        if console
        else [_in_order, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Writer(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_as_library_event, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    handler.addFilter(FloodFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.INFO))
    for name in SAID_BETTER:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


class _Writer(logging.StreamHandler[TextIO]):
    """Writes lines for as long as somebody reads them: neither the end of a log's reader nor its sleep is the proxy's.

    A line that would have to wait for the reader of a full pipe is dropped; the next that is taken comes after the
    number of those that were not.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lost = 0
        self._poll: select.poll | None = None
        with contextlib.suppress(OSError):  # what is in memory alone has no descriptor, and takes everything
            descriptor = stream.fileno()
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLOUT)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, unless that would hold up the event loop."""
        if self._poll is not None and not self._poll.poll(0):
            self._lost += 1
            return
        lost, self._lost = self._lost, 0
        if lost:
            _log.warning("log_lines_lost", lines=lost)
            if self._lost:  # that one too, so there is no room for another
                self._lost += lost
                return
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Let a line go, and where there is no reader any more, all that come after it."""
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)
            return
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
        with contextlib.suppress(OSError):
            sys.stderr.write("kinesis-proxy: nobody reads the log any more: it is written no longer\n")


def _as_library_event(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Give a library's line a stable event name."""
    del logger, method
    record: logging.LogRecord = event["_record"]
    return {**event, "event": "library", "logger": record.name, "message": event["event"], "exc_info": record.exc_info}


def _without_exception_text(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Replace an exception by its type and the places that it passed."""
    del logger, method
    exc_info = event.pop("exc_info", None)
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if isinstance(error, BaseException):
        frames = traceback.extract_tb(error.__traceback__)
        event["exception"] = f"{type(error).__module__}.{type(error).__qualname__}"
        event["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-PLACES_MAX:]]
    return event


def _in_order(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put first what a reader of raw lines looks for."""
    del logger, method
    first = {name: event.pop(name) for name in ("time", "level", "event")}
    return {**first, **event}


class FloodFilter(logging.Filter):
    """Lets so many lines of one event through in an interval; the first of the next says how many it dropped.

    Args:
        lines_max: lines of one event in an interval.
        interval_ns: the interval.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        lines_max: int = FLOOD_LINES_MAX,
        interval_ns: int = FLOOD_INTERVAL_NS,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__()
        self._lines_max = lines_max
        self._interval_ns = interval_ns
        self._clock = clock
        self._since_ns = clock()
        self._lines: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written; one of ours is told what was dropped before it."""
        now_ns = self._clock()
        if now_ns - self._since_ns >= self._interval_ns:
            # what was dropped two intervals ago and never told belongs to an event that has ended
            self._since_ns, self._dropped = now_ns, self._lines - Counter(dict.fromkeys(self._lines, self._lines_max))
            self._lines = Counter()
        ours = isinstance(record.msg, dict)
        event = str(record.msg["event"]) if isinstance(record.msg, dict) else record.name
        self._lines[event] += 1
        if self._lines[event] > self._lines_max:
            return False
        dropped = self._dropped.pop(event, 0)
        if dropped and ours:
            record.msg["dropped"] = dropped  # type: ignore[index] # structlog hands its events over as mappings
        return True


class Occasional:
    """Lets the first of equal events through, then one an interval, and counts what it holds back.

    Args:
        interval_ns: least time between two of a kind.
        kinds_max: kinds remembered; the one seen longest ago is forgotten first.
    """

    __slots__ = ("_interval_ns", "_kinds", "_kinds_max")

    def __init__(self, interval_ns: int, kinds_max: int = 1024) -> None:
        self._interval_ns = interval_ns
        self._kinds_max = kinds_max
        self._kinds: OrderedDict[tuple[object, ...], list[int]] = OrderedDict()  # told at, held back since

    def admit(self, kind: tuple[object, ...], now_ns: int) -> int | None:
        """Return how many of the kind were held back since one was let through, or None to hold this one back too."""
        seen = self._kinds.get(kind)
        if seen is not None and now_ns - seen[0] < self._interval_ns:
            seen[1] += 1
            self._kinds.move_to_end(kind)
            return None
        self._kinds[kind] = [now_ns, 0]
        self._kinds.move_to_end(kind)
        if len(self._kinds) > self._kinds_max:
            self._kinds.popitem(last=False)
        return seen[1] if seen is not None else 0
