"""The cells behind samples: a snapshot, in the process that made it and in its workers."""

from __future__ import annotations

import math
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

import attrs

from deker_cluster.arrays import BaseArray
from deker_cluster.detached import attach, detach, reach_of
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.sampling.reading import read_samples
from deker_cluster.snapshots import Snapshot

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from deker_cluster.sampling.samples import Samples, Sampling

__all__ = ["SampleSource"]


class SampleSource:
    """Reads samples of one generation of an array. Can be forked and pickled.

    Where it was made it reads through the client. In a forked child, or out of a pickle on the same
    machine, it opens the storage by itself when it reads first, and without Ray.

    Parameters
    ----------
    array
        Of an array the present generation is pinned until :meth:`close`. A snapshot stays the
        caller's, and must stay open as long as it is read here.
    sampling
        Says which samples there are.

    Raises
    ------
    DekerValidationError
        It does not fit the array, or there is no array.
    DekerBaseApplicationError
        As :meth:`.BaseArray.snapshot`.
    """

    def __init__(self, array: BaseArray | Snapshot, sampling: Sampling) -> None:
        if not isinstance(array, (BaseArray, Snapshot)):
            raise DekerValidationError(f"samples are read from an array, not {shown(array)}")
        if not hasattr(sampling, "over"):
            raise DekerValidationError(
                "samples are given by Windows, RandomCrops or TimeWindows, not by "
                f"{shown(sampling)}"
            )
        self.samples: Samples = sampling.over(array.named_shape)
        self.dtype: np.dtype[Any] = array.dtype
        tiled = (array.array if isinstance(array, Snapshot) else array).tiled
        self.tile_shape: tuple[int, ...] = tiled.grid.tile_shape
        chunks = tiled.options.resolve_chunks(self.tile_shape, tiled.dtype)
        # Of a tile without chunks just the cells are read: samples share nothing.
        self.chunk_shape: tuple[int, ...] = chunks or (1,) * len(self.tile_shape)
        self._own = not isinstance(array, Snapshot)
        snapshot = array if isinstance(array, Snapshot) else array.snapshot()
        self.array_id = snapshot.id
        self.generation = snapshot.generation
        self._reach = reach_of(snapshot.array.session)
        self._snapshot: Snapshot | None = snapshot
        self._inherited: Snapshot | None = None
        self._detached: bytes | None = None
        self._start_anew()

    def _start_anew(self) -> None:
        self._lock = threading.Lock()
        _sources.add(self)

    @property
    def sample_bytes(self) -> int:
        """Size of the cells of one sample."""
        return math.prod(self.samples.size) * self.dtype.itemsize

    def read(self, numbers: npt.NDArray[np.int64], epoch: int = 0) -> npt.NDArray[Any]:
        """Return samples; see :func:`.read_samples`."""
        return read_samples(self._here(), self.samples, numbers, epoch)

    def close(self) -> None:
        """Let the generation go, unless the snapshot is the caller's. Idempotent."""
        snapshot, self._own = self._snapshot if self._own else None, False
        if snapshot is not None:
            snapshot.close()
            if self._detached is not None:  # attached here, for nobody else
                snapshot.array.session.close()

    @property
    def described(self) -> dict[str, Any]:
        """What tells these samples from others, as JSON has it."""
        return {
            "array": self.array_id,
            "generation": self.generation,
            "samples": self.samples.described,
        }

    def _here(self) -> Snapshot:
        """Return the snapshot as this process reads it."""
        snapshot = self._snapshot
        if snapshot is not None:
            return snapshot
        with self._lock:
            if self._snapshot is None:
                if self._inherited is not None:
                    reach = attrs.evolve(self._reach, forked=True)
                    self._detached = detach(self._inherited, reach)
                    self._inherited = None
                self._snapshot = attach(cast("bytes", self._detached))
                self._own = True
            return self._snapshot

    def _forked(self) -> None:
        # What the parent's threads were doing with its connection is not known here.
        self._inherited, self._snapshot = self._snapshot or self._inherited, None
        self._start_anew()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_lock"}
        if self._detached is None:
            snapshot = self._here()
            # Shards may have been started anew since.
            state["_reach"] = reach_of(snapshot.array.session)
            state["_detached"] = detach(snapshot, state["_reach"])
        return {**state, "_snapshot": None, "_inherited": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._start_anew()


_sources: weakref.WeakSet[SampleSource] = weakref.WeakSet()


def _after_fork() -> None:
    for source in list(_sources):
        source._forked()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_after_fork)
