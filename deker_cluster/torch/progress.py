"""Where the passes over samples stand: set by the main process, seen by its workers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch.utils.data import get_worker_info

from deker_cluster.errors import DekerValidationError
from deker_cluster.sampling.checkpoint import Checkpoint
from deker_cluster.sampling.per_dimension import whole

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Progress"]


class Progress:
    """The epoch, and how many batches of it have been given out.

    Parameters
    ----------
    described
        Returns what tells samples and order from others.

    Notes
    -----
    Partly in shared memory: workers that live for several epochs see what the main process sets.
    """

    def __init__(self, described: Callable[[], dict[str, Any]]) -> None:
        self._described = described
        # Of the next pass: epoch, start and lanes, see Checkpoint.
        self._next = torch.zeros(3, dtype=torch.int64).share_memory_()
        self._of_worker: Checkpoint | None = None
        self._pass = Checkpoint()
        self._pid = os.getpid()

    @property
    def epoch(self) -> int:
        """The epoch that the next pass is for."""
        return int(self._next[0])

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, unless a loaded state stands in the middle of it.

        Raises
        ------
        DekerValidationError
            The epoch is no whole number from 0.
        """
        found = whole("epoch", epoch, 0)
        if found != self.epoch:
            self._go_to(Checkpoint(epoch=found))

    def begin(self, workers: int = 0) -> Checkpoint:
        """Return where a pass of this process begins.

        Parameters
        ----------
        workers
            In the main process: how many share the pass.
        """
        loaded, self._of_worker = self._of_worker, None
        begun = self._first() if loaded is None else loaded
        self._pass = attrs.evolve(begun, lanes=begun.lanes or workers or begun.workers)
        self._pid = os.getpid()
        return self._pass

    def _first(self) -> Checkpoint:
        """Return where a pass of this process would begin."""
        number, count = _worker()
        epoch, start, lanes = self._next.tolist()
        return Checkpoint(epoch=epoch, start=start, lanes=lanes, worker=number, workers=count)

    def given(self, batches: int) -> None:
        """Note how many batches of its pass this process has given out by now."""
        self._pass = attrs.evolve(self._pass, given=batches)

    def end(self, done: Checkpoint) -> None:
        """Go on to the next epoch; only the main process does, the others' passes may go on."""
        if get_worker_info() is None:
            self._go_to(Checkpoint(epoch=done.epoch + 1))

    def state(self, at: Checkpoint | None = None) -> dict[str, Any]:
        """Return what :meth:`load` takes: of a pass that somebody else has counted, or its own."""
        # What a fork has inherited is its parent's pass.
        own = self._pass if self._pid == os.getpid() else self._first()
        return (at or own).saved(self._described())

    def load(self, state: object) -> None:
        """Let the next pass go on where a state was saved.

        Raises
        ------
        DekerValidationError
            It is of other samples, or of a worker that is not here.
        """
        loaded = Checkpoint.loaded(state, self._described())
        number, count = _worker()
        if (loaded.worker, loaded.workers) != (number, count):
            raise DekerValidationError(
                f"this state is of worker {loaded.worker} of {loaded.workers}, here it is worker "
                f"{number} of {count}: go on with as many workers"
            )
        if get_worker_info() is None:
            self._go_to(attrs.evolve(loaded, start=loaded.start + loaded.given, given=0))
        else:
            self._of_worker = self._pass = loaded
            self._pid = os.getpid()

    def _go_to(self, place: Checkpoint) -> None:
        self._next.copy_(torch.tensor([place.epoch, place.start, place.lanes]))
        self._pass = place
        self._pid = os.getpid()


def _worker() -> tuple[int, int]:
    """Return the number of this worker of a loader, and how many there are."""
    worker = get_worker_info()
    return (0, 1) if worker is None else (worker.id, worker.num_workers)
