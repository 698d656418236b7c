"""Work where the tiles lie, and at the driver: ``python -m benchmarks.ray_near_data``.

Two Ray nodes on this machine; all tiles are on the one, the driver on the other. Both share cores
and memory, so what is saved is the way between processes alone: between machines a network is
saved. Contenders take turns; medians; every result is compared with that of the cells in memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np

from benchmarks.suite.nodes import other_node
from deker_cluster import Client, DimensionSchema, HDF5CompressionOpts, HDF5Options, VArraySchema

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from deker_cluster.arrays import BaseArray

STORE_BYTES = 300 << 20

CODECS: dict[str, HDF5Options] = {
    "raw": HDF5Options(),
    "zstd": HDF5Options((1, 256, 256), HDF5CompressionOpts(**hdf5plugin.Zstd(clevel=1))),
}

Contest = tuple[str, "Callable[[BaseArray], Any]", "Callable[[npt.NDArray[Any]], Any]"]


def histogram(cells: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Count cells by their whole part."""
    return np.histogram(cells, bins=64, range=(0, 64))[0]


WORK: tuple[Contest, ...] = (
    ('reduce("mean")', lambda array: array.reduce("mean"), lambda c: c.mean(dtype="f8")),
    ('reduce("std")', lambda array: array.reduce("std"), lambda c: c.std(dtype="f8")),
    (
        'reduce("mean", "t")',
        lambda array: array.reduce("mean", "t"),
        lambda c: c.mean(axis=0, dtype="f8"),
    ),
    (
        "map_tiles(a histogram)",
        lambda array: sum(array.map_tiles(lambda values, _: histogram(values))),
        histogram,
    ),
)


def main() -> None:
    """Measure, compare, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048, help="cells of a plane's side")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    shape = (16, options.side, options.side)
    cells = np.random.default_rng(3).normal(30, 5, shape).round(1).astype("f4")
    cores = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory(prefix="dk-near-") as folder,
        other_node(Path(folder), STORE_BYTES, cores) as uri,
        Client(uri, durability="os") as client,
    ):
        print(f"{cells.nbytes >> 20} MiB of float32 in 16 tiles, {cores} cores\n")
        print("| tiles | work | where the tiles lie, MB/s | at the driver, MB/s | ratio |")
        print("|---|---|---|---|---|")
        for codec, how in CODECS.items():
            schema = VArraySchema(
                dtype="float32",
                dimensions=[DimensionSchema(n, s) for n, s in zip("tyx", shape, strict=True)],
                vgrid=(4, 2, 2),
            )
            array = client.create_collection(codec, schema, how).create()
            array[:].update(cells)
            for name, near, far in WORK:
                row(codec, name, array, cells, near, far, options.rounds)


def row(
    codec: str,
    name: str,
    array: BaseArray,
    cells: npt.NDArray[Any],
    near: Callable[[BaseArray], Any],
    far: Callable[[npt.NDArray[Any]], Any],
    rounds: int,
) -> None:
    """Print one line of the table."""
    contenders = {"near": lambda: near(array), "far": lambda: far(array[:].read())}
    expected = far(cells)
    seconds: dict[str, list[float]] = defaultdict(list)
    for turn in range(rounds + 1):
        for who in contenders if turn % 2 else reversed(contenders):
            began = time.perf_counter()
            found = contenders[who]()
            taken_s = time.perf_counter() - began
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=f"{codec} {name} {who}")
            if turn:  # the first one starts processes
                seconds[who].append(taken_s)
    median = {who: statistics.median(times) for who, times in seconds.items()}
    rate = {who: f"{cells.nbytes / 1e6 / time_s:,.0f}" for who, time_s in median.items()}
    print(
        f"| {codec} | `{name}` | {rate['near']} | {rate['far']} "
        f"| {median['far'] / median['near']:.2f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
