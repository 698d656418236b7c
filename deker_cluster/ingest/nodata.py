"""Values that mark missing cells. Pure (no I/O)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["usable_nodata", "valid_cells"]


def usable_nodata(value: Any, dtype: np.dtype[Any]) -> float | int | None:
    """Return a nodata value as a number that cells of a dtype can have; None: they cannot.

    Files often declare one that their cells never have, such as -9999 of bytes.
    """
    number = np.asarray(value).ravel()[0].item()
    if dtype.kind in "fc":
        return float(complex(number).real)
    limits = np.iinfo(dtype)
    if isinstance(number, float) and not number.is_integer():
        return None
    # Python compares ints and floats exactly.
    return int(number) if limits.min <= number <= limits.max else None


def valid_cells(values: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_]:
    """Return which cells are valid: NaN never is, whatever the nodata value."""
    valid: npt.NDArray[np.bool_]
    if values.dtype.kind not in "fc":
        valid = values != values.dtype.type(nodata)
        return valid
    valid = ~np.isnan(values)
    return valid if math.isnan(nodata) else valid & (values != values.dtype.type(nodata))
