"""Ray Data out of arrays and back, beside the same datasets out of Zarr and NumPy files.

    python benchmarks/ray_door.py --mib 512 --rounds 7

Everything runs on one Ray node of this machine; contenders take turns, each output is compared with
the source before it is timed. The limit is a source whose tasks hand over blocks of the same shape
without reading anything. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pyarrow as pa
import ray
import ray.data
import zarr
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

import deker_cluster.ray as deker_ray
from deker_cluster import Client, DimensionSchema, HDF5CompressionOpts, HDF5Options, VArraySchema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

EDGE = 1024
"""Cells of a tile along y and x; it is one step deep."""

CHUNK = 256


@attrs.frozen
class Case:
    """What is stored, and where."""

    cells: np.ndarray[Any, Any]
    folder: Path
    client: Client

    @property
    def windows(self) -> list[tuple[int, int, int]]:
        """First cells of all tiles."""
        steps, height, width = self.cells.shape
        return [
            (t, y, x)
            for t in range(steps)
            for y in range(0, height, EDGE)
            for x in range(0, width, EDGE)
        ]

    @property
    def per_block(self) -> int:
        """Windows of a block: about as many blocks as deker_cluster makes."""
        each = EDGE * EDGE * self.cells.itemsize
        return max(1, min((64 << 20) // each, -(-len(self.windows) // (2 * (os.cpu_count() or 1)))))

    def blocks(self) -> list[list[tuple[int, int, int]]]:
        """Windows block by block."""
        return [
            self.windows[i : i + self.per_block]
            for i in range(0, len(self.windows), self.per_block)
        ]


class Generated(Datasource):  # type: ignore[misc]
    """Blocks that cost nothing to read; with cells if `source` is given: those are looked up."""

    def __init__(self, case: Case, source: str | None) -> None:
        super().__init__()
        self._blocks = case.blocks()
        self._dtype = case.cells.dtype
        self._source = source

    def get_name(self) -> str:
        """Return what progress bars call it."""
        return "Generated"

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of all cells, in bytes."""
        return sum(map(len, self._blocks)) * EDGE * EDGE * self._dtype.itemsize

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: Any = None, data_context: Any = None
    ) -> list[Any]:
        """Return a task for each block."""
        del parallelism, per_task_row_limit, data_context
        return [
            ReadTask(
                _maker(block, self._dtype, self._source),
                BlockMetadata(
                    num_rows=len(block),
                    size_bytes=len(block) * EDGE * EDGE * self._dtype.itemsize,
                    input_files=None,
                    exec_stats=None,
                ),
            )
            for block in self._blocks
        ]


def _maker(
    block: list[Any], dtype: np.dtype[Any], source: str | None
) -> Callable[[], Iterable[Any]]:
    def make() -> Iterable[Any]:
        cells = np.zeros((len(block), 1, EDGE, EDGE), dtype)
        if source is not None:
            stored = np.load(source, mmap_mode="r")
            for row, (t, y, x) in zip(cells, block, strict=True):
                row[0] = stored[t, y : y + EDGE, x : x + EDGE]
        return [_table(cells, np.array(block, np.int64))]

    return make


