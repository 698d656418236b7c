"""What is stored and read: seeded arrays, selections and checksums. Needs only numpy and xxhash.

The processes of all contenders import this, under numpy 1 as well; hence no attrs.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = [
    "SIZES",
    "Dataset",
    "Selection",
    "Size",
    "Values",
    "box",
    "checksum",
    "from_wire",
    "make_source",
    "random_boxes",
    "to_wire",
]

Values = np.ndarray[Any, np.dtype[Any]]

Selection = tuple[Union[int, slice, "list[int]"], ...]
"""One index for each axis; a list picks cells of its axis, and at most one axis has one."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An array as a contender stores it."""

    name: str
    """Unique in a run; contenders name their files after it."""
    shape: tuple[int, ...]
    tile: tuple[int, ...]
    """Cells of a tile (a shard of Zarr), the unit of files."""
    chunk: tuple[int, ...] | None
    """Cells of a chunk inside a tile; None: the tile is one chunk."""
    dtype: str
    codec: str
    """``none``, ``lz4`` (Blosc with shuffle), ``zstd`` (level 1) or ``gzip`` (level 4)."""
    source: str
    """Path of the .npy with the cells; it has one step more along axis 0 than the array."""

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def cells(self, offset: int = 0) -> Values:
        """Return the cells of the source from step ``offset``, 0 or 1, mapped from the file."""
        source: Values = np.load(self.source, mmap_mode="r")
        return source[offset : offset + self.shape[0]]

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Dataset:
        """Undo :func:`dataclasses.asdict` and JSON."""
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return Dataset(**{**fields, **lists})


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is done."""

    name: str
    a_shape: tuple[int, ...]
    b_shape: tuple[int, ...]
    crops: int
    """Small selections of each contender over all rounds; the other counts likewise."""
    cells: int
    series: int


SIZES = {
    size.name: size
    for size in (
        Size("quick", (16, 1024, 2048), (4, 4, 2048, 1024), crops=448, cells=1400, series=14),
        Size("full", (64, 1024, 4096), (32, 4, 2048, 2048), crops=2240, cells=10003, series=105),
    )
}


def make_source(which: str, size: Size, folder: Path) -> Dataset:
    """Write the cells of array ``"A"`` or ``"B"`` into ``folder``; return it without a codec.

    A smooth field plus noise, from a fixed seed: float32 in steps of 1/64, as instruments deliver
    them, or uint16.
    """
    shape = size.a_shape if which == "A" else size.b_shape
    dtype = "float32" if which == "A" else "uint16"
    path = folder / f"{which}.npy"
    source = np.lib.format.open_memmap(path, "w+", dtype, (shape[0] + 1, *shape[1:]))
    random = np.random.default_rng(20240229)
    y, x = np.ogrid[: shape[-2], : shape[-1]]
    planes = source.reshape(-1, *shape[-2:])
    for step, plane in enumerate(planes):
        smooth = 20 * np.sin(y / 97 + step / 5) + 15 * np.cos(x / 131 - step / 7)
        field = 280 + smooth + random.standard_normal(plane.shape, np.float32) / 4
        plane[...] = np.round(field * 64) / 64 if which == "A" else np.round(field * 16)
    source.flush()
    tile, chunk = (
        ((8, 512, 1024), (1, 256, 256)) if which == "A" else ((1, 4, 1024, 1024), (1, 1, 256, 256))
    )
    return Dataset(f"{which}-none", shape, tile, chunk, dtype, "none", str(path))


def box(*bounds: tuple[int, int]) -> Selection:
    """Return the selection of half-open bounds."""
    return tuple(slice(*pair) for pair in bounds)


def random_boxes(shape: Sequence[int], cells: Sequence[int], count: int) -> list[Selection]:
    """Return places of boxes, anywhere in the array; along an axis of 1 cell they are ints."""
    random = np.random.default_rng(7)
    corners = random.integers(0, np.subtract(shape, cells) + 1, (count, len(shape)))
    return [
        tuple(at if n == 1 else slice(at, at + n) for at, n in zip(corner, cells, strict=True))
        for corner in corners.tolist()
    ]


def to_wire(selection: Selection) -> list[Any]:
    """Return a selection as JSON has it: an int, bounds and step of a slice, or cells of a list."""
    return [
        [axis.start, axis.stop, axis.step]
        if isinstance(axis, slice)
        else {"cells": axis}
        if isinstance(axis, list)
        else axis
        for axis in selection
    ]


def from_wire(axes: Iterable[Any]) -> Selection:
    """Undo :func:`to_wire`."""
    return tuple(
        slice(*axis)
        if isinstance(axis, list)
        else axis["cells"]
        if isinstance(axis, dict)
        else axis
        for axis in axes
    )


def checksum(cells: Any) -> str:
    """Return the xxh3 of the bytes of an array's cells in C order."""
    return xxhash.xxh3_64(np.ascontiguousarray(cells).reshape(-1).view(np.uint8)).hexdigest()
