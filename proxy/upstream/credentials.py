"""The credentials that requests are signed with: found, kept, and renewed before they expire.

Theory of operation: one task owns the search, so that there is never a second one beside it. Requests read what it
found; they wait, for a bounded time, only while there is nothing usable and an attempt is running.

    MISSING ──found──> KEPT ──renewal due──────────> KEPT (anew; a failed renewal keeps the old until they expire)
       ^ │              │  └──refused by service──> the whole chain is walked again ──> KEPT
       └─┘ backoff      └──expired──> MISSING

How much of a session is left is measured once, when it is new, and then counted off by the loop's clock: a wall clock
that jumps neither ends a session nor prolongs it. What that misses (a machine that was asleep), the service says.

A failure of an attempt is never fatal: without credentials the proxy runs, is not ready, and looks again. What an
attempt does (environment, files, web identity, container, instance metadata…) is botocore's credential chain.

What a provider says went wrong (it may quote a program's output, or a server's) goes to the log alone, never to a
caller.

Must never know: what the credentials sign. Wall clock and randomness are handed in.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any

import structlog
from aiobotocore.credentials import AioCredentials

from proxy.core.backoff import Backoff
from proxy.upstream.failures import CredentialsUnavailableError, without_userinfo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from botocore.credentials import ReadOnlyCredentials

    from proxy.upstream.counters import UpstreamCounters

# botocore's own advisory period: from here on it renews when it is asked for frozen credentials.
RENEW_BEFORE_EXPIRY_SECONDS = 15 * 60
# Sessions shorter than that period would otherwise be renewed without a pause.
RENEWAL_PAUSE_SECONDS = 60.0
BACKOFF_BASE_NS = 1_000_000_000
BACKOFF_MAX_NS = 60_000_000_000
# A provider may run a program or ask a server that never answers.
ATTEMPT_SECONDS_MAX = 60.0
REASON_CHARACTERS_MAX = 256

NOTHING_FOUND = "no credentials found in the AWS credential chain (environment, profile, container, instance)"
CHAIN_FAILED = "the AWS credential chain failed"
NOT_RENEWED = "the credentials have expired, and their renewal takes long"
REFUSED = "the service refuses the credentials that the chain has"

_log = structlog.get_logger(__name__)


class CredentialKeeper:
    """Finds credentials and keeps them fresh.

    Args:
        find: walks the credential chain anew; returns botocore's credentials object, or None where there are none.
        counters: where the expiry is shown.
        wall_clock: seconds since the epoch.
        random: uniform in [0, 1).
        wait_seconds: how long `get` waits for an attempt that is running.

    Call `start`, and `close` at the end.
    """

    def __init__(
        self,
        find: Callable[[], Awaitable[Any]],
        counters: UpstreamCounters,
        wall_clock: Callable[[], float],
        random: Callable[[], float],
        wait_seconds: float,
    ) -> None:
        self._find = find
        self._counters = counters
        self._wall_clock = wall_clock
        self._backoff = Backoff(BACKOFF_BASE_NS, BACKOFF_MAX_NS, random)
        self._wait_seconds = wait_seconds
        self._source: Any = None
        self._frozen: ReadOnlyCredentials | None = None
        self._refused: ReadOnlyCredentials | None = None
        self._expire_at_seconds: float = math.inf  # by the loop's clock
        self._expiry: datetime | None = None
        self._failures = 0
        self._reason = NOTHING_FOUND
        self._settled = asyncio.Event()  # no attempt is running
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look for credentials, and wait a bounded time for the first attempt."""
        self._task = asyncio.create_task(self._keep(), name="credentials")
        await self._wait_until_settled()

    async def close(self) -> None:
        """End the search."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def usable(self) -> bool:
        """Whether there are credentials that have not expired."""
        return self._frozen is not None and _now_seconds() < self._expire_at_seconds

    @property
    def account_id(self) -> str | None:
        """The account that the credentials name, if they do."""
        return None if self._frozen is None else self._frozen.account_id

    async def get(self) -> ReadOnlyCredentials:
        """Return credentials to sign one request with.

        Raises:
            CredentialsUnavailableError: there are none, or they have expired.
        """
        frozen = self._frozen
        if frozen is None or self._refused is not None or not self.usable:
            self._hurry()
            await self._wait_until_settled()
            frozen = self._frozen if self.usable else None
            if frozen is None:
                raise CredentialsUnavailableError(self._reason)
        return frozen

    def refuse(self, credentials: ReadOnlyCredentials) -> None:
        """Note that the service does not accept these credentials, so that the chain is walked again.

        News about credentials that have been replaced since is ignored. While the chain has nothing better, the
        refused ones stay in use and the chain is walked again with backoff.
        """
        if credentials == self._frozen and self._refused is None:
            self._refused = credentials
            self._hurry()

    def _hurry(self) -> None:
        """Begin an attempt now, unless one is running or has just failed.

        A service that refuses everything must not have us walk the chain for each request.
        """
        if self._failures == 0 and self._settled.is_set():
            self._settled.clear()
            self._wake.set()

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            self._settled.clear()
            wait_seconds = await self._attempt()
            self._settled.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()

    async def _attempt(self) -> float | None:
        """Look for credentials once, and return how long to wait until the next time, None until hurried."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS_MAX):
                await self._renew()
        except Exception as error:  # noqa: BLE001 - a provider may raise anything: a broken profile, a program, a server
            self._failures += 1
            ours = isinstance(error, CredentialsUnavailableError)
            self._reason = str(error) if ours else CHAIN_FAILED
            wait_seconds = (BACKOFF_BASE_NS // 2 + self._backoff.wait_ns(self._failures)) / 1e9
            _log.warning(
                "credentials_unavailable",
                reason=without_userinfo(str(error) or type(error).__name__)[:REASON_CHARACTERS_MAX],
                still_usable=self.usable,
                retry_in_seconds=round(wait_seconds, 1),
            )
            return wait_seconds
        self._failures = 0
        if self._expire_at_seconds == math.inf:
            return None
        left_seconds: float = self._expire_at_seconds - _now_seconds()
        return max(left_seconds - RENEW_BEFORE_EXPIRY_SECONDS, RENEWAL_PAUSE_SECONDS)

    async def _renew(self) -> None:
        """Take new credentials from their source, or from the chain where there is none or the service refused them."""
        if self._source is None or self._refused is not None:
            self._source = await self._find()
        if self._source is None:
            raise CredentialsUnavailableError(NOTHING_FOUND)
        frozen: ReadOnlyCredentials = await self._source.get_frozen_credentials()
        expiry = getattr(self._source, "_expiry_time", None)  # botocore shows it nowhere else
        if expiry is None:
            self._expire_at_seconds = math.inf
        elif expiry != self._expiry:
            self._expire_at_seconds = _now_seconds() + expiry.timestamp() - self._wall_clock()
        self._expiry = expiry
        self._counters.credentials_expire_at_seconds = None if expiry is None else expiry.timestamp()
        if frozen != self._frozen:
            expire_at = "never" if expiry is None else expiry.isoformat()
            _log.info("credentials_found", provider=self._source.method, expire_at=expire_at)
        self._frozen = frozen
        self._reason = NOT_RENEWED
        refused, self._refused = self._refused, None
        if refused == frozen:
            raise CredentialsUnavailableError(REFUSED)

    async def _wait_until_settled(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_seconds):
                await self._settled.wait()


def _now_seconds() -> float:
    """Return the loop's time, which never jumps."""
    return asyncio.get_running_loop().time()


class KeptCredentials(AioCredentials):  # type: ignore[misc]  # aiobotocore has no types
    """The keeper's credentials in the shape that an aiobotocore client asks for: fresh at each request."""

    def __init__(self, keeper: CredentialKeeper) -> None:
        super().__init__("", "", method="kept")
        self._keeper = keeper

    async def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return credentials for one request."""
        return await self._keeper.get()

    async def get_account_id(self) -> str | None:
        """Return the account that the credentials name, if they do."""
        account_id: str | None = (await self._keeper.get()).account_id
        return account_id


class KeptCredentialsResolver:
    """Takes the place of a session's credential chain, so that its clients sign with the keeper's credentials."""

    def __init__(self, keeper: CredentialKeeper) -> None:
        self._kept = KeptCredentials(keeper)

    async def load_credentials(self) -> KeptCredentials:
        """Return the keeper's credentials."""
        return self._kept
