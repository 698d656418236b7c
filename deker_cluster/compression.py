"""Compression filters: which there are, their settings, and what they can encode. Pure (no I/O)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import attrs

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["FILTER_IDS", "HDF5CompressionOpts", "misfit"]

_MAX_CLIENT_VALUE = 2**32 - 1
_MAX_CLIENT_VALUES = 32  # More than any filter of hdf5plugin takes.

_GZIP, _SZIP, _LZF = 1, 4, 32000
_GZIP_DEFAULT_LEVEL = 4
_SZIP_CODINGS = {"ec": 4, "nn": 32}  # Bits of HDF5's szip option mask.
_NAMED = {"gzip": _GZIP, "szip": _SZIP, "lzf": _LZF}

_BLOSC, _BLOSC2, _BZIP2, _ZSTD = 32001, 32026, 307, 32015
_FCIDECOMP, _HTJ2K = 32018, 32033
_SPERR, _SZ, _SZ3, _ZFP = 32028, 32017, 32024, 32013
_PLUGINS = {
    32008: "Bitshuffle",
    _BLOSC: "Blosc",
    _BLOSC2: "Blosc2",
    _BZIP2: "BZip2",
    _FCIDECOMP: "FciDecomp",
    _HTJ2K: "Htj2k",
    32004: "LZ4",
    _SPERR: "Sperr",
    _SZ: "SZ",
    _SZ3: "SZ3",
    _ZFP: "Zfp",
    _ZSTD: "Zstd",
}
FILTER_IDS = frozenset(_PLUGINS)
"""The filters of hdf5plugin that are known here."""

# filter id -> position of a client value -> (what it is, least, greatest)
_VALUE_RANGES: dict[int, dict[int, tuple[str, int, int]]] = {
    _BLOSC: {4: ("level", 0, 9), 5: ("shuffle", 0, 2), 6: ("compressor", 0, 5)},
    _BLOSC2: {4: ("level", 0, 9), 5: ("filter", 0, 4), 6: ("compressor", 0, 5)},
    _BZIP2: {0: ("block size", 1, 9)},
    _ZSTD: {0: ("level", 1, 22)},
}
_ZFP_REVERSIBLE = 5  # The mode, first of Zfp's client values.


class _Chunk(NamedTuple):
    """What a filter is asked to encode."""

    values: tuple[int, ...]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def long(self) -> list[int]:
        """The lengths of the dimensions that are longer than 1."""
        return [length for length in self.shape if length > 1]

    def real(self, *sizes: int) -> bool:
        """Whether these are floating point numbers of one of these sizes, bytes."""
        return self.dtype.kind == "f" and self.dtype.itemsize in sizes

    def whole(self, *sizes: int) -> bool:
        """Whether these are integers of one of these sizes, bytes."""
        return self.dtype.kind in "iu" and self.dtype.itemsize in sizes


# filter id -> (what it can encode, whether it can encode this). Found by trying hdf5plugin 7.1 in
# processes of their own: what is left out here is refused by HDF5 when data are written, read back
# as other numbers, or ends the process.
_SUITS: dict[int, tuple[str, Callable[[_Chunk], bool]]] = {
    _SZIP: (
        "real numbers, in chunks of at least as many cells as it has pixels per block",
        lambda c: c.dtype.kind != "c" and math.prod(c.shape) >= c.values[1],
    ),
    _FCIDECOMP: (
        "integers of 8 or 16 bits in 2 or 3 dimensions",
        lambda c: c.whole(1, 2) and len(c.shape) in (2, 3),
    ),
    _HTJ2K: (
        "integers of 8 or 16 bits, in chunks of 1 or 2 dimensions longer than 1, or 3 of (?, ?, 3)",
        lambda c: c.whole(1, 2) and (len(c.long) <= 2 or (len(c.long) == 3 and c.long[-1] == 3)),
    ),
    _SPERR: (
        "float32 and float64, in chunks of 2 or 3 dimensions longer than 1",
        lambda c: c.real(4, 8) and len(c.long) in (2, 3),
    ),
    _SZ: (
        "float32 and float64 in at most 4 dimensions",
        lambda c: c.real(4, 8) and len(c.shape) <= 4,
    ),
    _SZ3: (
        "real numbers of 32 or 64 bits in at most 4 dimensions",
        lambda c: (c.real(4, 8) or c.whole(4, 8)) and len(c.shape) <= 4,
    ),
    _ZFP: (
        "float32 and float64 (int32 to uint64 if reversible) in at most 4 dimensions longer than 1",
        lambda c: (
            (c.real(4, 8) or (c.whole(4, 8) and c.values[:1] == (_ZFP_REVERSIBLE,)))
            and len(c.long) <= 4
        ),
    ),
}


def misfit(
    number: int, values: tuple[int, ...], dtype: np.dtype[Any], chunk_shape: tuple[int, ...]
) -> str | None:
    """Return what a filter can encode, as a sentence, if that is not chunks like these.

    Parameters
    ----------
    number, values
        HDF5's id of the filter, and the client values as they were given.
    """
    if number not in _SUITS:
        return None
    able, suits = _SUITS[number]
    if suits(_Chunk(values, dtype, chunk_shape)):
        return None
    return f"compression {_PLUGINS.get(number, 'szip')} can encode only {able}"


def _compression(value: object) -> str | int | None:
    if value is None:
        return None
    if isinstance(value, str) and value in _NAMED:
        return str(value)
    number = plain_int(value)
    if number is not None and number in _PLUGINS:
        return number
    known = ", ".join(f"{number} ({name})" for number, name in sorted(_PLUGINS.items()))
    raise DekerValidationError(
        f"compression {shown(value)} is not a known filter; "
        f'use "gzip", "lzf", "szip", or one of the filter ids {known}'
    )


def _compression_opts(value: object) -> int | tuple[int | str, ...] | None:
    number = plain_int(value)
    if value is None or (number is not None and number >= 0):
        return number
    if isinstance(value, (list, tuple)):
        items = [item if isinstance(item, str) else plain_int(item) for item in value]
        if not any(item is None or (isinstance(item, int) and item < 0) for item in items):
            # Without any settings is without settings: one form, so that equal options are equal.
            return tuple(cast("list[int | str]", items)) or None
    raise DekerValidationError(
        f"compression_opts must be None, a non-negative int, or a list or tuple of them, "
        f"not {shown(value)}"
    )


@attrs.frozen
class HDF5CompressionOpts:
    """A filter and its settings; ``HDF5CompressionOpts(**hdf5plugin.Blosc())`` works.

    Parameters
    ----------
    compression
        ``"gzip"``, ``"lzf"``, ``"szip"``, the id of one of hdf5plugin's filters, or None.
    compression_opts
        gzip: the level, 0 to 9 (None: 4). lzf: None. szip: ``("nn" or "ec", pixels per block)``.
        Filter ids: the values that hdf5plugin gives.

    Raises
    ------
    DekerValidationError
        An unknown filter, or settings that it does not take.

    Notes
    -----
    What a lossy filter cannot bring back within its bound, above all chunks with NaN or infinity,
    is stored as it is. A chunk that is written in parts is decoded and encoded each time, and the
    errors may add up: write whole chunks, or use chunks of the size of what is written.
    """

    compression: str | int | None = attrs.field(converter=_compression)
    compression_opts: int | tuple[int | str, ...] | None = attrs.field(converter=_compression_opts)

    def __attrs_post_init__(self) -> None:
        self.pipeline()

    @property
    def as_dict(self) -> dict[str, Any]:
        """The arguments by name."""
        return attrs.asdict(self)

    def pipeline(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return ``((filter id, client values),)``, or ``()`` without compression."""
        given = self.compression_opts
        values = () if given is None else given if isinstance(given, tuple) else (given,)
        match self.compression:
            case None:
                self._require(not values, "needs a compression that it belongs to")
                return ()
            case "gzip":
                levels = values or (_GZIP_DEFAULT_LEVEL,)
                self._require(levels in [(level,) for level in range(10)], "must be 0 to 9")
                return ((_GZIP, cast("tuple[int, ...]", levels)),)
            case "lzf":
                self._require(not values, "must be None")
                return ((_LZF, ()),)
            case "szip":
                coding, pixels = values if len(values) == 2 else ("nn", 8 if not values else 0)
                self._require(
                    coding in _SZIP_CODINGS and pixels in range(2, 33, 2),
                    'must be ("nn" or "ec", an even number from 2 to 32)',
                )
                return ((_SZIP, (_SZIP_CODINGS[str(coding)], int(pixels))),)
            case number:
                return ((int(number), self._plugin_values(int(number), values)),)

    def _plugin_values(self, number: int, values: tuple[int | str, ...]) -> tuple[int, ...]:
        ints = tuple(value for value in values if isinstance(value, int))
        self._require(
            ints == values
            and len(ints) <= _MAX_CLIENT_VALUES
            and all(value <= _MAX_CLIENT_VALUE for value in ints),
            f"must be at most {_MAX_CLIENT_VALUES} ints of 32 bits",
        )
        for position, (what, least, greatest) in _VALUE_RANGES.get(number, {}).items():
            if position < len(ints):
                self._require(
                    least <= ints[position] <= greatest,
                    f"has {what} {ints[position]}, which must be {least} to {greatest}",
                )
        return ints

    def _require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise DekerValidationError(
                f"compression_opts {shown(self.compression_opts)} "
                f"of compression {self.compression!r} {problem}"
            )
