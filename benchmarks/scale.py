"""What ten million tiles on a thousand shards ask of a registry: ``python -m benchmarks.scale``.

The shards are records only; the registry is a real server, the calls are the library's own.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from rich.console import Console

from benchmarks.scaling import placing, serving
from benchmarks.scaling.filling import Server, fill, make_state
from benchmarks.scaling.report import write, wrong
from benchmarks.scaling.simulated import Fleet, array_ids, place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

RESULTS = Path(__file__).parent / "results"

_TILES_EACH = 10_000
_LARGE = 1000**2
"""Tiles of the one large array, in a full run."""
_COPIES = 2
_MOST_SAMPLED = 1_000_000
"""Tiles of which placement alone is measured."""
_SMALL = 100_000
"""Tiles where the memory of arrays of different sizes is compared."""


def main() -> int:
    """Measure, write results, return 1 if any was wrong."""
    options = _options()
    console = Console(width=140, highlight=False)
    begin = time.perf_counter()

    def say(text: str) -> None:
        console.print(f"{time.perf_counter() - begin:5.0f} s  {text}", markup=False)

    options.out.mkdir(parents=True, exist_ok=True)
    results = {"about": _about(options)}
    # Beside the results, not in the folder for temporary files: that may be memory.
    folder = Path(tempfile.mkdtemp(dir=options.out, prefix="scale-"))
    try:
        results |= _measure(options, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    results["about"] |= {
        "load at the end": f"{os.getloadavg()[0]:.1f}",
        "duration": f"{time.perf_counter() - begin:.0f} s",
    }
    text = write(results, options.out, chart=options.chart)
    console.print(text, markup=False, soft_wrap=True)
    for what in wrong(results):
        say(f"wrong: {what}")
    return 1 if wrong(results) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--tiles", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results and data")
    parser.add_argument("--note", default="", help="what else a reader of the times should know")
    parser.add_argument("--no-chart", dest="chart", action="store_false")
    options = parser.parse_args()
    if options.tiles < 100_000 or not 20 <= options.shards <= 60_000:
        parser.error("at least 100,000 tiles, and 20 to 60,000 shards")
    return options


def _about(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%d"),
        "tiles": options.tiles,
        "shards": options.shards,
        "copies": _COPIES,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, "
        f"{round(psutil.virtual_memory().total / 2**30)} GiB",
        "kernel": platform.release(),
        "note": options.note,
        "load at the beginning": f"{os.getloadavg()[0]:.1f}",
        "registry": "the embedded Valkey, its log synced once a second (appendfsync everysec); a "
        "real one syncs at every write",
    }


def _measure(
    options: argparse.Namespace, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    sample = min(max(options.tiles // 5, 100_000), _MOST_SAMPLED)
    found: dict[str, Any] = {
        "balance": placing.balance(options.shards, sample, say),
        "rebalance": placing.rebalance(options.shards, sample, say),
        "few_tiles": placing.few_tiles(options.shards),
    }
    fleet = Fleet.of(options.shards)
    # The array with most tiles shows what reads of many tiles cost.
    large = min(_LARGE, round((options.tiles / 10) ** 0.5) ** 2)
    tiles = [large, *[_TILES_EACH] * ((options.tiles - large) // _TILES_EACH)]
    begin = time.perf_counter()
    chosen = _place_all(tiles, fleet, array_ids(len(tiles)))
    say(f"{len(chosen):,} tiles are placed: {time.perf_counter() - begin:.0f} s")
    server = Server(folder)
    try:
        found["memory"] = serving.memory(server, Fleet.of(20), _SMALL, say)
        found |= _filled(server, fleet, tiles, chosen, say)
    finally:
        server.close()
    return found


def _place_all(
    tiles: Sequence[int], fleet: Fleet, ids: Sequence[str], copies: int = _COPIES
) -> npt.NDArray[np.int64]:
    parts = [place(fleet, [key], count, copies) for key, count in zip(ids, tiles, strict=True)]
    return np.concatenate(parts)


def _filled(
    server: Server,
    fleet: Fleet,
    tiles: Sequence[int],
    chosen: npt.NDArray[np.int64],
    say: Callable[[str], None],
) -> dict[str, Any]:
    state = make_state(fleet, tiles, _COPIES, chosen)
    registry = server.registry()
    registry.ping()
    before = server.used_bytes()
    took_s = fill(registry, state)
    total = sum(tiles)
    say(f"{total:,} tiles are in the registry: {took_s:.0f} s")
    rebuild = {
        "tiles": total,
        "arrays": len(tiles),
        "seconds": took_s,
        "tiles_per_s": total / took_s,
        "memory_bytes": server.used_bytes() - before,
        "memory_bytes_a_tile": (server.used_bytes() - before) / total,
    }
    dumped = serving.dump(registry, state)
    say(f"dumped: {dumped}")
    found = {
        "rebuild": rebuild,
        "dump": dumped,
        "reads": serving.reads(registry, (array_ids(1)[0], tiles[0])),
        "beats": serving.beats(registry, fleet),
        "unbalanced": serving.unbalanced(
            registry, fleet, tiles, chosen, functools.partial(_place_all, tiles), say
        ),
    }
    begin = time.perf_counter()
    server.rewrite_log()
    rewrite_s = time.perf_counter() - begin
    log_bytes = server.log_bytes()
    restart_s = server.restart()
    again = serving.count(server.registry())
    found["log"] = {
        "rewrite_s": rewrite_s,
        "log_bytes": log_bytes,
        "log_bytes_a_tile": log_bytes / total,
        "restart_s": restart_s,
        "checked": again == total,
    }
    say(f"the server was stopped and serves again after {restart_s:.1f} s")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
