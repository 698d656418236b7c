"""Read an array as a Ray Dataset."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

from deker_cluster.arrow_export import require_arrow_type
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.ray.block_planning import plan_blocks
from deker_cluster.ray.ray_data import ray_data
from deker_cluster.ray.row_columns import Rows
from deker_cluster.sampling import Windows
from deker_cluster.sampling.per_dimension import sizes
from deker_cluster.selectable import Selectable
from deker_cluster.subset import Subset
from deker_cluster.tilewise.grouping import by_node
from deker_cluster.tilewise.parts import entries_of, pieces_of, present
from deker_cluster.tilewise.running import in_tasks

if TYPE_CHECKING:
    import ray.data

    from deker_cluster.sampling.per_dimension import PerDimension
    from deker_cluster.sampling.windows import GridSamples
    from deker_cluster.snapshots import SnapshotSubset

__all__ = ["read"]

_BLOCK_BYTES = 64 << 20
"""Cells of a block: Ray Data's own blocks have up to 128 MiB, and cuts larger ones up."""

_LEAST_BLOCK_BYTES = 4 << 20
"""Less is not worth a task of its own, unless the user asks for it."""

_BLOCKS_PER_CORE = 2

_MOST_NODES = 32
"""Ray Data is told of each node by an operator of its own, which it looks after all the time."""


def read(
    source: Selectable[Any] | Subset,
    *,
    window: PerDimension | None = None,
    stride: PerDimension | None = None,
    remainder: Literal["drop", "error"] = "drop",
    column: str = "data",
    offset_column: str = "offset",
    override_num_blocks: int | None = None,
) -> ray.data.Dataset:
    """Return an array, or a part of it, as a Ray Dataset of one generation.

    Nothing is read yet. Each block is read by a task on the node that holds most of its tiles, if
    that is there and holds any.

    Parameters
    ----------
    source
        An array, a subset, a snapshot or a part of one. Of an array or a subset the present
        generation is taken, and kept for as long as the dataset is there.
    window
        Cells of a row: by dimension name, those that are not named are taken whole; or one number
        for each dimension of `source`. None: a row for each step along the first dimension, which
        the rows' cells do not have then.
    stride
        Cells from one window to the next, at least 1: by name, or one number for each dimension.
        None: windows beside each other.
    remainder
        What becomes of cells at the upper end of a dimension that no whole window reaches:
        ``"drop"``: they are in no row. ``"error"``: they are refused.
    column, offset_column
        Names of two columns.
    override_num_blocks
        About how many blocks there shall be; twice as many as Ray has cores, or blocks of 64 MiB,
        else. Those that a client with a `memory_limit` may not read are divided.

    Returns
    -------
    ray.data.Dataset
        With the columns `column`, an Arrow tensor of the array's dtype; `offset_column`, the first
        cell of the window in `source`, one int64 for each dimension; and for each dimension one of
        its name: the coordinate of that cell, a label, a float of a scale, an instant in UTC, or
        its position in the array. Windows come tile by tile, not in the order of their offsets.

    Raises
    ------
    DekerValidationError
        A window that is larger than `source`, an unknown dimension, a stride below 1, columns of
        one name.
    DekerIndexError
        With ``remainder="error"``: cells are left over. `source` has no dimension, or no cells.
    DekerArrayTypeError
        Cells that Arrow has no type for: complex numbers, floats of more than 64 bits.
    DekerTransactionError
        In a transaction: tasks would not see what it has written.
    DekerClientError
        Ray Data is not installed, or this process was disconnected from Ray.
    """
    data = ray_data()
    part = _held(source)
    require_arrow_type(part.dtype)
    blocks = None if override_num_blocks is None else plain_int(override_num_blocks)
    if override_num_blocks is not None and (blocks is None or blocks < 1):
        raise DekerValidationError(
            f"override_num_blocks is a number from 1, not {shown(override_num_blocks)}"
        )
    samples = _windows(part, window, stride, remainder)
    rows = Rows(part, samples, window is None, column, offset_column)
    return _dataset(data, rows, blocks)


