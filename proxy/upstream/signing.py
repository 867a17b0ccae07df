"""SigV4 for `POST /` requests to Kinesis, in the lean form.

Decides which headers are signed (those that botocore signs for Kinesis) and corrects the proxy's clock by the
service's. The canonical request is written out here, since method, path, query and header names are always the same;
string to sign, key derivation and signature are botocore's `SigV4Auth`. Its generic `add_auth` costs about 50 µs a
request, this about 10.

Must never know: sockets, where credentials come from. The clock is handed in: wall time, for signatures carry it.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

from hashlib import sha256
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any, Final

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import ReadOnlyCredentials

SIGNING_NAME: Final = "kinesis"

_HEADERS: Final = "content-type;host;x-amz-date;x-amz-target"
_HEADERS_WITH_TOKEN: Final = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"  # noqa: S105 - names of headers

# The service takes signatures up to 5 minutes old or early; below 4 a clock is not what made it refuse one.
SKEW_SECONDS_MIN: Final = 240.0


class _Context:
    """The only part of a request that `SigV4Auth` reads once the canonical request is given."""

    __slots__ = ("context",)

    def __init__(self, timestamp: str) -> None:
        self.context = {"timestamp": timestamp}


class Signer:
    """Signs requests for one region.

    Args:
        region: the region of the credential scope.
        wall_clock: seconds since the epoch.
    """

    __slots__ = ("_auth", "_credentials", "_region", "_wall_clock", "skew_seconds")

    def __init__(self, region: str, wall_clock: Callable[[], float]) -> None:
        self._region = region
        self._wall_clock = wall_clock
        self._credentials: ReadOnlyCredentials | None = None
        self._auth: Any = None
        self.skew_seconds = 0.0

    def now(self) -> float:
        """Return the time that signatures carry: the machine's, corrected by what the service said."""
        return self._wall_clock() + self.skew_seconds

    def headers(
        self, host: str, target: str, content_type: str, body: bytes, credentials: ReadOnlyCredentials
    ) -> dict[str, str]:
        """Return the headers of a signed `POST /`; they must go out as they are.

        Args:
            host: the Host header's value: host name, and port unless it is the scheme's own.
            target: X-Amz-Target.
            content_type: Content-Type.
            body: the whole body.
            credentials: frozen credentials.
        """
        if credentials is not self._credentials:
            self._auth = SigV4Auth(credentials, SIGNING_NAME, self._region)
            self._credentials = credentials
        timestamp = strftime(SIGV4_TIMESTAMP, gmtime(self.now()))
        headers = {
            "Host": host,
            "Content-Type": content_type,
            "X-Amz-Date": timestamp,
            "X-Amz-Target": target,
        }
        signed, token_line = _HEADERS, ""
        if credentials.token:
            headers["X-Amz-Security-Token"] = credentials.token
            signed, token_line = _HEADERS_WITH_TOKEN, f"x-amz-security-token:{_trimmed(credentials.token)}\n"
        canonical_request = (
            f"POST\n/\n\ncontent-type:{_trimmed(content_type)}\nhost:{host}\nx-amz-date:{timestamp}\n{token_line}"
            f"x-amz-target:{_trimmed(target)}\n\n{signed}\n{sha256(body).hexdigest()}"
        )
        context = _Context(timestamp)
        signature = self._auth.signature(self._auth.string_to_sign(context, canonical_request), context)
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._auth.scope(context)}, SignedHeaders={signed}, Signature={signature}"
        )
        return headers

    def learn_time(self, service_time_seconds: float, signed_at_seconds: float) -> bool:
        """Return whether a signature was refused for its time, and see to it that the next ones carry the service's.

        Requests that were out together are refused together: the first one corrects the clock, and the others blame
        their time all the same, for the credentials must not be.

        Call it only when the service refused a signature for its time or without a reason.

        Args:
            service_time_seconds: what the service says the time is.
            signed_at_seconds: the time that the refused signature carried.
        """
        if abs(service_time_seconds - signed_at_seconds) < SKEW_SECONDS_MIN:
            return False
        if abs(service_time_seconds - self.now()) >= SKEW_SECONDS_MIN:
            self.skew_seconds = service_time_seconds - self._wall_clock()
        return True


def _trimmed(value: str) -> str:
    """Return a header's value as SigV4 signs it: trimmed, inner spaces collapsed."""
    return " ".join(value.split())
