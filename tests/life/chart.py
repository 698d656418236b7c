"""Draws what happened: ``python chart.py life.json life.png``; needs matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#777777"
_MORE = (_BLUE, _GREEN, "#cc79a7", "#e69f00", "#56b4e9")
_STEP_S = 1.0


def main() -> None:
    """Draw reads, writes and copies over time."""
    source, target = map(Path, sys.argv[1:])
    story = json.loads(source.read_text(encoding="utf-8"))
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, rows = plt.subplots(
        4, 1, figsize=(12, 8.5), sharex=True, height_ratios=[2, 2, 1.5, 2], layout="constrained"
    )
    _rates(rows[0], story["acts"])
    _longest(rows[1], story["acts"])
    times = [sample["time_s"] for sample in story["samples"]]
    rows[2].fill_between(times, [sample["short"] for sample in story["samples"]], color=_ORANGE)
    rows[2].set_ylabel("tiles with\nless than\ntwo copies")
    _shards(rows[3], story["samples"])
    rows[3].set_xlabel("seconds; grey ticks: the coordinator is killed")
    for axes in rows:
        axes.set_ylim(bottom=0)
        for time_s, _ in story["events"]:
            axes.axvline(time_s, color=_GREY, lw=0.8, ls=":")
    rows[3].plot(story["kills"], [0] * len(story["kills"]), "|", color=_GREY, ms=14, clip_on=False)
    for at, (time_s, text) in enumerate(story["events"]):
        rows[0].annotate(
            text.split(" (")[0],
            (time_s, 1.02 + 0.11 * (2 - at % 3)),
            xycoords=("data", "axes fraction"),
            fontsize=9,
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=100, bbox_inches="tight", metadata={"Software": None})


def _bins(acts: list[tuple[str, float, float]], kind: str) -> tuple[list[float], list[list[float]]]:
    """Return the durations of what ended in each second."""
    ended = [(begun + took, took) for name, begun, took in acts if name == kind]
    n_bins = int(max(time_s for time_s, _ in ended) / _STEP_S) + 1
    found: list[list[float]] = [[] for _ in range(n_bins)]
    for time_s, took in ended:
        if time_s >= 0:
            found[int(time_s / _STEP_S)].append(took)
    return [(at + 0.5) * _STEP_S for at in range(n_bins)], found


def _rates(axes: plt.Axes, acts: list[tuple[str, float, float]]) -> None:
    for kind, colour in (("read", _BLUE), ("write", _GREEN)):
        times, durations = _bins(acts, kind)
        axes.plot(
            times, [len(some) / _STEP_S for some in durations], color=colour, label=f"{kind}s"
        )
    axes.set_ylabel("done per second")
    axes.legend(frameon=False, loc="upper right")


def _longest(axes: plt.Axes, acts: list[tuple[str, float, float]]) -> None:
    for kind, colour in (("read", _BLUE), ("write", _GREEN)):
        times, durations = _bins(acts, kind)
        axes.plot(times, [max(some, default=0) for some in durations], color=colour)
    axes.set_ylabel("longest of\nthem, seconds")


def _shards(axes: plt.Axes, samples: list[dict[str, Any]]) -> None:
    numbers = sorted({number for sample in samples for number in sample["shards"]}, key=int)
    for number, colour in zip(numbers, _MORE, strict=False):
        held = [
            (sample["time_s"], sample["shards"][number])
            for sample in samples
            if number in sample["shards"]
        ]
        axes.plot(*zip(*held, strict=True), color=colour, label=f"shard {number}")
    axes.set_ylabel("copies on it")
    axes.legend(frameon=False, loc="upper left", ncols=4)


if __name__ == "__main__":
    main()
