"""Which numbers the lossy filters of hdf5plugin must not be given. Pure (no I/O).

Their codecs know of finite numbers only: NaN makes them store other numbers without a word (Zfp,
SZ3), or ends the process (SZ3, Sperr in three dimensions). NaN is what cells that were never
written hold, so every lossy filter meets it. SZ with a bound relative to each number makes numbers
of the size of their neighbours of zeros, and of any kind must not be given a handful of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from deker_cluster.tilefile.index import Filters

__all__ = ["is_lossy", "may_encode"]

_ZFP: Final = 32013
_SZ: Final = 32017
_SZ3: Final = 32024
_SPERR: Final = 32028
_LOSSY: Final = frozenset({_ZFP, _SZ, _SZ3, _SPERR})

_SPERR_ABSOLUTE: Final = 3
_SPERR_MAX_STEPS: Final = 2.0**40
"""Sperr counts in steps of its tolerance, and crashes where they do not fit 64 bits."""
_SPERR_GREATEST: Final = 1e100
"""Far below the numbers whose squares, which Sperr sums, are infinite."""

_SZ_FEWEST_CELLS: Final = 256
"""SZ writes behind its memory, or ends the process with exit(), for some chunks of up to 36 cells;
where its header outweighs what it saves there is nothing to lose either."""

_SZ_POINTWISE: Final = 10
"""The mode of SZ whose bound is relative to each number; nine from the end of its values."""

_ZFP_REVERSIBLE: Final = 2176
"""How the header of a Zfp stream, in its resolved client values, says "reversible"."""


def is_lossy(filters: Filters) -> bool:
    """Tell whether encoding may change numbers."""
    return any(number in _LOSSY for number, _ in filters)


def may_encode(chunk: np.ndarray[Any, Any], filters: Filters) -> bool:
    """Tell whether the filters, as the file's index has them, are safe for these numbers.

    If not, the chunk has to be stored as it is, which its filter mask says.
    """
    return all(_suits(chunk, number, values) for number, values in filters)


def _suits(chunk: np.ndarray[Any, Any], number: int, values: tuple[int, ...]) -> bool:
    if chunk.dtype.kind != "f" or number not in _LOSSY:
        return True
    if number == _ZFP and len(values) > 3 and values[3] >> 20 == _ZFP_REVERSIBLE:
        return True
    if number == _SZ and chunk.size < _SZ_FEWEST_CELLS:
        return False
    if not bool(np.isfinite(chunk).all()):
        return False
    if number == _SZ and len(values) > 8 and values[-9] == _SZ_POINTWISE:
        return bool(chunk.all())
    if number != _SPERR or len(values) < 2:
        return True
    greatest = max(float(chunk.max()), -float(chunk.min()))
    limit = _SPERR_GREATEST
    if values[1] >> 28 & 3 == _SPERR_ABSOLUTE:
        # The tolerance is a power of two: sign, and 11 bits before and 16 behind the point.
        exponent = (values[1] & 0x7FF_FFFF) / 0x1_0000
        limit = 2.0 ** (-exponent if values[1] >> 27 & 1 else exponent) * _SPERR_MAX_STEPS
    return greatest <= min(limit, _SPERR_GREATEST)
