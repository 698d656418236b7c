"""Make ``docs/scaling.md`` and its picture out of a run: ``python -m benchmarks.scaling.publish``.

Every figure of the page is from ``scale.json``, or worked out from it here; its words are in
``page.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.scaling.report import markdown
from benchmarks.suite.environments import environment_python

ROOT = Path(__file__).parents[2]
LATEST = ROOT / "benchmarks" / "results" / "scale.json"
PAGE = ROOT / "docs" / "scaling.md"
PICTURE = ROOT / "docs" / "images" / "scaling.png"

_PETABYTE = 1e15
_COPIES = 2
_MANY = _PETABYTE / (64 << 20)
"""Tiles of 64 MiB in a petabyte."""
_BEAT_S = 2.0


def main() -> None:
    """Write the page and the picture."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling.publish", description=__doc__
    )
    parser.add_argument("results", nargs="?", type=Path, default=LATEST)
    source = parser.parse_args().results
    PAGE.write_text(page(json.loads(source.read_text(encoding="utf-8"))), encoding="utf-8")
    script = Path(__file__).with_name("chart.py")
    subprocess.run([environment_python("chart"), script, source, PICTURE], check=True)
    print(f"{PAGE}\n{PICTURE}")


def page(results: dict[str, Any]) -> str:
    """Return the text of the page."""
    words = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    return words.format(**_figures(results))


def _figures(results: dict[str, Any]) -> dict[str, Any]:
    about, tiles = results["about"], results["rebuild"]["tiles"]
    beat_us = results["beats"]["heartbeat_us"]
    look_s, short_s = _look_s(results, "balanced"), _look_s(results, "one shard lost")
    read_s = results["unbalanced"][0]["read_s"]
    taken = {(row["tiles_each"], row["copies"]): row["bytes_a_tile"] for row in results["memory"]}
    held = results["dump"]["process_bytes_a_tile"]
    fullest = next(row for row in results["balance"] if row["copies"] == _COPIES)
    wide = results["reads"][-1]
    few_ms = results["few_tiles"][0]["ms"]
    per_s, restart_s = results["rebuild"]["tiles_per_s"], results["log"]["restart_s"]
    measured = markdown(results)
    return {
        "date": about["date"],
        "tiles": f"{tiles:,}",
        "copies": about["copies"],
        "minutes": float(about["duration"].split()[0]) / 60,
        "many": f"{_MANY / 1e6:.0f} million",
        "machine": about["machine"],
        "note": f" ({about['note']})" if about["note"] else "",
        "tables": measured[measured.index("## Memory") :].replace("## ", "### ").rstrip(),
        "petabyte": "\n".join(_petabyte(results, taken[10_000, _COPIES])),
        "moves": "\n".join(_moves(results)),
        "large_bytes": taken[10_000, _COPIES],
        "registry_gb": 2 * _PETABYTE / (16 << 20) * taken[10_000, _COPIES] / 1e9,
        "small_bytes": taken[100, _COPIES],
        "array_bytes": taken[1, _COPIES],
        "restart_s": restart_s,
        "restart_16m": restart_s / tiles * _MANY,
        "plan_s": look_s,
        "plan_us": 1e6 * look_s / tiles,
        "read_us": 1e6 * read_s / tiles,
        "short_us": 1e6 * short_s / tiles,
        "plan_16m": look_s / tiles * _MANY / 60,
        "short_16m": short_s / tiles * _MANY / 60,
        "beats_per_s": about["shards"] / _BEAT_S,
        "heartbeat_us": beat_us,
        "beat_share": about["shards"] / _BEAT_S * beat_us / 1e4,
        "map_ms": results["beats"]["shard_map_ms"],
        "beat_limit": 0.1 * 1e6 / beat_us * _BEAT_S,
        "process_bytes": held,
        "process_gb": held * _MANY / 1e9,
        "fold_100m": held * 1e8 / 1e9,
        "rebuild_per_s": f"{per_s:,.0f}",
        "rebuild_16m": _MANY / per_s / 60,
        "join_ratio": _span(results, "join"),
        "leave_ratio": _span(results, "leave"),
        "entries_100k": f"{wide['entries_ms'] / 1e3:.1f} s for {wide['tiles']:,} tiles",
        "per_shard": fullest["tiles"] * _COPIES / about["shards"],
        "max_now": fullest["max_to_mean"],
        "chance_now": fullest["chance_max"],
        "few_ms": few_ms,
        "few_minutes": few_ms * 1e6 / 6e4,
    }


def _petabyte(results: dict[str, Any], bytes_a_tile: float) -> list[str]:
    measured = results["rebuild"]["tiles"]
    rows = []
    for size_mib in (4, 16, 64, 256):
        tiles = _PETABYTE / (size_mib << 20)
        cells = (
            f"{size_mib} MiB",
            f"{tiles / 1e6:,.0f} million",
            f"{tiles * bytes_a_tile / 1e9:,.1f} GB",
            f"{tiles * results['log']['log_bytes_a_tile'] / 1e9:,.1f} GB",
            _time(results["log"]["restart_s"] * tiles / measured),
            _time(_look_s(results, "balanced") * tiles / measured),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _moves(results: dict[str, Any]) -> list[str]:
    rows = []
    for row in results["rebalance"]:
        if row["copies"] == _COPIES:
            n_bytes = row["share"] * _PETABYTE * _COPIES
            times = " | ".join(_time(n_bytes / rate) for rate in (1e8, 1e9, 1e10))
            share = f"{100 * row['share']:.2f} % = {n_bytes / 1e12:,.1f} TB"
            rows.append(f"| {row['change']} | {share} | {times} |")
    return rows


def _look_s(results: dict[str, Any], what: str) -> float:
    """Return how long such a look takes, of several the median."""
    rows = results["unbalanced"]
    return statistics.median(row["seconds"] for row in rows if row["what"].startswith(what))


def _span(results: dict[str, Any], change: str) -> str:
    found = [row["ratio"] for row in results["rebalance"] if row["change"].startswith(change)]
    return f"{min(found):.3f} to {max(found):.3f}"


def _time(seconds: float) -> str:
    for unit, length_s in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:,.1f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
