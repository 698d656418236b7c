"""How the tiles of a collection are chunked and compressed. Pure (no I/O)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

__all__ = ["AUTO_CHUNK_BYTES", "HDF5CompressionOpts", "HDF5Options"]

AUTO_CHUNK_BYTES = (256 * 1024, 1024 * 1024)
"""Least and greatest size of a chunk that is chosen automatically, bytes."""

_MAX_CHUNK_BYTES = 2**32 - 1  # HDF5 keeps the size of a chunk in 32 bits.
_MAX_CLIENT_VALUE = 2**32 - 1
_MAX_CLIENT_VALUES = 32  # More than any filter of hdf5plugin takes.

_GZIP, _SZIP, _LZF = 1, 4, 32000
_GZIP_DEFAULT_LEVEL = 4
_SZIP_CODINGS = {"ec": 4, "nn": 32}  # Bits of HDF5's szip option mask.
_NAMED = {"gzip": _GZIP, "szip": _SZIP, "lzf": _LZF}

_BLOSC, _BLOSC2, _BZIP2, _ZSTD = 32001, 32026, 307, 32015
_SZ, _SZ3, _ZFP = 32017, 32024, 32013
_PLUGINS = {
    32008: "Bitshuffle",
    _BLOSC: "Blosc",
    _BLOSC2: "Blosc2",
    _BZIP2: "BZip2",
    32018: "FciDecomp",
    32004: "LZ4",
    _SZ: "SZ",
    _SZ3: "SZ3",
    _ZFP: "Zfp",
    _ZSTD: "Zstd",
}

# filter id -> position of a client value -> (what it is, least, greatest)
_VALUE_RANGES: dict[int, dict[int, tuple[str, int, int]]] = {
    _BLOSC: {4: ("level", 0, 9), 5: ("shuffle", 0, 2), 6: ("compressor", 0, 5)},
    _BLOSC2: {4: ("level", 0, 9), 5: ("filter", 0, 4), 6: ("compressor", 0, 5)},
    _BZIP2: {0: ("block size", 1, 9)},
    _ZSTD: {0: ("level", 1, 22)},
}

# filter id -> (what it can encode, whether it can encode this dtype and rank)
_SUITS: dict[int, tuple[str, Callable[[np.dtype[Any], int], bool]]] = {
    _SZIP: ("real numbers", lambda dtype, _: dtype.kind != "c"),
    # The SZ library ends the process when it is given integers.
    _SZ: ("float32 and float64", lambda dtype, _: dtype.kind == "f" and dtype.itemsize in (4, 8)),
    _SZ3: (
        "real numbers of 32 or 64 bits in at most 4 dimensions",
        lambda dtype, rank: dtype.kind != "c" and dtype.itemsize in (4, 8) and rank <= 4,
    ),
    _ZFP: (
        "real numbers of 32 or 64 bits",
        lambda dtype, _: dtype.kind != "c" and dtype.itemsize in (4, 8),
    ),
}


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
            return tuple(cast("list[int | str]", items))
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
    """

    compression: str | int | None = attrs.field(converter=_compression)
    compression_opts: int | tuple[int | str, ...] | None = attrs.field(converter=_compression_opts)

    def __attrs_post_init__(self) -> None:
        self.pipeline()

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


def _chunks(value: object) -> tuple[int, ...] | Literal[True] | None:
    if value is None or value is True:
        return value
    if isinstance(value, (list, tuple)) and value:
        sizes = [plain_int(item) for item in value]
        if all(size is not None and size > 0 for size in sizes):
            return tuple(cast("list[int]", sizes))
    raise DekerValidationError(
        f"chunks must be None, True, or a list or tuple of positive ints, not {shown(value)}"
    )


