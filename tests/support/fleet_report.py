"""What a fleet's run has to keep, and what it has to show: its broken promises, and its figures as Markdown."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from tests.support.fleet_client import DELIVERED, EXPIRED, REFUSED, Tally
from tests.support.fleet_plan import jain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.fleet_books import Sample
    from tests.support.fleet_plan import ClientSpec
    from tests.support.fleet_run import Calls, FleetRun, Passed

LATE_SECONDS_MAX = 0.1
OFFERED_MIN = 0.98
MEBI = 1024 * 1024


def broken_promises(run: FleetRun) -> list[str]:
    """Return what was broken of order, outcome and books; figures of rates and times break nothing."""
    verdict, last = run.verdict, run.samples[-1]
    unknown, timed_out, failed, delivered = (
        _sum(last, name) for name in ("unknown_outcomes", "timed_out", "failed", "delivered")
    )
    broken = [f"{count} {kind}" for kind, count in verdict.problems.items()] + verdict.examples
    if verdict.duplicates > unknown:
        broken.append(
            f"{verdict.duplicates} duplicates, but only {unknown} records were sent again after an unknown outcome"
        )
    # Written, and its client does not know: the proxy gave it up in flight, or the client got no answer.
    unanswered = sum(tally.unanswered for _, tally in _tallies(run))
    if verdict.unacknowledged > failed + unanswered:
        broken.append(
            f"{verdict.unacknowledged} records are in the stream whose clients were not told, but only {failed} failed "
            f"in the proxies and {unanswered} have no answer"
        )
    # Only a request that the upstream carried out after its time may write behind a younger record.
    if verdict.late_duplicates + run.overtaken > timed_out:
        broken.append(
            f"{verdict.late_duplicates} duplicates and {run.overtaken} failed records came behind younger ones of "
            f"their key, but only {timed_out} records were in a request that timed out"
        )
    passed_over = sum(tally.passed_over for _, tally in _tallies(run))
    if passed_over:
        broken.append(f"{passed_over} records were refused while a later one of their key in the same call was taken")
    if run.records_read != last.stream.accepted or run.unread_shards:
        broken.append(f"read {run.records_read} of {last.stream.accepted} records; unread shards {run.unread_shards}")
    if delivered > last.stream.accepted:
        broken.append(f"{delivered} delivered by the books of the proxies, {last.stream.accepted} by the stream's")
    for sample in run.samples:
        broken += [
            f"proxy {number}: its books leave {books.balance} records unexplained"
            for number, books in enumerate(sample.proxies)
            if books.balance
        ]
    return broken + [text for number in range(run.options.proxies) for text in _broken_at(run, number)]


def _broken_at(run: FleetRun, number: int) -> Iterable[str]:
    """Hold one proxy's books, after the end, against what its clients saw."""
    books = run.samples[-1].proxies[number]
    tallies = [tally for spec, tally in _tallies(run) if spec.proxy == number]
    sendings, unanswered, acknowledged = (
        sum(getattr(tally, name) for tally in tallies) for name in ("sendings", "unanswered", "acknowledged")
    )
    if books.held:
        yield f"proxy {number}: {books.held} records have no outcome"
    if books.regressions:
        yield f"proxy {number}: {books.regressions} sequence numbers do not increase within their key"
    # A call without an answer may or may not have reached the proxy; every other one is in its books.
    if not sendings - unanswered <= books.received + books.rejected <= sendings:
        yield (
            f"proxy {number}: {books.received} received and {books.rejected} rejected are not the {sendings} sent, of "
            f"which {unanswered} have no answer"
        )
    if not acknowledged <= books.delivered <= acknowledged + unanswered:
        yield f"proxy {number}: {books.delivered} delivered, but its clients were told of {acknowledged}"


def _tallies(run: FleetRun) -> list[tuple[ClientSpec, Tally]]:
    by_number = {number: tally for summary in run.summaries for number, tally in summary.tallies.items()}
    return [(spec, by_number[spec.number]) for spec in run.clients if spec.number in by_number]


def markdown(run: FleetRun) -> str:
    """Return the whole report."""
    options = run.options
    title = (
        f"# {options.proxies} proxies, {options.shards} shards, {options.overload:g} times what the shards take, "
        f"{options.seconds:g} s\n\n{len(run.clients)} clients, seed {options.seed}, payloads of {options.data_bytes} "
        f"bytes, settings of the proxies: {options.settings or 'the defaults'}."
    )
    parts = [title, _stretches(run), _proxies(run), _waits(run), _classes(run), _outcomes(run), _costs(run)]
    return "\n\n".join(parts)


def _sum(sample: Sample, name: str) -> int:
    """Add up a count over the proxies."""
    return sum(int(getattr(books, name)) for books in sample.proxies)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def quantiles(values: array[float], unit: float = 1000.0) -> list[str]:
    """Return median, 99th percentile and maximum, in milliseconds unless told otherwise."""
    if not values:
        return ["-", "-", "-"]
    ordered = sorted(values)
    return [f"{ordered[int(share * (len(ordered) - 1))] * unit:,.1f}" for share in (0.5, 0.99, 1.0)]


