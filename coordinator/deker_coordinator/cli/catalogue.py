"""The commands ``deker-cluster collections``, ``describe`` and ``ls``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from deker_cluster.arrays import VArray
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerMetaDataError
from deker_cluster.schemas import VArraySchema
from deker_coordinator.cli.commands import as_json_option, command, quiet_option, uri_argument
from deker_coordinator.cli.opening import array_of, catalogue, collection_of
from deker_coordinator.cli.output import emit, pairs_table, plain, print_table, size
from deker_coordinator.cli.progress import counting

if TYPE_CHECKING:
    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.collection import Collection

__all__ = ["collections", "describe", "ls"]

_VALUE_WIDTH = 40

collection_argument = click.argument("collection")


@command()
@uri_argument
@as_json_option
def collections(uri: str, as_json: bool) -> None:
    """List the collections of URI."""
    with catalogue(uri) as client:
        found = [_summary(client, record.name) for record in client.session.registry.collections()]
    emit({"collections": found}, as_json=as_json, render=lambda: _show_collections(found))


def _summary(client: Client, name: str) -> dict[str, Any]:
    try:
        collection = client.get_collection(name)
    except DekerMetaDataError as error:
        return {"name": name, "error": str(error)}
    if collection is None:
        return {"name": name, "error": "it was deleted in this moment"}
    schema = collection.schema
    return {
        "name": name,
        "id": collection.id,
        "type": "varray" if isinstance(schema, VArraySchema) else "array",
        "dtype": str(schema.dtype),
        "named_shape": dict(schema.named_shape),
        "vgrid": list(schema.grid.vgrid),
        "replication": collection.replication,
        "arrays": len(collection),
    }


def _show_collections(found: list[dict[str, Any]]) -> None:
    print_table(
        ("collection", "type", "dtype", "shape", "tiles an array", "copies", "arrays"),
        [
            (each["name"], each["error"])
            if "error" in each
            else (
                each["name"],
                each["type"],
                each["dtype"],
                _shape(each["named_shape"]),
                " x ".join(map(str, each["vgrid"])),
                each["replication"],
                each["arrays"],
            )
            for each in found
        ],
    )


def _shape(named: dict[str, int]) -> str:
    return ", ".join(f"{name}: {cells}" for name, cells in named.items())


@command(short_help="Show a schema, attributes and sizes.")
@uri_argument
@collection_argument
@click.argument("array", required=False)
@as_json_option
@quiet_option
def describe(uri: str, collection: str, array: str | None, as_json: bool, quiet: bool) -> None:
    """Show the schema and the size of a collection of URI, or an array's attributes and size."""
    with catalogue(uri) as client:
        found = collection_of(client, collection)
        if array is None:
            document = _collection(client, found, quiet=quiet)
        else:
            document = _array(array_of(found, array))
    emit(document, as_json=as_json, render=lambda: _show_described(document))


def _collection(client: Client, found: Collection, *, quiet: bool) -> dict[str, Any]:
    kept, tiles, n_bytes = found.retention, 0, 0
    with counting("size", quiet=quiet) as bar:
        for part in client.session.registry.manifests(found.id):
            tiles += len(part.values)
            n_bytes += sum(map(_stored_bytes, part.values.values()))
            bar.update(len(part.values))
    return {
        **_summary(client, found.name),
        "tile_shape": list(found.schema.grid.tile_shape),
        "fill_value": found.schema.fill_value,
        "schema": found.as_dict["schema"],
        "options": found.as_dict["options"],
        "retention": {
            "generations": kept.generations,
            "age_s": kept.age,
            "changes": kept.changes,
        },
        "tiles": tiles,
        "bytes": n_bytes,
    }


def _array(array: BaseArray) -> dict[str, Any]:
    entries = array.session.registry.all_entries(array.id)
    past = array.history()
    return {
        **array.as_dict,
        "named_shape": dict(array.named_shape),
        "dtype": str(array.dtype),
        "vgrid": list(array.vgrid) if isinstance(array, VArray) else [1] * len(array.shape),
        "tile_shape": list(array.tiled.grid.tile_shape),
        "generation": entries.generation,
        "written": past[0].time if past else None,
        "tiles": len(entries.values),
        "tiles_possible": array.tiled.grid.n_tiles,
        "bytes": sum(map(_stored_bytes, entries.values.values())),
    }


def _stored_bytes(packed: bytes) -> int:
    entry = TileEntry.unpack(packed)
    return entry.stored_bytes * len(entry.shards)


def _show_described(document: dict[str, Any]) -> None:
    shown = dict(document)
    dimensions = shown.pop("dimensions", None) or shown.pop("schema")["dimensions"]
    shown.pop("schema", None)
    shown["size"] = size(shown.pop("bytes"))
    shown["shape"] = _shape(shown.pop("named_shape"))
    pairs_table((name.replace("_", " "), _cell(value)) for name, value in shown.items())
    names = list(dict.fromkeys(name for each in dimensions for name in each))
    print_table(
        (name.replace("_", " ") for name in names),
        [[_short(_cell(each.get(name))) for name in names] for each in dimensions],
    )


def _cell(value: object) -> object:
    value = plain(value)
    if isinstance(value, dict):
        # Parts of a step of time that are 0 say nothing, and neither does what is not given.
        said = {name: item for name, item in value.items() if item not in (None, 0)}
        return ", ".join(f"{name}: {_cell(item)}" for name, item in said.items())
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        return " x ".join(map(str, value))
    text = str(value)
    return text if value is not None else None


@command(short_help="List the arrays of a collection.")
@uri_argument
@collection_argument
@click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many arrays."
)
@click.option("--after", type=click.IntRange(min=0), help="Go on where the last page said.")
@as_json_option
def ls(uri: str, collection: str, limit: int, after: int | None, as_json: bool) -> None:
    """List arrays of a collection of URI, in the order in which they were made."""
    with catalogue(uri) as client:
        found = collection_of(client, collection)
        with found.naming():
            records, following = client.session.registry.arrays(found.id, after, limit)
        arrays = [
            {
                "id": array.id,
                "primary_attributes": array.primary_attributes,
                "custom_attributes": array.custom_attributes,
                "generation": record.generation,
            }
            for record in records
            for array in [found.handle(record)]
        ]
        document = {"arrays": arrays, "next": following, "total": len(found)}
    emit(document, as_json=as_json, render=lambda: _show_arrays(document))


def _show_arrays(document: dict[str, Any]) -> None:
    arrays = document["arrays"]
    names: dict[str, None] = {}
    for array in arrays:
        names |= dict.fromkeys([*array["primary_attributes"], *array["custom_attributes"]])
    print_table(
        ("id", "generation", *names),
        [
            (
                array["id"],
                array["generation"],
                *(
                    _short({**array["primary_attributes"], **array["custom_attributes"]}.get(name))
                    for name in names
                ),
            )
            for array in arrays
        ],
    )
    if document["next"] is not None:
        click.echo(f"{len(arrays)} of {document['total']}; go on with --after {document['next']}")


def _short(value: object) -> str | None:
    if value is None:
        return None
    text = str(plain(value))
    return text if len(text) <= _VALUE_WIDTH else text[: _VALUE_WIDTH - 3] + "..."
