"""Draws what `tests.benchmarks.sharers` traced: the senders' rates over a cold start, a newcomer and a departure.

    python tests/benchmarks/sharers_plot.py build/sharers.json build/sharers.svg

It runs in the benchmark's own environment (requirements.lock beside this file) and imports nothing of the proxy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]  # in the benchmark's environment alone

mpl.use("svg")
from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]

SMOOTHED_SECONDS = 5


def smoothed(values: list[int]) -> list[float]:
    """Return the mean over the last seconds, at each second."""
    return [
        sum(values[max(0, end - SMOOTHED_SECONDS) : end]) / min(end, SMOOTHED_SECONDS)
        for end in range(1, len(values) + 1)
    ]


def draw(source: Path, target: Path) -> None:
    """Draw one column a service: what each sender may send and what all got, and what was throttled below."""
    trace = json.loads(source.read_text(encoding="utf-8"))["trace"]
    limit = trace["limit_per_second"]
    services = trace["services"]
    figure, axes = plt.subplots(
        2, len(services), figsize=(13, 7), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False
    )
    for column, (name, runs) in enumerate(services.items()):
        rates, refused = axes[0][column], axes[1][column]
        for number, ratios in enumerate(runs["ratios"], 1):
            shown = [ratio * limit if ratio else float("nan") for ratio in ratios]
            rates.plot(shown, linewidth=1.2, label=f"sender {number} may send")
        taken = [sum(second) for second in zip(*runs["taken"], strict=True)][:-1]
        throttled = [sum(second) for second in zip(*runs["throttled"], strict=True)][:-1]
        rates.plot(smoothed(taken), color="black", linewidth=1, label=f"all were taken ({SMOOTHED_SECONDS} s mean)")
        refused.plot(throttled, color="firebrick", linewidth=0.8)
        rates.set_title(f"a service that counts {name}" if name.startswith("by") else f"a service with a {name}")
        for axis in (rates, refused):
            for at_seconds in (trace["newcomer_at"], trace["departure_at"]):
                axis.axvline(at_seconds, color="grey", linestyle=":", linewidth=1)
            axis.grid(alpha=0.3)
        refused.set_yscale("symlog")
        refused.set_xlabel("seconds")
    axes[0][0].set_ylim(0, 1.1 * limit)
    axes[0][0].set_ylabel("records/s")
    axes[1][0].set_ylabel("throttled records/s")
    axes[0][0].legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(target)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{sys.argv[2]}\n")
