"""Read several regions of one tile, each chunk once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.tilefile.chunked import decode_shared
from deker_cluster.tilefile.geometry import Visit, iter_visits
from deker_cluster.tilefile.parallel import run_all
from deker_cluster.tilefile.reader import region_tasks, resolve_into, worth_sharing
from deker_cluster.tilefile.scratch import scratch
from deker_cluster.tilefile.source import ChunkSource, check_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.regions import Region
    from deker_cluster.tilefile.index import TileIndex

__all__ = ["read_regions", "regions_tasks"]

Array = np.ndarray[Any, Any]


def read_regions(
    index: TileIndex,
    source: ChunkSource,
    parts: Sequence[tuple[Region, Array]],
    *,
    verify: bool = True,
    executor: Executor | None = None,
) -> None:
    """Read some regions of one tile, each into its array.

    A chunk that several of them touch is fetched, checked and decoded once.

    Parameters
    ----------
    parts
        Region and ``out`` as for :func:`.read_region`; the arrays do not overlap.

    Raises
    ------
    DekerBaseApplicationError
        As :func:`.read_region`; the content of all arrays is undefined then.
    """
    tasks = regions_tasks(index, source, parts, verify=verify)
    run_all(tasks, executor if worth_sharing(index, parts) else None)


def regions_tasks(
    index: TileIndex, source: ChunkSource, parts: Sequence[tuple[Region, Array]], *, verify: bool
) -> list[Callable[[], None]]:
    """Return what :func:`read_regions` does: tasks that may run at the same time, in any order."""
    if len(parts) > 1:
        shared = _visits_by_chunk(index, parts)
        if any(len(visits) > 1 for visits in shared.values()):
            # By number, which is the order in the file.
            return [
                partial(_read_chunk, index, source, shared[number], verify)
                for number in sorted(shared)
            ]
    return [task for part in parts for task in region_tasks(index, source, *part, verify=verify)]


def _visits_by_chunk(
    index: TileIndex, parts: Sequence[tuple[Region, Array]]
) -> dict[int, list[tuple[Visit, Array]]]:
    found: dict[int, list[tuple[Visit, Array]]] = {}
    if index.chunk_shape is None:
        return found
    for region, out in parts:
        axes = resolve_into(index, region, out)
        if out.size:
            for visit in iter_visits(index, axes):
                found.setdefault(visit.number, []).append((visit, out))
    return found


def _read_chunk(
    index: TileIndex, source: ChunkSource, visits: list[tuple[Visit, Array]], verify: bool
) -> None:
    number = visits[0][0].number
    size = int(index.sizes[number])
    stored = memoryview(b"")
    if size:
        stored = source.read(int(index.offsets[number]), scratch("stored", size).data)
        if verify:
            check_stored(stored, index, number)
    decode_shared(index, stored, visits, verified=verify)
