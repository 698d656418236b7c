"""An array's past: its generations, and the ways back to them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, TypedDict

import attrs
import numpy as np

from deker_cluster.dataplane.restoring import restore
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerInstanceNotExistsError, DekerValidationError
from deker_cluster.instants import from_clock, microseconds, to_instant
from deker_cluster.snapshots import Snapshot

if TYPE_CHECKING:
    from deker_cluster.arrays import BaseArray

__all__ = ["Generation", "Generations"]


@attrs.frozen
class Generation:
    """A state of an array that one commit made."""

    number: int
    """How many commits the array had seen; 0: it had never been written."""
    time: datetime | None
    """When it was committed, by the registry's clock, in UTC; None for 0."""
    tiles: int | None
    """How many tiles that commit changed; None if it is not known any more."""

    def __str__(self) -> str:
        if self.time is None:
            return f"{self.number}: never written"
        what = "" if self.tiles is None else f", {self.tiles} tile{'s' * (self.tiles != 1)}"
        return f"{self.number}: {self.time:%Y-%m-%d %H:%M:%S.%f} UTC{what}"


class _Which(TypedDict, total=False):
    generation: int
    at_s: float


class Generations:
    """The part of array handles about generations.

    Every commit makes a new generation of the array. Past ones can be read for as long as the
    collection's :class:`.Retention` keeps them.
    """

    def _itself(self) -> BaseArray:
        raise NotImplementedError

    @property
    def generation(self) -> int:
        """How many commits the array has seen by now.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        array = self._itself()
        record = array.session.registry.array(array.tiled.id)
        if record is None or record.collection_id != array.tiled.collection_id:
            raise DekerInstanceNotExistsError(
                f"array {array.id} of collection {array.collection!r} has been deleted"
            )
        return record.generation

    def history(self) -> list[Generation]:
        """Return the generations that can be read, the newest first.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        array = self._itself()
        found = array.session.registry.history(array.tiled.id, array.tiled.collection_id)
        return [
            Generation(
                each.number, None if each.time_s is None else from_clock(each.time_s), each.tiles
            )
            for each in found
        ]

    def snapshot(self) -> Snapshot:
        """Hold the present generation still; see :class:`.Snapshot`.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        return self._pinned({})

    def at(self, when: int | datetime | np.datetime64) -> Snapshot:
        """Hold a past generation still; see :class:`.Snapshot`.

        Parameters
        ----------
        when
            Number of a generation, or an instant: then the generation that was the present one at
            that time by the registry's clock, which counts milliseconds; a naive datetime is in
            UTC.

        Raises
        ------
        DekerGenerationError
            It was never made, or is no longer kept.
        DekerInstanceNotExistsError
            The array has been deleted.
        DekerValidationError
            Neither an int nor an instant.
        """
        return self._pinned(_which(when))

    def restore(self, when: int | datetime | np.datetime64) -> int:
        """Give all cells the values that they had in a past generation; return the new generation.

        What was written since stays in the history. Stored chunks are taken over without decoding
        them. If the array was not written since, there is no commit, and the present generation is
        returned. Whoever writes meanwhile comes before or after the restore.

        Parameters
        ----------
        when
            As for :meth:`at`.

        Raises
        ------
        DekerBaseApplicationError
            As :meth:`at` and as :meth:`.Subset.update`; nothing was changed.
        """
        array = self._itself()
        which = _which(when)
        with array.session.pins.held(array.tiled.id, array.tiled.collection_id, **which) as past:
            return restore(array.session, array.tiled, past.manifest.as_dict())

    def _pinned(self, which: _Which) -> Snapshot:
        array = self._itself()
        pinned = array.session.pins.take(array.tiled.id, array.tiled.collection_id, **which)
        return Snapshot(array, pinned)


def _which(when: object) -> _Which:
    if isinstance(when, datetime | np.datetime64):
        return {"at_s": microseconds(to_instant(when)) / 1_000_000}
    number = plain_int(when)
    if number is None:
        raise DekerValidationError(
            f"a generation is named by its number or by a datetime, not by {shown(when)}"
        )
    return {"generation": number}
