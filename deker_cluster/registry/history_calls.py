"""The registry's calls about generations that are kept: retention, history, pins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerGenerationError
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.models import (
    GenerationInfo,
    KeptChanges,
    PinInfo,
    PinnedManifest,
)
from deker_cluster.registry.replies import check_array, check_collection, milliseconds, pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.link import RegistryLink, Word

__all__ = ["HistoryCalls"]

_PAGE = 5000
"""Arrays that one call looks at: other clients wait meanwhile."""


class HistoryCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about what was before."""

    _link: RegistryLink

    def set_retention(self, collection_id: str, kept: KeptChanges) -> None:
        """Set how much of the past a collection keeps; :meth:`trim_histories` lets go of the rest.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        check_id(collection_id, "a collection id")
        reply = self._link.change("set_retention", collection_id, *kept.words())
        check_collection(reply, collection_id)
        seq = 0
        while seq >= 0:
            _, seq = self._link.change_again("schedule_trims", collection_id, seq, _PAGE)

    def retention(self, collection_id: str) -> KeptChanges:
        """Return how much of the past a collection keeps; raises as :meth:`set_retention`."""
        reply = self._link.read("retention", check_id(collection_id, "a collection id"))
        check_collection(reply, collection_id)
        return KeptChanges(
            generations=reply[1], age_s=reply[2] / 1000 if reply[2] else None, changes=reply[3]
        )

    def history(self, array_id: str, collection_id: str | None = None) -> list[GenerationInfo]:
        """Return the generations of an array that can be read, the newest first.

        Parameters
        ----------
        collection_id
            Where the array must be.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        """
        reply = self._link.read("history", check_id(array_id, "an array id"), collection_id or "")
        check_array(reply, array_id)
        _, present, present_ms, *records = reply
        tiles: dict[int, int] = {record[0]: record[3] for record in records}
        times: dict[int, int] = {present: present_ms}
        times.update({record[0] - 1: record[2] for record in records})
        return [
            GenerationInfo(number=number, time_s=_seconds(time), tiles=tiles.get(number))
            for number, time in times.items()
        ]

    def pin(
        self,
        array_id: str,
        collection_id: str | None,
        pin_id: str,
        ttl_s: float,
        *,
        generation: int | None = None,
        at_s: float | None = None,
    ) -> PinnedManifest:
        """Keep a generation from being collected, and return what it is made of.

        Parameters
        ----------
        collection_id
            Where the array must be.
        pin_id
            New; with that of a living pin of the array, its generation is returned again.
        ttl_s
            How long the pin lasts unless it is renewed, s.
        generation, at_s
            Which one, or the one that was the present one at a time (Unix time, s). Without both,
            the present one.

        Raises
        ------
        DekerGenerationError
            It was never made, or is no longer kept.
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        """
        which: tuple[Word, Word] = ("", "")
        if generation is not None:
            which = ("g", int(generation))
        elif at_s is not None:
            # The time of a commit, divided by 1000, must not end up a millisecond before it.
            which = ("t", math.floor(round(at_s * 1000, 3)))
        reply = self._link.change_again(
            "pin",
            check_id(array_id, "an array id"),
            collection_id or "",
            check_id(pin_id, "a pin's id"),
            milliseconds(ttl_s),
            *which,
        )
        check_array(reply, array_id)
        if reply[0] == b"unkept":
            _, present, oldest = reply
            asked = f"generation {generation}" if generation is not None else "that time"
            raise DekerGenerationError(
                f"array {array_id} has nothing to be read of {asked}: generations {oldest} to "
                f"{present} are kept; a collection's retention says how many"
            )
        return PinnedManifest(
            generation=reply[1],
            time_s=_seconds(reply[2]),
            epoch=reply[3],
            values={int(ordinal): entry for ordinal, entry in pairs(reply[4])},
        )

    def renew_pin(self, pin_id: str, ttl_s: float) -> bool:
        """Let a pin last ``ttl_s`` from now; False when it has ended already."""
        check_id(pin_id, "a pin's id")
        return bool(self._link.change_again("renew_pin", pin_id, milliseconds(ttl_s))[1])

    def unpin(self, pin_id: str) -> bool:
        """End a pin: what only it kept becomes garbage. False when there was none."""
        return bool(self._link.change_again("unpin", check_id(pin_id, "a pin's id"))[1])

    def pins(self) -> list[PinInfo]:
        """Return all pins."""
        return [
            PinInfo(
                pin_id=pin_id.decode(),
                array_id=array_id.decode(),
                generation=generation,
                remaining_s=remaining_ms / 1000,
                held=held,
            )
            for pin_id, remaining_ms, array_id, generation, held in self._link.read("pins")[1:]
        ]

    def expire_pins(self, limit: int) -> int:
        """End up to ``limit`` pins whose time is over and return how many there were."""
        number: int = self._link.change_again("expire_pins", int(limit))[1]
        return number

    def trim_histories(self, limit: int) -> int:
        """Let generations go that are older than their collection keeps them.

        Returns
        -------
        int
            At how many arrays it looked, up to ``limit``.
        """
        number: int = self._link.change_again("trim_histories", int(limit))[1]
        return number

    def kept_versions(self, array_ids: Sequence[str]) -> dict[str, set[tuple[int, bytes]]]:
        """Return what history and pins keep of some arrays beside their manifests.

        Returns
        -------
        dict
            Array id -> {(ordinal, entry), ...}.
        """
        wanted = [check_id(array_id, "an array id") for array_id in array_ids]
        rows = self._link.read("kept_versions", *wanted)[1:]
        return {
            array_id: {(int(ordinal), entry) for ordinal, entry in pairs(row)}
            for array_id, row in zip(wanted, rows, strict=True)
        }

    def held_arrays(self) -> dict[str, int]:
        """Return the deleted arrays of which pins keep all versions up to a token.

        Returns
        -------
        dict
            Array id -> token.
        """
        found: dict[str, int] = {}
        for item in self._link.read("held_items")[1:]:
            _, array_id, token = item.decode().split(":")
            found[array_id] = max(int(token), found.get(array_id, 0))
        return found


def _seconds(time_ms: int) -> float | None:
    return time_ms / 1000 if time_ms else None
