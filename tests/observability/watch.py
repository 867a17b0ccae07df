"""`make watch`: two proxies under load and faults, scraped by a real Prometheus with the rules that are shipped.

What must hold: promtool is content with the rules, their unit tests and /metrics; the alerts on lost records,
throttling, rejecting, being stuck and being down fire when there is reason to, and resolve; every expression of the
dashboards and every rule answers with data. What was recorded stays in build/watch: `make pictures` draws it.

Durations of the rules are divided by 20, so that it takes minutes. All load is on loopback, bounded, and ends itself.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
import urllib.request
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from proxy.core.hashing import hash_key_of, shown_hash_key
from tests.observability.load import HOT_KEY
from tests.observability.prometheus import RATE_INTERVAL, Prometheus, hurried, promtool
from tests.support.dashboards.files import documents
from tests.support.operations_tables import PROJECT, RULES, read_rules
from tests.support.processes import Process, ProcessError, Service, emulate, serve
from tests.support.promql import selectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.promql import Selector

FOLDER = PROJECT / "build" / "watch"
STORY = FOLDER / "story.json"
QUIET_SECONDS = 30
STORY_SECONDS_MAX = 1_200
OVERLOAD_SECONDS = 120
ALERT_TIMEOUT_SECONDS = 150
BASE_FAULTS = {"latency_ms": 12, "latency_spread_ms": 10}


class Load(Process):
    """A load generator; see `tests.observability.load`."""

    def __init__(self, url: str, stream: str, rate: float, seconds: float, *more: str) -> None:
        flags = ["--stream", stream, "--rate", str(rate), "--seconds", str(seconds), *more]
        super().__init__("load", [sys.executable, "-m", "tests.observability.load", url, *flags])

    def __enter__(self) -> Self:
        return self


class Watch:
    """The story, and what came of it.

    Args:
        kinesis: the emulator that the proxies send to.
        proxies: by name.
        prometheus: that watches them.
    """

    def __init__(self, kinesis: Service, proxies: dict[str, Service], prometheus: Prometheus) -> None:
        self._kinesis = kinesis
        self._proxies = proxies
        self._prometheus = prometheus
        self._started_at = time.time()
        self.failures: list[str] = []

    def run(self) -> None:
        """Let it happen."""
        self._say("two proxies, a stream of 2 shards and one of 1, load of 330 records/s")
        self.faults()
        time.sleep(QUIET_SECONDS)
        firing = self._prometheus.all_firing()
        self._expect(not firing, f"nothing fires while all is well {firing or ''}")
        self._check_metrics()
        first, *_, last = self._proxies.values()
        self._say("2,000 records/s for a shard that takes 1,000, many of one key")
        with Load(first.url, "clicks", 2_000, OVERLOAD_SECONDS, "--hot-ratio", "0.3", "--put-records-ratio", "0.5"):
            self._until_firing("Rejecting", "HotShard")
            self._check_hot_keys(first)
        self._until_quiet("Rejecting", "HotShard")
        self._say("a tenth of the records is throttled")
        self.faults(throttle_ratio=0.1)
        self._until_firing("Throttled")
        self.faults()
        self._until_quiet("Throttled", "Rejecting")  # rates recover only slowly from throttles that were none of theirs
        self._say("Kinesis is silent")
        self._kinesis.send_signal(signal.SIGSTOP)
        self._until_firing("Stuck", "RecordsLost")
        self._kinesis.send_signal(signal.SIGCONT)
        self._until_quiet("Stuck", "RecordsLost")
        self._say("requests fail, and connections break")
        self.faults(request_error_ratio=0.2, reset_after_ratio=0.1)
        self._until_firing("UpstreamErrors")
        self.faults()
        self._until_quiet("UpstreamErrors")
        self._say("a proxy hangs")
        last.send_signal(signal.SIGSTOP)
        self._until_firing("Down")
        last.send_signal(signal.SIGCONT)
        self._until_quiet("Down")
        time.sleep(QUIET_SECONDS)
        self._check_rules()
        self._check_dashboards()
        self._write_story()

    def faults(self, **faults: float) -> None:
        """Make the emulator ill, or well again."""
        body = json.dumps({**BASE_FAULTS, **faults}).encode()
        request = urllib.request.Request(f"{self._kinesis.admin_url}/faults", body, method="PUT")  # noqa: S310 - a server of the test's own
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310 - as above
            pass

    def _until_firing(self, *names: str) -> None:
        for name in names:
            alert = f"KinesisProxy{name}"
            self._wait(f"{name} fires", partial(self._prometheus.firing, alert))
            for firing in self._prometheus.firing(alert)[:1]:
                summary = firing["annotations"]["summary"]
                self._expect("error" not in summary and "<" not in summary, f'  it says "{summary}"')

    def _until_quiet(self, *names: str) -> None:
        for name in names:
            self._wait(f"{name} resolves", partial(self._prometheus.quiet, f"KinesisProxy{name}"))

    def _wait(self, what: str, holds: Callable[[], object]) -> None:
        begun_at = time.monotonic()
        while not holds():
            if time.monotonic() - begun_at > ALERT_TIMEOUT_SECONDS:
                self._expect(False, f"{what} within {ALERT_TIMEOUT_SECONDS} s")  # noqa: FBT003 - it did not
                return
            time.sleep(1)
        self._expect(True, f"{what} after {time.monotonic() - begun_at:.0f} s")  # noqa: FBT003 - it did

    def _check_metrics(self) -> None:
        """Have promtool judge names, units and help texts."""
        for name, proxy in self._proxies.items():
            with urllib.request.urlopen(f"{proxy.admin_url}/metrics", timeout=10) as response:  # noqa: S310 - as above
                text = response.read()
            complaints = promtool("check", "metrics", cwd=FOLDER, stdin=text).strip()
            samples = sum(1 for line in text.decode().splitlines() if line and not line.startswith("#"))
            self._expect(
                not complaints, f"promtool check metrics of {name}: {complaints or 'clean'}, {samples} samples"
            )

    def _check_hot_keys(self, proxy: Service) -> None:
        with urllib.request.urlopen(f"{proxy.admin_url}/status", timeout=10) as response:  # noqa: S310 - as above
            status = json.load(response)
        hot = {stream["name"]: stream["hot_partition_keys"] for stream in status["streams"]}["clicks"]
        found = bool(hot) and hot[0]["hash_key"] == shown_hash_key(hash_key_of(HOT_KEY))
        self._expect(found, f"/status names the hot key: {hot[:1]}")
        self._expect("partition_keys_hot" in proxy.output(), "the log names it too")

    def _check_rules(self) -> None:
        """Hold every rule to what Prometheus made of it."""
        groups = self._prometheus.ask("rules")["groups"]
        ill = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        count = sum(len(group["rules"]) for group in groups)
        self._expect(not ill and count == len(read_rules()), f"{count} rules are evaluated without error {ill or ''}")
        silent = []
        for rule in read_rules():
            asked = {_text_of(selector) for selector in selectors(rule["expr"])}
            asked |= {rule["record"]} if "record" in rule else set()
            silent += [
                f"{rule.get('alert') or rule['record']}: {each}" for each in sorted(asked) if not self._had(each)
            ]
        self._expect(not silent, f"everything that rules ask for answers with data {silent or ''}")
        fired = {series["metric"]["alertname"] for series in self._series('ALERTS{alertstate="firing"}')}
        self._say(f"fired at some time: {', '.join(sorted(name.removeprefix('KinesisProxy') for name in fired))}")

    def _check_dashboards(self) -> None:
        """Ask every query of every panel over the whole story."""
        count, silent = 0, []
        for path, dashboard in documents().items():
            for panel in dashboard["panels"]:
                for target in panel.get("targets", []):
                    count += 1
                    where = f"{path.stem}: {panel['title']} {target['refId']}"
                    if not self._had(with_values(target["expr"])):
                        silent.append(where)
        self._expect(not silent, f"{count} queries of the dashboards answer with data {silent or ''}")

    def _series(self, expr: str) -> list[dict[str, Any]]:
        return self._prometheus.query_range(expr, self._started_at, time.time())

    def _had(self, expr: str) -> bool:
        return any(number != "NaN" for series in self._series(expr) for _, number in series["values"])

    def _write_story(self) -> None:
        STORY.write_text(json.dumps({"started_at": self._started_at, "ended_at": time.time()}), encoding="utf-8")

    def _say(self, text: str) -> None:
        print(f"{time.time() - self._started_at:4.0f} s  {text}", flush=True)  # noqa: T201 - the report

    def _expect(self, holds: bool, what: str) -> None:  # noqa: FBT001 - what was found
        self._say(f"  {'ok  ' if holds else 'FAIL'} {what}")
        if not holds:
            self.failures.append(what)


def with_values(expr: str) -> str:
    """Return a dashboard's expression with everything chosen."""
    expr = expr.replace("$__rate_interval", RATE_INTERVAL).replace("$__range", "1m")
    return re.sub(r'"\$(job|instance|stream)"', '".*"', expr)


