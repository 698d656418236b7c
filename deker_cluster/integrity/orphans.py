"""Level 3: everything in the shards' directories belongs to something."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerInstanceNotExistsError, DekerMetaDataError
from deker_cluster.integrity.known_files import KnownFiles, Suspect
from deker_cluster.integrity.report import Finding, Findings, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.integrity.catalog import CheckedCollection
    from deker_cluster.integrity.reach import ShardReach
    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.messages import ListedFile

__all__ = ["check_files"]

_FILES_PER_CALL = 5000

_ARRAYS_PER_CALL = 1000


def check_files(
    registry: Registry,
    reach: ShardReach,
    collections: Sequence[CheckedCollection] | None,
    findings: Findings,
) -> None:
    """Look for files that belong to nothing; with collections, only among those of their arrays.

    Notes
    -----
    Others may write meanwhile. What is left in the end is reported if it is there even after that.
    """
    suspects: list[Suspect] = []
    strange: list[tuple[int, str]] = []
    try:
        known = KnownFiles(registry)
        for number in reach.numbers():
            for files, names in _listings(registry, reach, number, collections):
                findings.count("files", len(files) + len(names))
                strange += [(number, name) for name in names]
                suspects += known.suspicious([Suspect(number, file) for file in files])
        suspects = known.unknown(suspects)
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
        unnamed = "no manifest, no history, no running write, no garbage item names it"
        text = f"{file.path} {why}: {unnamed}"
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
