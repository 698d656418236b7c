"""Turn what ``update`` is given into cells of the array's dtype, without loss. Pure (no I/O)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from deker_cluster.dtypes import plain_int
from deker_cluster.errors import DekerArrayError, DekerArrayTypeError, DekerIndexError

__all__ = ["coerce"]


def coerce(
    data: object, dtype: np.dtype[Any], shape: tuple[int, ...], fill: np.generic
) -> npt.NDArray[Any]:
    """Return `data` as an array of `dtype` and `shape`; a scalar is broadcast (read-only then).

    Arrays of another dtype are taken if every value of it fits (``np.can_cast(..., "safe")``), and
    so is what converts itself to an array, such as data frames. Single numbers, and lists of
    numbers, are taken if these very values fit; floating point numbers may be rounded to the
    array's precision. Masked cells become `fill`.

    Raises
    ------
    DekerArrayError
        `data` is None.
    DekerArrayTypeError
        Values would be changed, or are no numbers.
    DekerIndexError
        The shape is not `shape`; only scalars are broadcast.
    """
    if data is None:
        raise DekerArrayError("no data: update() takes an array, a list or a number, not None")
    if isinstance(data, np.ma.MaskedArray):
        data = np.where(np.ma.getmaskarray(data), fill, _checked(data.data, dtype))
    typed = hasattr(data, "__array__")
    try:
        values: npt.NDArray[Any] = np.asarray(data)
    except (OverflowError, TypeError, ValueError) as error:
        raise DekerArrayTypeError(f"the data are ragged or no numbers: {error}") from error
    if typed and values.ndim > 0:
        values = _checked(values, dtype)
    elif values.dtype.kind == "f" and dtype.kind in "iu":
        # numpy makes rounded floats of a list with both small and very large ints.
        values = _exact(np.asarray(values if typed else data, object), dtype)
    elif values.dtype.kind == "O" and all(plain_int(value) is not None for value in values.flat):
        # Ints that no integer type of numpy holds; floats may.
        values = _exact(values, dtype)
    else:
        values = _literal(values, dtype)
    if values.shape == shape:
        return values
    if values.ndim == 0:
        return np.broadcast_to(values, shape)
    raise DekerIndexError(
        f"the data have shape {values.shape}, the selection has shape {shape}; "
        "select the part that the data are for, or reshape them"
    )


def _checked(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if values.dtype == dtype:
        return values
    if values.dtype.kind in "biufc" and np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype)
    raise DekerArrayTypeError(
        f"the data are of dtype {values.dtype}, the array is of dtype {dtype}, "
        f"which cannot hold every {values.dtype}; convert them with .astype({dtype.name!r}) if "
        "that is what you want"
    )


def _literal(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if values.size == 0 or values.dtype == dtype:
        return values.astype(dtype)
    if values.dtype.kind not in "biufc":
        raise DekerArrayTypeError(f"the data are of dtype {values.dtype}, not numbers")
    if values.dtype.kind == "c" and dtype.kind != "c":
        raise DekerArrayTypeError(f"the data are complex, the array is of dtype {dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype, casting="unsafe")
        if values.dtype.kind in "fc" and dtype.kind in "fc":
            # Rounding is what a float32 array is chosen for; overflow is not.
            same = bool((np.isfinite(values) == np.isfinite(cast)).all())
        else:
            same = bool((cast == values).all())
    if not same:
        raise DekerArrayTypeError(
            f"the data ({values.dtype}) hold values that the array's dtype {dtype} cannot"
        )
    return cast


def _exact(numbers: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    try:
        cast = numbers.astype(dtype)
    except (ValueError, OverflowError):  # NaN; infinity, or beyond all ints
        cast = None
    if cast is None or not (cast == numbers).all():
        raise DekerArrayTypeError(f"the data hold values that the array's dtype {dtype} cannot")
    return cast
