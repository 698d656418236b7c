"""A generation of an array, held still."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, Self

from deker_cluster.errors import DekerGenerationError, DekerSubsetError
from deker_cluster.instants import from_clock
from deker_cluster.selectable import Selectable
from deker_cluster.subset import Subset

if TYPE_CHECKING:
    from collections import OrderedDict
    from datetime import datetime
    from types import TracebackType

    from deker_cluster.arrays import BaseArray
    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.pins import PinnedGeneration
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = ["Snapshot", "SnapshotSubset"]


class Snapshot(Selectable["SnapshotSubset"]):
    """All cells of an array as they were after one commit, whatever is written or deleted later.

    ``array.snapshot()`` and ``array.at(...)`` make them. They are read like arrays, do not ask the
    registry for it, and can be pickled to other processes and Ray tasks. The files of the
    generation stay on disk as long as the snapshot, or a copy of it, is open, and up to ten minutes
    longer if it was pickled or its process was killed: close it, or use it as a context manager.

    Attributes of the array have no generations: the snapshot has those that the array's handle had.
    """

    def __init__(self, array: BaseArray, pinned: PinnedGeneration) -> None:
        self._array = copy.copy(array)  # the user's handle changes with its custom attributes
        self._pinned = pinned
        self._closed = False
        self._watch()

    def _watch(self) -> None:
        self._finalizer = weakref.finalize(self, self._pinned.keeper.abandon, self._pinned.pin_id)
        # At its end the process closes its clients, which let go of all pins.
        self._finalizer.atexit = False

    @property
    def array(self) -> BaseArray:
        """A handle of the array as it is now."""
        return copy.copy(self._array)

    @property
    def id(self) -> str:
        """UUID of the array."""
        return self._array.id

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self._array.collection

    @property
    def generation(self) -> int:
        """How many commits the array had seen; 0: it had never been written."""
        return self._pinned.generation

    @property
    def time(self) -> datetime | None:
        """When the generation was committed, by the registry's clock, in UTC; None for 0."""
        time_s = self._pinned.time_s
        return None if time_s is None else from_clock(time_s)

    @property
    def schema(self) -> ArraySchema | VArraySchema:
        """The collection's schema."""
        return self._array.schema

    @property
    def dimensions(self) -> tuple[AnyDimension, ...]:
        """The dimensions with their coordinates."""
        return self._array.dimensions

    @property
    def primary_attributes(self) -> OrderedDict[str, Any]:
        """The attributes that identify the array."""
        return self._array.primary_attributes

    @property
    def custom_attributes(self) -> OrderedDict[str, Any]:
        """The attributes that may change, as of the handle that the snapshot was made from."""
        return self._array.custom_attributes

    def part(self, selection: Selection) -> SnapshotSubset:
        """Return the part with the selected cells."""
        return SnapshotSubset(self, selection)

    @property
    def pinned(self) -> PinnedGeneration:
        """Where its tiles are.

        Raises
        ------
        DekerGenerationError
            The snapshot is closed, or its client was: that lets all pins go.
        """
        keeper = self._pinned.keeper
        if self._closed or keeper.is_closed:
            whose = "" if self._closed else "the client of "
            raise DekerGenerationError(
                f"{whose}this snapshot of array {self.id} is closed; array.at({self.generation}) "
                "opens its generation again, as long as it is kept"
            )
        keeper.stay_awake()
        return self._pinned

    def close(self) -> None:
        """Let the generation go; it cannot be read from here any more. Idempotent."""
        self._closed = True
        if self._finalizer.detach() is not None:  # for one of the threads that close it at once
            self._pinned.keeper.release(self._pinned.pin_id)

    def end(self) -> None:
        """Close it also for the processes that it was pickled to: none may need it any more."""
        self._pinned.keeper.unshare(self._pinned.pin_id)
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Snapshot)
            and self.id == other.id
            and self.generation == other.generation
        )

    def __hash__(self) -> int:
        return hash((self.id, self.generation))

    def __repr__(self) -> str:
        shape = ", ".join(f"{name}: {size}" for name, size in self.named_shape)
        made = "never written" if self.time is None else f"{self.time:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"Snapshot({self.id}, {self.collection!r}, generation {self.generation}, {made}, "
            f"{self.dtype}, ({shape}))"
        )

    def __getstate__(self) -> dict[str, Any]:
        pinned = self.pinned
        return {"array": self._array, "pinned": pinned.keeper.share(pinned)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._array = state["array"]
        self._closed = False
        self._pinned = self._array.session.pins.join(state["pinned"])
        self._watch()


class SnapshotSubset(Subset):
    """Part of a snapshot, as ``snapshot[index]`` gives it: it can be read only."""

    def __init__(self, snapshot: Snapshot, selection: Selection) -> None:
        # Not a handle of its own: what the snapshot's has worked out once serves all parts.
        super().__init__(snapshot._array, selection)  # noqa: SLF001 - two halves of one thing
        self._snapshot = snapshot

    @property
    def array(self) -> BaseArray:
        """A handle of the array as it is now."""
        return self._snapshot.array

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that this is a part of."""
        return self._snapshot

    @property
    def whole(self) -> Snapshot:
        """What this was selected from."""
        return self._snapshot

    def _source(self) -> PinnedGeneration:
        return self._snapshot.pinned

    def update(self, data: object) -> NoReturn:  # noqa: ARG002 - as it is for arrays
        """Refuse: a snapshot does not change.

        Raises
        ------
        DekerSubsetError
            Always.
        """
        raise DekerSubsetError(f"{self._snapshot!r} cannot be written to: write to its .array")

    def clear(self) -> NoReturn:
        """Refuse, as :meth:`update`."""
        raise DekerSubsetError(f"{self._snapshot!r} cannot be cleared: clear its .array")