@attrs.frozen
class HDF5Options:
    """How the tiles of a collection are stored.

    Parameters
    ----------
    chunks
        None: one contiguous block, or automatic chunks if there is compression. True: automatic
        chunks. A list or tuple: cells per chunk, one number for each dimension.
    compression_opts
        The filter; None stores the cells as they are.

    Raises
    ------
    DekerValidationError
        Any other value. What depends on the tile is checked by :meth:`validate_for`.
    """

    chunks: tuple[int, ...] | Literal[True] | None = attrs.field(default=None, converter=_chunks)
    compression_opts: HDF5CompressionOpts | None = attrs.field(default=None)

    @compression_opts.validator
    def _check_compression_opts(self, _: object, value: object) -> None:
        if value is not None and not isinstance(value, HDF5CompressionOpts):
            raise DekerValidationError(
                f"compression_opts must be an HDF5CompressionOpts, not {type(value).__name__}; "
                "unpack filters of hdf5plugin: HDF5CompressionOpts(**hdf5plugin.Blosc())"
            )

    def filters(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return the HDF5 filter pipeline: (filter id, client values) pairs.

        The values are those that were given. Some filters (blosc, szip) put values of their own in
        front of or between them when a data set is made.
        """
        return () if self.compression_opts is None else self.compression_opts.pipeline()

    def validate_for(self, tile_shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Refuse what could not be written for tiles of this shape and dtype.

        Raises
        ------
        DekerValidationError
            Chunks of another rank than the tile, greater than it or over 4 GiB; a filter that
            cannot encode the dtype.
        """
        if isinstance(self.chunks, tuple):
            if len(self.chunks) != len(tile_shape):
                raise DekerValidationError(
                    f"chunks {self.chunks} have {len(self.chunks)} dimensions, "
                    f"the tile {tile_shape} has {len(tile_shape)}"
                )
            if any(chunk > size for chunk, size in zip(self.chunks, tile_shape, strict=True)):
                raise DekerValidationError(
                    f"chunks {self.chunks} are greater than the tile {tile_shape}"
                )
        chunks = self.resolve_chunks(tile_shape, dtype)
        if chunks is None:
            return
        cells = math.prod(chunks)
        if cells * dtype.itemsize > _MAX_CHUNK_BYTES:
            raise DekerValidationError(
                f"chunks {chunks} of {dtype.name} have {cells * dtype.itemsize} bytes, "
                "HDF5 allows less than 4 GiB"
            )
        for number, values in self.filters():
            if number in _SUITS and not _SUITS[number][1](dtype, len(chunks)):
                name = _PLUGINS.get(number, "szip")
                raise DekerValidationError(
                    f"compression {name} can encode only {_SUITS[number][0]}; "
                    f"this is {dtype.name} in {len(chunks)} dimensions"
                )
            if number == _SZIP and values[1] > cells:
                raise DekerValidationError(
                    f"szip with {values[1]} pixels per block needs chunks of at least so many "
                    f"cells; chunks {chunks} have {cells}"
                )

    def resolve_chunks(
        self, tile_shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> tuple[int, ...] | None:
        """Return the chunk shape for tiles of this shape, None for contiguous storage.

        Automatic chunks are slabs in C order: the last dimensions stay whole as long as they fit
        into 1 MiB together, the first one that does not fit is cut, those in front of it get
        length 1. The cut is the greatest divisor of the size that fits and gives at least 256 KiB,
        so that no chunk is padded; without such a divisor, the fewest equal pieces. A tile up to
        1 MiB is one chunk.
        """
        if isinstance(self.chunks, tuple):
            return self.chunks
        if self.chunks is None and not self.filters():
            return None
        least_bytes, greatest_bytes = AUTO_CHUNK_BYTES
        chunks = [1] * len(tile_shape)
        slab_bytes = dtype.itemsize
        for axis in reversed(range(len(tile_shape))):
            size = tile_shape[axis]
            fitting = greatest_bytes // slab_bytes
            if size > fitting:
                enough = -(-least_bytes // slab_bytes)
                chunks[axis] = _cut(size, max(enough, 1), fitting)
                break
            chunks[axis] = size
            slab_bytes *= size
        return tuple(chunks)

    def to_json(self) -> dict[str, Any]:
        """Return the form that collection metadata holds."""
        chunks: dict[str, Any] = {"mode": "none" if self.chunks is None else "true"}
        if isinstance(self.chunks, tuple):
            chunks = {"mode": "manual", "size": list(self.chunks)}
        name, options = "none", None
        if self.compression_opts is not None:
            name = str(self.compression_opts.compression or "none")
            given = self.compression_opts.compression_opts
            if given is not None:
                options = [str(item) for item in (given if isinstance(given, tuple) else (given,))]
        return {
            "chunks": chunks,
            "compression": {"compression": name, "options": options},
        }

    @classmethod
    def from_json(cls, data: object) -> HDF5Options:
        """Read :meth:`to_json`'s form; None stands for the defaults.

        Raises
        ------
        DekerMetaDataError
            The form is damaged, or names a filter that is not known.
        """
        try:
            return cls() if data is None else cls(*_read(data))
        except (AttributeError, KeyError, TypeError, ValueError, DekerValidationError) as error:
            raise DekerMetaDataError(
                f"stored options {shown(data)} cannot be read: {error!r}"
            ) from error


@lru_cache(maxsize=256)
def _cut(size: int, enough: int, fitting: int) -> int:
    """Return the length of the pieces of an axis, from 1 to `fitting` cells."""
    for length in range(fitting, enough - 1, -1):
        if size % length == 0:
            return length
    return -(-size // -(-size // fitting))


def _read(data: Any) -> tuple[tuple[int, ...] | Literal[True] | None, HDF5CompressionOpts | None]:
    stored = data["chunks"]
    sizes: Any = {"none": None, "true": True, "manual": stored.get("size")}[stored["mode"]]
    if stored["mode"] == "manual" and not isinstance(sizes, list):
        raise DekerValidationError("manual chunks without a size")
    name: str = data["compression"]["compression"]
    given = data["compression"]["options"]
    if name == "none":
        return sizes, None
    options = None if given is None else [int(x) if x.isdecimal() else x for x in map(str, given)]
    compression = int(name) if name.isdecimal() else name
    if compression == "gzip" and options is not None:
        return sizes, HDF5CompressionOpts("gzip", cast("int", options[0]) if options else None)
    return sizes, HDF5CompressionOpts(compression, cast("Any", options))
