"""The head of an answer on HTTP/1.1, for both ways of writing one.

Must never know: connections, what the answer says.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy.transport.reply import http_date

if TYPE_CHECKING:
    from proxy.kinesis.http import Reply

_STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def head_of(reply: Reply) -> bytes:
    """Encode status line and headers, without the empty line.

    Raises:
        ValueError: a header cannot be sent.
    """
    lines, others = reply.lines, reply.other_headers
    if others:
        text = "".join([f"{name}: {value}\r\n" for name, value in others.items()])
        if text.count("\n") != len(others) or text.count("\r") != len(others):
            raise ValueError("a header holds a line break")
        lines += text
    # an upstream may answer with a status that has no name
    status_line = _STATUS_LINES.get(reply.status) or f"HTTP/1.1 {reply.status} \r\n"
    head = f"{status_line}Date: {http_date()}\r\n{lines}Content-Length: {len(reply.body)}\r\n"
    return head.encode("latin-1")
