"""Tile files and other HDF5 files that somebody made to do harm."""

from __future__ import annotations

import os
import struct
import zlib
from typing import TYPE_CHECKING, Any

import h5py
import imagecodecs
import numpy as np
import xxhash

from deker_cluster.core.ids import new_id
from deker_cluster.exchange.deker_files import read_cells, read_header
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.codecs import decode_into
from deker_cluster.tilefile.foreign import index_of_hdf5
from deker_cluster.tilefile.reader import TileFile, read_region
from deker_cluster.tilefile.writer import encode_tile
from deker_cluster.transport.messages import FetchRequest, TileCheck, TileKey
from deker_workers.service import ShardService
from tests.kit.hostile import Case, RefusedError, refused, tried

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "ARRAY",
    "CELLS",
    "EXTREMES",
    "KEY",
    "WHOLE",
    "Shard",
    "bombs",
    "hdf5_files",
    "image",
    "put",
    "tile_files",
]

ARRAY = "a1b2c3d4-0000-4000-8000-00000000000f"
CELLS = np.arange(24, dtype="int32").reshape(4, 6)
WHOLE = (slice(0, 4), slice(0, 6))
KEY = TileKey(ARRAY, 0, 1)
_FILTERS: dict[str, Any] = {
    "plain": (),
    "gzip": ((2, (4,)), (1, (4,))),
    "zstd": ((32015, (1,)),),
    "blosc": ((32001, (2, 2, 4, 96, 5, 1, 1)),),
}
EXTREMES = [
    b"\0" * 8,
    b"\xff" * 8,
    struct.pack("<Q", 1 << 62),
    struct.pack("<Q", 1 << 31),
    b"\x01",
]


def image(filters: Any, chunk_shape: tuple[int, ...] | None = (2, 3)) -> bytes:
    made = encode_tile(CELLS, chunk_shape=chunk_shape, filters=filters, meta={"a": 1}, fill_value=0)
    out = bytearray(made.total_bytes)
    for offset, part in made.segments:
        view = memoryview(part).cast("B")
        out[offset : offset + len(view)] = view
    return bytes(out)


def sealed(data: bytes) -> bytes:
    """Give a changed index a checksum that fits."""
    (length,) = struct.unpack_from("<I", data, 16)
    if not 80 <= length <= len(data):
        return data
    digest = xxhash.xxh3_64_intdigest(data[: length - 8])
    return data[: length - 8] + struct.pack("<Q", digest) + data[length:]


def put(data: bytes, at: int, part: bytes) -> bytes:
    return data[:at] + part + data[at + len(part) :]


