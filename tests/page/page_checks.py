"""The page to watch, in a real browser, against a real proxy under load: `make page`. Pictures go to build/page/."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.page.conftest import PHONE, loaded, visited
from tests.page.load import DATA, PARTITION_KEY
from tests.support.processes import CREDENTIALS, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.page.conftest import Visit
    from tests.support.processes import Service

pytestmark = pytest.mark.timeout(180)

STREAMS = ("audit-log", "clicks", "orders")
# What a page of 200 streams, one of them with 1,000 shards and opened, may keep a viewer's processor busy.
VIEWER_BUSY_RATIO_MAX = 0.5


def number_of(text: str) -> float:
    """Return the first number in a text."""
    found = re.search(r"[\d,]+(\.\d+)?", text)
    assert found, text
    return float(found[0].replace(",", ""))


def fact(page: Page, term: str) -> Locator:
    """Return the value that stands beside a term, in the books of all records."""
    return page.locator("#books div", has=page.get_by_text(term, exact=True)).locator("dd")


def row_of(page: Page, stream_name: str) -> Locator:
    """Return a stream's row."""
    return page.locator("#streams tbody", has=page.locator(".name", has_text=re.compile(f"^{re.escape(stream_name)}$")))


def opened(page: Page, stream_name: str) -> Locator:
    """Open a stream, unless the page has done so itself because there were few; return its row."""
    row = row_of(page, stream_name)
    button = row.get_by_role("button").first
    if button.get_attribute("aria-expanded") == "false":
        button.click()
    return row


def when_drawn(visit: Visit) -> Page:
    """Wait until the page shows rates of its streams."""
    expect(visit.page.locator("#streams tbody").first).to_be_visible(timeout=15_000)
    return visit.page


def when_busy(visit: Visit) -> Page:
    """Wait until the page shows the streams of the busy proxy, none of them opened."""
    page = when_drawn(visit)
    for name in STREAMS:
        expect(row_of(page, name)).to_be_visible(timeout=15_000)
    if page.locator('.opener[aria-expanded="true"]').count():
        page.reload()
        return when_busy(visit)
    return page


def test_a_proxy_that_has_seen_no_record_says_what_will_come(browser: Browser) -> None:
    """A newcomer opens the page before the first call, and is not shown an empty table."""
    with serve("embedded", stream=["orders:4"]) as proxy, visited(browser, proxy.admin_url) as visit:
        expect(visit.page.locator("#no-streams")).to_be_visible()
        expect(visit.page.locator("#streams")).to_be_hidden()
        expect(visit.page.locator("#state")).to_contain_text("ready")
        visit.page.wait_for_timeout(2_500)
        visit.picture("empty")
        with loaded(proxy.url, {"orders": 20}):
            expect(row_of(visit.page, "orders")).to_be_visible(timeout=10_000)
            expect(visit.page.locator(".shards tbody tr")).to_have_count(4)
            visit.page.wait_for_timeout(8_000)
            visit.picture("first-records")
        assert not visit.complaints


def test_a_proxy_that_went_away_is_told_and_found_again(browser: Browser) -> None:
    """Old numbers are never taken for new ones."""
    proxy = serve("embedded", stream=["orders:4"])
    with proxy, loaded(proxy.url, {"orders": 100}), visited(browser, proxy.admin_url) as visit:
        page = when_drawn(visit)
        proxy.stop()
        expect(page.locator("#notice")).to_contain_text("does not answer", timeout=10_000)
        expect(page.locator("#state")).to_contain_text("no answer")
        expect(page.locator("body")).to_have_class(re.compile("stale"), timeout=10_000)
        visit.picture("no-answer")
        again = serve(
            "embedded",
            stream=["orders:4"],
            listen=f"127.0.0.1:{proxy.port}",
            admin_listen=f"127.0.0.1:{proxy.admin_port}",
        )
        again.port, again.admin_port, again.admin_url = proxy.port, proxy.admin_port, proxy.admin_url
        with again:
            expect(page.locator("#notice")).to_be_hidden(timeout=10_000)
            expect(page.locator("#state")).to_contain_text("ready")
            expect(page.locator("body")).not_to_have_class(re.compile("stale"))


