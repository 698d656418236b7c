"""Inputs onto the axes of arrays: mosaics, stacks, one array for each. Pure (no I/O)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, united
from deker_cluster.ingest.placing import place
from deker_cluster.ingest.source_piece import AxisStep, SourcePiece

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from typing import Any

    from deker_cluster.ingest.found import FoundArray
    from deker_cluster.ingest.placing import Run
    from deker_cluster.ingest.plan import Piece

__all__ = ["check_castable", "pieces_of", "refuse_same_boxes", "union_axes"]


def union_axes(members: Sequence[FoundArray], step: timedelta | None) -> tuple[Axis, ...]:
    """Return the axes of the array that holds the cells of all members.

    Raises
    ------
    DekerValidationError
        They have other dimensions, steps or kinds of coordinates, or are not aligned.
    """
    first = members[0]
    names = [axis.name for axis in first.all_axes]
    for other in members[1:]:
        own = [axis.name for axis in other.all_axes]
        if sorted(own) != sorted(names):
            raise DekerValidationError(
                f"{other.title} has the dimensions ({', '.join(own)}), {first.title} has "
                f"({', '.join(names)}): they cannot become one array"
            )
    by_name = [{axis.name: axis for axis in member.all_axes} for member in members]
    return tuple(
        united(
            [(member.title, axes[name]) for member, axes in zip(members, by_name, strict=True)],
            step,
        )
        for name in names
    )


def check_castable(member: FoundArray, dtype: np.dtype[Any], *, asked: bool, array: str) -> None:
    """Refuse an input whose cells another dtype cannot hold.

    Parameters
    ----------
    asked
        Whether the user named `dtype`: then cells are converted one by one, and only those that
        would change are refused, when they are read.

    Raises
    ------
    DekerValidationError
        Cells would lose something.
    """
    if np.can_cast(member.dtype, dtype, "safe"):
        return
    if asked and not (member.dtype.kind == "c" and dtype.kind != "c"):
        return
    raise DekerValidationError(
        f"{member.title} holds {member.dtype}, which {array} of dtype {dtype} cannot hold without "
        f"loss; dtype={dtype.name!r} converts cell by cell, where the values fit"
        + (f", dtype={member.dtype.name!r} makes another collection" * (not asked))
    )


def pieces_of(
    member: FoundArray,
    axes: Sequence[Axis],
    *,
    dtype: np.dtype[Any],
    fill: np.generic,
    order: int,
    array: str,
    clip: bool,
) -> list[SourcePiece]:
    """Return an input as pieces of an array with these axes.

    There are several where neighbours in the input are none in the array, and none at all where
    the input lies outside and `clip` allows for it.

    Raises
    ------
    DekerValidationError
        The input does not fit onto the axes.
    """
    own = {axis.name: axis for axis in member.all_axes}
    _check_names(member, axes, array)
    rank = len(member.axes)
    number = {axis.name: position for position, axis in enumerate(member.axes)}
    runs: list[list[Run]] = [
        place(axis, own.get(axis.name, Axis(axis.name, 1)), member.title, array=array, clip=clip)
        for axis in axes
    ]
    return [
        SourcePiece(
            source=member.source,
            box=tuple(slice(run.target, run.target + run.count) for run in chosen),
            order=order,
            reader=member.reader,
            reading=member.reading,
            steps=tuple(
                _step(number.get(axis.name), run) for axis, run in zip(axes, chosen, strict=True)
            ),
            source_rank=rank,
            dtype=dtype,
            fill=fill,
            nodata=member.nodata,
            masked=member.masked,
        )
        for chosen in product(*runs)
    ]


def _step(axis: int | None, run: Run) -> AxisStep:
    if axis is None:
        return AxisStep(None)
    return AxisStep(axis, run.source - run.sign * run.target, run.sign)


def _check_names(member: FoundArray, axes: Sequence[Axis], array: str) -> None:
    own = {axis.name: axis.size for axis in member.all_axes}
    names = {axis.name for axis in axes}
    for axis in axes:
        if axis.name not in own and axis.size > 1:
            hint = (
                "; time= tells when an input was taken"
                if "time" in axis.name.lower()
                else "; rename= gives dimensions of inputs other names"
            )
            raise DekerValidationError(
                f"{member.title} has the dimensions ({', '.join(own)}), {array} also has "
                f"{axis.name!r} with {axis.size} cells: nothing tells which of them is meant{hint}"
            )
    extra = [name for name, size in own.items() if name not in names and size > 1]
    if extra:
        raise DekerValidationError(
            f"{member.title} has a dimension {extra[0]!r}, which {array} lacks; it has "
            f"({', '.join(axis.name for axis in axes)}); rename= gives dimensions of inputs other "
            "names"
        )


def refuse_same_boxes(pieces: Sequence[Piece]) -> None:
    """Refuse inputs without a mask that overlap, where that is an error.

    Inputs with invalid cells may overlap with those only: that turns out when they are read.

    Raises
    ------
    DekerValidationError
        Two of them do; the message names both.
    """
    full = sorted((piece for piece in pieces if piece.covers), key=lambda piece: piece.box[0].start)
    open_ones: list[Piece] = []
    for piece in full:
        open_ones = [one for one in open_ones if one.box[0].stop > piece.box[0].start]
        for other in open_ones:
            if other.source != piece.source and _meet(other, piece):
                raise DekerValidationError(
                    f"{other.source} and {piece.source} overlap, and have no missing cells there: "
                    "choose which one counts with overlap='last' or 'first'"
                )
        open_ones.append(piece)


def _meet(one: Piece, other: Piece) -> bool:
    return all(
        mine.start < theirs.stop and theirs.start < mine.stop
        for mine, theirs in zip(one.box, other.box, strict=True)
    )
