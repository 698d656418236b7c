"""Inputs of ingestions as tests make them: NumPy files, each for one box of an array."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster import DimensionSchema, VArraySchema
from deker_cluster.ingest.plan import ArrayTarget, IngestPlan, Overlap, Piece, Target
from deker_cluster.ingest.running import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deker_cluster import Client, HDF5Options, VArray
    from deker_cluster.ingest.plan import Box
    from deker_cluster.ingest.report import IngestReport

INVALID = 0
"""Cells of this value are not written."""


@attrs.frozen(kw_only=True)
class FilePiece(Piece):
    """A NumPy file of the shape of its box."""

    pause_s: float = 0
    """How long opening it takes."""

    @property
    def covers(self) -> bool:
        return False

    def digest(self) -> str | None:
        stat = Path(self.source).stat()
        return f"{self.source} {stat.st_size} {stat.st_mtime_ns}"

    @contextlib.contextmanager
    def open(self) -> Iterator[_OpenFile]:
        time.sleep(self.pause_s)
        yield _OpenFile(self.box, np.load(self.source, mmap_mode="r"))


@attrs.frozen
class _OpenFile:
    box: Box
    cells: np.ndarray[Any, Any]

    def read(self, box: Box) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        place = tuple(
            slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, self.box, strict=True)
        )
        cells = np.array(self.cells[place])
        return cells, cells != INVALID


def scene(path: Path, order: int, at: tuple[int, ...], cells: np.ndarray[Any, Any]) -> FilePiece:
    """Write a file; return it as what goes to the cells from `at` on."""
    np.save(path, cells)
    box = tuple(slice(begin, begin + size) for begin, size in zip(at, cells.shape, strict=True))
    return FilePiece(source=str(path), box=box, order=order)


def plan_of(
    pieces: Iterable[FilePiece],
    *,
    shape: tuple[int, ...] = (64, 96),
    tile: tuple[int, ...] = (16, 16),
    overlap: Overlap = "last",
    collection: str = "mosaic",
    options: HDF5Options | None = None,
) -> IngestPlan:
    """Return a plan for one array of uint16 with the fill value 0."""
    names = ("time", "y", "x")[-len(shape) :]
    schema = VArraySchema(
        dtype="uint16",
        dimensions=[DimensionSchema(*pair) for pair in zip(names, shape, strict=True)],
        arrays_shape=tile,
        fill_value=0,
    )
    target = Target(
        collection=collection,
        schema=schema,
        exists=False,
        arrays=(ArrayTarget(key="all"),),
        options=options,
    )
    return IngestPlan(target=target, pieces={"all": tuple(pieces)}, overlap=overlap)


def pasted(plan: IngestPlan, pieces: Iterable[FilePiece] | None = None) -> np.ndarray[Any, Any]:
    """Return what the array must hold, by the shortest way."""
    out = np.zeros(plan.target.schema.shape, np.uint16)
    ordered = list(plan.pieces["all"] if pieces is None else pieces)
    for piece in ordered if plan.overlap == "last" else reversed(ordered):
        cells = np.load(piece.source)
        np.copyto(out[piece.box], cells, where=cells != INVALID)
    return out


def overlapping_scenes(folder: Path, seed: int = 0, number: int = 12) -> list[FilePiece]:
    """Return scenes at odd places, with holes, that overlap; some cells are in none."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    scenes = []
    for order in range(number):
        at = (int(rng.integers(0, 45)), int(rng.integers(0, 70)))
        cells = rng.integers(1, 2**16, (19, 26), dtype=np.uint16)
        cells[rng.random(cells.shape) < 0.1] = INVALID
        scenes.append(scene(folder / f"scene-{order:02}.npy", order, at, cells))
    return scenes


def carried_out(client: Client, plan: IngestPlan, **options: Any) -> IngestReport:
    return run(client, plan, progress=False, **options)


def array_of(client: Client, report: IngestReport) -> VArray:
    collection = client.get_collection(report.collection)
    assert collection is not None
    array: Any = collection.handle_of(report.arrays["all"])
    return array