def test_two_hundred_streams_and_a_thousand_shards_stay_usable(browser: Browser) -> None:
    """The first forty are shown, a filter finds the others, and of a thousand shards the most pressed."""
    names = [f"team-{place:03d}-events" for place in range(199)]
    streams = [*(f"{name}:1" for name in names), "wide:1000"]
    rates = {**dict.fromkeys(names, 2.0), "wide": 400.0, "team-007-events": 60.0}
    proxy = serve("embedded", stream=streams, streams_max=300)
    with proxy, loaded(proxy.url, rates), visited(browser, proxy.admin_url) as visit:
        page = when_drawn(visit)
        expect(page.locator("#streams-count")).to_have_text("200", timeout=20_000)
        expect(page.locator("#streams tbody").locator("visible=true")).to_have_count(40, timeout=10_000)
        expect(page.locator("#show-all")).to_have_text("Show 160 more")
        page.locator('th[data-sort="rate"] button').click()
        page.wait_for_timeout(5_500)
        visit.picture("many-streams")
        page.locator("#filter").fill("WIDE")
        expect(page.locator("#streams-count")).to_have_text("1 of 200")
        opened(page, "wide")
        expect(page.locator(".shards tbody tr")).to_have_count(24)
        expect(page.locator(".shard-counts")).to_contain_text("1,000 shards")
        visit.picture("wide-stream")
        page.locator("#filter").fill("")
        page.locator("#show-all").click()
        expect(page.locator("#streams > tbody")).to_have_count(200)
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable")

        def busy_seconds() -> float:
            metrics = session.send("Performance.getMetrics")["metrics"]
            return float(next(each["value"] for each in metrics if each["name"] == "TaskDuration"))

        began_at, began = time.monotonic(), busy_seconds()
        page.wait_for_timeout(10_000)
        ratio = (busy_seconds() - began) / (time.monotonic() - began_at)
        print(f"\na viewer's processor is busy for {ratio:.0%} of the time with 200 streams")  # noqa: T201 - a figure
        assert ratio < VIEWER_BUSY_RATIO_MAX
        assert not visit.complaints


def test_the_books_on_the_page_balance(browser: Browser, busy: Service) -> None:
    """Received is delivered and refused and expired and withdrawn and queued and in flight, as shown."""
    with visited(browser, busy.admin_url) as visit:
        when_busy(visit)
        for _ in range(3):
            visit.page.wait_for_timeout(1_100)
            received, *others = map(number_of, visit.page.locator("#books dd").all_inner_texts())
            assert received == sum(others) > 0


def test_numbers_and_plots_move_by_themselves(browser: Browser, busy: Service) -> None:
    """Nobody has to reload."""
    with visited(browser, busy.admin_url) as visit:
        page = when_busy(visit)
        line = page.locator(".tile .line.main").first
        before = (number_of(fact(page, "received").inner_text()), line.get_attribute("d"))
        page.wait_for_timeout(3_000)
        after = (number_of(fact(page, "received").inner_text()), line.get_attribute("d"))
        assert after[0] > before[0] + 2_000
        assert after[1] != before[1]


def test_a_phone_shows_everything_in_its_width(browser: Browser, busy: Service) -> None:
    """At 360 pixels nothing is cut off, nothing scrolls sideways, and every figure has its name."""
    with visited(browser, busy.admin_url, "dark", PHONE) as visit:
        page = when_busy(visit)
        opened(page, "orders")
        expect(row_of(page, "orders").locator(".shards tbody tr")).to_have_count(4)
        page.wait_for_timeout(7_000)
        visit.picture("phone-dark")
        for place, selector in enumerate(("header", "#books", ".detail")):
            page.locator(selector).first.evaluate("node => node.scrollIntoView()")
            visit.picture(f"phone-dark-{place + 1}", whole=False)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        beyond = page.evaluate(
            "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().width > 0 && "
            "!e.closest('thead') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"
        )
        assert not beyond
        named = (
            row_of(page, "orders")
            .locator('[data-cell="queued"]')
            .first.evaluate("cell => getComputedStyle(cell, '::before').content")
        )
        assert named == '"Queued"'
        assert not visit.complaints
    with visited(browser, busy.admin_url, "light", PHONE) as visit:
        when_busy(visit).wait_for_timeout(3_000)
        visit.picture("phone-light")