def _stretches(run: FleetRun) -> str:
    rows = [_stretch_row(passed, run.options.shard_records_per_second) for passed in run.passed]
    return (
        "## Use, throttled share and fairness\n\n"
        "Use is what the stream took of its open shards' limits (a new shard takes a second's worth at once, hence "
        "more than 1); throttled by limits and by faults are shares of what "
        "reached the stream; Jain's index is over the proxies' delivered records.\n\n"
        + table(
            (
                *("stretch", "seconds", "sent/s", "written/s", "use", "throttled by limits", "by faults"),
                *("throttled, as the proxies saw it", "rejected/s", "failed/s", "Jain"),
            ),
            rows,
        )
    )


def _stretch_row(passed: Passed, shard_records_per_second: float) -> list[object]:
    before, after, seconds = passed.before, passed.after, passed.seconds

    def grown(name: str) -> int:
        return _sum(after, name) - _sum(before, name)

    accepted, throttled, faulted = (
        getattr(after.stream, name) - getattr(before.stream, name) for name in ("accepted", "throttled", "faulted")
    )
    reached = max(1, accepted + throttled + faulted)
    delivered = [float(a.delivered - b.delivered) for a, b in zip(after.proxies, before.proxies, strict=True)]
    limit = after.stream.open_shards * shard_records_per_second * seconds
    return [
        passed.stretch.name,
        f"{seconds:.1f}",
        f"{passed.calls.records / seconds:,.0f}",
        f"{accepted / seconds:,.0f}",
        f"{accepted / limit:.3f}",
        f"{throttled / reached:.2%}",
        f"{faulted / reached:.2%}",
        f"{grown('throttled') / max(1, grown('attempts')):.2%}",
        f"{grown('rejected') / seconds:,.0f}",
        f"{grown('failed') / seconds:,.0f}",
        f"{jain(delivered):.4f}",
    ]


def _proxies(run: FleetRun) -> str:
    first, last = run.samples[0], run.samples[-1]
    seconds = last.at - first.at
    rows = [
        [
            number,
            f"{books.received:,}",
            f"{books.delivered:,}",
            f"{books.failed:,}",
            f"{books.rejected:,}",
            f"{books.throttled / max(1, books.attempts):.2%}",
            f"{books.unknown_outcomes:,}",
            f"{books.timed_out:,}",
            f"{max(sample.proxies[number].held for sample in run.samples):,}",
            f"{max(sample.proxies[number].lag_seconds for sample in run.samples) * 1000:.0f}",
            f"{_cpu_seconds(run, number):.1f} ({_cpu_seconds(run, number) / seconds:.0%})",
            f"{books.resident_bytes / MEBI:.0f}",
        ]
        for number, books in enumerate(last.proxies)
    ]
    count = len(run.samples) * run.options.proxies
    return (
        f"## The proxies\n\nTheir books were looked at {count} times.\n\n"
        + table(
            (
                *("proxy", "received", "delivered", "failed", "rejected", "throttled", "unknown outcomes"),
                *("timed out", "most held at a look", "longest event loop delay, ms", "CPU-seconds", "MiB at the end"),
            ),
            rows,
        )
        + f"\n\nJain's index over all of the run: {jain([float(b.delivered) for b in last.proxies]):.4f}."
    )


def _cpu_seconds(run: FleetRun, number: int) -> float:
    """Return what a proxy used since the first look at it: without its start."""
    return run.samples[-1].proxies[number].cpu_seconds - run.samples[0].proxies[number].cpu_seconds


def _waits(run: FleetRun) -> str:
    last = run.samples[-1]
    everything: dict[tuple[bool, str], array[float]] = {}
    rows = []
    for passed in run.passed:
        rows += [[passed.stretch.name, *row] for row in _wait_rows(passed.calls)]
        for kind, seconds in passed.calls.seconds.items():
            everything.setdefault(kind, array("f")).extend(seconds)
    for (single, outcome), seconds in sorted(everything.items(), reverse=True):
        operation = "PutRecord" if single else "PutRecords"
        rows.append(["**all**", f"{operation} {outcome}", f"{len(seconds):,}", *quantiles(seconds)])
    return (
        "## How long calls took, in ms\n\n"
        "As the clients saw it, from sending a request to its answer. Refused: every record, at the proxy's door; "
        "expired: after a wait, for want of throughput. By their own clocks the proxies answered "
        f"{_sum(last, 'quick_singles'):,} of {_sum(last, 'singles'):,} PutRecord calls within 10 ms.\n\n"
        + table(("stretch", "calls", "", "p50", "p99", "max"), rows)
    )


