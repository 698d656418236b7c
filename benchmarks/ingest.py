"""Ingest scenes into a cluster of one node and of three: ``python -m benchmarks.ingest``.

GeoTIFF scenes that overlap (seeded, deflate) become a mosaic, each time in a fresh storage. Beside
it stand what the machine can at most: the same bytes of cells written past the page cache
(O_DIRECT, fsync), and all scenes decoded into nothing on all cores. All nodes are on this machine
and share its disk and cores. Contenders take turns; medians; every result is compared with the
scenes by checksum. Starting Ray and the first task's imports are not counted.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import rasterio
import ray
import xxhash
from affine import Affine
from ray.cluster_utils import Cluster

from deker_cluster import Client
from deker_cluster.ingest import ingest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RESULTS = Path(__file__).parent / "results"

PIXEL = 10.0
NODES = (1, 3)
TILE = 2048
BLOCK_BYTES = 4 << 20
STORE_BYTES = 100 << 20
RERUN = "again, nothing to do"


class WrongResultError(Exception):
    """What was read is not what the scenes hold."""


@attrs.frozen
class Scenes:
    """The files, and the mosaic that they make."""

    paths: list[Path]
    mosaic: np.ndarray[Any, np.dtype[np.uint16]]
    file_bytes: int

    @property
    def checksum(self) -> int:
        """Digest of the mosaic."""
        return checksum(self.mosaic)


def main() -> None:
    """Measure, print, and write the figures to a file."""
    options = arguments()
    cores = len(os.sched_getaffinity(0))
    seconds: dict[str, list[float]] = defaultdict(list)
    stored: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="dk-ingest-", dir=options.dir) as text:
        folder = Path(text)
        scenes = make_scenes(folder / "scenes", options.scenes, options.size)
        for turn in range(options.rounds):
            seconds["decode"].append(decode(scenes.paths, cores))
            seconds["disk"].append(direct_write(folder / "direct", scenes.mosaic.nbytes))
            for nodes in NODES if turn % 2 == 0 else NODES[::-1]:
                first, again, n_bytes = measured(folder / f"{turn}-{nodes}", scenes, nodes, cores)
                seconds[f"{nodes}"].append(first)
                seconds[f"{nodes} {RERUN}"].append(again)
                stored[f"{nodes}"] = n_bytes
            print(f"round {turn + 1} of {options.rounds}", flush=True)
        figures = summary(scenes, seconds, stored, cores)
    print(markdown(figures))
    RESULTS.mkdir(exist_ok=True)
    path = options.json or RESULTS / "ingest.json"
    path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"figures: {path}")


def arguments() -> argparse.Namespace:
    """Return what the user wants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=240, help="a multiple of 12")
    parser.add_argument("--size", type=int, default=1024, help="pixels of a scene's side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", help="where scenes and storages go; else the temporary folder")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser.parse_args()


