"""Turns the server functions' replies into models. Pure (no I/O)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deker_cluster.errors import (
    DekerFilterError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.models import ArrayRecord, ClusterRecord, ShardRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "array_records",
    "check_array",
    "check_collection",
    "check_groups",
    "check_index",
    "cluster_record",
    "json_pairs",
    "milliseconds",
    "pairs",
    "shard_records",
    "to_json",
]


def to_json(value: Any, what: str) -> str:
    """Return ``value`` as JSON text.

    Raises
    ------
    DekerValidationError
        It is not made of JSON's types.
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DekerValidationError(f"{what} cannot be stored as JSON: {error}") from error


def json_pairs(values: Mapping[str, Any], what: str) -> list[str]:
    """Return ``[key, JSON of its value, ...]``."""
    return [
        word for key, value in values.items() for word in (key, to_json(value, f"{what} {key!r}"))
    ]


def pairs(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Iterate over a hash that came as ``[field, value, ...]``."""
    return zip(flat[::2], flat[1::2], strict=True)


def cluster_record(flat: Sequence[bytes]) -> ClusterRecord:
    """Read the hash of a cluster's record."""
    fields = dict(pairs(flat))
    return ClusterRecord(
        id=fields[b"id"].decode(),
        format=int(fields[b"format"]),
        epoch=int(fields[b"epoch"]),
        settings={
            field[2:].decode(): json.loads(value)
            for field, value in fields.items()
            if field.startswith(b"s:")
        },
    )


def shard_records(flat: Sequence[bytes]) -> tuple[ShardRecord, ...]:
    """Read the hash of all shards, or those of its fields that belong to some."""
    fields: dict[int, dict[bytes, bytes]] = {}
    for field, value in pairs(flat):
        number, _, rest = field.partition(b":")
        if number.isdigit():
            fields.setdefault(int(number), {})[rest] = value
    return tuple(
        ShardRecord(
            number=number,
            uuid=own[b"uuid"].decode(),
            incarnation=int(own[b"incarnation"]),
            info={
                field[2:].decode(): json.loads(value)
                for field, value in own.items()
                if field.startswith(b"i:")
            },
        )
        for number, own in sorted(fields.items())
    )


def array_records(flat: Sequence[Any]) -> list[ArrayRecord]:
    """Read ``[id, collection id, meta, generation, ...]``."""
    return [
        ArrayRecord(
            id=flat[i].decode(),
            collection_id=flat[i + 1].decode(),
            meta=flat[i + 2].decode(errors="backslashreplace"),  # which is no JSON
            generation=flat[i + 3],
        )
        for i in range(0, len(flat), 4)
    ]


def check_collection(reply: Sequence[Any], collection_id: str) -> None:
    """Raise what a reply about a collection says is wrong with it.

    Raises
    ------
    DekerInstanceNotExistsError
        It has been deleted.
    DekerFilterError
        Its arrays are not indexed.
    """
    if reply[0] == b"gone":
        raise DekerInstanceNotExistsError(f"collection {collection_id} has been deleted")
    if reply[0] == b"unindexed":
        raise DekerFilterError(
            f"arrays of collection {collection_id} were made by a version of this package without "
            "indexes of attributes; filter by id or by all primary attributes, or iterate over it"
        )


def check_array(reply: Sequence[Any], array_id: str) -> None:
    """Raise :class:`DekerInstanceNotExistsError` if a reply says that an array is gone."""
    if reply[0] == b"gone":
        raise DekerInstanceNotExistsError(f"array {array_id} has been deleted")


def check_index(reply: Sequence[Any], array_id: str, index: Sequence[bytes]) -> None:
    """Raise :class:`DekerValidationError` if a reply says that index values are too many or few."""
    if reply[0] == b"indexes":
        raise DekerValidationError(
            f"array {array_id} was given {len(index)} index values; the arrays of its collection "
            f"have {reply[1].decode()}"
        )


def check_groups(array_ids: Sequence[str], sizes: Sequence[int]) -> None:
    """Make sure that there are groups of tiles, each of one array and not empty."""
    if not array_ids:
        raise DekerValidationError("no tiles were named")
    for array_id, size in zip(array_ids, sizes, strict=True):
        check_id(array_id, "an array id")
        if not size:
            raise DekerValidationError(f"no tiles of array {array_id} were named")
    if len(set(array_ids)) != len(array_ids):
        raise DekerValidationError("an array is named twice in one call")


def milliseconds(ttl_s: float) -> int:
    """Return a time to live in ms; it must be positive."""
    if not ttl_s > 0:
        raise DekerValidationError(f"a lease or pin must last longer than 0 s, got {ttl_s}")
    return max(round(ttl_s * 1000), 1)
