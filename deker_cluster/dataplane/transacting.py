"""An open transaction: what its thread has written and read so far, and how it ends."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.boxes import note_of, tiles_box
from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane.settling import settle
from deker_cluster.dataplane.staging import Change, discard, places_of
from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerIntegrityError,
    RegistryUnavailableError,
    ShardUnavailableError,
)
from deker_cluster.failpoints import failpoint
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from deker_cluster.core.boxes import Box
    from deker_cluster.dataplane.reading import EntrySource
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.staging import Put
    from deker_cluster.dataplane.stored_tile import VersionGoneError
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Entries

__all__ = ["OpenTransaction"]


class _Staged(NamedTuple):
    base: bytes | None
    """The manifest's entry, which stays as it is while the lease lasts."""
    new: bytes | None


@attrs.define
class _Touched:
    """One array as a transaction has found and changed it."""

    staged: dict[int, _Staged] = attrs.field(factory=dict)
    seen: dict[int, bytes | None] = attrs.field(factory=dict)
    """Entries of tiles that were read from the manifest."""
    boxes: list[Box] = attrs.field(factory=list)

    def now(self, array_id: str, ordinals: Sequence[int], entries: Sequence[bytes | None]) -> None:
        """Make sure that the manifest's entries are those that the transaction met before."""
        for ordinal, entry in zip(ordinals, entries, strict=True):
            staged = self.staged.get(ordinal)
            known = staged.base if staged else self.seen.get(ordinal, entry)
            if known != entry:
                raise CommitConflictError(
                    f"tile {ordinal} of array {array_id} has changed since the transaction read "
                    "it; nothing was changed, run the transaction again"
                )

    def overlaid(
        self, ordinals: Sequence[int], entries: Sequence[bytes | None]
    ) -> list[bytes | None]:
        """Return entries with those instead that the transaction has put in their place."""
        return [
            self.staged[ordinal].new if ordinal in self.staged else entry
            for ordinal, entry in zip(ordinals, entries, strict=True)
        ]


