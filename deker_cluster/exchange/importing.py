"""Bring a Deker storage over into one of ours."""

from __future__ import annotations

import contextlib
import threading
import unicodedata
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from deker_cluster.errors import (
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerClientError,
    DekerCollectionAlreadyExistsError,
    DekerCollectionNotExistsError,
    DekerLockError,
    DekerMetaDataError,
    ShardUnavailableError,
    StorageFullError,
)
from deker_cluster.exchange.deker_collections import TILE_SUFFIX, SourceCollection, tile_owners
from deker_cluster.exchange.deker_files import not_being_written, read_header
from deker_cluster.exchange.deker_layout import Listing, collection_folders, list_data, storage_root
from deker_cluster.exchange.import_array import ArrayImport
from deker_cluster.exchange.report import CollectionReport, ImportReport
from deker_cluster.names import validate_collection_name
from deker_cluster.options import HDF5Options

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from deker_cluster.client import Client
    from deker_cluster.collection import Collection as TargetCollection

__all__ = ["HOPELESS", "UNREADABLE", "Bar", "import_storage", "in_pieces", "wanted_names"]

HOPELESS = (
    CommitStateUnknownError,
    DekerClientError,
    ShardUnavailableError,
    StorageFullError,
)
"""Failures that the next array would meet as well: they end the whole run."""

UNREADABLE = (
    DekerBaseApplicationError,
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    MemoryError,
)
"""What damaged files raise, the HDF5 library included."""

_MANY_TILES = 32
"""An array of more tiles is shared among the threads, smaller ones take a thread each."""

_NOTHING = Listing([], [], [])

_UNUSABLE = "a link, which is not followed, or no folder or file where one belongs"

_SUBMITTED = 5000
"""Arrays that wait for a thread at a time."""


