"""What is read and written: one seeded field, stored in several ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import hdf5plugin
import numpy as np

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArray,
    VArraySchema,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FULL", "QUICK", "STORED", "Region", "Size", "make_array", "make_field", "random_boxes"]

Field = np.ndarray[Any, np.dtype[np.float32]]
Region = tuple[slice | int, ...]


@attrs.frozen
class Size:
    """How much is done."""

    shape: tuple[int, int, int]
    tile: tuple[int, int, int]
    chunk: tuple[int, int, int]
    rounds: int
    calls: int
    """Small calls in a round."""

    @property
    def nbytes(self) -> int:
        """Bytes of all cells."""
        return 4 * int(np.prod(self.shape))


QUICK = Size(shape=(16, 1024, 1024), tile=(8, 512, 256), chunk=(1, 256, 256), rounds=7, calls=100)
FULL = Size(shape=(64, 1024, 4096), tile=(8, 512, 1024), chunk=(1, 256, 256), rounds=7, calls=300)

STORED = ("raw", "lz4", "gzip")
"""Names of :func:`options`."""


def options(stored: str, chunk: tuple[int, ...]) -> HDF5Options:
    """Return how the tiles are stored: contiguous cells, or compressed chunks."""
    if stored == "raw":
        return HDF5Options()
    if stored == "lz4":
        blosc = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
        return HDF5Options(chunk, HDF5CompressionOpts(**blosc))
    return HDF5Options(chunk, HDF5CompressionOpts("gzip", 4))


def make_field(shape: tuple[int, int, int]) -> Field:
    """Return a smooth field with noise, in steps of 1/64 as instruments deliver them."""
    random = np.random.default_rng(20240229)
    t, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    field = np.empty(shape, np.float32)
    for layer, step in zip(field, t.ravel(), strict=True):
        smooth = 20 * np.sin(y[0] / 97 + step / 5) + 15 * np.cos(x[0] / 131 - step / 7)
        noise = random.standard_normal(shape[1:], np.float32)
        layer[...] = np.round((280 + smooth + noise / 4) * 64) / 64
    return field


def make_array(client: Client, name: str, stored: str, size: Size) -> VArray:
    """Make an empty array of that size."""
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            DimensionSchema(axis, cells) for axis, cells in zip("tyx", size.shape, strict=True)
        ],
        arrays_shape=size.tile,
    )
    collection = client.create_collection(name, schema, options(stored, size.chunk))
    return cast("VArray", collection.create())


def random_boxes(
    shape: Sequence[int], box: Sequence[int], rounds: int, calls: int
) -> list[list[Region]]:
    """Return places of boxes, anywhere in the array; ``box`` of ones gives single cells."""
    random = np.random.default_rng(7)
    corners = random.integers(0, np.subtract(shape, box) + 1, (rounds, calls, len(shape)))
    if max(box) == 1:
        return [[tuple(corner) for corner in group] for group in corners.tolist()]
    return [
        [tuple(slice(at, at + n) for at, n in zip(corner, box, strict=True)) for corner in group]
        for group in corners.tolist()
    ]
