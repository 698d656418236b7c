"""What an ingestion is going to do: the seam between planning and running. Pure (no I/O).

Planning turns sources into an :class:`IngestPlan`; running executes one. Between the two lie only
these classes, all of which can be pickled and are small: a plan travels to other nodes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    import numpy.typing as npt

    from deker_cluster.options import HDF5Options
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = [
    "ArrayTarget",
    "Box",
    "IngestPlan",
    "OpenPiece",
    "Overlap",
    "Piece",
    "Problem",
    "Target",
    "checked_overlap",
]

Box = tuple[slice, ...]
"""Half-open cells of an array: one slice with start, stop and step 1 (or None) for each axis."""

Overlap = Literal["last", "first", "error"]
"""Which of two inputs a cell is taken from, by their :attr:`Piece.order`."""

_OVERLAPS = ("last", "first", "error")


class OpenPiece(Protocol):
    """A piece whose input is open; used by one thread."""

    def read(self, box: Box) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        """Read a part of the piece.

        Parameters
        ----------
        box
            Cells of the array, within :attr:`Piece.box`.

        Returns
        -------
        tuple
            Values in the array's dtype and the shape of `box`, and which of them are valid: the
            others hold the fill value, and are never written. None: all of them. Memory is
            bounded by a small multiple of the box, whatever the size of the input.

        Raises
        ------
        Exception
            Whatever the library that reads the input raises: it is broken, or has changed.
        """
        ...


@attrs.frozen(kw_only=True)
class Piece(ABC):
    """A part of one input that goes to one box of one array. Small, and can be pickled."""

    source: str
    """Path or name of the input, for reports."""
    box: Box
    """Cells of the array that it may write."""
    order: int
    """Place of the input among all: decides who wins where inputs overlap."""

    @property
    @abstractmethod
    def covers(self) -> bool:
        """Whether every cell of :attr:`box` is known to be valid before the input is read."""

    @property
    def together(self) -> int | None:
        """Axis of the array of which reading some cells reads all; None: there is none."""
        return None

    @abstractmethod
    def digest(self) -> str | None:
        """Return a text that changes with what would be read; None: unknown, never skip it.

        Raises
        ------
        OSError
            The input is not there any more.
        """

    @abstractmethod
    def open(self) -> AbstractContextManager[OpenPiece]:
        """Open the input for reading; its path must be readable where this is called."""


@attrs.frozen(kw_only=True)
class Problem:
    """An input that cannot be ingested, and why."""

    source: str
    why: str

    def __str__(self) -> str:
        return f"{self.source}: {self.why}"


@attrs.frozen(kw_only=True)
class ArrayTarget:
    """One array that is written."""

    key: str
    """Unique within the plan, for people and for :attr:`IngestPlan.pieces`."""
    primary: Mapping[str, Any] = attrs.field(factory=dict)
    custom: Mapping[str, Any] = attrs.field(factory=dict)
    id: str | None = None
    """Of an array that is there already; None: look it up by `primary`, or make it."""


@attrs.frozen(kw_only=True)
class Target:
    """The collection that is written, with its arrays."""

    collection: str
    schema: ArraySchema | VArraySchema
    exists: bool
    """Whether the collection was there when the plan was made."""
    arrays: tuple[ArrayTarget, ...]
    options: HDF5Options | None = None
    """Chunks and compression of a collection that is to be made."""


@attrs.frozen(kw_only=True)
class IngestPlan:
    """What an ingestion is going to do; made by :func:`.plan`, carried out by :func:`.run`."""

    target: Target
    pieces: Mapping[str, tuple[Piece, ...]]
    """By :attr:`ArrayTarget.key`, sorted by :attr:`Piece.order`."""
    overlap: Overlap = "last"
    problems: tuple[Problem, ...] = ()
    """Inputs that could not be opened; they are left out."""
    notes: tuple[str, ...] = ()
    """What a user should know of the inferences, such as a missing nodata value."""

    @property
    def n_inputs(self) -> int:
        """Inputs that are read: files, or members of a dataset."""
        return len({piece.source for pieces in self.pieces.values() for piece in pieces})

    @property
    def total_bytes(self) -> int:
        """Bytes that are read at most: cells of all pieces, uncompressed."""
        cells = sum(cells_of(piece.box) for pieces in self.pieces.values() for piece in pieces)
        return cells * self.target.schema.dtype.itemsize

    def describe(self) -> str:
        """Return the plan as text for people: what ``--dry-run`` prints."""
        from deker_cluster.ingest.describing import described

        return described(self)


def cells_of(box: Box) -> int:
    """Return the number of cells of a box."""
    count = 1
    for side in box:
        count *= side.stop - side.start
    return count


def checked_overlap(value: object) -> Overlap:
    """Return `value` if it is a rule for overlapping inputs.

    Raises
    ------
    DekerValidationError
        It is none.
    """
    for rule in _OVERLAPS:
        if value == rule:
            return rule  # type: ignore[return-value]
    raise DekerValidationError(
        f"overlap must be 'last', 'first' or 'error', not {shown(value)}: it tells from which "
        "input a cell is taken that several of them hold"
    )
