"""What the tests of datasets for PyTorch share. Workers that are spawned import this."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster import Client, DimensionSchema, HDF5Options, VArray, VArraySchema
from deker_cluster.torch import SampleStream, Windows

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (8, 48, 64)
WINDOWS = Windows({"y": 16, "x": 16}, stride={"y": 8, "x": 16})  # 5 x 4 of them
CELLS = np.random.default_rng(3).normal(size=SHAPE).astype("float32")


def make(
    client: Client, name: str = "fields", dtype: Any = "float32", options: Any = None
) -> VArray:
    """Return an array of :data:`CELLS`, in 2 x 2 x 2 tiles of 2 x 2 x 2 chunks."""
    schema = VArraySchema(
        dtype=dtype,
        dimensions=[DimensionSchema(n, size) for n, size in zip("tyx", SHAPE, strict=True)],
        vgrid=(2, 2, 2),
    )
    options = options or HDF5Options((2, 12, 16), None)
    array = client.create_collection(name, schema, options).create()
    assert isinstance(array, VArray)
    array[:].update(CELLS.astype(dtype))
    return array


def cut(samples: Any, number: int, epoch: int = 0) -> Any:
    """Return the right cells of a sample that lies inside."""
    return CELLS[tuple(slice(*bounds) for bounds in samples.box(number, epoch))]


def with_process(batch: Any) -> Any:
    """Say what the process that reads has imported."""
    return batch, "ray" in sys.modules


def numbers_of(batches: Any) -> list[list[int]]:
    """Return the numbers of the samples of each batch."""
    return [numbers.tolist() for _, numbers in batches]


def stream(array: Any, **options: Any) -> SampleStream:
    """Return a stream of 20 samples in 7 batches, with their numbers."""
    chosen = {"batch": 3, "buffer": 6, "seed": 4, "numbers": True, **options}
    return SampleStream(array, chosen.pop("samples", WINDOWS), **chosen)


def storage(root: Path) -> Client:
    """Open a storage in library mode."""
    return Client(f"file://{root}")
