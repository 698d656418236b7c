"""What an input turned out to hold, before anything is read of it. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs
import numpy as np

from deker_cluster.dtypes import normalize_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import numpy.typing as npt

    from deker_cluster.ingest.axes import Axis
    from deker_cluster.ingest.plan import Box

__all__ = ["CellReader", "FoundArray", "Georeference", "Reader", "stored_dtype"]


class CellReader(Protocol):
    """An open input; used by one thread."""

    def read(self, box: Box) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Return the cells of a box in the input's own axes, and which of them are valid.

        None: all, but for those that have the nodata value, which the caller looks for.
        """
        ...


class Reader(Protocol):
    """How an input is opened again, on any node. Small, and can be pickled."""

    @property
    def together(self) -> int | None:
        """Axis of the input whose cells lie together: reading some of them reads all."""
        ...

    def open(self) -> AbstractContextManager[CellReader]:
        """Open the input."""
        ...


@attrs.frozen(kw_only=True)
class Georeference:
    """Where on Earth a raster lies."""

    crs: str | None
    """As WKT; None: the input only tells its transform."""
    transform: tuple[float, ...] | None = None
    """Affine: x = t0 * column + t1 * row + t2, y = t3 * column + t4 * row + t5; None: the
    coordinates of the axes tell."""
    gridded: bool = True
    """False: rotated, or known by control points only; it has to be warped."""


@attrs.frozen(kw_only=True)
class FoundArray:
    """One array within one input."""

    source: str
    """Path or name of the input."""
    name: str
    """Short name of the input, such as the stem of its file name."""
    variable: str | None = None
    """Name within the input, where it may hold several arrays."""
    axes: tuple[Axis, ...]
    blocks: tuple[int, ...] | None = None
    """Cells of each axis that are decoded together; None: any part can be read by itself."""
    added: tuple[Axis, ...] = ()
    """Axes of one cell that the input itself lacks, such as the time when it was taken."""
    dtype: np.dtype[Any]
    nodata: float | None = None
    """Cells with this value are not valid."""
    masked: bool = False
    """Whether the input has a mask besides `nodata`."""
    reader: Reader
    reading: str | None
    """Changes with what `reader` gives; None: nobody can tell."""
    georeference: Georeference | None = None
    attributes: Mapping[str, str | int | float] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def all_axes(self) -> tuple[Axis, ...]:
        """The axes that the array gets: :attr:`added` first."""
        return (*self.added, *self.axes)

    @property
    def title(self) -> str:
        """Name for messages."""
        return self.source if self.variable is None else f"{self.source}:{self.variable}"


def stored_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return what cells of a dtype are stored as: truth values as 0 and 1, in our byte order.

    Raises
    ------
    DekerArrayTypeError
        They are no numbers.
    """
    return np.dtype("uint8") if dtype.kind == "b" else normalize_dtype(dtype.newbyteorder("="))
