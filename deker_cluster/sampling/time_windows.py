"""Windows along one dimension, usually time, which may be split in input and target. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.sampling.per_dimension import whole
from deker_cluster.sampling.samples import Part
from deker_cluster.sampling.windows import Windows

if TYPE_CHECKING:
    from deker_cluster.sampling.per_dimension import NamedShape
    from deker_cluster.sampling.windows import GridSamples

__all__ = ["TimeWindows"]


@attrs.frozen
class TimeWindows:
    """What was, and what came then: windows that slide along one dimension.

    Parameters
    ----------
    length
        Cells of the input.
    target
        Cells of the target that follows. 0: there is none, and a sample is one tensor; else it is
        the two tensors input and target.
    gap
        Cells between the two.
    step
        Cells from one window to the next.
    along
        Name of the dimension.
    size, stride
        Of the windows along other dimensions, by name, as for :class:`.Windows`; those that are
        not named are taken whole.
    """

    length: int
    target: int = 0
    gap: int = 0
    step: int = 1
    along: str = "time"
    size: Mapping[str, int] = attrs.field(factory=dict)
    stride: Mapping[str, int] = attrs.field(factory=dict)

    def over(self, named_shape: NamedShape) -> GridSamples:
        """See :meth:`.Sampling.over`."""
        names = [name for name, _ in named_shape]
        if self.along not in names:
            raise DekerValidationError(
                f"along: the array has no dimension {shown(self.along)}, only "
                f"{', '.join(map(repr, names))}"
            )
        length = whole("length", self.length, 1)
        target = whole("target", self.target, 0)
        gap = whole("gap", self.gap, 0)
        if gap and not target:
            raise DekerValidationError("gap: without a target there is nothing to be apart from")
        for what, given in (("size", self.size), ("stride", self.stride)):
            if not isinstance(given, Mapping):
                raise DekerValidationError(
                    f"{what} must give cells by dimension name, not {shown(given)}"
                )
            if self.along in given:
                raise DekerValidationError(
                    f"{what} is for the other dimensions: along {self.along!r} windows are as long "
                    "as length, gap and target together, and step apart"
                )
        cells = length + gap + target
        windows = Windows(
            {**self.size, self.along: cells},
            {**self.stride, self.along: whole("step", self.step, 1)},
        ).over(named_shape)
        if not target:
            return windows
        axis = names.index(self.along)
        parts = Part(axis, 0, length), Part(axis, length + gap, cells)
        return attrs.evolve(windows, parts=parts)
