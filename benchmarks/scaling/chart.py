"""Draws the picture: runs in the environment ``chart``, which has matplotlib; stdlib otherwise.

``python chart.py scale.json scale.png``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

_COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Of Okabe and Ito's, which people with any colour vision can tell apart; for 1, 2, 3 copies."""


def main() -> None:
    """Draw how full shards are, and how much moves."""
    source, target = map(Path, sys.argv[1:])
    results = json.loads(source.read_text(encoding="utf-8"))
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 11})
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6))
    _balance(left, results["balance"])
    _rebalance(right, results["rebalance"])
    about = results["about"]
    tiles = results["balance"][0]["tiles"]
    figure.suptitle(
        f"Placement of {tiles:,} tiles on {about['shards']:,} shards", x=0.01, ha="left"
    )
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100, bbox_inches="tight", metadata={"Software": None})


def _balance(axes: plt.Axes, rows: list[dict[str, float]]) -> None:
    fleets = list(dict.fromkeys(row["fleet"] for row in rows))
    for row in rows:
        copies = int(row["copies"])
        place = fleets.index(row["fleet"]) + (copies - 2) * 0.22
        axes.plot([row["chance_min"], row["chance_max"]], [place] * 2, color="#cccccc", lw=7)
        axes.plot(
            [row["min_to_mean"], row["max_to_mean"]],
            [place] * 2,
            color=_COLOURS[copies - 1],
            marker="|",
            lw=2,
        )
    axes.axvline(1, color="#222222", lw=1)
    axes.set_yticks(range(len(fleets)), [fleet.replace(", ", "\n") for fleet in fleets])
    axes.set_ylim(len(fleets) - 0.5, -0.5)
    axes.set_xlabel("emptiest to fullest shard, relative to its weight; grey: chance alone")
    _finish(axes)


def _rebalance(axes: plt.Axes, rows: list[dict[str, float]]) -> None:
    changes = list(dict.fromkeys(row["change"] for row in rows))
    for copies in (1, 2, 3):
        some = [row for row in rows if row["copies"] == copies]
        axes.barh(
            [changes.index(row["change"]) + (copies - 2) * 0.25 for row in some],
            [row["ratio"] for row in some],
            height=0.22,
            color=_COLOURS[copies - 1],
            label=f"{copies} {'copy' if copies == 1 else 'copies'}",
        )
    axes.axvline(1, color="#222222", lw=1)
    axes.set_yticks(range(len(changes)), changes)
    axes.set_ylim(len(changes) - 0.5, -0.5)
    axes.set_xlabel("copies that move, as a multiple of the least possible")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _finish(axes)


def _finish(axes: plt.Axes) -> None:
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


main()