def _table(cells: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> pa.Table:
    return pa.table(
        {
            "data": pa.FixedShapeTensorArray.from_numpy_ndarray(cells),
            "offset": pa.FixedShapeTensorArray.from_numpy_ndarray(offsets),
        }
    )


def generated(case: Case, source: str | None = None) -> Any:
    """Return a dataset of the case's blocks."""
    return ray.data.read_datasource(Generated(case, source), override_num_blocks=len(case.blocks()))


def array_of(case: Case, name: str, codec: str) -> Any:
    """Make an array with the case's tiles."""
    options = None
    if codec != "none":
        options = HDF5Options(
            chunks=(1, CHUNK, CHUNK), compression_opts=HDF5CompressionOpts(32015, (1,))
        )
    schema = VArraySchema(
        dtype=str(case.cells.dtype),
        dimensions=[
            DimensionSchema(n, size) for n, size in zip("tyx", case.cells.shape, strict=True)
        ],
        arrays_shape=(1, EDGE, EDGE),
    )
    return case.client.create_collection(name, schema, options).create()


def zarr_of(case: Case, name: str, codec: str) -> str:
    """Make a Zarr array with shards of the case's tiles; return where."""
    path = str(case.folder / name)
    compressors = None if codec == "none" else zarr.codecs.ZstdCodec(level=1)
    zarr.create_array(
        path,
        shape=case.cells.shape,
        dtype=case.cells.dtype,
        chunks=(1, EDGE, EDGE) if codec == "none" else (1, CHUNK, CHUNK),
        shards=None if codec == "none" else (1, EDGE, EDGE),
        compressors=compressors,
    )
    return path


def offsets_dataset(case: Case) -> Any:
    """Return a dataset of the offsets alone, a block for each of the case's."""
    arrays = [np.array(block, np.int64) for block in case.blocks()]
    tensors = map(pa.FixedShapeTensorArray.from_numpy_ndarray, arrays)
    return ray.data.from_arrow([pa.table({"offset": each}) for each in tensors])


def fetching(open_array: Callable[[], Any]) -> Callable[[pa.Table], pa.Table]:
    """Return the function that a user writes who has a Zarr array, or a .npy file."""

    def fetch(batch: pa.Table) -> pa.Table:
        stored = open_array()
        offsets = batch["offset"].combine_chunks().to_numpy_ndarray()
        cells = np.empty((len(offsets), 1, EDGE, EDGE), stored.dtype)
        for row, (t, y, x) in zip(cells, offsets.tolist(), strict=True):
            row[...] = stored[t : t + 1, y : y + EDGE, x : x + EDGE]
        return _table(cells, offsets)

    return fetch


def write_zarr(path: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that a user writes who fills a Zarr array."""

    def put(batch: dict[str, Any]) -> dict[str, Any]:
        stored = zarr.open_array(path, mode="r+")
        for row, (t, y, x) in zip(batch["data"], batch["offset"].tolist(), strict=True):
            stored[t : t + 1, y : y + EDGE, x : x + EDGE] = row
        return {"n": np.array([len(batch["data"])])}

    return put


def consume(dataset: Any) -> int:
    """Have all blocks made, and leave them where they are."""
    return sum(
        entry.metadata.num_rows
        for bundle in dataset.iter_internal_ref_bundles()
        for entry in bundle.blocks
    )


def check_rows(case: Case, dataset: Any) -> None:
    """Compare every row with the source."""
    count = 0
    for batch in dataset.iter_batches(batch_size=None):
        for row, (t, y, x) in zip(batch["data"], batch["offset"].tolist(), strict=True):
            check(row[0], case.cells[t, y : y + EDGE, x : x + EDGE])
            count += 1
    check(np.array(count), np.array(len(case.windows)))


def check(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """Stop if an output is wrong."""
    if not np.array_equal(found, expected):
        raise SystemExit("an output is not the source")


def in_turns(
    runs: dict[str, Callable[[], Any]], rounds: int, nbytes: int
) -> dict[str, list[float]]:
    """Return GB/s of each contender and round."""
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if number:  # the first round starts processes and fills caches
                speeds[name].append(nbytes / (time.perf_counter() - began) / 1e9)
    return speeds


def table_of(title: str, limit: str, speeds: dict[str, list[float]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {title} | share of the limit | GB/s: median (least to most) |"
    yield "|---|---|---|"
    for name, values in speeds.items():
        shares = [each / most for each, most in zip(values, speeds[limit], strict=True)]
        yield (
            f"| {name} | {statistics.median(shares):.2f} | {statistics.median(values):.2f} "
            f"({min(values):.2f} to {max(values):.2f}) |"
        )
    yield ""


def dataset_reads(case: Case, rounds: int) -> Iterator[str]:
    """Time datasets out of arrays."""
    npy = str(case.folder / "cells.npy")
    window = (1, EDGE, EDGE)
    blocks = len(case.blocks())
    for codec in ("none", "zstd"):
        array, path = array_of(case, f"read {codec}", codec), zarr_of(case, f"{codec}.zarr", codec)
        array[:].update(case.cells)
        zarr.open_array(path, mode="r+")[:] = case.cells
        makers: dict[str, Callable[[], Any]] = {
            "limit: blocks of zeros": lambda: generated(case),
            "deker_cluster.ray.read": lambda array=array: deker_ray.read(
                array, window=window, override_num_blocks=blocks
            ),
            "zarr in map_batches": lambda path=path: offsets_dataset(case).map_batches(
                fetching(lambda: zarr.open_array(path, mode="r")),
                batch_size=None,
                batch_format="pyarrow",
            ),
        }
        if codec == "none":
            makers["numpy.memmap in map_batches"] = lambda: offsets_dataset(case).map_batches(
                fetching(lambda: np.load(npy, mmap_mode="r")),
                batch_size=None,
                batch_format="pyarrow",
            )
        limit, *others = makers
        for name in others:
            check_rows(case, makers[name]())
        runs = {name: lambda make=make: consume(make()) for name, make in makers.items()}
        yield from table_of(
            f"array to dataset, {codec}", limit, in_turns(runs, rounds, case.cells.nbytes)
        )


def dataset_writes(case: Case, rounds: int) -> Iterator[str]:
    """Time arrays out of datasets."""
    npy = str(case.folder / "cells.npy")
    for codec in ("none", "zstd"):
        array, path = (
            array_of(case, f"write {codec}", codec),
            zarr_of(case, f"w-{codec}.zarr", codec),
        )
        runs: dict[str, Callable[[], Any]] = {
            "limit: the dataset alone": lambda: consume(generated(case, npy)),
            "deker_cluster.ray.write (fsync, one commit)": lambda array=array: deker_ray.write(
                generated(case, npy), array
            ),
            "zarr in map_batches (no fsync, no commit)": lambda path=path: consume(
                generated(case, npy).map_batches(write_zarr(path), batch_size=None)
            ),
        }
        limit, ours, theirs = runs
        runs[ours](), runs[theirs]()
        check(array[:].read(), case.cells)
        check(zarr.open_array(path, mode="r")[:], case.cells)
        yield from table_of(
            f"dataset to array, {codec}", limit, in_turns(runs, rounds, case.cells.nbytes)
        )


SECTIONS = (dataset_reads, dataset_writes)


def main() -> None:
    """Run all sections and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=256, help="size of the array")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    # Ray gives its workers less of the processors than whatever else runs, the shards included.
    os.environ.setdefault("RAY_worker_niceness", "0")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message=".*Zarr.*")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="deker-ray-door-") as made:
        folder = Path(made)
        steps = max(1, (given.mib << 20) // (4 * EDGE * EDGE * 4))
        rng = np.random.default_rng(0)
        smooth = np.linspace(0, 100, 2 * EDGE, dtype=np.float32)
        cells = (smooth[:, None] + smooth + np.arange(steps)[:, None, None]).astype(np.float32)
        cells += rng.integers(0, 16, cells.shape, dtype=np.uint8).astype(np.float32) / 8
        np.save(folder / "cells.npy", cells)
        with Client(f"deker://{folder / 'data'}") as client:
            ray.data.DataContext.get_current().enable_progress_bars = False
            case = Case(cells, folder, client)
            for section in SECTIONS:
                for line in section(case, given.rounds):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
