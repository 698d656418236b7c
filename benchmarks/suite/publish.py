"""Make the pages out of a run: ``python -m benchmarks.suite.publish [results.json ...]``.

Writes ``benchmarks/RESULTS.md``, with the reasons of ``benchmarks/reasons.toml`` beside the
targets, and the chart of the README. Of several files, the last one with a workload counts for it:
a run may be made in parts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.suite.contenders import OWN, PEERS
from benchmarks.suite.environments import environment_python
from benchmarks.suite.record import Measurement, Missing
from benchmarks.suite.table import markdown
from benchmarks.suite.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
LATEST = ROOT / "benchmarks" / "results" / "results.json"
REASONS = ROOT / "benchmarks" / "reasons.toml"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
CHART = ROOT / "docs" / "images" / "benchmarks.png"

_ROWS = {
    ("W1", "none"): "read all, raw",
    ("W3", "lz4"): "read all, Blosc lz4",
    ("W3", "zstd"): "read all, zstd",
    ("W3", "gzip"): "read all, gzip",
    ("W4", "none"): "read a cut, raw",
    ("W4", "zstd"): "read a cut, zstd",
    ("W5", "none, singly, p50"): "read a crop, raw",
    ("W5", "zstd, 64 a call"): "read 64 crops, zstd",
    ("W9", "none, fsync"): "write all, raw",
    ("W9", "lz4, fsync"): "write all, Blosc lz4",
    ("W9", "zstd, fsync"): "write all, zstd",
}
"""Workload and variant -> label in the chart."""


def main() -> None:
    """Write the page and the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite.publish", description=__doc__)
    parser.add_argument("results", nargs="*", type=Path, default=[LATEST])
    about, measurements, missing = _merged(parser.parse_args().results)
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    page = markdown(about, measurements, missing, reasons)
    PAGE.write_text(_head(about, measurements) + "\n" + page, encoding="utf-8")
    _draw(measurements)
    print(f"{PAGE}\n{CHART}")


def _merged(paths: list[Path]) -> tuple[dict[str, Any], list[Measurement], list[Missing]]:
    about: dict[str, Any] = {}
    by_workload: dict[str, list[Measurement]] = {}
    missing: dict[Missing, None] = {}
    for path in paths:
        found = json.loads(path.read_text(encoding="utf-8"))
        about |= found["about"]
        measured = [Measurement(**each) for each in found["measurements"]]
        by_workload |= {
            name: [m for m in measured if m.workload == name]
            for name in {m.workload for m in measured}
        }
        missing |= dict.fromkeys(Missing(**each) for each in found["missing"])
    return about, [m for rows in by_workload.values() for m in rows], list(missing)


def _head(about: dict[str, Any], measurements: list[Measurement]) -> str:
    size = about["size"].partition(":")[0]
    measured = {m.workload for m in measurements}
    absent = [name for name in WORKLOADS if name not in measured]
    part = f"Not measured in this run: {', '.join(absent)}.\n\n" if absent else ""
    command = "make bench-full" if size == "full" else "make bench"
    return f"""# Results

    {command}

on {about["machine"]}, {about["date"]}. [docs/benchmarks.md](../docs/benchmarks.md) says what is
measured and how; the end of this page, with which versions and settings. Made by
`python -m benchmarks.suite.publish` from the run's `results.json` and `reasons.toml`.

{part}![How many times as fast as its peers](../docs/images/{CHART.name})

"""


def _draw(measurements: list[Measurement]) -> None:
    found = {(m.workload, m.variant, m.contender): m for m in measurements}
    rows = []
    for (workload, variant), label in _ROWS.items():
        ours = found.get((workload, variant, OWN))
        ratios = {
            peer: _spread(ours.speed_against(its))
            for peer in PEERS
            if ours is not None and (its := found.get((workload, variant, peer))) is not None
        }
        if ratios:
            rows.append({"label": label, "ratios": ratios})
    peers = [peer for peer in PEERS if any(peer in row["ratios"] for row in rows)]
    chart = {
        "title": "Speed of deker_cluster divided by that of …",
        "note": "right of 1 x: deker_cluster is faster; marks: median of the rounds, lines: spread",
        "peers": peers,
        "rows": rows,
    }
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "chart.json"
        source.write_text(json.dumps(chart), encoding="utf-8")
        script = Path(__file__).with_name("chart.py")
        subprocess.run([environment_python("chart"), script, source, CHART], check=True)


def _spread(ratios: list[float]) -> tuple[float, float, float]:
    return min(ratios), statistics.median(ratios), max(ratios)


if __name__ == "__main__":
    main()