def _held(source: object) -> SnapshotSubset:
    if isinstance(source, Selectable):
        source = source[...]
    if not isinstance(source, Subset):
        raise DekerValidationError(
            f"an array, a snapshot, or a part of one can be read, not {shown(source)}"
        )
    if not source.shape or not all(source.shape):
        raise DekerIndexError(
            f"{source!r} has no rows: a dataset needs a dimension, and cells along each"
        )
    return present(source, "read()")


def _windows(
    part: SnapshotSubset, window: PerDimension | None, stride: PerDimension | None, remainder: str
) -> GridSamples:
    if remainder not in ("drop", "error"):
        raise DekerValidationError(f'remainder must be "drop" or "error", not {shown(remainder)}')
    dimensions = part.array.dimensions
    names = [dimensions[number].name for number in part.selection.kept]
    named_shape = tuple(zip(names, part.shape, strict=True))
    if window is None:
        if stride is not None:
            raise DekerValidationError("stride is the distance of windows: give window as well")
        window = {names[0]: 1}
    samples = Windows(size=sizes("window", window, named_shape), stride=stride).over(named_shape)
    for name, cells, size, step, count in zip(
        names, part.shape, samples.size, samples.stride, samples.counts, strict=True
    ):
        left = cells - ((count - 1) * step + size)
        if left and remainder == "error":
            raise DekerIndexError(
                f"{left} of {cells} cells along {name!r} are in no window of {size} with a stride "
                f'of {step}; choose others, a part that they fill, or remainder="drop"'
            )
    return samples


def _dataset(data: Any, rows: Rows, wanted: int | None) -> ray.data.Dataset:
    # All import Ray; with Ray Data at hand that is there.
    import ray

    from deker_cluster.ray.datasource import DekerDatasource
    from deker_cluster.tilewise.tasks import cores_of_nodes, near_node

    part, array = rows.part, rows.part.array
    if not in_tasks(array.session) and not ray.is_initialized():
        ray.init()
    cores = cores_of_nodes()
    pieces = pieces_of(part)
    nodes = by_node(pieces, entries_of(part, pieces), array.session.shards)
    placed = plan_blocks(
        rows.samples,
        array.located(part.selection),
        array.tiled.grid,
        {piece.ordinal: node for node, some in nodes.items() for piece in some},
        {piece.ordinal: math.prod(piece.selection.full_shape) for piece in pieces},
        _rows_per_block(rows, wanted, sum(cores.values())),
    )
    shared = ray.put(rows)
    if len(cores) == 1 or len(placed) > _MOST_NODES:
        placed = {None: [block for blocks in placed.values() for block in blocks]}
    with warnings.catch_warnings():
        # Nothing else than ray_remote_args makes tasks wait for a node that is busy, and go
        # elsewhere when it is gone: a label selector without a fallback would wait for ever, with
        # one it does not wait at all.
        warnings.simplefilter("ignore", DeprecationWarning)
        parts = [
            data.read_datasource(
                DekerDatasource(rows, shared, blocks),
                override_num_blocks=len(blocks),
                ray_remote_args=near_node(node),
            )
            for node, blocks in placed.items()
        ]
    return parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]


def _rows_per_block(rows: Rows, wanted: int | None, cores: int) -> int:
    number, most_bytes = len(rows.samples), _BLOCK_BYTES
    if wanted is not None:
        share, most_bytes = -(-number // wanted), number * rows.row_bytes
    else:
        least = -(-_LEAST_BLOCK_BYTES // rows.row_bytes)
        share = max(-(-number // (_BLOCKS_PER_CORE * max(cores, 1))), least)
    limit_bytes = rows.part.array.session.options.memory_limit_bytes
    return max(1, min(share, min(limit_bytes or most_bytes, most_bytes) // rows.row_bytes))
