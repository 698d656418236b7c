"""The collection and the arrays that an ingestion writes: found, or made."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerCollectionAlreadyExistsError,
    DekerCollectionNotExistsError,
    DekerInstanceNotExistsError,
)

if TYPE_CHECKING:
    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.collection import Collection
    from deker_cluster.ingest.plan import ArrayTarget, Target

__all__ = ["open_arrays"]


def open_arrays(client: Client, target: Target) -> dict[str, BaseArray]:
    """Return the arrays of a plan by their keys; make what is not there.

    Others may make the same at the same time: then theirs are taken.

    Raises
    ------
    DekerCollectionAlreadyExistsError
        There is a collection of that name by now, of another schema.
    DekerCollectionNotExistsError, DekerInstanceNotExistsError
        The collection or an array that the plan was made for has been deleted.
    """
    collection = _collection(client, target)
    return {array.key: _array(collection, array) for array in target.arrays}


def _collection(client: Client, target: Target) -> Collection:
    found = client.get_collection(target.collection)
    if found is None and target.exists:
        raise DekerCollectionNotExistsError(
            f"collection {target.collection!r}, which the plan was made for, has been deleted"
        )
    if found is None:
        try:
            return client.create_collection(target.collection, target.schema, target.options)
        except DekerCollectionAlreadyExistsError:  # made a moment ago
            found = client.get_collection(target.collection)
            if found is None:
                raise
    if found.schema != target.schema:
        raise DekerCollectionAlreadyExistsError(
            f"there is a collection {target.collection!r} of another schema by now: plan again"
        )
    return found


def _array(collection: Collection, target: ArrayTarget) -> BaseArray:
    if target.id is not None:
        found = collection.handle_of(target.id)
        if found is None:
            raise DekerInstanceNotExistsError(
                f"array {target.id} of collection {collection.name!r}, which the plan was made "
                "for, has been deleted"
            )
        return found
    # Without primary attributes nothing else tells this array from others of the collection.
    own = None if target.primary else str(uuid.uuid5(uuid.UUID(collection.id), target.key))
    found = _existing(collection, target, own)
    if found is not None:
        return found
    try:
        return collection.create(dict(target.primary) or None, dict(target.custom) or None, own)
    except DekerArrayAlreadyExistsError:  # made a moment ago
        found = _existing(collection, target, own)
        if found is None:
            raise
        return found


def _existing(collection: Collection, target: ArrayTarget, own: str | None) -> BaseArray | None:
    if own is not None:
        return collection.handle_of(own)
    return collection.filter(dict(target.primary)).first()
