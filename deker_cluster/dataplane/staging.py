"""The frame of every write: lease the tiles, put new versions in place, commit them together."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from deker_cluster.core.boxes import note_of, tiles_box
from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.dataplane.copies import put_copies
from deker_cluster.dataplane.settling import settle
from deker_cluster.errors import (
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerIntegrityError,
    ShardUnavailableError,
)
from deker_cluster.failpoints import failpoint
from deker_cluster.tilefile.parallel import core_count
from deker_cluster.transport.messages import TileBlob, TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.boxes import Box
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease
    from deker_cluster.tilefile.image import TileImage

__all__ = [
    "BULK_BYTES",
    "Change",
    "MakeImages",
    "Place",
    "Put",
    "Told",
    "commit_alone",
    "commit_tiles",
    "discard",
    "places_of",
    "stage_all",
    "told",
]

BULK_BYTES = 32 << 20
"""Whole tiles of so many bytes of cells, written by one call, are not kept in the machine's memory
for readers to come."""

_BATCH_BYTES = 16 << 20
"""Cells, in bytes, that one thread encodes and sends at a time."""

_UNDER_WAY_BYTES = 128 << 20
"""Cells, in bytes, that all threads may have in work: bounds the memory that a write needs beside
its input, however many threads there are. A single tile may be larger."""

_MAX_CLEARED = 8192
"""Characters of a list of tiles in a tile file: its HDF5 attribute holds less than 64 KiB."""


class Place(NamedTuple):
    """A leased tile, and where its new version goes."""

    ordinal: int
    base: bytes | None
    """Its entry at present; inside a transaction, what that made of it so far."""
    shards: tuple[int, ...]


class Change(NamedTuple):
    """What the commit does to one tile's entry."""

    ordinal: int
    base: bytes | None
    new: bytes | None


class Told(NamedTuple):
    """What every tile file of a commit says about the commit as a whole."""

    tiles: int
    """Tile files that it has; 0: a rebuild finds it in the journal only."""
    cleared: str
    """Ordinals that it sets back to no tile, as ``first-last,...``."""


Put: TypeAlias = "Callable[[Lease, list[Place]], list[Change]]"
"""Puts new versions in place by :func:`stage_all`; returns what the commit has to change."""

MakeImages: TypeAlias = "Callable[[Sequence[Place], Executor | None], list[TileImage]]"
"""Makes the files of some tiles. The threads, if any, are for parts of a tile."""


def told(files: int, cleared: Iterable[int]) -> Told:
    """Return what the files of a commit say about it.

    Parameters
    ----------
    files
        How many tile files it has.
    cleared
        Ordinals of the stored tiles that it drops, ascending.
    """
    runs: list[list[int]] = []
    for ordinal in cleared:
        if runs and runs[-1][1] == ordinal - 1:
            runs[-1][1] = ordinal
        else:
            runs.append([ordinal, ordinal])
    text = ",".join(f"{first}-{last}" for first, last in runs)
    return Told(files, text) if len(text) <= _MAX_CLEARED else Told(0, "")


def commit_tiles(
    session: Session,
    array: TiledArray,
    ordinals: Sequence[int],
    put: Put,
    box: Box | None = None,
    *,
    untold: bool = False,
) -> int:
    """Replace tiles, all or none, and return the array's new generation.

    Inside a transaction of the calling thread the tiles are only put in place, to be committed
    with it; the generation is the present one then.

    Parameters
    ----------
    put
        What it raises is passed on; nothing was changed then. If it changes nothing, there is no
        commit.
    box
        The cells that change, for those who wait for changes; None: all of the tiles.
    untold
        The files tell nothing of the commit.

    Raises
    ------
    DekerLockError
        Another writer held one of the tiles for the whole ``write_lock_timeout``.
    CommitConflictError
        The lease was lost before the commit; nothing was changed, the same call may succeed.
    CommitStateUnknownError
        The registry went away during the commit.
    StorageFullError, ShardUnavailableError, DekerInstanceNotExistsError
        Nothing was changed.
    """
    if session.transaction is not None:
        return session.transaction.stage(array, ordinals, put, box)
    return commit_alone(session, array, ordinals, put, box, untold=untold)


def commit_alone(
    session: Session,
    array: TiledArray,
    ordinals: Sequence[int],
    put: Put,
    box: Box | None = None,
    untold: bool = False,
) -> int:
    """Replace tiles as :func:`commit_tiles` does, but never as part of a transaction."""
    # Killed before the commit's request arrives: readers see the old tiles, and when the lease ends
    # all files of this token become garbage. After it: all see the new tiles, and no lease.
    with session.leases.hold(
        [(array.id, ordinals)],
        session.options.write_lock_timeout_s,
        {array.id: array.collection_id},
    ) as lease:
        places = places_of(session, array, ordinals, lease.entries[0], lease.epoch)
        keys = [(TileKey(array.id, place.ordinal, lease.token), place.shards) for place in places]
        try:
            changes = put(lease, places)
            failpoint("commit.ask")
        except (ShardUnavailableError, DekerIntegrityError):
            # Nobody there to ask; or files of these names are an older registry's, still needed.
            # The garbage list takes care of what was staged.
            raise
        except BaseException:
            discard(session, keys)
            raise
        if not changes:
            session.registry.abort(lease.token)
            return lease.generations[array.id]
        note = note_of([box or tiles_box(array.grid, [change.ordinal for change in changes])])
        files = sum(change.new is not None for change in changes)
        dropped = [change.ordinal for change in changes if change.base and change.new is None]
        untold = untold or told(files, sorted(dropped)).tiles == 0
        try:
            generations = session.registry.commit(
                lease.token, [(array.id, changes)], notes={array.id: note}, untold=untold
            )
        except CommitStateUnknownError:
            raise
        except DekerBaseApplicationError:
            # Only when it is certain that the commit will never be: Ctrl-C tells nothing of that.
            discard(session, keys)
            raise
        failpoint("commit.done")
    # Files tell what they are based on; that must be found, too.
    if untold or lease.unsettled:
        settle(session)
    return generations[array.id]


