"""Read a selection: plan, one look into the manifest, then every tile into its place."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.only_tile import only_tile
from deker_cluster.core.planning import plan
from deker_cluster.dataplane.holders import Choice, HolderFailedError, Holders
from deker_cluster.dataplane.remote import RemoteTile, read_remote, remote_calls
from deker_cluster.dataplane.stored_tile import (
    VersionGoneError,
    check_digest,
    failing_over,
    missing_file,
    raise_named,
    report_damage,
)
from deker_cluster.errors import (
    CommitConflictError,
    DekerIntegrityError,
    ShardUnavailableError,
)
from deker_cluster.memory import memory_errors, new_array
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.parallel import core_count, run_all
from deker_cluster.tilefile.reader import worth_sharing
from deker_cluster.tilefile.shared_chunks import read_regions, regions_tasks
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.regions import Region
    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Entries

__all__ = ["EntrySource", "Part", "TileParts", "present_entries", "read", "read_tiles"]

_TOGETHER_BYTES = 32 << 20
"""A local read up to this size is shared out by chunks and spans, a larger one by tiles."""

_TOGETHER_TILES = 64
"""So many tiles are open at the same time then, at most."""

_ATTEMPTS = 3
"""How often the present entries are read before a generation is pinned."""


class EntrySource(Protocol):
    """Says which file holds each tile of one array."""

    def entries(self, ordinals: npt.NDArray[np.int64]) -> Entries:
        """Return the entries of tiles, all of one generation; `ordinals` ascend."""
        ...

    def look_again(self, gone: VersionGoneError) -> None:
        """Return if :meth:`entries` may name another file now; else raise why one is missing."""
        ...


class Part(NamedTuple):
    """Some cells of one tile, and where they go."""

    source: Region
    """In the tile's own coordinates."""
    base: npt.NDArray[Any]
    target: tuple[slice, ...]
    """Cells of ``base``."""


class TileParts(NamedTuple):
    """All that one tile has to give."""

    ordinal: int
    parts: Sequence[Part]


class _Job(NamedTuple):
    ordinal: int
    parts: Sequence[Part]
    entry: TileEntry
    choice: Choice


class _PresentEntries:
    """The registry's manifest as it is when it is asked."""

    def __init__(self, session: Session, array: TiledArray) -> None:
        self._session = session
        self._array = array
        self._missing: set[TileKey] = set()

    def entries(self, ordinals: npt.NDArray[np.int64]) -> Entries:
        """See :meth:`EntrySource.entries`."""
        array = self._array
        return self._session.registry.entries(array.id, ordinals.tolist(), array.collection_id)

    def look_again(self, gone: VersionGoneError) -> None:
        """See :meth:`EntrySource.look_again`: a file that is named twice was not swept."""
        if gone.key in self._missing:
            raise missing_file(gone) from gone
        self._missing.add(gone.key)
        self._session.shards.refresh()


def read(
    session: Session,
    array: TiledArray,
    selection: Selection,
    source: EntrySource | None = None,
) -> npt.NDArray[Any]:
    """Return the selected cells: a new, writable, C-contiguous array of the selection's shape.

    All cells are of one generation of the array. Cells that were never written are the fill value.

    Parameters
    ----------
    source
        Where to look for tiles; None: in the registry, for the present generation.

    Raises
    ------
    CommitConflictError
        In a transaction: others replace what it reads, it would be refused.
    DekerInstanceNotExistsError
        The array has been deleted.
    DekerIntegrityError
        A tile's bytes are damaged or gone; nothing is made up for them.
    DekerMemoryError
        There is no memory for the result.
    ShardUnavailableError
        A shard did not answer in time, or its machine has no more files to open.
    """
    source = source or present_entries(session, array)
    only = only_tile(array.grid, selection)
    if only is None:
        return _read_planned(session, array, selection, source)
    shape = selection.full_shape
    out = new_array(shape, array.dtype, lambda: _result(array, shape))
    tiles = [TileParts(only.ordinal, [Part(only.source, out, ())])]
    read_tiles(session, array, np.array([only.ordinal]), lambda: tiles, out.nbytes, source)
    return out.reshape(selection.shape)


