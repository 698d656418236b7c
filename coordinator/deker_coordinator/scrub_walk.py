"""Go through all tile files that a registry names, in a fixed order, and from any place on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np

from deker_cluster.errors import DekerInstanceNotExistsError, DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from deker_cluster.registry.client import Registry

__all__ = ["Batch", "NamedFile", "Place", "walk"]

_PAGE_TILES = 5000
"""Entries that one call looks at; a page of arrays may have more when one of them does."""

_PAGE_ARRAYS = 50
"""Arrays whose past one call lists: other clients wait meanwhile."""

_BATCH_TILES = 500

_Tiles = list[tuple[str, "npt.NDArray[np.int64]"]]
"""Array id and ascending ordinals; each array once."""


@attrs.frozen
class Place:
    """Where a walk goes on; what comes before has been passed.

    Collections come by their ids. In each the manifests come before what histories and pins keep:
    what is replaced meanwhile moves from there to there, and is met in any case, maybe twice.
    """

    collection: str = ""
    """Id; those of lower ids are done."""
    past: bool = False
    """Whether the manifests of the collection are done."""
    after: int = 0
    """Number of the last array, in the order of creation, that is done."""
    array: str = ""
    """Id of one of the arrays that follow: those between are done, too. "": none is begun."""
    ordinal: int = 0
    """The tiles of that array below this one are done."""

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, JSON-safe."""
        return attrs.asdict(self)

    @classmethod
    def from_dict(cls, stored: object) -> Place:
        """Return the place that :meth:`as_dict` has told; the beginning if it is none."""
        fields = stored if isinstance(stored, dict) else {}
        defaults = cls()
        values = {
            name: fields[name]
            for name in attrs.fields_dict(cls)
            if type(fields.get(name)) is type(getattr(defaults, name))
        }
        return cls(**values)


class NamedFile(NamedTuple):
    """A version of a tile that is not garbage."""

    array_id: str
    ordinal: int
    packed: bytes
    """Its entry."""


class Batch(NamedTuple):
    """Some files that follow each other."""

    files: Sequence[NamedFile]
    then: Place
    """Where to go on when these are done."""
    trouble: str = ""
    """Why some files cannot be told: what is stored of them is damaged."""


def walk(registry: Registry, place: Place) -> Iterator[Batch]:
    """Go through all files of arrays that exist, from `place` on, to the end.

    What is written meanwhile is met or not. Snapshots of deleted arrays are passed over, as
    nothing tells which files are theirs.
    """
    for key in sorted(collection.id for collection in registry.collections()):
        if key < place.collection:
            continue
        here = place if key == place.collection else Place(key)
        try:
            if not here.past:
                try:
                    yield from _present(registry, here)
                except DekerMetaDataError as error:
                    yield Batch([], Place(key, past=True), str(error))
                here = Place(key, past=True)
            yield from _past(registry, here)
        except DekerInstanceNotExistsError:
            continue  # deleted meanwhile


def _present(registry: Registry, start: Place) -> Iterator[Batch]:
    after = start.after
    while after >= 0:
        tiles, following = _page(registry, start.collection, after)
        for some in _cut(_left(tiles, start)):
            found = registry.current_tiles(some)
            files = [
                NamedFile(array_id, ordinal, packed)
                for array_id, now in found.items()
                if now.exists and now.collection_id == start.collection
                for ordinal, packed in now.entries.items()
                if packed is not None
            ]
            yield Batch(files, _behind(some, start.collection, after, past=False))
        after = following


def _page(registry: Registry, collection: str, after: int) -> tuple[_Tiles, int]:
    """Return the tiles of some arrays, whole ones, and the number of the last of these, or -1."""
    ordinals: dict[str, list[int]] = {}
    cursor = b"0"
    while True:
        parts, after, cursor = registry.manifest_page(collection, after, cursor, _PAGE_TILES)
        for part in parts:
            ordinals.setdefault(part.array_id, []).extend(part.values)
        # A large array comes in parts that are in no order: only all of them can be sorted.
        if cursor == b"0":
            tiles = [(key, np.unique(np.array(some, np.int64))) for key, some in ordinals.items()]
            return tiles, after


def _past(registry: Registry, start: Place) -> Iterator[Batch]:
    after: int | None = start.after
    while after is not None:
        arrays, following = registry.arrays(start.collection, after, _PAGE_ARRAYS)
        kept = registry.kept_versions([array.id for array in arrays])
        versions = {key: _by_ordinal(some) for key, some in kept.items()}
        tiles = [
            (array.id, np.array(sorted(versions[array.id]), np.int64))
            for array in arrays
            if versions[array.id]
        ]
        for some in _cut(_left(tiles, start)):
            files = [
                NamedFile(array_id, ordinal, packed)
                for array_id, ordinals in some
                for ordinal in ordinals.tolist()
                for packed in versions[array_id][ordinal]
            ]
            yield Batch(files, _behind(some, start.collection, after, past=True))
        after = following


def _by_ordinal(versions: set[tuple[int, bytes]]) -> Mapping[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    for ordinal, packed in sorted(versions):
        found.setdefault(ordinal, []).append(packed)
    return found


def _left(tiles: _Tiles, place: Place) -> _Tiles:
    """Return what of a page has not been passed; all of it, if the array is not in it."""
    for at, (array_id, ordinals) in enumerate(tiles):
        if array_id == place.array:
            return [(array_id, ordinals[ordinals >= place.ordinal]), *tiles[at + 1 :]]
    return tiles


def _cut(tiles: _Tiles) -> Iterator[_Tiles]:
    """Cut into batches; none has two parts of one array."""
    some: _Tiles = []
    count = 0
    for array_id, ordinals in tiles:
        for first in range(0, len(ordinals), _BATCH_TILES):
            part = ordinals[first : first + _BATCH_TILES]
            some.append((array_id, part))
            count += len(part)
            if count >= _BATCH_TILES:
                yield some
                some, count = [], 0
    if some:
        yield some


def _behind(some: _Tiles, collection: str, after: int, *, past: bool) -> Place:
    array_id, ordinals = some[-1]
    return Place(collection, past, after, array_id, int(ordinals[-1]) + 1)
