"""How the tiles of a collection are chunked and compressed. Pure (no I/O)."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from deker_cluster.compression import HDF5CompressionOpts, misfit
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AUTO_CHUNK_BYTES", "HDF5CompressionOpts", "HDF5Options"]

AUTO_CHUNK_BYTES = (256 * 1024, 1024 * 1024)
"""Least and greatest size of a chunk that is chosen automatically, bytes."""

_MAX_CHUNK_BYTES = 2**32 - 1  # HDF5 keeps the size of a chunk in 32 bits.


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


def _filter(value: HDF5CompressionOpts | None) -> HDF5CompressionOpts:
    if value is None:
        return HDF5CompressionOpts(None, None)
    if not isinstance(value, HDF5CompressionOpts):
        raise DekerValidationError(
            f"compression_opts must be an HDF5CompressionOpts, not {type(value).__name__}; "
            "unpack filters of hdf5plugin: HDF5CompressionOpts(**hdf5plugin.Blosc())"
        )
    return value


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
    compression_opts: HDF5CompressionOpts = attrs.field(default=None, converter=_filter)

    def filters(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return the HDF5 filter pipeline: (filter id, client values) pairs.

        The values are those that were given. Some filters (blosc, szip) put values of their own in
        front of or between them when a data set is made.
        """
        return self.compression_opts.pipeline()

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
            problem = misfit(number, values, dtype, chunks)
            if problem is not None:
                raise DekerValidationError(f"{problem}; this is {dtype.name} in chunks of {chunks}")

    def filters_for(
        self, chunks: tuple[int, ...] | None, dtype: np.dtype[Any]
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return :meth:`filters`, or none if they cannot encode chunks of this shape.

        The tiles at the upper edges of a grid may have smaller chunks than those that
        :meth:`validate_for` looked at: too few cells for szip, a dimension less than a codec needs.
        """
        pipeline = self.filters()
        if chunks is not None and any(misfit(*one, dtype, chunks) for one in pipeline):
            return ()
        return pipeline

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

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds; see :meth:`from_json`."""
        chunks: dict[str, Any] = {"mode": "none" if self.chunks is None else "true"}
        if isinstance(self.chunks, tuple):
            chunks = {"mode": "manual", "size": list(self.chunks)}
        name, given = self.compression_opts.compression, self.compression_opts.compression_opts
        options: list[str] | None = None
        if name is None:
            options = []
        elif given is not None:
            options = [str(item) for item in (given if isinstance(given, tuple) else (given,))]
        return {
            "chunks": chunks,
            "compression": {"compression": str(name or "none"), "options": options},
        }

    @classmethod
    def from_json(cls, data: object) -> HDF5Options:
        """Read :attr:`as_dict`'s form; None stands for the defaults.

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
    if stored["mode"] == "manual" and not isinstance(sizes, (list, tuple)):
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