class Bar:
    """Progress on standard error, if that is a terminal; safe to use from threads."""

    def __init__(self, name: str, total: int, unit: str = "array", *, shown: bool) -> None:
        self._bar: tqdm[Any] = tqdm(
            total=total, desc=name, unit=unit, disable=None if shown else True
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def step(self) -> None:
        """Count one."""
        with self._lock:
            self._bar.update()


def wanted_names(there: Collection[str], wanted: Sequence[str] | None, where: object) -> list[str]:
    """Return which collections to move.

    Raises
    ------
    DekerCollectionNotExistsError
        One that was asked for is not there.
    """
    missing = sorted(set(wanted or ()) - set(there))
    if missing:
        raise DekerCollectionNotExistsError(f"{where} has no collection {missing[0]!r}")
    return list(there) if wanted is None else list(dict.fromkeys(wanted))


def in_pieces(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a long list of work, so that not all of it waits in memory."""
    return (items[at : at + _SUBMITTED] for at in range(0, len(items), _SUBMITTED))


def import_storage(
    source: str | Path,
    client: Client,
    *,
    collections: Sequence[str] | None = None,
    force: bool = False,
    progress: bool = True,
    dry_run: bool = False,
) -> ImportReport:
    """Bring an existing Deker storage over: collections, arrays, attributes, ids, options, data.

    Stored chunks are taken over as they are where the tile format can carry them. Run it again
    after it was stopped, or after what failed was repaired: what is at the target is skipped.

    Parameters
    ----------
    source
        The storage's folder, as its path or as Deker's ``file:///path``. It is only read, and must
        be of trusted origin: the HDF5 library is not safe against crafted files. No link in it is
        followed.
    client
        The storage to bring it to.
    collections
        Names; None: all.
    force
        Go on where lock files say that a program may be at work.
    progress
        Show bars on standard error.
    dry_run
        Look at everything and write nothing. Cells are not read then.

    Returns
    -------
    ImportReport
        With everything that failed: a broken file costs one array, a broken collection itself. It
        ends early only when the target cannot be written to.

    Raises
    ------
    DekerClientError
        There is no Deker storage in this folder.
    DekerCollectionNotExistsError
        It has no collection of a name in `collections`.

    Notes
    -----
    Each array appears at the target whole or not at all, but for a process that is killed: then
    arrays may be there without data. The next run fills them.
    """
    root = storage_root(source)
    folders = {folder.name: folder for folder in collection_folders(root)}
    names = wanted_names(folders, collections, root)
    report = ImportReport(str(root), str(client.session.address), dry_run=dry_run)
    report.collections = [CollectionReport(name) for name in names]
    spellings = Counter(unicodedata.normalize("NFC", name) for name in folders)
    lost: str | None = None
    for part in report.collections:
        folder = folders[part.name]
        if lost is not None:
            part.fail(folder, f"not begun: {lost}")
            continue
        if spellings[unicodedata.normalize("NFC", part.name)] > 1:
            part.fail(folder, "names that differ only in their Unicode form are one name here")
            continue
        try:
            source_collection = SourceCollection.read(folder)
            work = _CollectionImport(source_collection, client, part, progress=progress)
            work.run(force=force, dry_run=dry_run)
        except HOPELESS as error:
            lost = str(error)
            part.fail(folder, error)
        except UNREADABLE as error:
            part.fail(folder, error)
    return report


class _CollectionImport:
    """The import of one collection."""

    def __init__(
        self, source: SourceCollection, client: Client, report: CollectionReport, *, progress: bool
    ) -> None:
        self.source = source
        self.client = client
        self.report = report
        self.progress = progress

    def run(self, *, force: bool, dry_run: bool) -> None:
        source = self.source
        target = self._existing()
        arrays = list_data(source.array_folder, source.array_suffix)
        tiles = list_data(source.tile_folder, TILE_SUFFIX) if source.is_virtual else _NOTHING
        locks = arrays.young_locks + tiles.young_locks
        if locks and not force:
            raise DekerLockError(
                f"{len(locks)} lock files of the last ten minutes say that a program may be at "
                f"work, such as {locks[0]}; end it, or import with force"
            )
        if tiles.unusable:
            # Arrays without these tiles would look complete to the next run.
            raise DekerMetaDataError(f"{tiles.unusable[0]} is {_UNUSABLE}: put the tiles there")
        if target is None and not dry_run:
            with contextlib.suppress(DekerCollectionAlreadyExistsError):  # made a moment ago
                self.client.create_collection(source.folder.name, source.schema, source.options)
            target = self._existing()
        for place in arrays.unusable:
            self.report.fail(place, _UNUSABLE)
        move = ArrayImport(source, target, self.report, dry_run)
        name = source.folder.name
        if source.is_virtual:
            with Bar(f"{name}: tiles", len(tiles.ids), "tile", shown=self.progress) as bar:
                found, broken = self._tiles(set(arrays.ids), tiles.ids, bar)
        with Bar(name, len(arrays.ids), shown=self.progress) as bar:
            if source.is_virtual:
                self._virtual(arrays.ids, found, broken, move, bar)
            else:
                self._each(partial(move.run, tiles=None, parallel=False), arrays.ids, bar)

    def _existing(self) -> TargetCollection | None:
        source = self.source
        found = self.client.get_collection(validate_collection_name(source.folder.name))
        if found is None:
            return None
        options = source.options or HDF5Options()
        for what, theirs, ours in (
            ("schema", source.schema, found.schema),
            ("options", options, found.hdf5_options),
        ):
            if theirs != ours:
                raise DekerCollectionAlreadyExistsError(
                    f"the target has a collection {found.name!r} with other {what}: {ours}"
                )
        return found

    def _one(self, move: Callable[[str], None], bar: Bar, array_id: str) -> None:
        try:
            move(array_id)
        except HOPELESS:
            raise
        except UNREADABLE as error:
            self.report.fail(self.source.array_path(array_id), error, arrays=1)
        bar.step()

    def _each(self, move: Callable[[str], None], array_ids: Sequence[str], bar: Bar) -> None:
        for piece in in_pieces(array_ids):
            self.client.session.run_all(partial(self._one, move, bar), piece)

    def _virtual(
        self,
        array_ids: Sequence[str],
        tiles: Mapping[str, Mapping[int, list[Path]]],
        broken: Mapping[str, str],
        move: ArrayImport,
        bar: Bar,
    ) -> None:
        def run(array_id: str, *, parallel: bool) -> None:
            found = tiles.get(array_id, {})
            move.run(array_id, found, parallel=parallel, broken=broken.get(array_id))

        few = [found for found in array_ids if len(tiles.get(found, ())) <= _MANY_TILES]
        self._each(partial(run, parallel=False), few, bar)
        for array_id in sorted(set(array_ids).difference(few)):
            self._one(partial(run, parallel=True), bar, array_id)

    def _tiles(
        self, arrays: set[str], tile_ids: Sequence[str], bar: Bar
    ) -> tuple[dict[str, dict[int, list[Path]]], dict[str, str]]:
        """Find out where each tile belongs.

        Returns
        -------
        tuple
            Array id -> ordinal -> files with cells; array id -> why its tiles are incomplete.
        """
        found: dict[str, dict[int, list[Path]]] = {}
        everywhere: dict[tuple[str, int], int] = {}
        unreadable: dict[str, str] = {}
        lock = threading.Lock()

        def look(tile_id: str) -> None:
            bar.step()
            path = self.source.tile_path(tile_id)
            try:
                with not_being_written(path):
                    header = read_header(path)
                self.source.check_shape(header)
                array_id, ordinal = self.source.place_of(header)
            except UNREADABLE as error:
                with lock:
                    unreadable[tile_id] = f"its tile {path} cannot be read: {error}"
                return
            if array_id not in arrays or ordinal is None:
                self.report.add(ghost_tiles=1)
                where = "of no array" if array_id not in arrays else "outside the grid"
                self.report.conflict(f"array {array_id}: left out a tile {where}, {path}")
                return
            with lock:
                everywhere[array_id, ordinal] = everywhere.get((array_id, ordinal), 0) + 1
                if header.shape is not None:
                    found.setdefault(array_id, {}).setdefault(ordinal, []).append(path)

        for piece in in_pieces(tile_ids):
            self.client.session.run_all(look, piece)
        self.report.add(duplicate_tiles=sum(files > 1 for files in everywhere.values()))
        return found, self._blame(unreadable, arrays)

    def _blame(self, unreadable: dict[str, str], arrays: set[str]) -> dict[str, str]:
        broken: dict[str, str] = {}
        owners = tile_owners(self.source.folder) if unreadable else {}
        for tile_id, why in unreadable.items():
            owner = owners.get(tile_id)
            if owner in arrays:
                broken[owner] = f"{why}; repair it, or move it away to import the array without it"
            else:
                text = f"no link says of which array it is a tile; left out: {why}"
                self.report.fail(self.source.tile_path(tile_id), text)
        return broken