class Shard:
    """A shard with one tile file, whatever is in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cluster = new_id()
        self.service = ShardService.open(root, self.cluster, TileCache())

    def place(self) -> Path:
        path = self.service._store.path(KEY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self.service._store._tiles.drop(str(path))
        return path

    def use(self, path: Path) -> None:
        """Do all that is ever done with a tile file; the first error ends it."""
        service = self.service
        assert service.inventory(None, 10).files
        service.describe([KEY])
        service.verify([TileCheck(KEY, 1, 1, "<i4", (4, 6))], deep=True)
        with TileFile.open(path) as file:
            index = file.index
            try:
                file.verify()
                file.read_meta()
            finally:
                if index.shape == CELLS.shape and index.dtype == CELLS.dtype:
                    read_region(index, file, WHOLE, np.empty_like(CELLS), verify=False)
        service.fetch([FetchRequest(KEY, WHOLE)])


def tile_files(folder: Path, chance: random.Random) -> Iterator[Case]:
    shard = Shard(folder / "tiles")

    def with_file(data: bytes, size: int | None = None) -> Callable[[], None]:
        def use() -> None:
            path = shard.place()
            path.write_bytes(data)
            if size is not None:
                os.truncate(path, size)
            shard.use(path)

        return use

    for name, filters in _FILTERS.items():
        good = image(filters)
        (length,) = struct.unpack_from("<I", good, 16)
        for number in range(12):
            at = chance.randrange(8, length - 8)
            bad = put(
                good, at, chance.choice([*EXTREMES, chance.randbytes(chance.randrange(1, 9))])
            )
            yield tried(
                f"tile {name}, sealed change {number} at {at}", with_file(sealed(bad[: len(good)]))
            )
        for number in range(3):
            at = chance.randrange(length, len(good))
            yield tried(
                f"tile {name}, other bytes {number} at {at}", with_file(put(good, at, b"\xa5" * 3))
            )
    good = image(_FILTERS["gzip"])
    huge = struct.pack("<Q", 1 << 40)
    for name, bad in {
        "shape": put(good, 77, struct.pack("<2Q", 1 << 30, 1 << 30)),
        "chunks of one cell": put(good, 77, struct.pack("<4Q", 1 << 20, 1 << 20, 1, 1)),
        "one chunk for all": put(good, 77, struct.pack("<4Q", 1 << 15, 1 << 15, 1 << 15, 1 << 15)),
        "number of chunks": put(good, 64, huge),
        "length of the index": put(good, 16, struct.pack("<I", 1 << 28)),
        "userblock": put(good, 20, struct.pack("<I", 1 << 31)),
        "start of data": put(good, 32, huge),
        "attributes": put(good, 48, huge),
        "long attributes": put(good, 56, struct.pack("<I", (1 << 32) - 1)),
        "a filter that nobody has": put(
            good, good.index(struct.pack("<2I", 2, 1)), struct.pack("<I", 32999)
        ),
        "shuffled items of 4 GB": put(good, good.index(struct.pack("<2I", 2, 1)) + 8, b"\xff" * 4),
    }.items():
        yield tried(f"tile with an absurd {name}", with_file(sealed(bad)))
        # The same in a file that takes no room but is as long as it says.
        long = put(bad, 24, huge)
        yield tried(f"long tile with an absurd {name}", with_file(sealed(long), 1 << 40))
    yield refused("an empty tile", with_file(b""))
    yield refused("a tile of zeros", with_file(bytes(5000)))
    yield refused("an endless tile", with_file(good, 1 << 42))
    for kind in ("a pipe", "a folder", "a link to itself"):
        yield refused(f"{kind} as a tile", lambda kind=kind: _use_special(shard, kind))


def _use_special(shard: Shard, kind: str) -> None:
    path = shard.place()
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(path)
    try:
        shard.service.inventory(None, 10)
        shard.service.verify([TileCheck(KEY, 1, 1)], deep=True)
        shard.service.fetch([FetchRequest(KEY, WHOLE)])
    except OSError as error:
        raise RefusedError(str(error)) from error
    finally:
        path.rmdir() if kind == "a folder" else path.unlink()


def bombs() -> Iterator[Case]:
    """A few bytes that decode to very many.

    Only for the filters that are decoded directly: HDF5's own ones trust what they are given, and
    rest on the checksums alone.
    """
    zeros = bytes(200 << 20)
    block = np.zeros(8 << 20, np.uint8)
    many: dict[str, tuple[int, tuple[int, ...], bytes]] = {
        "gzip": (1, (4,), zlib.compress(zeros, 1)),
        "zstd": (32015, (1,), imagecodecs.zstd_encode(zeros)),
        "blosc": (32001, (2, 2, 4, 96, 5, 1, 1), imagecodecs.blosc_encode(block)),
        "blosc2": (32026, (0, 0, 4, 96, 5, 1, 1), imagecodecs.blosc2_encode(block)),
        "lz4": (32004, (0,), imagecodecs.lz4h5_encode(zeros)),
        "lzf": (32000, (), imagecodecs.lzf_encode(zeros[: 1 << 20])),
        "bitshuffle": (32008, (0, 2), struct.pack(">QI", 1 << 40, 1 << 30) + bytes(64)),
    }
    for name, (number, values, stored) in many.items():

        def decode(
            number: int = number, values: tuple[int, ...] = values, stored: bytes = stored
        ) -> None:
            out = np.full((4, 6), 7, "int32")
            decode_into(memoryview(stored), 0, ((number, values),), out)

        yield refused(f"a bomb of {name}", decode)
        cut = stored[: len(stored) // 2]
        yield tried(f"half a bomb of {name}", lambda decode=decode, cut=cut: decode(stored=cut))


def hdf5_files(folder: Path, secret: Path) -> Iterator[Case]:
    """What an import meets. `secret` is a file that must not be opened."""

    def external_link(file: Any) -> None:
        file["data"] = h5py.ExternalLink(str(secret), "/data")

    def soft_link(file: Any) -> None:
        file["elsewhere"] = h5py.ExternalLink(str(secret), "/data")
        file["data"] = h5py.SoftLink("/elsewhere")

    def external_storage(file: Any) -> None:
        file.create_dataset("data", (4, 6), "int32", external=[(str(secret), 0, 96)])

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((4, 6), "int32")
        layout[:] = h5py.VirtualSource(str(secret), "data", (4, 6))
        file.create_virtual_dataset("data", layout)

    def endless(file: Any) -> None:
        file.create_dataset("data", (1 << 40, 6), "int32", chunks=(1, 6))

    def large(file: Any) -> None:
        file.create_dataset("data", (1 << 20, 1 << 12), "int32")

    def group(file: Any) -> None:
        file.create_group("data")["data"] = CELLS

    def text(file: Any) -> None:
        file["data"] = np.array([b"x" * 10] * 24)

    def objects(file: Any) -> None:
        file.create_dataset("data", (4, 6), h5py.vlen_dtype(np.int32))

    def loop(file: Any) -> None:
        file["data"] = h5py.SoftLink("/data")

    for make in (
        external_link, soft_link, external_storage, virtual, endless,
        large, group, text, objects, loop,
    ):  # fmt: skip
        path = folder / f"{make.__name__}.hdf5"
        with h5py.File(path, "w") as file:
            make(file)
        name = make.__name__.replace("_", " ")
        yield refused(f"HDF5 with {name}: index", lambda path=path: index_of_hdf5(path))
        yield refused(
            f"HDF5 with {name}: cells",
            lambda path=path: read_cells(path, (4, 6), np.dtype("int32")),
        )
        yield refused(f"HDF5 with {name}: header", lambda path=path: read_header(path))
    path = folder / "cut.hdf5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.arange(50_000))
    os.truncate(path, 20_000)
    yield refused("cut HDF5: cells", lambda: read_cells(path, (50_000,), np.dtype("int64")))
