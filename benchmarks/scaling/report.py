"""The results as tables, as JSON, and as a picture."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.suite.environments import EnvironmentMissingError, environment_python

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["markdown", "write", "wrong"]


def write(results: dict[str, Any], out: Path, *, chart: bool) -> str:
    """Write ``scale.json``, ``scale.md`` and, if possible, ``scale.png``; return the text."""
    source = out / "scale.json"
    source.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    text = markdown(results)
    if chart:
        script = Path(__file__).with_name("chart.py")
        try:
            command = [environment_python("chart"), script, source, out / "scale.png"]
            subprocess.run(command, check=True)
        except (EnvironmentMissingError, subprocess.CalledProcessError) as error:
            text += f"\nThe chart was not drawn: {error}\n"
    (out / "scale.md").write_text(text, encoding="utf-8")
    return text


def wrong(results: dict[str, Any]) -> list[str]:
    """Return what was not as it must be."""
    found = [
        f"{part}: {row}"
        for part, rows in results.items()
        for row in (rows if isinstance(rows, list) else [rows])
        if row.get("checked") is False
    ]
    return found + [
        f"copies are together: {row}"
        for row in results["balance"]
        if row["same_node"] or (row["same_zone"] and row["copies"] <= row["zones"])
    ]


def markdown(results: dict[str, Any]) -> str:
    """Return all results as tables."""
    return "\n".join(_sections(results)) + "\n"


def _sections(results: dict[str, Any]) -> Iterator[str]:
    yield "# Scale\n"
    yield from _table(("", ""), results["about"].items())
    yield "\n## Memory and log of the registry\n"
    yield from _table(
        (
            "tiles an array",
            "copies",
            "tiles",
            "bytes a tile",
            "log, bytes a tile",
            "filled, tiles/s",
        ),
        (
            (
                f"{row['tiles_each']:,}",
                row["copies"],
                f"{row['tiles']:,}",
                f"{row['bytes_a_tile']:.0f}",
                f"{row['log_bytes_a_tile']:.0f}",
                f"{row['filled_per_s']:,.0f}",
            )
            for row in results["memory"]
        ),
    )
    yield "\n## All tiles together\n"
    yield from _table(("", ""), _together(results))
    yield "\n## Planning of reads\n"
    yield from _table(
        ("tiles", "plan, ms", "entries, ms", "entries, worst, ms"),
        (
            (
                f"{row['tiles']:,}",
                f"{row['plan_ms']:.3f}",
                f"{row['entries_ms']:.3f}",
                f"{row['entries_worst_ms']:.3f}",
            )
            for row in results["reads"]
        ),
    )
    yield "\nIn turns: one tile comes soon after all, whose answer is still being cleared away."
    yield "\n## Looking for misplaced tiles\n"
    yield from _table(
        ("", "tiles", "misplaced", "copies to move", "s", "of these, reading manifests"),
        (
            (
                row["what"],
                f"{row['tiles']:,}",
                f"{row['found']:,}",
                f"{row['copies']:,}",
                f"{row['seconds']:.1f}",
                f"{row['read_s']:.1f}",
            )
            for row in results["unbalanced"]
        ),
    )
    yield "\n## Placing tiles of one array, as every write does\n"
    yield from _table(
        ("tiles", "ms"), ((f"{row['tiles']:,}", f"{row['ms']:.2f}") for row in results["few_tiles"])
    )
    yield "\n## Load of shards, relative to their weight\n"
    yield from _table(
        ("fleet", "copies", "tiles", "fullest", "emptiest", "by chance alone"),
        (
            (
                row["fleet"],
                row["copies"],
                f"{row['tiles']:,}",
                f"{row['max_to_mean']:.3f}",
                f"{row['min_to_mean']:.3f}",
                f"{row['chance_min']:.3f} to {row['chance_max']:.3f}",
            )
            for row in results["balance"]
        ),
    )
    yield "\n## Copies that move when the fleet changes\n"
    yield from _table(
        ("change", "copies", "of all copies", "as a multiple of the least possible"),
        (
            (row["change"], row["copies"], f"{100 * row['share']:.2f} %", f"{row['ratio']:.3f}")
            for row in results["rebalance"]
        ),
    )


def _together(results: dict[str, Any]) -> list[tuple[str, str]]:
    rebuild, dump = results["rebuild"], results["dump"]
    beats, log = results["beats"], results["log"]
    dumped = (
        [("dump: registry to state", f"not done: {dump['skipped']}")]
        if "skipped" in dump
        else [
            ("dump: registry to state", f"{dump['tiles_per_s']:,.0f} tiles/s"),
            ("that state in a process", f"{dump['process_bytes_a_tile']:.0f} B a tile"),
            ("as a checkpoint", f"{dump['checkpoint_bytes_a_tile']:.0f} B a tile"),
            ("checkpoint packed", f"{dump['packed_per_s']:,.0f} tiles/s"),
            ("checkpoint read", f"{dump['unpacked_per_s']:,.0f} tiles/s"),
        ]
    )
    return [
        ("tiles, arrays", f"{rebuild['tiles']:,}, {rebuild['arrays']:,}"),
        ("memory", f"{rebuild['memory_bytes'] / 2**20:,.0f} MiB"),
        ("memory a tile", f"{rebuild['memory_bytes_a_tile']:.0f} B"),
        ("log a tile, rewritten", f"{log['log_bytes_a_tile']:.0f} B"),
        ("log rewritten in", f"{log['rewrite_s']:.1f} s"),
        ("stop and start with that log", f"{log['restart_s']:.1f} s"),
        ("rebuild: state to registry", f"{rebuild['tiles_per_s']:,.0f} tiles/s"),
        *dumped,
        ("one heartbeat", f"{beats['heartbeat_us']:.0f} us"),
        (f"beats of {beats['shards']:,} shards", f"{beats['beats_ms']:.1f} ms"),
        (f"map of {beats['shards']:,} shards", f"{beats['shard_map_ms']:.1f} ms"),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"