def _wait_rows(calls: Calls) -> list[list[str]]:
    shown = ((True, DELIVERED), (True, REFUSED), (True, EXPIRED), (False, DELIVERED))
    return [
        [f"{'PutRecord' if single else 'PutRecords'} {outcome}", f"{len(seconds):,}", *quantiles(seconds)]
        for single, outcome in shown
        if (seconds := calls.seconds.get((single, outcome)))
    ]


def _classes(run: FleetRun) -> str:
    tallies: dict[str, list[Tally]] = {}
    for spec, tally in _tallies(run):
        tallies.setdefault(spec.habit.name, []).append(tally)
    rows = []
    for name, members in tallies.items():
        started, acknowledged, given_up, sendings, unanswered = (
            sum(getattr(tally, field) for tally in members)
            for field in ("started", "acknowledged", "given_up", "sendings", "unanswered")
        )
        counts = sorted(tally.acknowledged for tally in members)
        rows.append(
            [
                name,
                len(members),
                f"{started:,}",
                f"{acknowledged / max(1, started):.1%}",
                f"{acknowledged / max(1, sendings):.1%}",
                f"{given_up:,}",
                f"{unanswered:,}",
                f"{counts[0]:,} / {counts[len(counts) // 2]:,} / {counts[-1]:,}",
                f"{jain([float(count) for count in counts]):.4f}",
            ]
        )
    return "## The clients\n\nA record is tried up to five times.\n\n" + table(
        (
            *("class", "clients", "records", "of them acknowledged", "of their sendings", "given up"),
            *("sendings without an answer", "acknowledged: least / median / most of a client", "Jain"),
        ),
        rows,
    )


def _outcomes(run: FleetRun) -> str:
    verdict, last = run.verdict, run.samples[-1]
    errors: Counter[str] = Counter()
    for summary in run.summaries:
        errors.update(summary.errors)
    unknown, failed = _sum(last, "unknown_outcomes"), _sum(last, "failed")
    rows = [
        [f"{getattr(verdict, name):,}" for name in ("acknowledged", "stored", "lost", "inversions")]
        + [f"{verdict.duplicates:,}", f"{verdict.unacknowledged:,}", f"{unknown:,} and {failed:,}"]
        + [f"{verdict.late_duplicates:,} + {run.overtaken:,}", f"{_sum(last, 'timed_out'):,}"]
        + [f"{getattr(verdict, name):,}" for name in ("misrouted", "foreign", "regressions")]
        + [f"{run.held_most:,}"]
    ]
    return (
        "## What was read back\n\n"
        + table(
            (
                *("acknowledged", "read", "lost", "inversions", "duplicates", "written, not acknowledged"),
                *(
                    "these two at most: unknown outcomes, failed",
                    "of these behind younger ones",
                    "at most: timed out",
                    "misrouted",
                    "foreign",
                    "regressions",
                ),
                "most held by the verifier",
            ),
            rows,
        )
        + "\n\nWhat records met, as the clients saw it:\n\n"
        + table(("error", "records"), [(text, f"{count:,}") for text, count in errors.most_common()])
    )


def _costs(run: FleetRun) -> str:
    first, last = run.samples[0], run.samples[-1]
    seconds = last.at - first.at
    generator = sum(passed.generator_cpu_seconds for passed in run.passed)
    offered = sum(passed.calls.records for passed in run.passed) / sum(passed.seconds for passed in run.passed)
    missed = sum(tally.missed for _, tally in _tallies(run))
    late = sum(lag > LATE_SECONDS_MAX for lag in run.late)
    kept = offered >= OFFERED_MIN * run.options.records_per_second
    emulator_lag = max(sample.stream.lag_seconds for sample in run.samples)
    proxies = sum(_cpu_seconds(run, number) for number in range(run.options.proxies))
    stream_cpu = last.stream.cpu_seconds - first.stream.cpu_seconds
    processes = [
        ("proxies, all", proxies),
        ("emulator", stream_cpu),
        ("clients", generator),
        ("reader and verifier", run.own_cpu_seconds),
    ]
    return (
        "## The load and its cost\n\n"
        f"The clients were to send {run.options.records_per_second:,.0f} records a second and sent {offered:,.0f}: "
        f"they {'kept' if kept else 'DID NOT KEEP'} the rate. {missed:,.0f} records were not sent because their "
        f"clients still waited. Turns came late by {' / '.join(quantiles(run.late))} ms (p50 / p99 / max); {late:,} of "
        f"{len(run.late):,} by more than {LATE_SECONDS_MAX * 1000:.0f} ms. The emulator's event loop was late by up to "
        f"{emulator_lag * 1000:.0f} ms; it has {last.stream.resident_bytes / MEBI:.0f} MiB and keeps "
        f"{last.stream.kept:,} records.\n\n"
        + table(
            ("process", "CPU-seconds", "of a core"), [(name, f"{s:.1f}", f"{s / seconds:.0%}") for name, s in processes]
        )
    )