class OpenTransaction:
    """What the writes and reads of one thread make together, until it ends.

    Every write takes a lease of its own, so that the versions of one tile get different names,
    and stages its files at once: a transaction needs no more memory than its greatest write.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pid = os.getpid()
        self._tokens: list[int] = []
        self._arrays: dict[str, _Touched] = {}
        self._ended = False

    @property
    def is_open_here(self) -> bool:
        """Whether it can take writes: it has not ended, and this is no forked child."""
        return not self._ended and self._pid == os.getpid()

    def stage(self, array: TiledArray, ordinals: Sequence[int], put: Put, box: Box | None) -> int:
        """Put new versions of tiles in place; see :func:`.staging.commit_tiles`.

        Raises
        ------
        CommitConflictError
            A tile is not as the transaction had read it, or the transaction gave way to an older
            one that waits for its tiles.
        DekerBaseApplicationError
            Others are those of :func:`.staging.commit_tiles`. The transaction is then what it was
            before this write.
        """
        session = self._session
        lease = session.leases.take(
            [(array.id, ordinals)],
            session.options.write_lock_timeout_s,
            {array.id: array.collection_id},
            held=self._tokens,
        )
        self._tokens.append(lease.token)
        entries = lease.entries[0]
        touched = self._arrays.setdefault(array.id, _Touched())
        touched.now(array.id, ordinals, entries)
        bases = touched.overlaid(ordinals, entries)
        places = places_of(session, array, ordinals, bases, lease.epoch)
        try:
            with self._conflict_if_lost():
                changes = put(lease, places)
        except (ShardUnavailableError, DekerIntegrityError):
            # Nobody there to ask, or not ours to delete: see commit_alone().
            raise
        except BaseException:
            keys = (TileKey(array.id, place.ordinal, lease.token) for place in places)
            discard(session, zip(keys, (place.shards for place in places), strict=True))
            raise
        self._take_up(array, changes, dict(zip(ordinals, entries, strict=True)), box)
        return lease.generations[array.id]

    def _take_up(
        self,
        array: TiledArray,
        changes: Sequence[Change],
        entries: dict[int, bytes | None],
        box: Box | None,
    ) -> None:
        if not changes:
            return
        touched = self._arrays[array.id]
        replaced = []
        for change in changes:
            before = touched.staged.get(change.ordinal)
            base = entries[change.ordinal]
            if before is not None:
                base = before.base
                replaced += _files(array.id, change.ordinal, before.new)
            touched.staged[change.ordinal] = _Staged(base, change.new)
        touched.boxes.append(box or tiles_box(array.grid, [change.ordinal for change in changes]))
        if replaced:
            discard(self._session, replaced)

    def seen_by(self, array_id: str, present: EntrySource) -> EntrySource:
        """Return the tiles of an array as the transaction sees them.

        Parameters
        ----------
        present
            The manifest's tiles. Those that are read are noted: the commit is refused if one of
            them is another by then.
        """
        return _Seen(self, array_id, present)

    def look(
        self, array_id: str, ordinals: list[int], entries: list[bytes | None]
    ) -> list[bytes | None]:
        """Return what the transaction has in the place of entries, and note the others as read."""
        touched = self._arrays.setdefault(array_id, _Touched())
        touched.now(array_id, ordinals, entries)
        touched.seen.update(zip(ordinals, entries, strict=True))
        return touched.overlaid(ordinals, entries)

    def commit(self) -> dict[str, int]:
        """Make all writes visible at once; array id -> its new generation.

        Raises
        ------
        CommitConflictError, DekerInstanceNotExistsError
            A lease was lost, a tile that was read has changed, an array was deleted. Nothing was
            changed, nothing is left.
        CommitStateUnknownError
            The registry went away during the commit.
        """
        # Killed before the request arrives: readers see the old tiles of all arrays; the leases
        # end one after the other, and with each the files of its token become garbage.
        # Killed after it arrived: all arrays have their new tiles, and nothing is leased.
        self._ended = True
        changes, notes, reads = self._effects()
        if not changes and not reads:
            self._give_back(abort=True)
            return {}
        try:
            failpoint("commit.ask")
            generations = self._session.registry.commit(
                self._tokens, changes, notes=notes, reads=reads, untold=True
            )
        except CommitStateUnknownError:
            # Perhaps committed: neither leases nor files may be touched.
            self._give_back(abort=False)
            raise
        except DekerBaseApplicationError as error:
            self._discard()
            self._give_back(abort=not isinstance(error, RegistryUnavailableError))
            raise
        except BaseException:
            # Ctrl-C, say: it may be committed all the same. Giving back is harmless then.
            self._give_back(abort=True)
            raise
        self._give_back(abort=False)
        failpoint("commit.done")
        if changes:
            settle(self._session)
        return generations

    def abort(self, error: BaseException | None) -> None:
        """Forget all writes: files are discarded, tiles are free.

        Parameters
        ----------
        error
            Why. After that of a shard that does not answer, its files are left to the sweeper.
        """
        self._ended = True
        try:
            if not isinstance(error, ShardUnavailableError):
                self._discard()
        finally:
            # With the registry away the leases end by themselves.
            self._give_back(abort=not isinstance(error, RegistryUnavailableError))

    def _effects(
        self,
    ) -> tuple[
        list[tuple[str, list[Change]]],
        dict[str, str],
        list[tuple[str, list[tuple[int, bytes | None]]]],
    ]:
        changes, notes, reads = [], {}, []
        for array_id, touched in self._arrays.items():
            if touched.staged:
                changes.append(
                    (
                        array_id,
                        [Change(ordinal, *staged) for ordinal, staged in touched.staged.items()],
                    )
                )
                notes[array_id] = note_of(touched.boxes)
            # Those that are written are checked as bases of the commit.
            seen = [item for item in touched.seen.items() if item[0] not in touched.staged]
            if seen:
                reads.append((array_id, seen))
        return changes, notes, reads

    def _discard(self) -> None:
        files = [
            file
            for array_id, touched in self._arrays.items()
            for ordinal, staged in touched.staged.items()
            for file in _files(array_id, ordinal, staged.new)
        ]
        if files:
            discard(self._session, files)

    def _give_back(self, *, abort: bool) -> None:
        self._session.leases.give_back(self._tokens, abort=abort)

    def check_leases(self) -> None:
        """Make sure that no lease was lost, as far as the registry tells.

        Raises
        ------
        CommitConflictError
            One has ended: what was staged under it may have been swept.
        """
        try:
            held = {lock.token for lock in self._session.registry.locks() if lock.remaining_s > 0}
        except DekerBaseApplicationError:
            return
        for token in self._tokens:
            if token not in held:
                raise CommitConflictError(
                    f"lease {token} of the transaction had ended; nothing was changed, run the "
                    "transaction again"
                )

    @contextlib.contextmanager
    def _conflict_if_lost(self) -> Iterator[None]:
        try:
            yield
        except DekerIntegrityError:
            self.check_leases()
            raise


class _Seen:
    """The tiles of one array as a transaction sees them."""

    def __init__(self, transaction: OpenTransaction, array_id: str, present: EntrySource) -> None:
        self._transaction = transaction
        self._array_id = array_id
        self._present = present

    def entries(self, ordinals: npt.NDArray[np.int64]) -> Entries:
        """See :meth:`.EntrySource.entries`."""
        found = self._present.entries(ordinals)
        values = self._transaction.look(self._array_id, ordinals.tolist(), found.values)
        return attrs.evolve(found, values=values)

    def look_again(self, gone: VersionGoneError) -> None:
        """See :meth:`.EntrySource.look_again`."""
        self._transaction.check_leases()
        self._present.look_again(gone)


def _files(
    array_id: str, ordinal: int, entry: bytes | None
) -> list[tuple[TileKey, tuple[int, ...]]]:
    if entry is None:
        return []
    known = TileEntry.unpack(entry)
    return [(TileKey(array_id, ordinal, known.version), known.shards)]