def places_of(
    session: Session,
    array: TiledArray,
    ordinals: Sequence[int],
    bases: Sequence[bytes | None],
    epoch: int,
) -> list[Place]:
    """Choose where the new versions of leased tiles go."""
    session.shards.at_epoch(epoch)
    placed = session.shards.place(array.id, np.array(ordinals, np.int64), array.copies)
    return [
        Place(ordinal, base, tuple(shards))
        for ordinal, base, shards in zip(ordinals, bases, placed.tolist(), strict=True)
    ]


def stage_all(
    session: Session,
    array: TiledArray,
    token: int,
    places: Sequence[Place],
    make: MakeImages,
    *,
    bulk: bool,
    parallel: bool = True,
) -> list[Change]:
    """Make tile files, and put them in place on their shards, several at a time.

    No reader sees them before the commit.

    Parameters
    ----------
    make
        Called for tiles that go to the same shards; from several threads unless they are few.
    bulk
        See :class:`.TileBlob`.
    parallel
        Off: everything happens on the calling thread, which may then be one of the session's.

    Raises
    ------
    StorageFullError, ShardUnavailableError
        A shard has no room, cannot write, or does not answer. What is staged by then stays there.
    """
    threads = session.options.workers if parallel else 1
    share = len(places) * array.tile_bytes // max(threads, 1)
    batches = _batched(array, places, max(1, min(share, _BATCH_BYTES)))
    each = max(array.tile_bytes, _BATCH_BYTES)
    lanes = min(len(batches), threads, max(1, _UNDER_WAY_BYTES // each))
    processors = core_count()
    helpers = session.executor if parallel and lanes < processors else None
    # All at once they would first only compute, then only wait for the disk.
    turns = threading.BoundedSemaphore(processors if bulk else max(lanes, 1))

    def put(batch: list[Place]) -> list[Change]:
        with turns:
            images = make(batch, helpers)
        changes = _stage(session, array, token, batch, images, bulk=bulk)
        for image in images:
            image.release()
        return changes

    if lanes <= 1:
        return [change for batch in batches for change in put(batch)]
    pending = deque(batches)

    def lane(_: int) -> list[Change]:
        changes: list[Change] = []
        try:
            while True:
                try:
                    batch = pending.popleft()
                except IndexError:  # another lane was faster
                    return changes
                changes += put(batch)
        except BaseException:
            pending.clear()
            raise

    return [change for changes in session.run_all(lane, range(lanes)) for change in changes]


def _batched(array: TiledArray, places: Iterable[Place], max_bytes: int) -> list[list[Place]]:
    """Group tiles that go to the same shards, up to a size of their cells in bytes."""
    by_shards: dict[tuple[int, ...], list[Place]] = {}
    for place in places:
        by_shards.setdefault(place.shards, []).append(place)
    return [
        batch
        for group in by_shards.values()
        for batch in split_by_bytes(group, [array.tile_bytes] * len(group), max_bytes=max_bytes)
    ]


def _stage(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[Place],
    images: Sequence[TileImage],
    *,
    bulk: bool,
) -> list[Change]:
    blobs = [
        TileBlob(
            TileKey(array.id, place.ordinal, token),
            tuple(image.segments),
            image.total_bytes,
            bulk=bulk,
        )
        for place, image in zip(batch, images, strict=True)
    ]
    held = put_copies(session, blobs, batch[0].shards)
    return [
        Change(
            place.ordinal,
            place.base,
            TileEntry(token, image.digest, image.total_bytes, numbers).pack(),
        )
        for place, image, numbers in zip(batch, images, held, strict=True)
    ]


def discard(session: Session, files: Iterable[tuple[TileKey, Sequence[int]]]) -> None:
    """Delete what was staged, as far as the shards answer; the garbage list has it as well.

    Parameters
    ----------
    files
        Each with the numbers of the shards that may hold it.
    """
    failpoint("discard.begin")
    by_shard: dict[int, list[TileKey]] = {}
    for key, numbers in files:
        for number in numbers:
            by_shard.setdefault(number, []).append(key)
    for number, keys in by_shard.items():
        with contextlib.suppress(DekerBaseApplicationError, OSError):
            session.shards.get(number).handle.discard(keys)
