"""The columns of a Ray Dataset's rows: cells, where they are, their coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pyarrow as pa

from deker_cluster.core.inner_selection import inner_selection
from deker_cluster.core.selection import AxisPoints
from deker_cluster.dataplane.batch_reading import read_batch
from deker_cluster.dimensions import TimeDimension
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.memory import new_array, require_memory

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.core.selection import Axis
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.sampling.windows import GridSamples
    from deker_cluster.snapshots import SnapshotSubset

__all__ = ["Rows"]


@attrs.frozen(eq=False)
class Rows:
    """The rows of a dataset: one for each window over a part of a snapshot. Can be pickled."""

    part: SnapshotSubset
    samples: GridSamples
    """The windows, in cells of the part's result."""
    drop_first: bool
    """Whether windows are single steps of the first dimension, which rows do not have then."""
    column: str
    offset_column: str

    def __attrs_post_init__(self) -> None:
        names = [name for name in (self.column, self.offset_column) if not isinstance(name, str)]
        if names:
            raise DekerValidationError(f"the name of a column is a string, not {shown(names[0])}")
        columns = [self.column, self.offset_column, *(d.name for _, d in self._kept)]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise DekerValidationError(
                f"two columns would be named {twice[0]!r}: those of the dimensions have their "
                "names; choose others for column= and offset_column="
            )

    @property
    def _kept(self) -> list[tuple[Axis, AnyDimension]]:
        selection, dimensions = self.part.selection, self.part.snapshot.dimensions
        return [(selection.axes[number], dimensions[number]) for number in selection.kept]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of the cells of a row."""
        return self.samples.size[1:] if self.drop_first else self.samples.size

    @property
    def row_bytes(self) -> int:
        """Size of a row's cells."""
        return int(np.prod(self.row_shape, dtype=object)) * self.part.dtype.itemsize

    @property
    def schema(self) -> pa.Schema:
        """Of every block."""
        cells = pa.from_numpy_dtype(self.part.dtype)
        if self.row_shape:
            cells = pa.fixed_shape_tensor(cells, self.row_shape)
        offset = pa.fixed_shape_tensor(pa.int64(), (len(self.samples.size),))
        coordinates = [(dimension.name, _arrow_type(dimension)) for _, dimension in self._kept]
        return pa.schema([(self.column, cells), (self.offset_column, offset), *coordinates])

    def table(self, numbers: npt.NDArray[np.int64]) -> pa.Table:
        """Read rows by their numbers, all at once.

        Raises
        ------
        DekerBaseApplicationError
            As :meth:`.Subset.read`.
        """
        schema, corners = self.schema, self.samples.corners(numbers)
        columns = [_tensor(self._cells(corners)), _tensor(corners)]
        for (axis, dimension), starts in zip(self._kept, corners.T, strict=True):
            places, inverse = np.unique(starts, return_inverse=True)
            values = dimension.coordinates(_positions(axis, places))
            kind = schema.field(dimension.name).type
            values = [str(value) for value in values] if pa.types.is_string(kind) else values
            columns.append(pa.array(values, kind).take(pa.array(inverse)))
        return pa.table(columns, schema=schema)

    def _cells(self, corners: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        part, size = self.part, self.samples.size
        array = part.array

        def what() -> str:
            return f"{len(corners)} windows of {size} cells of array {array.id}"

        limit_bytes = array.session.options.memory_limit_bytes
        require_memory(len(corners) * self.row_bytes, limit_bytes, what)
        out = new_array((len(corners), *size), part.dtype, what)
        selections = [
            array.located(inner_selection(part.selection, corner, size))
            for corner in corners.tolist()
        ]
        read_batch(array.session, array.tiled, selections, part.snapshot.pinned, out)
        return out.reshape(len(corners), *self.row_shape)


def _positions(axis: Axis, places: npt.NDArray[np.int64]) -> list[int]:
    found = (
        axis.positions[places] if isinstance(axis, AxisPoints) else axis.start + places * axis.step
    )
    positions: list[int] = found.tolist()
    return positions


def _tensor(values: npt.NDArray[Any]) -> pa.Array:
    return (
        pa.FixedShapeTensorArray.from_numpy_ndarray(values) if values.ndim > 1 else pa.array(values)
    )


def _arrow_type(dimension: AnyDimension) -> pa.DataType:
    if isinstance(dimension, TimeDimension):
        return pa.timestamp("us", tz="UTC")
    if dimension.scale is not None:
        return pa.float64()
    kinds = {type(label) for label in dimension.labels or ()}
    if kinds <= {int}:  # positions, if there are no labels
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else pa.string()
