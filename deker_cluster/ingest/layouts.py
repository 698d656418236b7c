"""How inputs make up arrays: as a mosaic, as a stack, or one array each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal

import attrs

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.acquisition import label_of, time_of
from deker_cluster.ingest.axes import Axis, Instants, Names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.ingest.acquisition import LabelRule, TimeRule
    from deker_cluster.ingest.found import FoundArray

__all__ = ["LAYOUTS", "Layout", "NewAxes", "grouped", "stacked", "suitable"]

Layout = Literal["auto", "mosaic", "stack", "arrays"]
"""What :func:`.plan` is asked for; "auto" is one of the others."""

LAYOUTS = ("auto", "mosaic", "stack", "arrays")


@attrs.frozen(kw_only=True)
class NewAxes:
    """The axes of one cell that the inputs of a stack get."""

    time: TimeRule | None = None
    """When an input was taken; None: there is no axis of time."""
    label: LabelRule | None = None
    """What an input is called on the other axis; without `time` None means its own name."""
    along: str | None = None
    """Name of that axis; None: ``input``."""

    @property
    def are_asked_for(self) -> bool:
        """Whether the user said anything of them."""
        return (self.time, self.label, self.along) != (None, None, None)

    def of(self, one: FoundArray) -> tuple[Axis, ...]:
        """Return them for one input.

        Raises
        ------
        DekerValidationError
            It has such an axis already, or its name does not tell what it should.
        """
        axes = []
        if self.time is not None:
            axes.append(Axis("time", 1, Instants((time_of(one.source, self.time),))))
        if self.label is not None or self.time is None or self.along is not None:
            name = one.name if self.label is None else label_of(one.source, self.label)
            axes.append(Axis(self.along or "input", 1, Names((name,))))
        for axis in axes:
            if any(axis.name == own.name for own in one.axes):
                raise DekerValidationError(
                    f"{one.title} has a dimension {axis.name!r} already: layout='mosaic' puts "
                    "inputs where their own coordinates say, rename= and along= give axes other "
                    "names"
                )
        return tuple(axes)


def suitable(found: Sequence[FoundArray], new: NewAxes) -> Layout:
    """Return the layout that a user means who names none."""
    if new.are_asked_for:
        return "stack"
    inputs = {one.source for one in found}
    placed = any(axis.coordinates is not None for one in found for axis in one.axes)
    located = any(one.georeference is not None for one in found)
    return "mosaic" if len(inputs) == 1 or placed or located else "stack"


def stacked(found: Sequence[FoundArray], new: NewAxes) -> list[FoundArray]:
    """Return inputs with new first axes of one cell.

    Raises
    ------
    DekerValidationError
        An input has such an axis already, or its name does not tell what it should; two inputs
        that only their names could tell apart have the same.
    """
    if new.time is None and new.label is None:
        names = Counter((one.name, one.variable) for one in found)
        (twice, _), times = names.most_common(1)[0]
        if times > 1:
            raise DekerValidationError(
                f"two inputs are called {twice!r}, which labels the new axis of the stack: rename "
                "one of them, or tell them apart by time= or label="
            )
    return [attrs.evolve(one, added=new.of(one)) for one in found]


def grouped(found: Sequence[FoundArray], layout: Layout, name: str) -> dict[str, list[FoundArray]]:
    """Return the inputs by the array that they go to.

    Parameters
    ----------
    name
        Of an array whose inputs hold only one.

    Raises
    ------
    DekerValidationError
        Nothing tells the places of inputs of one array apart.
    """
    groups: dict[str, list[FoundArray]] = {}
    for one in found:
        key = one.variable or name or "array"
        if layout == "arrays":
            key = one.name if one.variable is None else f"{one.name}:{one.variable}"
        groups.setdefault(key, []).append(one)
    for key, members in groups.items():
        if len(members) > 1:
            _check_members(key, members, layout)
    return groups


def _check_members(key: str, members: Sequence[FoundArray], layout: Layout) -> None:
    first, second = members[:2]
    if layout == "arrays":
        raise DekerValidationError(
            f"{first.title} and {second.title} would both become the array {key!r}: arrays are "
            "called like their files, rename one of them"
        )
    if all(axis.coordinates is None for one in members for axis in one.all_axes):
        raise DekerValidationError(
            f"nothing tells where {first.title} and {second.title} belong in one array: they have "
            "neither a georeference nor coordinates; layout='stack' puts them behind each other, "
            "layout='arrays' makes an array of each"
        )
