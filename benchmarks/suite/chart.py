"""Draws the chart: runs in the environment ``chart``, which has matplotlib; stdlib otherwise.

``python chart.py chart.json chart.png``; the first holds what :mod:`benchmarks.suite.publish` has
chosen: ``rows`` of a label and, for each peer, the least, median and greatest ratio.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

_MARKS = ("o", "s", "D", "^", "v", "P")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#444444")
"""Okabe and Ito's, which people with any colour vision can tell apart."""


def main() -> None:
    """Draw one line for each workload, one mark for each peer, on a logarithmic axis."""
    source, target = map(Path, sys.argv[1:])
    chart = json.loads(source.read_text(encoding="utf-8"))
    rows, peers = chart["rows"], chart["peers"]
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 12, "svg.hashsalt": "deker"})
    figure, axes = plt.subplots(figsize=(10, 1.6 + 0.47 * len(rows)))
    step = 0.62 / max(len(peers) - 1, 1)
    for number, peer in enumerate(peers):
        heights, medians, spreads = [], [], []
        for place, row in enumerate(rows):
            ratios = row["ratios"].get(peer)
            if ratios is None:
                continue
            least, median, most = ratios
            heights.append(place - 0.31 + number * step)
            medians.append(median)
            spreads.append((median - least, most - median))
        axes.errorbar(
            medians,
            heights,
            xerr=list(zip(*spreads, strict=True)),
            fmt=_MARKS[number],
            color=_COLOURS[number],
            label=peer,
            markersize=7,
            elinewidth=1.2,
            capsize=0,
        )
    for place in range(len(rows)):
        if place % 2:
            axes.axhspan(place - 0.5, place + 0.5, color="#f3f3f3", zorder=0)
    axes.axvline(1, color="#222222", linewidth=1.6, zorder=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [t for t in (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256) if low <= t <= high]
    axes.set_xticks(ticks, [f"{tick:g} x" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#cccccc", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_title(chart["title"], loc="left", fontsize=14, fontweight="bold", pad=34)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=len(peers),
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.1,
    )
    axes.set_xlabel(chart["note"], fontsize=11, color="#333333")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100, bbox_inches="tight", metadata={"Software": None})


main()
