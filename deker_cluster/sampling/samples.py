"""The samples of one array: how many there are, and which cells each of them has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import attrs
import numpy as np

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerIndexError

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.core.boxes import Box

__all__ = ["Edge", "Part", "Samples", "Sampling"]

Edge = Literal["inside", "fill", "reflect"]
"""What stands where a sample leaves the array; ``inside``: none does."""


class Part(NamedTuple):
    """Cells ``start`` to ``stop`` of a sample along one axis: its input, or its target."""

    axis: int
    start: int
    stop: int


@attrs.frozen
class Samples(ABC):
    """The samples of an array of one shape, numbered from 0. Pure (no I/O)."""

    shape: tuple[int, ...]
    """Cells of the array per dimension."""
    size: tuple[int, ...]
    """Cells of every sample per dimension, halo included."""
    edge: Edge = attrs.field(default="inside", kw_only=True)
    parts: tuple[Part, ...] = attrs.field(default=(), kw_only=True)
    """What a sample is split into; empty: it stays whole."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are in an epoch."""

    @abstractmethod
    def corners(self, numbers: npt.NDArray[np.int64], epoch: int = 0) -> npt.NDArray[np.int64]:
        """Return the first cell of each sample, shape (n, dimensions).

        Parameters
        ----------
        numbers
            From 0 to ``len(self) - 1``, shape (n,).
        epoch
            For samples that are drawn anew in each.
        """

    def box(self, number: int, epoch: int = 0) -> Box:
        """Return first cell and end of one sample per dimension, as cells of the array.

        Where :attr:`edge` is not ``inside`` it may leave the array.

        Raises
        ------
        DekerIndexError
            There is no sample of that number.
        """
        position = plain_int(number)
        if position is None or not 0 <= position < len(self):
            raise DekerIndexError(f"no sample {shown(number)}: there are 0 to {len(self) - 1}")
        corner = self.corners(np.array([position]), epoch)[0].tolist()
        return tuple((at, at + cells) for at, cells in zip(corner, self.size, strict=True))

    @property
    @abstractmethod
    def described(self) -> dict[str, Any]:
        """What tells these samples from others, as JSON has it."""


class Sampling(Protocol):
    """A rule that cuts any array into samples: :class:`.Windows` and its like."""

    def over(self, named_shape: tuple[tuple[str, int], ...]) -> Samples:
        """Return the samples of an array with these dimensions.

        Raises
        ------
        DekerValidationError
            The rule does not fit them.
        """
        ...
