"""The generations of an array, and the ways to name one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self, TypedDict

import attrs
import numpy as np

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.instants import from_clock, microseconds, to_instant

if TYPE_CHECKING:
    from deker_cluster.registry.models import GenerationInfo

__all__ = ["Generation", "Named", "named"]


@attrs.frozen
class Generation:
    """A state of an array that one commit made."""

    number: int
    """How many commits the array had seen; 0: it had never been written."""
    time: datetime | None
    """When it was committed, by the registry's clock, in UTC; None for 0."""
    tiles: int | None
    """How many tiles that commit changed; None if it is not known any more."""

    @classmethod
    def of(cls, info: GenerationInfo) -> Self:
        """Return what the registry told of one."""
        time = None if info.time_s is None else from_clock(info.time_s)
        return cls(info.number, time, info.tiles)

    def __str__(self) -> str:
        if self.time is None:
            return f"{self.number}: never written"
        what = "" if self.tiles is None else f", {self.tiles} tile{'s' * (self.tiles != 1)}"
        return f"{self.number}: {self.time:%Y-%m-%d %H:%M:%S.%f} UTC{what}"


class Named(TypedDict, total=False):
    """A generation by its number or by an instant, s; by neither: the present one."""

    generation: int
    at_s: float


def named(when: object) -> Named:
    """Return which generation a user means.

    Raises
    ------
    DekerValidationError
        Neither an int nor an instant.
    """
    if isinstance(when, datetime | np.datetime64):
        return {"at_s": microseconds(to_instant(when)) / 1_000_000}
    number = plain_int(when)
    if number is None:
        raise DekerValidationError(
            f"a generation is named by its number or by a datetime, not by {shown(when)}"
        )
    return {"generation": number}
