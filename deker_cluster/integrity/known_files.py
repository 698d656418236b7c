"""Which tile files belong to something: what a check reports of the others, a sweep deletes."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.report_models import CurrentTiles
    from deker_cluster.transport.messages import ListedFile

__all__ = ["KnownFiles", "Suspect", "kept_pasts"]

_ARRAYS_PER_CALL = 1000

_HISTORIES_PER_CALL = 50
"""Arrays whose past one call lists: other clients wait meanwhile."""

_LAST_ORDINAL = 2**53 - 1
"""The registry knows no tiles beyond it."""


class Suspect(NamedTuple):
    """A file on a shard that may belong to nothing."""

    shard: int
    file: ListedFile


class _Garbage:
    """What will be deleted some time.

    Raises
    ------
    DekerMetaDataError
        An item of the list cannot be read.
    """

    def __init__(self, registry: Registry) -> None:
        self._staged: set[tuple[str, int, int]] = set()
        self._replaced: set[tuple[str, int, int, int]] = set()
        # Garbage as soon as the pins end that snapshots of deleted arrays still have.
        self._arrays = registry.held_arrays()
        self.collections: set[str] = set()
        for item in registry.pending_garbage():
            if item.collection_id is not None:
                self.collections.add(item.collection_id)
            elif item.array_id is None:
                continue
            elif item.ordinal is None:
                newest = max(item.token or 0, self._arrays.get(item.array_id, 0))
                self._arrays[item.array_id] = newest
            elif item.entry is not None:
                entry = TileEntry.unpack(item.entry)
                tile = (item.array_id, item.ordinal, entry.version)
                self._replaced.update((*tile, number) for number in entry.shards)
            else:
                self._staged.add((item.array_id, item.ordinal, item.token or 0))

    def names(self, suspect: Suspect) -> bool:
        """Say whether the file is on the list."""
        array_id, ordinal, version = attrs.astuple(suspect.file.key)
        return (
            (array_id, ordinal, version) in self._staged
            or (array_id, ordinal, version, suspect.shard) in self._replaced
            or version <= self._arrays.get(array_id, -1)
        )


class KnownFiles:
    """Sorts out the files that belong to something.

    Notes
    -----
    Others may write meanwhile, so a file is moving on: from a running write to the manifest, then
    to the history or a pin, then to the garbage list, then it is gone. Looked at in this order,
    after the listing, a file that belongs to something cannot slip through: that is
    :meth:`unknown`. What once belonged to something needs no such care, so :meth:`suspicious`
    may sort out most files by what was read before they were listed.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._garbage = _Garbage(registry)
        self._kept: dict[str, set[tuple[int, int, int]]] = {}

    def suspicious(self, files: Sequence[Suspect]) -> list[Suspect]:
        """Return the files that may belong to nothing."""
        return self._left(files, self._kept, self._garbage)

    def unknown(self, files: Sequence[Suspect]) -> list[Suspect]:
        """Return the files that belong to nothing: they must have been listed before this call."""
        return self._left(files, {}, None)

    def _left(
        self,
        files: Sequence[Suspect],
        kept: dict[str, set[tuple[int, int, int]]],
        garbage: _Garbage | None,
    ) -> list[Suspect]:
        if not files:
            return []
        written = {(lock.array_id, lock.token) for lock in self._registry.locks()}
        left = [
            each for each in files if (each.file.key.array_id, each.file.key.version) not in written
        ]
        current = self._current(left)
        left = [each for each in left if not _committed(each, current)]
        self._add_kept({each.file.key.array_id for each in left}, kept)
        left = [each for each in left if not _in_history(each, kept)]
        garbage = garbage or _Garbage(self._registry)
        return [
            each
            for each in left
            if not garbage.names(each)
            and current[each.file.key.array_id].collection_id not in garbage.collections
        ]

    def _current(self, files: Sequence[Suspect]) -> dict[str, CurrentTiles]:
        ordinals: dict[str, set[int]] = defaultdict(set)
        for each in files:
            wanted = ordinals[each.file.key.array_id]
            if each.file.key.ordinal <= _LAST_ORDINAL:
                wanted.add(each.file.key.ordinal)
        tiles = iter(ordinals.items())
        found: dict[str, CurrentTiles] = {}
        while some := list(islice(tiles, _ARRAYS_PER_CALL)):
            found |= self._registry.current_tiles(some)
        return found

    def _add_kept(
        self, array_ids: Iterable[str], kept: dict[str, set[tuple[int, int, int]]]
    ) -> None:
        """Add what history and pins keep of arrays: (ordinal, version, shard)."""
        wanted = sorted(set(array_ids) - kept.keys())
        for array_id, versions in kept_pasts(self._registry, wanted):
            kept[array_id] = {
                (ordinal, entry.version, number)
                for ordinal, packed in versions
                for entry in [TileEntry.unpack(packed)]
                for number in entry.shards
            }


def kept_pasts(
    registry: Registry, array_ids: Iterable[str]
) -> Iterator[tuple[str, set[tuple[int, bytes]]]]:
    """Yield array id and ``{(ordinal, packed entry), ...}`` that its history and its pins keep."""
    wanted = iter(array_ids)
    while some := list(islice(wanted, _HISTORIES_PER_CALL)):
        yield from registry.kept_versions(some).items()


def _committed(suspect: Suspect, current: dict[str, CurrentTiles]) -> bool:
    file = suspect.file
    packed = current[file.key.array_id].entries.get(file.key.ordinal)
    if file.temporary or packed is None or not current[file.key.array_id].exists:
        return False
    try:
        entry = TileEntry.unpack(packed)
    except DekerMetaDataError:
        return True  # the manifest's damage is reported; what it meant, nobody knows
    return entry.version == file.key.version and suspect.shard in entry.shards


def _in_history(suspect: Suspect, kept: dict[str, set[tuple[int, int, int]]]) -> bool:
    key = suspect.file.key
    place = (key.ordinal, key.version, suspect.shard)
    return not suspect.file.temporary and place in kept[key.array_id]
