"""SigV4 for `POST /` requests to Kinesis, in the lean form.

Decides which headers are signed (those that botocore signs for Kinesis) and corrects the proxy's clock by the
service's. The canonical request is written out here, since method, path, query and header names are always the same,
and the signing key is kept for as long as it serves: botocore's generic `add_auth` takes five times as long for that,
and even its `signature` derives the key anew for each request. A test compares the two.

Must never know: sockets, where credentials come from. The clock is handed in: wall time, for signatures carry it.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

from hashlib import sha256
from time import gmtime, strftime
from typing import TYPE_CHECKING, Final

from proxy.kinesis.signature import ALGORITHM, scope_of, signature_of, signing_key_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import ReadOnlyCredentials

_HEADERS: Final = "content-type;host;x-amz-date;x-amz-target"
_HEADERS_WITH_TOKEN: Final = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"  # noqa: S105 - names of headers

_TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"

# The service takes signatures up to 5 minutes old or early; below 4 a clock is not what made it refuse one.
SKEW_SECONDS_MIN: Final = 240.0


class Signer:
    """Signs requests for one region.

    Args:
        region: the region of the credential scope.
        wall_clock: seconds since the epoch.
    """

    __slots__ = (
        "_credentials",
        "_key",
        "_key_day",
        "_region",
        "_scope",
        "_second",
        "_timestamp",
        "_wall_clock",
        "skew_seconds",
    )

    def __init__(self, region: str, wall_clock: Callable[[], float]) -> None:
        self._region = region
        self._wall_clock = wall_clock
        # the signing key, and what it was derived from
        self._credentials: ReadOnlyCredentials | None = None
        self._key_day = ""
        self._key = b""
        self._scope = ""
        # the last timestamp, and of when
        self._second = -1
        self._timestamp = ""
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
        timestamp = self._timestamp_of(int(self.now()))
        day = timestamp[:8]
        if credentials is not self._credentials or day != self._key_day:
            self._key = signing_key_of(credentials.secret_key, day, self._region)
            self._scope = scope_of(day, self._region)
            self._credentials, self._key_day = credentials, day
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
        canonical_hash = sha256(canonical_request.encode()).hexdigest()
        signature = signature_of(self._key, timestamp, self._scope, canonical_hash)
        headers["Authorization"] = (
            f"{ALGORITHM} Credential={credentials.access_key}/{self._scope}, "
            f"SignedHeaders={signed}, Signature={signature}"
        )
        return headers

    def _timestamp_of(self, second: int) -> str:
        if second != self._second:
            self._second = second
            self._timestamp = strftime(_TIMESTAMP, gmtime(second))
        return self._timestamp

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
