"""What the checks of the page share: a browser, and proxies under load to look at.

Playwright lies beside this file, where `make page` installs it; the browser is the machine's own.
"""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import Process, Service, serve

HERE = Path(__file__).parent
sys.path.append(str(HERE / ".playwright"))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

PICTURES = HERE.parents[1] / "build" / "page"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOAD_SECONDS = 150.0
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


@dataclass
class Visit:
    """A page that is open, and what it complained about.

    Args:
        page: playwright's.
        complaints: console errors and warnings, uncaught exceptions, requests to elsewhere.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)

    def picture(self, name: str, *, whole: bool = True) -> None:
        """Take a picture of the whole page, or of what is in sight."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=whole)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Give a headless browser, for the whole run."""
    # here, because the default suite collects this file too, and has no playwright
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail(f"none of {', '.join(BROWSERS)} is installed (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # without its sandbox, which root may not use: it visits nothing but loopback
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def visited(browser: Browser, url: str, scheme: str = "light", viewport: dict[str, int] = DESKTOP) -> Iterator[Visit]:
    """Open the page in a browser that has never been there."""
    scale = 2 if viewport == PHONE else 1
    context = browser.new_context(
        viewport=viewport, color_scheme=scheme, device_scale_factor=scale, has_touch=viewport == PHONE
    )
    page = context.new_page()
    visit = Visit(page)

    def console(message: Any) -> None:  # noqa: ANN401 - playwright's
        if message.type in {"error", "warning"}:
            visit.complaints.append(f"{message.type}: {message.text}")

    def requested(request: Any) -> None:  # noqa: ANN401 - playwright's
        if not request.url.startswith(url):
            visit.complaints.append(f"asked for {request.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: visit.complaints.append(f"exception: {error}"))
    page.on("request", requested)
    page.goto(f"{url}/")
    yield visit
    context.close()


@contextmanager
def loaded(url: str, rates: dict[str, float]) -> Iterator[None]:
    """Send to a proxy for as long as it is looked at."""
    options = json.dumps({"url": url, "rates": rates, "seconds": LOAD_SECONDS})
    with Process("the load", [sys.executable, "-m", "tests.page.load", options]):
        yield


@pytest.fixture(scope="module")
def busy() -> Iterator[Service]:
    """Give a proxy in front of three streams: one that flows, one that is throttled, one at its shard's limit."""
    streams = ["orders:4", "clicks:2", "audit-log:1"]
    proxy = serve("embedded", stream=streams, fault=["stream_name=clicks", "throttle_ratio=0.01"])
    with proxy, loaded(proxy.url, {"orders": 1500, "clicks": 300, "audit-log": 970}):
        yield proxy
