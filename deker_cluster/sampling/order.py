"""In what order the samples of an epoch come, and which rank gets which. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
import numpy as np

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.sampling.blocks import block_of
from deker_cluster.sampling.per_dimension import whole

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.sampling.samples import Samples

__all__ = ["BUFFER_BATCHES", "EpochPlan", "Order", "Shuffle", "Uneven"]

BUFFER_BATCHES = 8
"""Batches in a window of the shuffle, unless the user says otherwise."""

_BUFFER_BYTES = 128 << 20
"""Of such a window at most: a process may hold several of them."""

_OF_BLOCKS, _OF_RANKS = 1, 2
"""Streams of random numbers. Not 0, which numpy takes as not given: one would undo another then,
and they would be those of random crops."""

Shuffle = bool | Literal["samples"]
"""True: blocks of samples that share chunks, then the samples of each window of so many blocks.
``"samples"``: all samples alike, wherever they lie. False: as they are numbered."""

Uneven = Literal["error", "drop", "pad"]
"""What to do with samples that cannot be shared evenly among the ranks."""


@attrs.frozen(eq=False)
class EpochPlan:
    """The samples of one rank in one epoch, in batches."""

    numbers: npt.NDArray[np.int64]
    """Of the samples, window after window."""
    begins: npt.NDArray[np.int64]
    """Where each batch begins in :attr:`numbers`, in the order in which batches are given out."""
    ends: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    """Which window each batch is a part of."""

    def __len__(self) -> int:
        """Batches."""
        return len(self.begins)

    def batch(self, position: int) -> npt.NDArray[np.int64]:
        """Return the numbers of the samples of one batch."""
        return self.numbers[self.begins[position] : self.ends[position]]


@attrs.frozen(kw_only=True)
class Order:
    """How samples are shuffled, shared among ranks and put into batches.

    Parameters
    ----------
    batch
        Samples in a batch.
    shuffle
        See :data:`Shuffle`.
    buffer
        Samples in a window of the shuffle, a multiple of `batch`: what is read at once, and among
        which a batch is drawn. None: :data:`BUFFER_BATCHES` batches.
    seed
        A whole number from 0.
    rank, world_size
        Which of how many processes this is that train together: 0 to ``world_size - 1``.
    uneven
        See :data:`Uneven`: refuse, leave out the last few samples of the shuffled order, or give
        the first few twice.
    drop_last
        Whether the last batch is left out if it is not full.

    Raises
    ------
    DekerValidationError
        One of them makes no sense.
    """

    batch: int = 32
    shuffle: Shuffle = True
    buffer: int | None = None
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    uneven: Uneven = "error"
    drop_last: bool = False

    def __attrs_post_init__(self) -> None:
        whole("batch", self.batch, 1)
        whole("seed", self.seed, 0)
        whole("world_size", self.world_size, 1)
        whole("rank", self.rank, 0)
        if self.rank >= self.world_size:
            raise DekerValidationError(
                f"rank {self.rank} of {self.world_size}: ranks are 0 to {self.world_size - 1}"
            )
        if not isinstance(self.shuffle, bool) and self.shuffle != "samples":
            raise DekerValidationError(
                f"shuffle must be True, False or 'samples', not {shown(self.shuffle)}"
            )
        if self.uneven not in ("error", "drop", "pad"):
            raise DekerValidationError(
                f"uneven must be 'error', 'drop' or 'pad', not {shown(self.uneven)}"
            )
        if self.buffer is not None:
            whole("buffer", self.buffer, 1)
            if self.buffer % self.batch:
                near = max(round(self.buffer / self.batch), 1) * self.batch
                raise DekerValidationError(
                    f"a buffer of {self.buffer} samples does not consist of batches of "
                    f"{self.batch}; take a multiple, such as {near}"
                )

    @property
    def window(self) -> int:
        """Samples in a window."""
        return self.buffer or BUFFER_BATCHES * self.batch

    def within_memory(self, sample_bytes: int) -> Order:
        """Return this order with fewer batches in a window, if the user left that to us.

        Parameters
        ----------
        sample_bytes
            Of the cells of one sample.
        """
        if self.buffer is not None:
            return self
        batches = max(_BUFFER_BYTES // (self.batch * sample_bytes), 1)
        return attrs.evolve(self, buffer=min(batches, BUFFER_BATCHES) * self.batch)

    def share(self, count: int) -> int:
        """Return how many of so many samples this rank gets; each rank gets as many.

        Raises
        ------
        DekerValidationError
            They cannot be shared evenly and nothing was said for that case, or nothing is left.
        """
        each, left_over = divmod(count, self.world_size)
        if left_over and self.uneven == "error":
            raise DekerValidationError(
                f"{count} samples cannot be shared evenly among {self.world_size} ranks, "
                f"{left_over} would be left over: choose uneven='drop' to leave out "
                f"{left_over}, or uneven='pad' to give {self.world_size - left_over} twice"
            )
        if left_over and self.uneven == "pad":
            each += 1
        if self.drop_last:
            each -= each % self.batch
        if each == 0:
            raise DekerValidationError(
                f"{count} samples for {self.world_size} ranks, in batches of {self.batch}: no rank "
                "would get any; take fewer ranks, smaller batches, or more samples"
            )
        return each

    def count_batches(self, count: int) -> int:
        """Return how many batches each rank gets out of so many samples; see :meth:`share`."""
        return -(-self.share(count) // self.batch)

    def plan(
        self,
        samples: Samples,
        epoch: int,
        tile_shape: tuple[int, ...],
        chunk_shape: tuple[int, ...],
        lanes: int = 1,
    ) -> EpochPlan:
        """Return what this rank gets in an epoch.

        Every rank, and every worker of it, finds the same plans by itself.

        Parameters
        ----------
        tile_shape, chunk_shape
            Of the array, in cells.
        lanes
            Windows that are given out at the same time, a batch of each in turn: as many as there
            are workers, so that each of them reads windows of its own. Without a shuffle it is
            taken as 1, for the order must not depend on it.
        """
        share = self.share(len(samples))
        shuffled = np.random.default_rng([self.seed, epoch, _OF_BLOCKS])
        numbers = np.arange(len(samples), dtype=np.int64)
        if self.shuffle == "samples":
            numbers = shuffled.permutation(numbers)
        elif self.shuffle:
            blocks = block_of(samples, numbers, epoch, tile_shape, chunk_shape)
            _, block = np.unique(blocks, return_inverse=True)
            turn = shuffled.permutation(int(block.max()) + 1)
            numbers = np.argsort(turn[block], kind="stable").astype(np.int64, copy=False)
        numbers = self._of_rank(numbers)[:share]
        if self.shuffle:
            # Of its own, as ranks draw differently often.
            within = np.random.default_rng([self.seed, epoch, _OF_RANKS + self.rank])
            for begin in range(0, share, self.window):
                within.shuffle(numbers[begin : begin + self.window])
        return self._in_batches(numbers, lanes if self.shuffle else 1)

    def _of_rank(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return a stretch of the order: blocks stay whole, but for those at its ends."""
        each, left_over = divmod(len(numbers), self.world_size)
        if left_over and self.uneven == "pad":
            each += 1
            numbers = np.resize(numbers, each * self.world_size)
        return numbers[self.rank * each : (self.rank + 1) * each].copy()

    def _in_batches(self, numbers: npt.NDArray[np.int64], lanes: int) -> EpochPlan:
        begins = np.arange(0, len(numbers), self.batch, dtype=np.int64)
        windows, within = begins // self.window, begins % self.window // self.batch
        turn = windows // lanes * (self.window // self.batch) + within
        order = np.lexsort((windows % lanes, turn))
        begins = begins[order]
        ends = np.minimum(begins + self.batch, len(numbers))
        return EpochPlan(numbers, begins, ends, windows[order])

    @property
    def described(self) -> dict[str, Any]:
        """What tells this order from others, but not the ranks of one from each other, as JSON."""
        return {
            "batch": self.batch,
            "shuffle": self.shuffle,
            "buffer": self.window,
            "seed": self.seed,
            "world_size": self.world_size,
            "uneven": self.uneven,
            "drop_last": self.drop_last,
        }
