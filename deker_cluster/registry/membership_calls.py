"""The registry's calls about which shards are there, and about files that were found damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from deker_cluster.errors import DekerValidationError
from deker_cluster.registry.models import ShardState
from deker_cluster.registry.replies import pairs, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deker_cluster.registry.link import RegistryLink

__all__ = ["Beat", "DamagedFile", "MembershipCalls"]


class Beat(NamedTuple):
    """What was last heard of a shard."""

    age_s: float
    """How long ago, by the server's clock."""
    said: dict[str, Any]


class DamagedFile(NamedTuple):
    """A tile file that was damaged or missing on one shard."""

    array_id: str
    ordinal: int
    version: int
    shard: int


class MembershipCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about who is there, and damage."""

    _link: RegistryLink
    name: str

    def heartbeat(
        self, number: int, incarnation: int, said: Mapping[str, Any]
    ) -> ShardState | None:
        """Say that a shard is there; one that was only down is up again.

        Returns
        -------
        ShardState or None
            Its state; None: a newer incarnation owns the shard, this process must stop serving it.

        Raises
        ------
        DekerValidationError
            No shard has that number.
        """
        reply = self._link.change_again(
            "heartbeat", int(number), int(incarnation), to_json(said, f"shard {number}")
        )
        if reply[0] == b"noshard":
            raise DekerValidationError(f"cluster {self.name!r} has no shard number {number}")
        return ShardState(json.loads(reply[1])) if reply[0] == b"ok" else None

    def beats(self) -> dict[int, Beat]:
        """Return what was last heard of each shard; those that never said anything are left out."""
        _, now_ms, flat = self._link.read("beats")
        found = {}
        for number, packed in pairs(flat):
            ms, _, text = packed.partition(b" ")
            found[int(number)] = Beat(max(now_ms - int(ms), 0) / 1000, json.loads(text))
        return found

    def judge(
        self, number: int, before: ShardState, after: ShardState, silent_s: float | None = None
    ) -> bool:
        """Change the state of a shard unless it is another one by now; return whether it did.

        Parameters
        ----------
        silent_s
            Only if it has not been heard of for so long.
        """
        silent = "" if silent_s is None else round(silent_s * 1000)
        states = [to_json(state, "a shard's state") for state in (before, after)]
        return bool(self._link.change("judge", int(number), *states, silent)[1])

    def report_damage(self, files: Iterable[tuple[str, int, int, int]]) -> int:
        """Remember that files were damaged or missing: (array, tile, version, shard number).

        Returns
        -------
        int
            How many were not known yet.
        """
        words = [":".join(map(str, file)) for file in files]
        return int(self._link.change_again("report_damage", *words)[1]) if words else 0

    def damage(self, limit: int) -> list[DamagedFile]:
        """Return up to `limit` of the files that were reported, in any order."""
        found = []
        for word, _ in pairs(self._link.read("damage", int(limit))[1:]):
            array_id, *numbers = word.decode().split(":")
            found.append(DamagedFile(array_id, *map(int, numbers)))
        return found

    def forget_damage(self, files: Sequence[DamagedFile]) -> int:
        """Forget reports; return how many there were."""
        words = [":".join(map(str, file)) for file in files]
        return int(self._link.change_again("forget_damage", *words)[1]) if words else 0

    def note(self, name: str, value: Mapping[str, Any]) -> None:
        """Say how a service's work goes; it is lost with the registry."""
        self._link.change_again("note", name, to_json(value, f"note {name!r}"))

    def notes(self) -> dict[str, dict[str, Any]]:
        """Return what services said last, by name."""
        flat = self._link.read("notes")[1:]
        return {name.decode(): json.loads(text) for name, text in pairs(flat)}