def _text_of(selector: Selector) -> str:
    matchers = ", ".join(f"{label}{operator}{json.dumps(value)}" for label, operator, value in selector.matchers)
    return f"{selector.name}{{{matchers}}}"


def check_rule_files() -> None:
    """Have promtool judge what is shipped.

    Raises:
        ProcessError: it is not content.
    """
    for arguments in (
        ("check", "config", "prometheus.yaml"),
        ("check", "rules", RULES.name),
        ("test", "rules", "rules_test.yaml"),
    ):
        said = promtool(*arguments, cwd=RULES.parent)
        print(f"promtool {' '.join(arguments)}: {' '.join(said.split())}", flush=True)  # noqa: T201 - the report


def main() -> int:
    """Run the story; return how many expectations failed."""
    check_rule_files()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with emulate(stream=["orders:2", "clicks:1"]) as kinesis, serve(kinesis.url) as one, serve(kinesis.url) as two:
        proxies = {"producer-1": one, "producer-2": two}
        targets = {name: proxy.admin_port for name, proxy in proxies.items()}
        with (
            Prometheus(FOLDER, targets, hurried(RULES.read_text(encoding="utf-8"))) as prometheus,
            Load(one.url, "orders", 200, STORY_SECONDS_MAX),
            Load(two.url, "orders", 100, STORY_SECONDS_MAX),
            Load(one.url, "clicks", 30, STORY_SECONDS_MAX),
        ):
            watch = Watch(kinesis, proxies, prometheus)
            watch.run()
    failures = watch.failures
    print(f"{len(failures)} expectations failed: {failures}" if failures else "all as expected")  # noqa: T201 - as above
    return len(watch.failures)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(str(error))
