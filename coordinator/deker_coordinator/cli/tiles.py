"""The command ``deker-cluster tiles``, which says where a slice is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import plan
from deker_cluster.indexing import resolve_index
from deker_coordinator.cli.commands import as_json_option, command, uri_argument
from deker_coordinator.cli.opening import array_of, catalogue, collection_of
from deker_coordinator.cli.output import emit, print_table, size
from deker_coordinator.cli.slices import to_index
from deker_coordinator.survey import state_of

if TYPE_CHECKING:
    from deker_cluster.arrays import BaseArray
    from deker_cluster.registry.models import ShardRecord

__all__ = ["tiles"]


@command(short_help="Show where a slice is: tiles, versions, shards, nodes.")
@uri_argument
@click.argument("collection")
@click.argument("array")
@click.argument("slice_", metavar="[SLICE]", callback=to_index, default="...")
@click.option(
    "--limit",
    default=1000,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many tiles to show.",
)
@as_json_option
def tiles(uri: str, collection: str, array: str, slice_: Any, limit: int, as_json: bool) -> None:
    """Show where a slice of an array of URI is: its tiles, their versions, and who holds them.

    SLICE is what stands between the brackets in Python, as in "0:10, 5, ::2", with labels and
    times in quotes; all of the array, if it is left out. Put -- before one that begins with a
    minus sign.
    """
    with catalogue(uri) as client:
        found = array_of(collection_of(client, collection), array)
        planned = plan(found.tiled.grid, resolve_index(slice_, found.dimensions))
        ordinals = planned.ordinals[:limit].tolist()
        shards = {shard.number: shard for shard in client.session.registry.shard_map().shards}
        entries = client.session.registry.entries(found.id, ordinals)
        document = {
            "array": found.id,
            "generation": entries.generation,
            "touched": len(planned),
            "tiles": [
                _tile(found, ordinal, packed, shards)
                for ordinal, packed in zip(ordinals, entries.values, strict=True)
            ],
        }
    emit(document, as_json=as_json, render=lambda: _show(document))


def _tile(
    array: BaseArray, ordinal: int, packed: bytes | None, shards: dict[int, ShardRecord]
) -> dict[str, Any]:
    grid = array.tiled.grid
    entry = None if packed is None else TileEntry.unpack(packed)
    return {
        "tile": list(grid.position(ordinal)),
        "ordinal": ordinal,
        "cells": [[cells.start, cells.stop] for cells in grid.tile_region(ordinal)],
        "version": None if entry is None else entry.version,
        "bytes": None if entry is None else entry.stored_bytes,
        "holders": [] if entry is None else [_holder(n, shards.get(n)) for n in entry.shards],
    }


def _holder(number: int, record: ShardRecord | None) -> dict[str, Any]:
    info = {} if record is None else record.info
    return {
        "shard": number,
        "actor": info.get("actor"),
        "node": info.get("node") or info.get("host"),
        "state": None if record is None else state_of(record).value,
    }


def _show(document: dict[str, Any]) -> None:
    print_table(
        ("tile", "cells", "version", "size", "held by"),
        [
            (
                tuple(tile["tile"]),
                ", ".join(f"{start}:{stop}" for start, stop in tile["cells"]),
                "never written" if tile["version"] is None else tile["version"],
                size(tile["bytes"]),
                "; ".join(map(_named, tile["holders"])),
            )
            for tile in document["tiles"]
        ],
    )
    if document["touched"] > len(document["tiles"]):
        click.echo(f"{len(document['tiles'])} of {document['touched']} tiles; see --limit")


def _named(holder: dict[str, Any]) -> str:
    where = f" on {holder['node']}" if holder["node"] else ""
    state = "" if holder["state"] == "up" else f", {holder['state'] or 'unknown'}"
    return f"{holder['shard']} ({holder['actor']}){where}{state}"
