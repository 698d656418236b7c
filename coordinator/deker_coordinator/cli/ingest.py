"""The command ``deker-cluster ingest``."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any, cast

import click

from deker_cluster.client import Client
from deker_cluster.uri import parse_uri
from deker_coordinator.cli.commands import (
    WRONG,
    Stopped,
    as_json_option,
    command,
    quiet_option,
    uri_argument,
)
from deker_coordinator.cli.opening import catalogue
from deker_coordinator.cli.output import emit

if TYPE_CHECKING:
    from deker_cluster.ingest import IngestPlan

__all__ = ["ingest"]


class _Tile(click.ParamType[dict[str, int]]):
    """``y=1024,x=1024``: cells by the names of dimensions."""

    name = "tile"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, int]:
        """Return names and numbers."""
        try:
            pairs = (part.split("=") for part in str(value).split(","))
            return {name.strip(): int(cells) for name, cells in pairs}
        except ValueError:
            self.fail("write it as y=1024,x=1024", param, ctx)


class _Attribute(click.ParamType[tuple[str, Any]]):
    """``name=value``; the value is JSON if it can be, else text."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Return name and value."""
        name, equals, text = str(value).partition("=")
        if not equals:
            self.fail("write it as name=value", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


class _NoStorage:
    """What a dry run sees of a storage that is not there yet."""

    def get_collection(self, _: str) -> None:
        """Return None: there is no collection."""


@command(short_help="Bring imagery and other arrays into a collection.")
@uri_argument
@click.argument("sources", nargs=-1, required=True, metavar="SOURCES...")
@click.option("--collection", help="What to make or to write; else the name of the file or folder.")
@click.option("--dry-run", is_flag=True, help="Show what would be made, and write nothing.")
@click.option(
    "--layout",
    type=click.Choice(["auto", "mosaic", "stack", "arrays"]),
    default="auto",
    help="One array by coordinates, one with a new axis, or an array for each input.",
)
@click.option(
    "--overlap",
    type=click.Choice(["last", "first", "error"]),
    default="last",
    help="Which input counts where several have a cell.",
)
@click.option("--time", help="Pattern of file names, such as S2_{:%Y%m%d}, or tag:NAME.")
@click.option("--label", help="Pattern of file names for a new axis of names, such as '_{}.tif'.")
@click.option("--along", help="Name of that axis; else input.")
@click.option("--step", help="Of a new axis of time: 5d, 6h, 10min.")
@click.option("--tile", "tile_shape", type=_Tile(), help="Cells of a tile: y=1024,x=1024.")
@click.option("--nodata", type=float, help="Value of missing cells, instead of the files'.")
@click.option("--dtype", help="Of the cells of a new collection.")
@click.option("--variable", "variables", multiple=True, help="Only this one; several times.")
@click.option("--attribute", "attributes", type=_Attribute(), multiple=True, help="Of the array.")
@click.option("--reproject", is_flag=True, help="Warp what has another coordinate system or grid.")
@click.option("--crs", help="With --reproject: onto this one, such as EPSG:32633.")
@click.option("--resampling", default="nearest", help="With --reproject: nearest, bilinear, ...")
@click.option("--pixel", type=click.Choice(["center", "corner"]), help="What coordinates mean.")
@click.option("--clip", is_flag=True, help="Leave out what lies outside of an existing array.")
@click.option("--retries", type=click.IntRange(min=0), default=2, show_default=True)
@click.option("--memory", "memory_bytes", default="1G", show_default=True, help="On each machine.")
@as_json_option
@quiet_option
def ingest(
    uri: str,
    sources: tuple[str, ...],
    dry_run: bool,
    retries: int,
    memory_bytes: str,
    as_json: bool,
    quiet: bool,
    **planning: Any,
) -> None:
    """Bring SOURCES into a collection of the storage URI.

    SOURCES are files, folders, or patterns in quotes: GeoTIFF, COG and all else that rasterio
    reads, NetCDF, Zarr, NumPy files. Run it again after it was stopped: what is finished is passed
    over. Exit code 1: an input could not be read, the report says which.
    """
    # What these import would make every other command slow.
    from deker_cluster.ingest.planning import plan
    from deker_cluster.ingest.running import run

    # The name of a single folder becomes that of the collection.
    wanted = sources[0] if len(sources) == 1 else list(sources)
    options = _given(planning)
    if dry_run:
        with _looking(uri) as client:
            planned = plan(client, wanted, **options)
        emit(_document(planned), as_json=as_json, render=lambda: click.echo(planned.describe()))
        sys.exit(WRONG if planned.problems else 0)
    try:
        with Client(uri) as client:
            report = run(
                client,
                plan(client, wanted, **options),
                progress=not quiet,
                retries=retries,
                memory_bytes=memory_bytes,
            )
    except KeyboardInterrupt:
        raise Stopped(
            "stopped; run the same command again to go on, what is finished is passed over"
        ) from None
    emit(report.as_dict, as_json=as_json, render=lambda: click.echo(str(report)))
    if not report.ok:
        sys.exit(WRONG)


def _looking(uri: str) -> contextlib.AbstractContextManager[Client]:
    """Return a client that makes nothing and joins no Ray."""
    path = parse_uri(uri).path
    if path is not None and not (path / "cluster.json").exists():
        return contextlib.nullcontext(cast("Client", _NoStorage()))
    return catalogue(uri)


def _given(planning: dict[str, Any]) -> dict[str, Any]:
    """Return the options as :func:`.plan` takes them; those that were not given are left out."""
    crs = planning.pop("crs")
    if crs:
        planning["reproject"] = crs
    attributes = dict(planning.pop("attributes"))
    # A nodata value of 0 is given, though it equals False.
    given = {
        name: value
        for name, value in planning.items()
        if value is not None and value is not False and value != ()
    }
    return {
        **given,
        **({"attributes": attributes} if attributes else {}),
    }


def _document(planned: IngestPlan) -> dict[str, Any]:
    schema = planned.target.schema
    return {
        "collection": planned.target.collection,
        "exists": planned.target.exists,
        "schema": schema.as_dict,
        "tile_shape": list(schema.grid.tile_shape),
        "arrays": [
            {
                "key": array.key,
                "id": array.id,
                "primary_attributes": dict(array.primary),
                "custom_attributes": dict(array.custom),
                "pieces": len(planned.pieces.get(array.key, ())),
            }
            for array in planned.target.arrays
        ],
        "n_inputs": planned.n_inputs,
        "bytes": planned.total_bytes,
        "problems": [{"source": each.source, "why": each.why} for each in planned.problems],
        "notes": list(planned.notes),
        "text": planned.describe(),
    }
