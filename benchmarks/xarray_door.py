"""Measure the xarray engine against xarray's zarr engine: ``python benchmarks/xarray_door.py``.

Both hold the same data in the same tiles, each of which is one chunk, compressed with zstd 1 here
and there. They take turns, every answer is compared with NumPy's, and the table tells how often one
would have been done in the time of zarr, in the same run. The page cache is warm.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hdf5plugin
import numpy as np
import xarray as xr
import zarr.codecs

import deker_cluster.xarray  # noqa: F401 - gives data sets their .deker
from deker_cluster import Client, HDF5CompressionOpts, HDF5Options

TIMES, ROWS, COLUMNS = 64, 720, 1440
TILE = {"t": 8, "y": 360, "x": 360}
POINTS, STATIONS = 300, 20

Task = Callable[[xr.DataArray], bool]
"""Reads from an open data set, and says whether the cells are right."""


def smooth(scale: float) -> np.ndarray[Any, Any]:
    """Return a smooth field with noise in its lower bits, float32."""
    rows, columns = max(int(ROWS * scale), 80), max(int(COLUMNS * scale), 80)
    t, y, x = np.ogrid[0:TIMES, 0:rows, 0:columns]
    field = np.sin(y / 40) + np.cos(x / 60) + np.sin(t / 9)
    noise = np.random.default_rng(1).normal(0, 0.02, field.shape)
    return np.round(field + noise, 3).astype("float32")


def opened(address: str, engine: str, chunks: Any = None) -> xr.Dataset:
    """Open lazily, without a cache."""
    options = {"consolidated": False} if engine == "zarr" else {}
    return xr.open_dataset(address, engine=engine, chunks=chunks, cache=False, **options)


def opens(address: str, engine: str) -> bool:
    """Open and close."""
    with opened(address, engine) as dataset:
        return "v" in dataset


def tasks(cells: np.ndarray[Any, Any]) -> dict[str, Task]:
    """Return what is read."""
    random = np.random.default_rng(2)
    y, x = (xr.DataArray(random.integers(0, size, POINTS), dims="p") for size in cells.shape[1:])
    row, column = cells.shape[1] // 2, cells.shape[2] // 3
    window = {"t": slice(20, 24), "y": slice(row, row + 64), "x": slice(column, column + 64)}

    def same(found: xr.DataArray, expected: np.ndarray[Any, Any]) -> bool:
        return np.array_equal(found.values, expected)

    return {
        "one plane": lambda v: same(v.isel(t=33), cells[33]),
        "a window of 4 x 64 x 64": lambda v: same(v.isel(window), cells[tuple(window.values())]),
        "a time series": lambda v: same(v.isel(y=row, x=column), cells[:, row, column]),
        "every 4th plane backwards, 3 listed rows": lambda v: same(
            v.isel(t=slice(None, None, -4), y=[7, 3, 5]), cells[::-4][:, [7, 3, 5]]
        ),
        f"{POINTS} points of a plane": lambda v: same(
            v.isel(t=5, y=y, x=x), cells[5, y.values, x.values]
        ),
        f"time series of {STATIONS} stations": lambda v: same(
            v.isel(y=y[:STATIONS], x=x[:STATIONS]),
            cells[:, y.values[:STATIONS], x.values[:STATIONS]],
        ),
        "everything": lambda v: same(v, cells),
    }


def dask_mean(cells: np.ndarray[Any, Any]) -> Task:
    """Return the task that dask does."""
    mean = cells.mean(0)
    return lambda v: np.allclose(v.mean("t").values, mean, atol=1e-3)


def in_turns(rounds: int, contenders: dict[str, Callable[[], bool]]) -> dict[str, list[float]]:
    """Return how long each took in every round but the first, which warms up, s."""
    taken: dict[str, list[float]] = {engine: [] for engine in contenders}
    for turn in range(rounds + 1):
        for engine, run in contenders.items():
            before = time.perf_counter()
            right = run()
            if turn:
                taken[engine].append(time.perf_counter() - before)
            if not right:
                raise SystemExit(f"{engine} gave wrong cells")
    return taken


def written(
    cells: np.ndarray[Any, Any], places: dict[str, str], client: Client, rounds: int
) -> dict[str, list[float]]:
    """Write the data set again and again in both ways; what was written last stays."""
    dataset = xr.Dataset({"v": (("t", "y", "x"), cells)}).chunk(TILE)
    options = HDF5Options(
        chunks=tuple(min(TILE[name], dataset.sizes[name]) for name in "tyx"),
        compression_opts=HDF5CompressionOpts(**hdf5plugin.Zstd(clevel=1)),
    )
    codecs = {"v": {"compressors": [zarr.codecs.ZstdCodec(level=1)]}}

    def to_zarr() -> bool:
        dataset.to_zarr(places["zarr"], mode="w", consolidated=False, encoding=codecs)
        return True

    def to_collection() -> bool:
        earlier = client.get_collection("cells")
        if earlier is not None:
            earlier.delete()
        dataset.deker.to_collection(client, "cells", collection_options=options)
        return True

    return in_turns(rounds, {"deker": to_collection, "zarr": to_zarr})


def measured(cells: np.ndarray[Any, Any], folder: Path, rounds: int) -> dict[str, Any]:
    """Return what each engine took for each task, s."""
    places = {"deker": f"file://{folder}/deker/cells", "zarr": f"{folder}/cells.zarr"}
    rows: dict[str, Any] = {}
    with Client(f"file://{folder}/deker", durability="os") as client:
        rows["write, from dask's blocks"] = written(cells, places, client, min(rounds, 3))
        rows["open and close"] = in_turns(
            rounds, {engine: partial(opens, place, engine) for engine, place in places.items()}
        )
        for name, run, chunks in (
            *((name, run, None) for name, run in tasks(cells).items()),
            ("mean over time, by dask, a task per tile", dask_mean(cells), {}),
        ):
            datasets = {engine: opened(place, engine, chunks) for engine, place in places.items()}
            rows[name] = in_turns(
                rounds, {engine: partial(run, ds["v"]) for engine, ds in datasets.items()}
            )
            for dataset in datasets.values():
                dataset.close()
    return rows


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="of each side; 1: 265 MB")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="zarr")
    cells = smooth(arguments.scale)
    with tempfile.TemporaryDirectory(prefix="xarray-door-") as folder:
        rows = measured(cells, Path(folder), arguments.rounds)
    print(
        f"{cells.nbytes / 1e6:.0f} MB of float32 {cells.shape}, tiles of {tuple(TILE.values())}\n"
    )
    print("| task | times as fast as zarr | spread |")
    print("|---|---|---|")
    for task, taken in rows.items():
        ratios = [zarr / own for own, zarr in zip(taken["deker"], taken["zarr"], strict=True)]
        middle = statistics.median(taken["zarr"]) / statistics.median(taken["deker"])
        print(f"| {task} | {middle:.2f} | {min(ratios):.2f} to {max(ratios):.2f} |")


if __name__ == "__main__":
    main()