def make_scenes(folder: Path, number: int, size: int) -> Scenes:
    """Write scenes that overlap by a 32nd; each has cells without data in a corner."""
    folder.mkdir(parents=True)
    columns, rows = 12, -(-number // 12)
    step = size - size // 32
    shape = ((rows - 1) * step + size, (columns - 1) * step + size)
    mosaic = np.zeros(shape, np.uint16)
    rng = np.random.default_rng(11)
    down, right = np.mgrid[:size, :size]
    paths = []
    for index in range(rows * columns):
        top, left = index // columns * step, index % columns * step
        wave = 4000 + 1500 * np.sin((down + top) / 170) * np.cos((right + left) / 230)
        cells = (wave + rng.normal(0, 12, wave.shape) + index).astype(np.uint16)
        cells[: size // 16, : size // 16] = 0
        place = mosaic[top : top + size, left : left + size]
        np.copyto(place, cells, where=cells != 0)
        paths.append(folder / f"scene-{index:04}.tif")
        with rasterio.open(
            paths[-1],
            "w",
            driver="GTiff",
            count=1,
            height=size,
            width=size,
            dtype="uint16",
            crs="EPSG:32633",
            transform=Affine(PIXEL, 0, left * PIXEL, 0, -PIXEL, -top * PIXEL),
            nodata=0,
            tiled=True,
            blockxsize=256,
            blockysize=256,
            compress="deflate",
            predictor=2,
        ) as file:
            file.write(cells, 1)
    return Scenes(paths, mosaic, sum(path.stat().st_size for path in paths))


def checksum(cells: np.ndarray[Any, Any]) -> int:
    """Return a digest of cells."""
    return xxhash.xxh3_64_intdigest(np.ascontiguousarray(cells).data)


def decode(paths: Sequence[Path], cores: int) -> float:
    """Read all scenes into nothing, on all cores; return the seconds."""

    def read(path: Path) -> None:
        with rasterio.open(path) as file:
            file.read(1)

    begin = time.perf_counter()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(read, paths))
    return time.perf_counter() - begin


def direct_write(path: Path, n_bytes: int) -> float:
    """Write as many bytes past the page cache, and sync them; return the seconds."""
    block = mmap.mmap(-1, BLOCK_BYTES)
    block[:] = np.random.default_rng(5).bytes(BLOCK_BYTES)
    begin = time.perf_counter()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644)
    try:
        for _ in range(-(-n_bytes // BLOCK_BYTES)):
            os.write(descriptor, block)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    took_s = time.perf_counter() - begin
    path.unlink()
    return took_s


@contextmanager
def cluster_of(nodes: int, cores: int) -> Iterator[None]:
    """Start Ray nodes on this machine; one has all cores, several have one each."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - Ray knows it by this spelling only
    node: dict[str, Any] = {
        "num_cpus": cores if nodes == 1 else 1,
        "object_store_memory": STORE_BYTES,
    }
    with tempfile.TemporaryDirectory(prefix="dkb-") as scratch:
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                **node,
                "include_dashboard": False,
                "temp_dir": scratch,
                "labels": {"deker.io/node": "n0"},
            },
        )
        try:
            for number in range(1, nodes):
                cluster.add_node(**node, temp_dir=scratch, labels={"deker.io/node": f"n{number}"})
            ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
            yield
        finally:
            ray.shutdown()
            cluster.shutdown()


def measured(folder: Path, scenes: Scenes, nodes: int, cores: int) -> tuple[float, float, int]:
    """Ingest into a fresh cluster, then once more; return both seconds, and what is stored."""
    how: dict[str, Any] = {"tile_shape": {"y": TILE, "x": TILE}, "progress": False}
    with cluster_of(nodes, cores), Client(f"deker://{folder}") as client:
        ingest(client, scenes.paths[:24], collection="warm-up", **how)
        times = []
        for written in (True, False):
            begin = time.perf_counter()
            report = ingest(client, scenes.paths, collection="mosaic", **how)
            times.append(time.perf_counter() - begin)
            if not report.ok or bool(report.tiles_written) is not written:
                raise WrongResultError(str(report))
        collection = client.get_collection("mosaic")
        assert collection is not None  # noqa: S101 - it was written a moment ago
        if checksum(next(iter(collection))[:].read()) != scenes.checksum:
            raise WrongResultError(f"{nodes} nodes: the array is not what the scenes hold")
        return times[0], times[1], client.calculate_storage_size("mosaic").bytes


def summary(
    scenes: Scenes, seconds: dict[str, list[float]], stored: dict[str, int], cores: int
) -> dict[str, Any]:
    """Return the figures."""
    median = {name: statistics.median(found) for name, found in seconds.items()}
    rate = {name: scenes.mosaic.nbytes / took_s / 1e6 for name, took_s in median.items()}
    return {
        "scenes": len(scenes.paths),
        "file_bytes": scenes.file_bytes,
        "cell_bytes": scenes.mosaic.nbytes,
        "cores": cores,
        "seconds": dict(seconds),
        "nodes": {
            str(nodes): {
                "mb_per_s": rate[f"{nodes}"],
                "share_of_disk": median["disk"] / median[f"{nodes}"],
                "share_of_decode": median["decode"] / median[f"{nodes}"],
                "rerun_share": median[f"{nodes} {RERUN}"] / median[f"{nodes}"],
                "stored_bytes": stored[f"{nodes}"],
            }
            for nodes in NODES
        },
        "disk_mb_per_s": rate["disk"],
        "decode_mb_per_s": rate["decode"],
    }


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    about = (
        f"{figures['scenes']} scenes, {figures['file_bytes'] / 1e6:.0f} MB of files, "
        f"{figures['cell_bytes'] / 1e6:.0f} MB of cells; {figures['cores']} cores"
    )
    lines = [
        about,
        "",
        "| | MB/s of cells | of the disk's limit | of the decoders' limit | a second run takes |",
        "|---|---|---|---|---|",
    ]
    for nodes, found in figures["nodes"].items():
        name = "one node" if nodes == "1" else f"{nodes} nodes, on one machine"
        lines.append(
            f"| {name} | {found['mb_per_s']:.0f} | {found['share_of_disk']:.0%} "
            f"| {found['share_of_decode']:.0%} | {found['rerun_share']:.1%} |"
        )
    lines += [
        f"| O_DIRECT write and fsync | {figures['disk_mb_per_s']:.0f} | 100% | | |",
        f"| decoding the scenes, all cores | {figures['decode_mb_per_s']:.0f} | | 100% | |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
