"""The report: one table for people, one file for programs."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import attrs
import psutil
from limits import CORES

from deker_cluster import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from measure import Row, Times
    from places import Place
    from workload import Size

__all__ = ["describe_run", "markdown_table", "save"]

PACKAGES = ("numpy", "h5py", "hdf5plugin", "imagecodecs", "pyarrow", "ray")


def describe_run(places: Sequence[Place], size: Size, folder: Path) -> dict[str, Any]:
    """Return versions and settings: what a reader has to know to compare figures."""
    partitions = [
        part
        for part in psutil.disk_partitions(all=True)
        if folder.resolve().is_relative_to(part.mountpoint)
    ]
    disk = max(partitions, key=lambda part: len(part.mountpoint), default=None)
    server = places[0].durable.session.registry.server_info()
    return {
        "python": platform.python_version(),
        "versions": {"deker_cluster": __version__, **{name: version(name) for name in PACKAGES}},
        "registry": f"{server.kind} {server.version}, appendfsync {server.appendfsync}",
        "cores": CORES,
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "file_system": disk.fstype if disk else "unknown",
        "load_at_start": round(os.getloadavg()[0], 1),
        "array": {"dtype": "float32", "shape": size.shape, "tile": size.tile, "chunk": size.chunk},
        "rounds": size.rounds,
        "calls_per_round": size.calls,
        "caches": "warm",
        "checksums_verified": places[0].durable.session.options.verify,
        "opening_s": {place.name: round(place.opening_s, 2) for place in places},
    }


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.3g}"


def markdown_table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| workload | from | speed as a share of the limits | figure | rounds |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        shares = ", ".join(
            f"{limit} **{share.figure:.2g}** ({share.low:.2g} to {share.high:.2g})"
            for limit, share in row.shares.items()
        )
        lines.append(
            f"| {row.workload} | {row.where} | {shares} | {_number(row.figure)} {row.unit} "
            f"| {_number(row.low)} to {_number(row.high)} |"
        )
    return "\n".join(lines)


def save(path: Path, about: dict[str, Any], rows: Sequence[Row], times: dict[str, Times]) -> None:
    """Write everything that was measured."""
    result = {
        "about": about,
        "rows": [attrs.asdict(row) for row in rows],
        "times_s": times,
    }
    path.write_text(json.dumps(result, indent=1))