def test_the_keyboard_alone_opens_streams_sorts_and_pauses(browser: Browser, busy: Service) -> None:
    """Tab reaches every control, shows where it is, and stays there while numbers change."""
    with visited(browser, busy.admin_url) as visit:
        page = when_busy(visit)
        seen: list[str] = []
        for _ in range(60):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "(e => [e.innerText || e.id || e.getAttribute('aria-label') || '', "
                "getComputedStyle(e).outlineStyle, e.tagName])(document.activeElement)"
            )
            if focused[2] == "BODY":
                break
            assert focused[1] != "none", f"{focused} does not show that it has the focus"
            seen.append(focused[0].strip())
            if focused[0].strip() == "orders":
                break
        assert {"To the streams", "Pause", "Stream", "Delivered/s", "audit-log", "clicks", "orders"} <= set(seen)
        page.keyboard.press("Enter")
        expect(row_of(page, "orders").locator(".shards tbody tr")).to_have_count(4)
        page.wait_for_timeout(6_000)
        assert page.evaluate("document.activeElement.innerText").strip() == "orders"
        visit.picture("keyboard")
        page.keyboard.press("Enter")
        expect(row_of(page, "orders").locator(".shards")).to_have_count(0)

        page.locator('th[data-sort="rate"] button').focus()
        page.keyboard.press("Enter")
        expect(page.locator('th[data-sort="rate"]')).to_have_attribute("aria-sort", "descending")
        assert page.locator("#streams .name").first.inner_text() == "orders"

        page.locator("figure.plot").first.focus()
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        assert re.match(r"\N{MINUS SIGN}\d+ s: delivered", page.locator(".readout").first.inner_text())

        page.locator("#pause").focus()
        page.keyboard.press("Space")
        expect(page.locator("#age")).to_have_text("paused")
        page.wait_for_timeout(1_500)
        before = fact(page, "received").inner_text()
        page.wait_for_timeout(2_500)
        assert fact(page, "received").inner_text() == before
        page.keyboard.press("Space")
        page.wait_for_timeout(2_500)
        assert fact(page, "received").inner_text() != before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_that_keeps_anyone_out(browser: Browser, busy: Service, scheme: str) -> None:
    """Contrast, names, roles and structure, as axe-core checks them, with a stream opened."""
    with visited(browser, busy.admin_url, scheme) as visit:
        page = when_busy(visit)
        opened(page, "orders")
        expect(row_of(page, "orders").locator(".shards tbody tr")).to_have_count(4)
        found: list[dict[str, Any]] = Axe().run(page).response["violations"]
        assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []


def test_names_are_never_markup(browser: Browser, busy: Service) -> None:
    """Whatever a stream, a shard or an error is called is shown as it is written, and runs nothing."""
    hostile = '<img src="/x" onerror="document.title=1"><script>document.title=2</script>"&amp;'

    def rename(route: Any) -> None:  # noqa: ANN401 - playwright's
        # what is asked for by the hostile name is answered for the stream that has it here
        text = route.fetch(url=route.request.url.replace(quote(hostile, safe=""), "orders")).text()
        for name in ("orders", "shardId-000000000001", "ProvisionedThroughputExceededException"):
            text = text.replace(f'"{name}"', json.dumps(hostile))
        route.fulfill(status=200, headers={"Content-Type": "application/json"}, body=text)

    with visited(browser, busy.admin_url) as visit:
        visit.page.route("**/page/now", rename)
        visit.page.route("**/page/stream?*", rename)
        page = when_drawn(visit)
        expect(row_of(page, hostile)).to_be_visible(timeout=15_000)
        expect(opened(page, hostile).locator(".shards tbody tr")).to_have_count(4)
        expect(row_of(page, hostile).locator(".shards")).to_contain_text(hostile)
        expect(opened(page, "clicks").locator(".error dt")).to_have_text(hostile)
        assert page.locator("#streams img, #streams script").count() == 0
        assert "kinesis-proxy" in page.title()
        visit.picture("hostile-names")


def test_no_answer_of_the_page_holds_a_partition_key_data_or_secret(browser: Browser, busy: Service) -> None:
    """All that a browser was sent, every byte of it."""
    bodies: list[bytes] = []
    with visited(browser, busy.admin_url) as visit:
        visit.page.on("response", lambda response: bodies.append(response.body()))
        visit.page.reload()
        page = when_busy(visit)
        opened(page, "orders")
        page.wait_for_timeout(3_000)
    everything = b"".join(bodies)
    assert b"shardId-000000000003" in everything
    for secret in (PARTITION_KEY.encode(), DATA, CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode()):
        assert secret not in everything


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_what_the_proxy_does_in_both_themes(browser: Browser, busy: Service, scheme: str) -> None:
    """Streams, shards, rates and books agree with /status, and the browser complains of nothing."""
    with visited(browser, busy.admin_url, scheme) as visit:
        page = when_busy(visit)
        for name in STREAMS:
            expect(row_of(page, name)).to_be_visible()
        opened(page, "orders")
        opened(page, "audit-log")
        expect(row_of(page, "orders").locator(".shards tbody tr")).to_have_count(4)
        page.wait_for_timeout(9_000)
        visit.picture(f"busy-{scheme}")
        with urllib.request.urlopen(f"{busy.admin_url}/status") as answer:  # noqa: S310 - loopback
            status = json.load(answer)
        rates = {stream["name"]: stream["delivered_per_second"] for stream in status["streams"]}
        for name in STREAMS:
            shown = number_of(row_of(page, name).locator('[data-cell="rate"]').inner_text())
            assert shown == pytest.approx(rates[name], rel=0.3, abs=20)
        shards = row_of(page, "orders").locator('.shards [data-cell="records"]').all_inner_texts()
        assert sum(map(number_of, shards)) == pytest.approx(rates["orders"], rel=0.3)
        assert number_of(fact(page, "received").inner_text()) == pytest.approx(
            status["records"]["received"], abs=20_000
        )
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", ground)[:3])) / 3
        assert brightness > 200 if scheme == "light" else brightness < 60
        assert not visit.complaints
