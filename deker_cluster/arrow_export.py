"""Read a selected part of an array as an Arrow array, or hand it over by DLPack: uncopied."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deker_cluster.errors import DekerArrayTypeError, DekerSubsetError

if TYPE_CHECKING:
    import pyarrow as pa

    from deker_cluster.subset import Subset

__all__ = ["CPU_DEVICE", "require_arrow", "require_arrow_type", "to_arrow", "to_dlpack"]

CPU_DEVICE: Final = (1, 0)
"""DLPack's type and number of the device in whose memory all parts are read."""

_ARROW_KINDS = "iuf"


def to_arrow(subset: Subset) -> pa.Array:
    """Read a subset as an Arrow array whose elements lie along its first dimension.

    Parameters
    ----------
    subset
        At least one of its dimensions must be kept: a slice, or a list.

    Returns
    -------
    pyarrow.FixedShapeTensorArray or pyarrow.Array
        One tensor for each position of the first dimension, with the names of the others; of one
        dimension alone, plain numbers. ``to_numpy_ndarray()`` gives the cells back. It is the very
        memory that was read into; fill values are values, not nulls.

    Raises
    ------
    DekerArrayTypeError
        Arrow has no such numbers: complex ones, and floats of more than 64 bits.
    DekerSubsetError
        The subset is a single cell.
    """
    import pyarrow as pa

    require_arrow(subset)
    cells = np.ascontiguousarray(subset.read())
    # Only as a flat array does Arrow take memory over as it is.
    numbers = pa.array(cells.reshape(-1))
    if cells.ndim == 1:
        return numbers
    names = [
        dimension.name
        for dimension, bound in zip(subset.array.dimensions, subset.bounds, strict=True)
        if not isinstance(bound, int)
    ]
    kind = pa.fixed_shape_tensor(numbers.type, cells.shape[1:], dim_names=names[1:])
    rows = pa.FixedSizeListArray.from_arrays(numbers, math.prod(cells.shape[1:]))
    return pa.ExtensionArray.from_storage(kind, rows)


def require_arrow(subset: Subset) -> None:
    """Make sure that a subset can be an Arrow array; raises as :func:`to_arrow`."""
    if not subset.shape:
        raise DekerSubsetError(
            f"{subset!r} is a single cell, Arrow arrays have elements; keep a dimension with a "
            "slice such as array[0:1, 5]"
        )
    require_arrow_type(subset.dtype)


def require_arrow_type(dtype: np.dtype[Any]) -> None:
    """Refuse cells that Arrow has no type for.

    Raises
    ------
    DekerArrayTypeError
        Complex numbers, or floats of more than 64 bits.
    """
    if dtype.kind not in _ARROW_KINDS or dtype.itemsize > np.dtype(np.float64).itemsize:
        raise DekerArrayTypeError(
            f"Arrow has no {dtype}; read() gives such cells as numpy's, or keep their parts in "
            "arrays of real numbers"
        )


def to_dlpack(
    subset: Subset,
    stream: object,
    max_version: tuple[int, int] | None,
    dl_device: tuple[Any, int] | None,
    copy: bool | None,
) -> Any:
    """Read a subset and hand the memory over; arguments are those of the DLPack protocol.

    Raises
    ------
    BufferError
        Another device, or no copy at all, is asked for; or numbers that DLPack does not know.
    """
    if stream is not None or (dl_device is not None and tuple(dl_device) != CPU_DEVICE):
        raise BufferError(
            "a subset is read into the memory of the processor; move it on from there, such as "
            "torch.from_dlpack(subset).to('cuda')"
        )
    if copy is False:
        raise BufferError("a subset is read from storage: it cannot become a tensor uncopied")
    cells = np.asarray(subset.read())
    # Older versions of numpy know no version. The memory is new: a copy has been made.
    return cells.__dlpack__() if max_version is None else cells.__dlpack__(max_version=max_version)
