"""How much room collections take."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tqdm import tqdm

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerInstanceNotExistsError

if TYPE_CHECKING:
    from deker_cluster.dataplane.session import Session

__all__ = ["storage_size"]


def storage_size(
    session: Session, collection_id: str | None = None, *, progress: bool = True
) -> int:
    """Return the size of the tile files that a collection, or all of them, consist of, in bytes.

    Every copy counts; replaced tiles that were not swept yet, and attributes, do not. The sum is
    made from the manifests: no file is touched. While others write, each array is counted as it
    was at some moment during the call.

    Parameters
    ----------
    progress
        Show a progress bar, if the error stream is a terminal.

    Raises
    ------
    DekerInstanceNotExistsError
        The collection has been deleted.
    DekerMetaDataError
        A manifest is damaged.
    """
    if collection_id is not None:
        return _size(session, collection_id, progress)
    total = 0
    for collection in session.registry.stored_collections():
        with contextlib.suppress(DekerInstanceNotExistsError):  # deleted meanwhile
            total += _size(session, collection.id, progress)
    return total


def _size(session: Session, collection_id: str, progress: bool) -> int:
    total = 0
    with tqdm(desc="size", unit=" tiles", disable=None if progress else True) as bar:
        for part in session.registry.manifests(collection_id):
            for packed in part.values.values():
                entry = TileEntry.unpack(packed)
                total += entry.stored_bytes * len(entry.shards)
            bar.update(len(part.values))
    return total
