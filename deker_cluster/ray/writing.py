"""Write a Ray Dataset into an array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deker_cluster.arrays import BaseArray
from deker_cluster.arrow_export import require_arrow_type
from deker_cluster.core.boxes import bounding_box
from deker_cluster.core.fixed_manifest import FixedManifest
from deker_cluster.core.selection import AxisPoints
from deker_cluster.dataplane.staging import commit_tiles
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerIndexError, DekerSubsetError, DekerValidationError
from deker_cluster.ray.ray_data import ray_data
from deker_cluster.snapshots import Snapshot, SnapshotSubset
from deker_cluster.subset import Subset
from deker_cluster.tilewise.parts import pieces_of

if TYPE_CHECKING:
    import ray.data

    from deker_cluster.dataplane.staging import Change, Place
    from deker_cluster.registry.models import Lease

__all__ = ["Written", "write", "write_rows"]


class Written(NamedTuple):
    """What came of a write."""

    generation: int
    """Of the array; the present one if there was no row."""
    rows: int
    tiles: list[int]
    """Ordinals of those that are new."""


_GROUP_BYTES = 256 << 20
"""Cells of neighbouring tiles whose pieces are kept together: what a task that puts some of them
together fetches at most, in whatever order rows come."""

_MOST_GROUPS = 256
"""Every task has a result for each of them."""


def write(
    dataset: ray.data.Dataset,
    target: BaseArray | Subset,
    *,
    column: str = "data",
    offset: str | Sequence[str] = "offset",
) -> int:
    """Write the rows of a Ray Dataset into an array: all of them or, on any error, none.

    Tasks make the tiles where their rows are, one commit at the end makes them visible. Until then
    all tiles that `target` touches are locked for other writers. If the driver is killed nothing
    becomes visible, and the locks end 20 s later.

    Parameters
    ----------
    dataset
        Each row is a window of `target`, all of one shape, in any order. It is run again where
        nodes are lost, and must give the same rows then.
    target
        An array, or a part of one. Cells that no row covers stay what they are.
    column
        The column of cells: tensors with as many dimensions as `target` has, or with one less,
        which are single steps along the first dimension.
    offset
        Where a row's first cell goes. Name of a column with a whole number for each dimension, as
        :func:`.read` gives it, or with one, which counts along the first. Or for each dimension
        the name of a column of positions in `target`, or of coordinates: labels, floats of a
        scale, instants.

    Returns
    -------
    int
        The array's new generation; the present one if there was no row.

    Raises
    ------
    DekerValidationError
        No dataset, no array, or no name.
    DekerSubsetError
        A snapshot, which does not change.
    DekerIndexError
        Rows overlap, leave `target`, are of different shapes; a column is missing.
    DekerIntegrityError
        Two blocks give a whole tile, each with other cells.
    DekerArrayTypeError
        Cells that the array's dtype cannot hold, or whose dtype Arrow does not know.
    DekerBaseApplicationError
        As :meth:`.Subset.update`. Nothing was changed, unless it is ``CommitStateUnknownError``.
    Exception
        What the dataset's own functions raise. Nothing was changed.
    """
    return write_rows(dataset, target, column, offset).generation


def write_rows(
    dataset: ray.data.Dataset, target: BaseArray | Subset, column: str, offset: str | Sequence[str]
) -> Written:
    """Do what :func:`write` does, and tell more of it."""
    data = ray_data()
    if not isinstance(dataset, data.Dataset):
        raise DekerValidationError(f"a ray.data.Dataset can be written, not {shown(dataset)}")
    part = _writable(target)
    names = _names(part, offset)
    if not isinstance(column, str):
        raise DekerValidationError(f"column is the name of a column, not {shown(column)}")
    require_arrow_type(part.dtype)
    _require_columns(dataset, column, names)
    return _commit(dataset, part, column, names)


def _writable(target: object) -> Subset:
    if isinstance(target, Snapshot | SnapshotSubset):
        raise DekerSubsetError(f"{target!r} cannot be written to: write to its .array")
    if isinstance(target, BaseArray):
        target = target[...]
    if not isinstance(target, Subset):
        raise DekerValidationError(
            f"rows are written into an array or a part of one, not {shown(target)}"
        )
    if not target.shape or not all(target.shape):
        raise DekerIndexError(f"{target!r} has no room for rows: it has no dimension, or no cells")
    for axis in target.selection.axes:
        if isinstance(axis, AxisPoints):
            axis.backwards()  # refuses a cell that is named twice
    return target


def _names(part: Subset, offset: object) -> str | tuple[str, ...]:
    if isinstance(offset, str):
        return offset
    if not isinstance(offset, Sequence) or not all(isinstance(name, str) for name in offset):
        raise DekerValidationError(
            f"offset is the name of a column, or one for each dimension, not {shown(offset)}"
        )
    if len(offset) != len(part.shape):
        raise DekerValidationError(
            f"{len(offset)} columns for the {len(part.shape)} dimensions of {part!r}"
        )
    return tuple(offset)


def _require_columns(dataset: Any, column: str, names: str | tuple[str, ...]) -> None:
    """Refuse before anything runs, if it is known by then; tasks look again."""
    schema = dataset.schema(fetch_if_missing=False)
    if schema is None:
        return
    for name in (column, *((names,) if isinstance(names, str) else names)):
        if name not in schema.names:
            raise DekerIndexError(
                f"the dataset has no column {name!r}, only {', '.join(map(repr, schema.names))}; "
                "name those to write with column= and offset="
            )


def _commit(dataset: Any, part: Subset, column: str, offset: str | tuple[str, ...]) -> Written:
    import ray

    from deker_cluster.ray.write_run import run
    from deker_cluster.ray.write_tasks import Work

    array = part.array
    pieces = pieces_of(part)
    total_bytes = math.prod(part.shape) * part.dtype.itemsize

    rows, tiles = 0, list[int]()

    def put(lease: Lease, places: list[Place]) -> list[Change]:
        nonlocal rows, tiles
        work = Work(
            target=part,
            column=column,
            offset=offset,
            token=lease.token,
            ordinals=np.array([place.ordinal for place in places], np.int64),
            cells=np.array([math.prod(piece.selection.full_shape) for piece in pieces], np.int64),
            shards=np.array([place.shards for place in places], np.int64),
            bases=FixedManifest(
                {place.ordinal: place.base for place in places if place.base is not None}
            ),
            groups=max(1, min(total_bytes // _GROUP_BYTES, _MOST_GROUPS, len(places))),
        )
        changes, rows = run(dataset, work, ray.put(work))
        tiles = [change.ordinal for change in changes]
        return changes

    generation = commit_tiles(
        array.session,
        array.tiled,
        [piece.ordinal for piece in pieces],
        put,
        bounding_box(array.located(part.selection)),
        untold=True,
    )
    return Written(generation, rows, tiles)