def _read_planned(
    session: Session, array: TiledArray, selection: Selection, source: EntrySource
) -> npt.NDArray[Any]:
    tiles = plan(array.grid, selection)
    asked = tiles.asked_shape
    out = new_array(tiles.full_shape, array.dtype, lambda: _result(array, asked))
    view = tiles.ascending_view(out)

    def parts() -> Iterator[TileParts]:
        for tile in tiles:
            yield TileParts(tile.ordinal, (Part(tile.source, view, tile.target),))

    read_tiles(session, array, tiles.ordinals, parts, out.nbytes, source)
    with memory_errors(lambda: _result(array, asked)):
        return tiles.restored(out).reshape(selection.shape)


def _result(array: TiledArray, shape: tuple[int, ...]) -> str:
    return f"a result of shape {shape} ({array.dtype}) of array {array.id}"


def present_entries(session: Session, array: TiledArray) -> EntrySource:
    """Return where the tiles are now, as the calling thread's transaction sees it if it has one."""
    present = _PresentEntries(session, array)
    transaction = session.transaction
    return present if transaction is None else transaction.seen_by(array.id, present)


def read_tiles(
    session: Session,
    array: TiledArray,
    ordinals: npt.NDArray[np.int64],
    tiles: Callable[[], Iterable[TileParts]],
    total_bytes: int,
    source: EntrySource,
) -> None:
    """Bring parts of some tiles to their places, all of one generation.

    Parameters
    ----------
    ordinals
        Of the tiles, ascending.
    tiles
        Gives the parts, in the order of the ordinals; called again for another attempt.
    total_bytes
        Size of all parts together.

    Raises
    ------
    DekerBaseApplicationError
        As :func:`read`.
    """
    for _ in range(_ATTEMPTS):
        entries = source.entries(ordinals)
        session.shards.at_epoch(entries.epoch)
        try:
            _read_entries(session, array, tiles(), entries, total_bytes)
        except VersionGoneError as gone:
            source.look_again(gone)
        else:
            return
    if session.transaction is not None:
        raise CommitConflictError(
            f"tiles of array {array.id} that the transaction reads are being replaced"
        )
    # The sweeper outran this read again and again: of a pinned generation it takes nothing.
    with session.pins.held(array.id, array.collection_id) as pinned:
        read_tiles(session, array, ordinals, tiles, total_bytes, pinned)


def _read_entries(
    session: Session,
    array: TiledArray,
    tiles: Iterable[TileParts],
    entries: Entries,
    total_bytes: int,
) -> None:
    wanted: list[tuple[TileParts, TileEntry]] = []
    for tile, packed in zip(tiles, entries.values, strict=True):
        if packed is None:
            for part in tile.parts:
                part.base[part.target] = array.fill
        else:
            wanted.append((tile, TileEntry.unpack(packed)))
    holders = Holders(session.shards)
    while True:
        done: list[_Job | RemoteTile] = []
        try:
            _read_wanted(session, array, wanted, holders, total_bytes, done)
        except HolderFailedError as failure:
            holders.learn(failure)
            here = _whole(done)
            wanted = [each for each in wanted if each[0].ordinal not in here]
        else:
            break
    report_damage(session, holders)


def _whole(done: Iterable[_Job | RemoteTile]) -> set[int]:
    """Return the ordinals of the tiles that are in their places."""
    counts = Counter[int]()
    whole = set()
    for item in done:
        counts[item.ordinal] += 1
        if isinstance(item, _Job) or counts[item.ordinal] == item.pieces:
            whole.add(item.ordinal)
    return whole


