"""The service's errors as the proxy speaks them: code, HTTP status, text.

Source: PutRecord / PutRecords API reference; texts as recorded from the service by kinesalite.
"""

from __future__ import annotations

from typing import ClassVar


class KinesisError(Exception):
    """An error that a caller is answered with, in the service's shape.

    Args:
        message: the service's text; None where the service sends none.
    """

    code: ClassVar[str] = "InternalFailure"
    status: ClassVar[int] = 400
    # SerializationException and the auth layer's AccessDeniedException spell it `Message`.
    message_member: ClassVar[str] = "message"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message)
        self.message = message
