"""Write whole tiles that are made elsewhere into an array that holds nothing yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.dataplane.staging import (
    BULK_BYTES,
    Change,
    Place,
    commit_alone,
    stage_all,
)
from deker_cluster.errors import CommitConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease
    from deker_cluster.tilefile.image import TileImage

__all__ = ["write_images"]


def write_images(
    session: Session,
    array: TiledArray,
    images: Mapping[int, Callable[[int], TileImage]],
    *,
    parallel: bool = True,
) -> int:
    """Fill an array with tile files, all or none, and return their size in bytes.

    Parameters
    ----------
    images
        Ordinal -> what makes the tile's file when given the version that it will have; called
        from several threads, and dropped as soon as the shards have it.
    parallel
        Off: everything happens on the calling thread, which may then be one of the session's.

    Raises
    ------
    CommitConflictError
        The array has been written to; nothing was changed.

    Others are those of :func:`.staging.commit_tiles`; what an image raises is passed on.
    """
    sizes: list[int] = []

    def put(lease: Lease, places: list[Place]) -> list[Change]:
        if lease.generations[array.id]:
            raise CommitConflictError(f"array {array.id} has been written to by somebody else")

        def make(batch: Sequence[Place], _: Executor | None) -> list[TileImage]:
            made = [images[place.ordinal](lease.token) for place in batch]
            sizes.extend(image.total_bytes for image in made)
            return made

        bulk = len(places) * array.tile_bytes >= BULK_BYTES
        return stage_all(session, array, lease.token, places, make, bulk=bulk, parallel=parallel)

    # Apart from a transaction that its caller may be in: its files tell how many they are.
    commit_alone(session, array, sorted(images), put)
    return sum(sizes)