def _read_wanted(
    session: Session,
    array: TiledArray,
    wanted: Sequence[tuple[TileParts, TileEntry]],
    holders: Holders,
    total_bytes: int,
    done: list[_Job | RemoteTile],
) -> None:
    local: list[_Job] = []
    remote: list[RemoteTile] = []
    for tile, entry in wanted:
        choice = holders.choose(tile.ordinal, entry.shards)
        if choice.shard.root is not None:
            local.append(_Job(tile.ordinal, tile.parts, entry, choice))
        else:
            remote.append(RemoteTile(tile.ordinal, tile.parts, entry, choice))
    calls = remote_calls(array, remote) if remote else []
    if len(calls) == 1 and not local:
        read_remote(session, array, calls[0], done)
        return
    if not remote and len(local) == 1:
        _read_local(session, array, local[0], session.executor)
        return
    if not remote and total_bytes <= _TOGETHER_BYTES and len(local) <= _TOGETHER_TILES:
        _read_together(session, array, local)
        return

    def bring_local(job: _Job) -> None:
        _read_local(session, array, job, None)
        done.append(job)

    if not remote:
        # What is in memory is read fastest by as many threads as there are cores.
        run_all([partial(bring_local, job) for job in local], session.executor)
        return
    turns = threading.Semaphore(core_count())

    def bring(item: _Job | Sequence[RemoteTile]) -> None:
        if isinstance(item, _Job):
            with turns:
                bring_local(item)
        else:
            read_remote(session, array, item, done)

    work: list[_Job | Sequence[RemoteTile]] = [*calls, *local]
    session.run_all(bring, work)


def _read_local(session: Session, array: TiledArray, job: _Job, executor: Executor | None) -> None:
    """Read one tile straight from the file of a shard on this node."""
    path = _path(array, job)
    verify = session.options.verify
    try:
        with session.tiles.pinned(path) as file:
            index = file.index
            check_digest(index, job.entry)
            read_regions(
                index,
                file,
                [(part.source, part.base[part.target]) for part in job.parts],
                verify=verify,
                executor=executor,
            )
    except (OSError, DekerIntegrityError) as error:
        _raise_named(error, array, job)


def _read_together(session: Session, array: TiledArray, jobs: list[_Job]) -> None:
    """Read tiles of this node as if they were one: no core waits for the last tile's end."""
    try:
        _share_out(session, array, jobs)
    except ShardUnavailableError:  # this process may not have so many files open at once
        for job in jobs:
            _read_local(session, array, job, session.executor)


def _share_out(session: Session, array: TiledArray, jobs: list[_Job]) -> None:
    tasks: list[Callable[[], None]] = []
    worth_it = False
    with contextlib.ExitStack() as pinned:
        for job in jobs:
            parts = [(part.source, part.base[part.target]) for part in job.parts]
            try:
                file = pinned.enter_context(session.tiles.pinned(_path(array, job)))
                check_digest(file.index, job.entry)
                found = regions_tasks(file.index, file, parts, verify=session.options.verify)
            except (OSError, DekerIntegrityError) as error:
                _raise_named(error, array, job)
            worth_it = worth_it or worth_sharing(file.index, parts)
            tasks += [partial(_run_named, task, array, job) for task in found]
        run_all(tasks, session.executor if worth_it else None)


def _run_named(task: Callable[[], None], array: TiledArray, job: _Job) -> None:
    try:
        task()
    except (OSError, DekerIntegrityError) as error:
        _raise_named(error, array, job)


def _path(array: TiledArray, job: _Job) -> str:
    # Text, as joining paths takes a tenth of a small read.
    return f"{job.choice.shard.root}/{tile_path(array.id, job.ordinal, job.entry.version)}"


def _raise_named(error: OSError | DekerIntegrityError, array: TiledArray, job: _Job) -> NoReturn:
    key = TileKey(array.id, job.ordinal, job.entry.version)
    with failing_over(key, job.choice):
        raise_named(error, key, job.choice.shard.name)
