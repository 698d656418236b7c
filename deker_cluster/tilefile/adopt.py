"""Take the data of a foreign HDF5 file over into a tile file, without decoding them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import hdf5plugin
import numpy as np
from h5py import h5z

from deker_cluster.tilefile.writer import patch_tile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from deker_cluster.tilefile.image import TileImage
    from deker_cluster.tilefile.index import TileIndex
    from deker_cluster.tilefile.source import ChunkSource

__all__ = ["adopt_tile", "can_adopt"]

_PLUGINS: Final = hdf5plugin.get_filters()
"""Importing hdf5plugin registers its filters with HDF5; naming them here keeps the import."""

_BOTH_WAYS: Final = h5z.FILTER_CONFIG_ENCODE_ENABLED | h5z.FILTER_CONFIG_DECODE_ENABLED


def can_adopt(base: TileIndex, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    """Tell whether stored chunks can be those of a tile of this shape and dtype.

    Every filter must be there for writing too: a later write encodes the chunks that it touches
    as the others are.
    """
    return (
        base.shape == shape
        # Also the byte order: numpy counts it as a part of the dtype.
        and base.dtype == dtype
        and all(
            h5z.filter_avail(number) and h5z.get_filter_info(number) & _BOTH_WAYS == _BOTH_WAYS
            for number, _ in base.filters
        )
    )


def adopt_tile(
    base: TileIndex,
    source: ChunkSource,
    *,
    meta: Mapping[str, Any],
    fill_value: Any = None,
    executor: Executor | None = None,
) -> TileImage:
    """Make a tile file that holds what another HDF5 file holds.

    Chunks are taken over as stored, after a look at their checksums; only those that were never
    written are encoded, from the fill value in `base`.

    Parameters
    ----------
    base
        The index of the other file; :func:`can_adopt` says whether it fits.
    source
        Gives all of its stored bytes.
    meta, fill_value, executor
        As for :func:`.encode_tile`.

    Raises
    ------
    DekerIntegrityError
        The stored bytes are not those that `base` was made from.
    DekerValidationError
        `meta` is too long.
    """
    rank = len(base.shape)
    return patch_tile(
        base,
        source,
        (slice(0, 0),) * rank,
        np.empty((0,) * rank, base.dtype),
        meta=meta,
        fill_value=fill_value,
        executor=executor,
    )
