"""Level 3: everything in the shards' directories belongs to something."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerInstanceNotExistsError, DekerMetaDataError
from deker_cluster.integrity.report import Finding, Findings, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.integrity.catalog import CheckedCollection
    from deker_cluster.integrity.reach import ShardReach
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.report_models import CurrentTiles
    from deker_cluster.transport.messages import ListedFile

__all__ = ["check_files"]

_FILES_PER_CALL = 5000

_ARRAYS_PER_CALL = 1000

_LAST_ORDINAL = 2**53 - 1
"""The registry knows no tiles beyond it."""


class _Suspect(NamedTuple):
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
        self._arrays: dict[str, int] = {}
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

    def names(self, suspect: _Suspect) -> bool:
        """Say whether the file is on the list."""
        array_id, ordinal, version = attrs.astuple(suspect.file.key)
        return (
            (array_id, ordinal, version) in self._staged
            or (array_id, ordinal, version, suspect.shard) in self._replaced
            or version <= self._arrays.get(array_id, -1)
        )


def check_files(
    registry: Registry,
    reach: ShardReach,
    collections: Sequence[CheckedCollection] | None,
    findings: Findings,
) -> None:
    """Look for files that belong to nothing; with collections, only among those of their arrays.

    Notes
    -----
    Others may write meanwhile, so a file is moving on: from a running write to the manifest, then
    to the garbage list, then it is gone. Looked at in this order, after the listing, a file that
    belongs to something cannot slip through. The first round only sorts out what is known for
    sure; what is left is looked at in that order, and reported if it is there even after that.
    """
    suspects: list[_Suspect] = []
    strange: list[tuple[int, str]] = []
    try:
        garbage = _Garbage(registry)
        for number in reach.numbers():
            for files, names in _listings(registry, reach, number, collections):
                findings.count("files", len(files) + len(names))
                strange += [(number, name) for name in names]
                listed = [_Suspect(number, file) for file in files]
                suspects += _unknown(registry, listed, garbage)
        suspects = _unknown(registry, suspects, None)
    except DekerMetaDataError as error:
        findings.add(Finding(Kind.GARBAGE, str(error)))
        return
    for number, path in _still_there(reach, strange):
        text = f"{path} cannot be a tile file of this shard"
        findings.add(Finding(Kind.STRANGE, text, shard=reach.name(number)))
    files_by_path = {(suspect.shard, suspect.file.path): suspect.file for suspect in suspects}
    for place in _still_there(reach, list(files_by_path)):
        file = files_by_path[place]
        why = "was left behind by a writer that was killed" if file.temporary else "is in no use"
        text = f"{file.path} {why}: no manifest, no running write, no garbage item names it"
        key, shard = file.key, reach.name(place[0])
        findings.add(Finding(Kind.ORPHAN, text, None, key.array_id, key.ordinal, shard))


def _listings(
    registry: Registry,
    reach: ShardReach,
    number: int,
    collections: Sequence[CheckedCollection] | None,
) -> Iterator[tuple[Sequence[ListedFile], Sequence[str]]]:
    """Yield tile files and strange names of one shard."""
    for arrays in [None] if collections is None else _array_ids(registry, collections):
        after: str | None = None
        while True:
            page = reach.call(
                number,
                lambda handle, after=after, arrays=arrays: handle.inventory(  # type: ignore[misc]
                    after, _FILES_PER_CALL, arrays
                ),
            )
            if page is None:
                return
            yield page.files, page.strange
            after = page.after
            if after is None:
                break


def _array_ids(registry: Registry, collections: Sequence[CheckedCollection]) -> Iterator[list[str]]:
    for collection in collections:
        stored = registry.stored_arrays(collection.id)
        try:
            while ids := [array.id for array in islice(stored, _ARRAYS_PER_CALL)]:
                yield ids
        except DekerInstanceNotExistsError:
            continue  # deleted meanwhile


def _unknown(
    registry: Registry, suspects: Sequence[_Suspect], garbage: _Garbage | None
) -> list[_Suspect]:
    """Return the files that nobody knows of; without garbage, its list is read after the rest."""
    if not suspects:
        return []
    written = {(lock.array_id, lock.token) for lock in registry.locks()}
    left = [
        suspect
        for suspect in suspects
        if (suspect.file.key.array_id, suspect.file.key.version) not in written
    ]
    current = _current(registry, left)
    left = [suspect for suspect in left if not _committed(suspect, current)]
    garbage = garbage or _Garbage(registry)
    return [
        suspect
        for suspect in left
        if not garbage.names(suspect)
        and current[suspect.file.key.array_id].collection_id not in garbage.collections
    ]


def _current(registry: Registry, suspects: Sequence[_Suspect]) -> dict[str, CurrentTiles]:
    ordinals: dict[str, set[int]] = defaultdict(set)
    for suspect in suspects:
        wanted = ordinals[suspect.file.key.array_id]
        if suspect.file.key.ordinal <= _LAST_ORDINAL:
            wanted.add(suspect.file.key.ordinal)
    tiles = iter(ordinals.items())
    found: dict[str, CurrentTiles] = {}
    while some := list(islice(tiles, _ARRAYS_PER_CALL)):
        found |= registry.current_tiles(some)
    return found


def _committed(suspect: _Suspect, current: dict[str, CurrentTiles]) -> bool:
    file = suspect.file
    packed = current[file.key.array_id].entries.get(file.key.ordinal)
    if file.temporary or packed is None or not current[file.key.array_id].exists:
        return False
    try:
        entry = TileEntry.unpack(packed)
    except DekerMetaDataError:
        return True  # the manifest's damage is reported; what it meant, nobody knows
    return entry.version == file.key.version and suspect.shard in entry.shards


def _still_there(reach: ShardReach, places: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Return the (shard, path) that are there now."""
    by_shard: dict[int, list[str]] = defaultdict(list)
    for number, path in places:
        by_shard[number].append(path)
    found = []
    for number, paths in by_shard.items():
        for first in range(0, len(paths), _FILES_PER_CALL):
            some = paths[first : first + _FILES_PER_CALL]
            there = reach.call(number, lambda handle, some=some: handle.present(some))  # type: ignore[misc]
            found += [
                (number, path)
                for path, is_there in zip(some, there or (), strict=False)
                if is_there
            ]
    return found
