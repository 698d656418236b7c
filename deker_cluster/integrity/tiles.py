"""Levels 3 and 4: every tile that a manifest names is on its shards, as it was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.errors import DekerInstanceNotExistsError, DekerMetaDataError
from deker_cluster.integrity.report import Finding, Findings, Kind
from deker_cluster.transport.messages import MISSING_FILE, TileCheck, TileKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deker_cluster.dataplane.session import Session
    from deker_cluster.integrity.catalog import CheckedCollection
    from deker_cluster.integrity.reach import ShardReach

__all__ = ["TileChecker"]

_TILES_AT_ONCE = 5000
"""Tiles of which the check keeps something in memory."""

_TILES_PER_CALL = 500

_BYTES_PER_CALL = 64 << 20
"""Stored bytes that one call to a shard reads: it should not keep others waiting."""


@attrs.frozen
class _Tile:
    array_id: str
    ordinal: int
    packed: bytes
    stored_bytes: int
    check: TileCheck


class _Job(NamedTuple):
    tile: _Tile
    shard: int


class _Problem(NamedTuple):
    job: _Job
    text: str


class TileChecker:
    """Compares the manifests of collections with the shards' disks.

    Parameters
    ----------
    deep
        Read every stored byte; else the index and the length of each file.
    """

    def __init__(
        self, session: Session, reach: ShardReach, findings: Findings, *, deep: bool
    ) -> None:
        self._session = session
        self._reach = reach
        self._findings = findings
        self._deep = deep

    def check(self, collection: CheckedCollection) -> None:
        """Check all tiles of one collection, those of one moment of each array."""
        jobs: list[_Job] = []
        try:
            for part in self._session.registry.manifests(collection.id):
                for ordinal, packed in part.values.items():
                    jobs += self._jobs(collection, part.array_id, ordinal, packed)
                if len(jobs) >= _TILES_AT_ONCE:
                    self._run(collection, jobs)
                    jobs = []
        except DekerInstanceNotExistsError:
            return  # deleted meanwhile
        except DekerMetaDataError as error:
            self._findings.add(Finding(Kind.MANIFEST, str(error), collection.name))
        self._run(collection, jobs)

    def _jobs(
        self, collection: CheckedCollection, array_id: str, ordinal: int, packed: bytes
    ) -> list[_Job]:
        """Return what there is to look at for one entry, if it makes sense."""
        shape = dtype = None
        try:
            entry = TileEntry.unpack(packed)
        except DekerMetaDataError as error:
            self._nonsense(collection, array_id, ordinal, str(error))
            return []
        if collection.grid is not None and collection.schema is not None:
            if not 0 <= ordinal < collection.grid.n_tiles:
                text = f"the array has only tiles 0 to {collection.grid.n_tiles - 1}"
                self._nonsense(collection, array_id, ordinal, text)
            else:
                shape = collection.grid.tile_extent(ordinal)
            dtype = collection.schema.dtype.str
        key = TileKey(array_id, ordinal, entry.version)
        check = TileCheck(key, entry.digest, entry.stored_bytes, dtype, shape)
        tile = _Tile(array_id, ordinal, packed, entry.stored_bytes, check)
        return [_Job(tile, number) for number in entry.shards]

    def _nonsense(
        self, collection: CheckedCollection, array_id: str, ordinal: int, text: str
    ) -> None:
        self._findings.add(Finding(Kind.MANIFEST, text, collection.name, array_id, ordinal))

    def _run(self, collection: CheckedCollection, jobs: Sequence[_Job]) -> None:
        problems = self._look(jobs)
        self._findings.count("tiles", len(jobs))
        if self._deep:
            self._findings.count("bytes", sum(job.tile.stored_bytes for job in jobs))
        # A writer may have replaced the tile, and the sweeper deleted it, or the tile may have been
        # on its way from shard to shard: only what is wrong between two looks at an unchanged
        # entry is wrong.
        problems = self._current(collection, problems)
        problems = self._look([problem.job for problem in problems])
        problems = self._current(collection, problems)
        for (tile, number), text in problems:
            kind = Kind.MISSING if text == MISSING_FILE else Kind.DAMAGED
            where = (collection.name, tile.array_id, tile.ordinal, self._reach.name(number))
            self._findings.add(Finding(kind, text, *where))

    def _look(self, jobs: Sequence[_Job]) -> list[_Problem]:
        """Have the shards look at files; return the problems."""
        by_shard: dict[int, list[_Job]] = {}
        for job in jobs:
            by_shard.setdefault(job.shard, []).append(job)
        batches = [
            batch
            for group in by_shard.values()
            for first in range(0, len(group), _TILES_PER_CALL)
            for batch in self._split(group[first : first + _TILES_PER_CALL])
        ]
        return [problem for some in self._session.run_all(self._ask, batches) for problem in some]

    def _split(self, jobs: Sequence[_Job]) -> Iterable[Sequence[_Job]]:
        if not self._deep:
            return [jobs]
        sizes = [job.tile.stored_bytes for job in jobs]
        return split_by_bytes(jobs, sizes, max_bytes=_BYTES_PER_CALL)

    def _ask(self, jobs: Sequence[_Job]) -> list[_Problem]:
        checks = [job.tile.check for job in jobs]
        texts = self._reach.call(
            jobs[0].shard, lambda handle: handle.verify(checks, deep=self._deep)
        )
        if texts is None:
            return []
        return [
            _Problem(job, text) for job, text in zip(jobs, texts, strict=True) if text is not None
        ]

    def _current(
        self, collection: CheckedCollection, problems: Sequence[_Problem]
    ) -> list[_Problem]:
        """Return the problems of tiles whose entries are still those that were looked at."""
        if not problems:
            return []
        wanted: dict[str, set[int]] = {}
        for problem in problems:
            tile = problem.job.tile
            wanted.setdefault(tile.array_id, set()).add(tile.ordinal)
        found = self._session.registry.current_tiles(list(wanted.items()))
        return [
            problem
            for problem in problems
            for now in [found[problem.job.tile.array_id]]
            if now.exists
            and now.collection_id == collection.id
            and now.entries[problem.job.tile.ordinal] == problem.job.tile.packed
        ]
