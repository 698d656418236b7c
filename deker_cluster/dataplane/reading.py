"""Read a selection: plan, one look into the manifest, then every tile into its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import Plan, Projection, plan, split_by_bytes
from deker_cluster.dataplane.stored_tile import (
    VersionGoneError,
    check_digest,
    fetched_ranges,
    missing_file,
    shard_errors,
    tile_errors,
)
from deker_cluster.errors import CommitConflictError
from deker_cluster.memory import memory_errors
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.reader import read_region
from deker_cluster.transport.messages import FetchRequest, TileKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Entries
    from deker_cluster.transport.shard_table import Shard

__all__ = ["EntrySource", "read", "read_into"]

_SMALL_READ_BYTES = 1 << 20
"""A local read up to this size stays on the caller's thread: a hop costs more than it gains."""

_FETCH_BYTES = 32 << 20
"""Stored bytes that one call to a shard asks for, at most: bounds what is in flight."""

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


class _Job(NamedTuple):
    projection: Projection
    entry: TileEntry
    shard: Shard


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
    tiles = plan(array.grid, selection)

    def what() -> str:
        return f"a result of shape {tiles.asked_shape} ({array.dtype}) of array {array.id}"

    with memory_errors(what):
        out: npt.NDArray[Any] = np.empty(tiles.full_shape, array.dtype)
    view = tiles.ascending_view(out)
    if not _read_somehow(session, array, tiles, view, source or _present(session, array)):
        if session.transaction is not None:
            raise CommitConflictError(
                f"tiles of array {array.id} that the transaction reads are being replaced"
            )
        # The sweeper outran this read again and again: of a pinned generation it takes nothing.
        with session.pins.held(array.id, array.collection_id) as pinned:
            _read_somehow(session, array, tiles, view, pinned)
    with memory_errors(what):
        return tiles.restored(out).reshape(selection.shape)


def _present(session: Session, array: TiledArray) -> EntrySource:
    present = _PresentEntries(session, array)
    transaction = session.transaction
    return present if transaction is None else transaction.seen_by(array.id, present)


def _read_somehow(
    session: Session,
    array: TiledArray,
    tiles: Plan,
    view: npt.NDArray[Any],
    source: EntrySource,
) -> bool:
    """Fill `view`; False if at each attempt a version was swept between looking and reading."""
    for _ in range(_ATTEMPTS):
        entries = source.entries(tiles.ordinals)
        session.shards.at_epoch(entries.epoch)
        try:
            read_into(session, array, tiles, entries, view)
        except VersionGoneError as gone:
            source.look_again(gone)
        else:
            return True
    return False


def read_into(
    session: Session, array: TiledArray, tiles: Plan, entries: Entries, view: npt.NDArray[Any]
) -> None:
    """Fill `view` (of the plan's full shape, ascending) with the cells of known entries.

    Raises
    ------
    VersionGoneError
        A tile's file is not where its entry says.
    """
    local: list[_Job] = []
    remote: dict[int, list[_Job]] = {}
    for projection, packed in zip(tiles, entries.values, strict=True):
        if packed is None:
            view[projection.target] = array.fill
            continue
        entry = TileEntry.unpack(packed)
        shard = session.shards.nearest(entry.shards)
        job = _Job(projection, entry, shard)
        if shard.root is not None:
            local.append(job)
        else:
            remote.setdefault(shard.record.number, []).append(job)

    calls = [
        batch
        for jobs in remote.values()
        for batch in split_by_bytes(
            jobs, [job.entry.stored_bytes for job in jobs], max_bytes=_FETCH_BYTES
        )
    ]
    if not calls and (len(local) == 1 or view.nbytes <= _SMALL_READ_BYTES):
        for job in local:
            _read_local(session, array, job, view, spread=len(local) == 1)
        return
    work: list[_Job | Sequence[_Job]] = [*calls, *local]
    session.run_all(
        lambda item: (
            _read_local(session, array, item, view, spread=False)
            if isinstance(item, _Job)
            else _read_remote(session, array, item, view)
        ),
        work,
    )


def _read_local(
    session: Session, array: TiledArray, job: _Job, view: npt.NDArray[Any], *, spread: bool
) -> None:
    """Read one tile straight from the file of a shard on this node."""
    if job.shard.root is None:
        raise ValueError(f"shard {job.shard.name} is not local")
    key = TileKey(array.id, job.projection.ordinal, job.entry.version)
    # Text, as joining paths takes a tenth of a small read.
    path = f"{job.shard.root}/{tile_path(key.array_id, key.ordinal, key.version)}"
    out = view[job.projection.target]
    executor = session.executor if spread and out.nbytes > _SMALL_READ_BYTES else None
    with tile_errors(key, job.shard.name), session.tiles.pinned(path) as file:
        check_digest(file.index, job.entry)
        read_region(
            file.index,
            file,
            job.projection.source,
            out,
            verify=session.options.verify,
            executor=executor,
        )


def _read_remote(
    session: Session, array: TiledArray, jobs: Sequence[_Job], view: npt.NDArray[Any]
) -> None:
    """Fetch the stored chunks of some tiles from one shard in one call, and decode them here."""
    shard = jobs[0].shard
    requests = [
        FetchRequest(
            TileKey(array.id, job.projection.ordinal, job.entry.version),
            job.projection.source,
        )
        for job in jobs
    ]
    with shard_errors(shard.name):
        reply = shard.handle.fetch(requests)
    payload = memoryview(reply.payload)
    for job, request, tile in zip(jobs, requests, reply.tiles, strict=True):
        if tile is None:
            raise VersionGoneError(request.key, shard.name)
        with tile_errors(request.key, shard.name):
            index = TileIndex.parse(tile.index)
            check_digest(index, job.entry)
            read_region(
                index,
                fetched_ranges(tile, payload),
                job.projection.source,
                view[job.projection.target],
                verify=session.options.verify,
                executor=None,
            )
