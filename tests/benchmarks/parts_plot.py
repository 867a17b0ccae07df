"""Draws what `tests.benchmarks.parts` sampled: the CPU time of a record, part by part.

    python tests/benchmarks/parts_plot.py build/parts.json build/parts.svg

It runs in the benchmark's own environment (requirements.lock beside this file) and imports nothing of the proxy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]  # in the benchmark's environment alone

mpl.use("svg")
from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]

# Below this share of the whole a figure has no room in its bar.
LABELLED_SHARE_MIN = 0.04


def draw(source: Path, target: Path) -> None:
    """Draw a bar for each load, each on a scale of its own: the one costs several times the other."""
    measured = json.loads(source.read_text(encoding="utf-8"))
    loads = measured["cpu_us_per_record"]
    figure, axes = plt.subplots(len(loads), 1, figsize=(10, 1.9 * len(loads) + 0.8), squeeze=False)
    for axis, (title, parts) in zip(axes[:, 0], loads.items(), strict=True):
        whole, left = sum(parts.values()), 0.0
        for number, (part, cost) in enumerate(parts.items()):
            axis.barh(0, cost, left=left, color=f"C{number}", label=part)
            if cost >= LABELLED_SHARE_MIN * whole:
                axis.text(left + cost / 2, 0, f"{cost:.1f}", ha="center", va="center", color="white", fontsize="small")
            left += cost
        axis.set_xlim(0, whole)
        axis.set_yticks([])
        axis.set_title(f"{title}: {whole:.1f} µs of CPU a record", fontsize="medium", loc="left")
    axes[-1][0].set_xlabel(f"µs; sampled by py-spy on {measured['machine']['processor']}", fontsize="small")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, fontsize="small", frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.86))
    figure.savefig(target)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
    sys.stdout.write(f"{sys.argv[2]}\n")
