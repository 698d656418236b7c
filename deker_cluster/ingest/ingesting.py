"""Ingestion by one call: plan, then run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.ingest.planning import plan
from deker_cluster.ingest.running import DEFAULT_MEMORY_BYTES, run
from deker_cluster.ingest.sources import is_ray_dataset

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.collection import Collection
    from deker_cluster.ingest.report import IngestReport

__all__ = ["ingest"]


def ingest(
    client: Client,
    sources: object,
    *,
    collection: str | Collection | BaseArray | None = None,
    progress: bool | Callable[[int, int], None] = True,
    retries: int = 2,
    memory_bytes: int | str = DEFAULT_MEMORY_BYTES,
    **planning: Any,
) -> IngestReport:
    """Bring files or datasets into a collection: ``ingest(client, "scenes/*.tif", ...)``.

    In library mode threads of this process do the work, else Ray tasks on all nodes, which must see
    the files under the same paths. Run it again after it was stopped, or killed: what is finished
    is passed over, and what has changed is done again.

    Parameters
    ----------
    sources, collection, **planning
        What to bring where, as :func:`.plan` takes it. A ``ray.data.Dataset`` is written by one
        commit, as :func:`.ingest_rows` takes it.
    progress, retries, memory_bytes
        As :func:`.run` takes them; Ray Data has ways of its own.

    Raises
    ------
    DekerValidationError
        The inputs cannot be brought there as asked; nothing was changed.
    DekerBaseApplicationError
        As :func:`.run`.
    """
    if is_ray_dataset(sources):
        # It needs the extra ray-data.
        from deker_cluster.ingest.ray_rows import ingest_rows

        return ingest_rows(client, sources, collection=collection, **planning)
    return run(
        client,
        plan(client, sources, collection=collection, **planning),
        progress=progress,
        retries=retries,
        memory_bytes=memory_bytes,
    )
