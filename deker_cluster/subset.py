"""A selected part of an array: nothing is read or written until asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.arrow_export import CPU_DEVICE, to_arrow, to_dlpack
from deker_cluster.coercion import coerce
from deker_cluster.dataplane.batch_reading import read_batch
from deker_cluster.dataplane.reading import present_entries, read
from deker_cluster.dataplane.writing import clear, write
from deker_cluster.errors import DekerArrayTypeError, DekerIndexError, DekerSubsetError
from deker_cluster.indexing import describe
from deker_cluster.memory import require_memory
from deker_cluster.tilewise.methods import Tilewise
from deker_cluster.xarray_export import to_xarray

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa
    import xarray

    from deker_cluster.arrays import BaseArray
    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.reading import EntrySource
    from deker_cluster.selectable import Selectable

__all__ = ["Subset", "VSubset"]


class Subset(Tilewise):
    """Part of an array, as ``array[index]`` gives it. Can be pickled."""

    def __init__(self, array: BaseArray, selection: Selection) -> None:
        self._array = array
        self._selection = selection

    @property
    def array(self) -> BaseArray:
        """The array that this is a part of."""
        return self._array

    @property
    def whole(self) -> Selectable[Any]:
        """What this was selected from."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data: dimensions picked by one position are dropped."""
        return self._selection.shape

    @property
    def bounds(self) -> tuple[int | slice | list[int], ...]:
        """Positions, slices or lists of positions, one for each dimension."""
        return self._selection.bounds

    @property
    def selection(self) -> Selection:
        """The selected cells as plain numbers."""
        return self._selection

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the cells."""
        return self._array.dtype

    @property
    def fill_value(self) -> np.generic:
        """Value of cells that were never written."""
        return self._array.fill_value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._array.id}, bounds={self.bounds}, shape={self.shape})"

    def read(self) -> Any:
        """Return the cells as a new, writable array; one cell as a numpy scalar.

        All cells are of one committed state, whoever writes meanwhile.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        DekerIntegrityError
            Stored bytes are damaged or gone; nothing is made up for them.
        DekerMemoryError
            The result is larger than the client's ``memory_limit``, or than the free memory.
        ShardUnavailableError, RegistryUnavailableError
            No answer in time.
        """
        array, selection = self._array, self._selection
        session, tiled, shape = array.session, array.tiled, selection.shape
        require_memory(
            math.prod(shape) * tiled.dtype.itemsize,
            session.options.memory_limit_bytes,
            lambda: f"reading the cells {shape} ({tiled.dtype}) of array {array.id}",
        )
        cells = read(session, tiled, array.located(selection), self._source())
        return cells if shape else cells[()]

    def all_cells(self) -> Subset:
        """Return this."""
        return self

    def entries(self, ordinals: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Return the packed manifest entries of tiles, as this part sees them.

        Ordinals ascend; shards that the entries name are in the session's table afterwards.
        """
        session, tiled = self._array.session, self._array.tiled
        found = (self._source() or present_entries(session, tiled)).entries(ordinals)
        session.shards.at_epoch(found.epoch)
        return found.values

    def _source(self) -> EntrySource | None:
        """Where to look for tiles; None: where the array has them now."""
        return None

    def read_xarray(self) -> xarray.DataArray:
        """Return the cells with their coordinates; see :func:`.xarray_export.to_xarray`.

        Raises
        ------
        DekerSubsetError
            A single cell has no dimensions.
        XarrayMissingError
            xarray is not installed.
        DekerBaseApplicationError
            As :meth:`read`.
        """
        return to_xarray(self)

    def read_arrow(self) -> pa.Array:
        """Return the cells as an Arrow array, uncopied; see :func:`.arrow_export.to_arrow`.

        Raises
        ------
        DekerArrayTypeError
            Arrow has no numbers of this dtype.
        DekerSubsetError
            A single cell is no array.
        DekerBaseApplicationError
            As :meth:`read`.
        """
        return to_arrow(self)

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Read the cells and hand them over: ``torch.from_dlpack(subset)`` makes no copy."""
        return to_dlpack(self, stream, max_version, dl_device, copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Return the device that cells are read on: always the processor."""
        return CPU_DEVICE

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("a subset is read from storage: it cannot become an array uncopied")
        return np.asarray(self.read(), dtype)

    @classmethod
    def read_together(
        cls, whole: Selectable[Any], parts: Sequence[Subset], out: npt.NDArray[Any] | None
    ) -> list[Any] | npt.NDArray[Any]:
        """Read parts of an array or a snapshot as :meth:`.Selectable.read_many` describes it."""
        for part in parts:
            if part.whole != whole:
                raise DekerSubsetError(f"{part!r} is no part of {whole!r}")
        if out is not None:
            _check_room(parts, out, whole.dtype)
        if not parts:
            return [] if out is None else out
        array, source = parts[0]._array, parts[0]._source()  # noqa: SLF001 - the same class
        session, tiled = array.session, array.tiled
        require_memory(
            0 if out is not None else _total_bytes(parts, tiled.dtype),
            session.options.memory_limit_bytes,
            lambda: f"reading {len(parts)} parts of array {array.id}",
        )
        selections = [array.located(part._selection) for part in parts]  # noqa: SLF001
        found = read_batch(session, tiled, selections, source, out)
        return [cells if cells.ndim else cells[()] for cells in found] if out is None else out

    def update(self, data: object) -> None:
        """Write `data` into the cells: all of them or, on any error, none.

        Parameters
        ----------
        data
            Array or nested list of :attr:`shape`, or one number for every cell. An array must not
            be changed until this returns: its memory may be written to disk as it is.

        Raises
        ------
        DekerArrayTypeError, DekerIndexError
            Values or shape do not fit.
        DekerLockError
            Someone else wrote here for the whole ``write_lock_timeout``.
        CommitConflictError
            The lease was lost on the way, or in a transaction the cells are not what it has read.
        CommitStateUnknownError
            The registry went away at the last step: the write may or may not have happened, and
            ``client.commit_outcome`` tells.
        StorageFullError, ShardUnavailableError, RegistryUnavailableError
            Nothing was changed.
        """
        values: npt.NDArray[Any] = coerce(data, self.dtype, self.shape, self.fill_value)
        write(
            self._array.session,
            self._array.tiled,
            self._array.located(self._selection),
            values.reshape(self._selection.full_shape),
        )

    def clear(self) -> None:
        """Set the cells back to the fill value; raises as :meth:`update`."""
        clear(self._array.session, self._array.tiled, self._array.located(self._selection))

    def describe(self) -> OrderedDict[str, list[Any]]:
        """Return the cells' coordinates per dimension: times, labels, scale values or positions."""
        return describe(self._selection, self._array.dimensions)


class VSubset(Subset):
    """Part of a virtual array."""


def _total_bytes(parts: Sequence[Subset], dtype: np.dtype[Any]) -> int:
    return sum(math.prod(part.shape) for part in parts) * dtype.itemsize


def _check_room(parts: Sequence[Subset], out: npt.NDArray[Any], dtype: np.dtype[Any]) -> None:
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise DekerIndexError(
            f"parts of different shapes cannot be read into one array: {sorted(shapes)[:5]}"
        )
    if not isinstance(out, np.ndarray) or out.dtype != dtype or not out.flags.writeable:
        raise DekerArrayTypeError(f"cells are read into a writable numpy array of dtype {dtype}")
    wanted = (len(parts), *(shapes.pop() if shapes else out.shape[1:]))
    if out.shape != wanted:
        raise DekerIndexError(f"the parts need an array of shape {wanted}, not {out.shape}")
