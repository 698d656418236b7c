"""Levels 1 and 2: what the registry knows of collections and arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.attribute_json import decode_meta
from deker_cluster.attributes import primary_key, validate_attributes
from deker_cluster.errors import DekerBaseApplicationError, DekerInstanceNotExistsError
from deker_cluster.integrity.report import Finding, Findings, Kind
from deker_cluster.options import HDF5Options
from deker_cluster.schemas import schema_from_dict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.report_models import StoredArray, StoredCollection
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = ["CheckedCollection", "check_arrays", "check_collection", "check_locks"]

# What reading damaged JSON runs into: it may hold anything.
_UNREADABLE = (
    DekerBaseApplicationError,
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
)


@attrs.frozen
class CheckedCollection:
    """A collection, and what its tiles must be like."""

    name: str
    id: str
    schema: ArraySchema | VArraySchema | None
    """None: it cannot be read."""
    grid: TileGrid | None
    """None: the schema cannot be read."""


def check_collection(stored: StoredCollection, findings: Findings) -> CheckedCollection:
    """Level 1: the name leads to a collection whose metadata can be read."""

    def found(text: str) -> None:
        findings.add(Finding(Kind.COLLECTION, text, stored.name))

    findings.count("collections")
    schema = grid = None
    if stored.own_name is None:
        found(f"the name leads to collection {stored.id}, of which nothing is stored")
    elif stored.own_name != stored.name:
        found(f"the name leads to a collection whose own name is {stored.own_name!r}")
    if stored.record is None:
        if stored.own_name is not None:
            found("it has no metadata")
    else:
        try:
            record = json.loads(stored.record)
            schema = schema_from_dict(record["schema"], record["type"])
            grid = schema.grid
            _check_rest(record, stored.name, schema)
        except _UNREADABLE as error:
            found(f"its metadata cannot be read: {_said(error)}")
    return CheckedCollection(stored.name, stored.id, schema, grid)


def _check_rest(record: dict[str, Any], name: str, schema: ArraySchema | VArraySchema) -> None:
    if record["name"] != name:
        raise ValueError(f"they are those of a collection {record['name']!r}")
    if record.get("options") is not None:
        HDF5Options.from_json(record["options"]).validate_for(schema.grid.tile_shape, schema.dtype)


def check_arrays(registry: Registry, collection: CheckedCollection, findings: Findings) -> None:
    """Level 2: the metadata of all arrays can be read, fit the schema, and are found by it."""
    try:
        for stored in registry.stored_arrays(collection.id):
            findings.count("arrays")
            for kind, text in _problems(stored, collection):
                findings.add(Finding(kind, text, collection.name, stored.id))
        for key, array_id in registry.dangling_keys(collection.id):
            text = f"the primary attributes {key:.200} lead to it, but it does not have them"
            findings.add(Finding(Kind.PRIMARY_KEY, text, collection.name, array_id))
    except DekerInstanceNotExistsError:
        return  # deleted meanwhile


def _problems(stored: StoredArray, collection: CheckedCollection) -> list[tuple[Kind, str]]:
    if stored.collection_id is None:
        return [(Kind.ARRAY, "the collection lists an array of which nothing is stored")]
    problems = []
    if stored.collection_id != collection.id:
        problems.append((Kind.ARRAY, f"it says that it is of collection {stored.collection_id}"))
    if stored.primary_key is not None and stored.found_by_key != stored.id:
        other = stored.found_by_key or "nothing"
        problems.append((Kind.PRIMARY_KEY, f"its primary attributes lead to {other}"))
    try:
        expected = _key_of(stored, collection)
    except _UNREADABLE as error:
        problems.append((Kind.ARRAY, f"its metadata cannot be used: {_said(error)}"))
    else:
        if collection.schema is not None and expected != stored.primary_key:
            text = f"it is listed under the primary attributes {stored.primary_key!r:.200}"
            problems.append((Kind.PRIMARY_KEY, f"{text}, and has {expected!r:.200}"))
    return problems


def _key_of(stored: StoredArray, collection: CheckedCollection) -> str | None:
    """Return the primary key that the array's attributes make; raise what is wrong with them."""
    if stored.meta is None:
        raise ValueError("nothing is stored")
    primary, custom = decode_meta(stored.meta)
    schema = collection.schema
    if schema is None:
        return None
    validate_attributes(schema.attributes, primary, custom, schema.origin_attributes)
    return primary_key(schema.attributes, primary) if primary else None


def check_locks(
    registry: Registry,
    collections: Sequence[CheckedCollection],
    findings: Findings,
    *,
    everything: bool,
) -> None:
    """Level 2: no lock of a writer that died, on these collections' arrays or on any."""
    ended = [lock for lock in registry.locks() if not lock.remaining_s]
    if not ended:
        return
    owners = registry.current_tiles(sorted({(lock.array_id, ()) for lock in ended}))
    names = {each.id: each.name for each in collections}
    for lock in ended:
        name = names.get(owners[lock.array_id].collection_id or "")
        if name is None and not everything:
            continue
        text = (
            f"the lock {lock.token} of {lock.owner} on {len(lock.ordinals)} tiles has ended and is "
            "still there: its writer died, or slept"
        )
        findings.add(Finding(Kind.LOCK, text, name, lock.array_id))


def _said(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else f"{error}"[:500]
