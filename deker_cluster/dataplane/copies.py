"""Put tile files on all the shards that shall hold them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.dataplane.stored_tile import shard_errors
from deker_cluster.errors import DataDirectoryError, ShardUnavailableError, StorageFullError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deker_cluster.dataplane.session import Session
    from deker_cluster.transport.messages import TileBlob

__all__ = ["put_copies"]

_PATIENCE_S = 5.0
_SLOW_DISK_BYTES_PER_S = 10e6
"""A shard that takes longer than this, while another could step in, is passed over."""


def put_copies(
    session: Session, blobs: Sequence[TileBlob], shards: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Put tile files of one array on the same shards, all copies at the same time.

    A shard that does not answer, or is full, is replaced by others, which are chosen as if it
    did not exist; what arrives there all the same belongs to nothing, and is swept.

    Returns
    -------
    list of tuple of int
        Numbers of the shards that hold each of the files now, as many as `shards`.

    Raises
    ------
    ShardUnavailableError, StorageFullError
        Shards fail, and there are no others to replace them.
    """
    places = dict.fromkeys(range(len(blobs)), shards)
    held: set[tuple[int, int]] = set()
    failed: dict[int, Exception] = {}
    while True:
        missing: dict[int, list[int]] = {}
        for at, numbers in places.items():
            for number in numbers:
                if (at, number) not in held:
                    missing.setdefault(number, []).append(at)
        if not missing:
            return list(places.values())
        now = _send(session, {n: [blobs[at] for at in some] for n, some in missing.items()})
        for number, places_there in missing.items():
            if number not in now:
                held.update((at, number) for at in places_there)
        if now:
            failed |= now
            _replace(session, blobs, places, failed)


def _replace(
    session: Session,
    blobs: Sequence[TileBlob],
    places: dict[int, tuple[int, ...]],
    failed: Mapping[int, Exception],
) -> None:
    """Choose shards for the files that are to be on failed ones; raises if there are none."""
    for number, error in failed.items():
        if isinstance(error, ShardUnavailableError):
            session.shards.shun(number)
    touched = [at for at, numbers in places.items() if not failed.keys().isdisjoint(numbers)]
    ordinals = np.array([blobs[at].key.ordinal for at in touched], np.int64)
    copies = len(places[touched[0]])
    try:
        session.shards.refresh()
        chosen = session.shards.place(blobs[0].key.array_id, ordinals, copies, without=set(failed))
    except (ShardUnavailableError, DataDirectoryError) as error:
        # There are no others; or this process cannot open another connection to ask, since it
        # lacks what the shard lacked: file descriptors. What failed first says what is wrong.
        raise next(iter(failed.values())) from error
    places.update(zip(touched, map(tuple, chosen.tolist()), strict=True))


def _send(session: Session, blobs: Mapping[int, Sequence[TileBlob]]) -> dict[int, Exception]:
    """Send files to shards, to all at once; return the failures of shards by their numbers."""
    if len(blobs) == 1:
        ((number, some),) = blobs.items()
        error = _stage(session, number, some)
        return {} if error is None else {number: error}
    with ThreadPoolExecutor(len(blobs), thread_name_prefix="deker-copies") as pool:
        calls = {
            number: pool.submit(_stage, session, number, some) for number, some in blobs.items()
        }
        errors = {number: call.result() for number, call in calls.items()}
    return {number: error for number, error in errors.items() if error is not None}


def _stage(session: Session, number: int, blobs: Sequence[TileBlob]) -> Exception | None:
    fsync = session.options.durability == "fsync"
    within_s = None
    if session.shards.has_others(number):
        within_s = _PATIENCE_S + sum(blob.total_bytes for blob in blobs) / _SLOW_DISK_BYTES_PER_S
    try:
        shard = session.shards.get(number)
        with shard_errors(shard.name):
            shard.handle.stage(blobs, fsync=fsync, within_s=within_s)
    except (ShardUnavailableError, StorageFullError) as error:
        return error
    return None
