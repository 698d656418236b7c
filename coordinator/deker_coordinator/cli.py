"""The command ``deker-cluster``."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from deker_cluster import __version__
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError, DekerInstanceNotExistsError
from deker_cluster.registry.opening import open_registry
from deker_cluster.uri import Mode, parse_uri
from deker_coordinator.exchange_cli import existing_address, export, import_, uri_argument
from deker_coordinator.local_ray import RayEndpoint, connect_ray
from deker_coordinator.registry_cli import registry_commands

if TYPE_CHECKING:
    from deker_cluster.registry.client import Registry

__all__ = ["main"]


class _Group(click.Group):
    """Shows our own errors, and those of files, as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read the output has seen enough
        except (DekerBaseApplicationError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deker-cluster")
def main() -> None:
    """Start, look at, and move storages of deker_cluster."""


@main.command()
@uri_argument
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Absolute directory on every storage node.",
)
@click.option("--shards-per-node", default=1, show_default=True, type=click.IntRange(min=1))
@click.option("--ray-address", default="auto", show_default=True, help="The Ray cluster to run on.")
def start(uri: str, data_dir: Path, shards_per_node: int, ray_address: str) -> None:
    """Start the services of the cluster URI (deker://host:port/name) on a running Ray.

    Shards go to the nodes that were started with the label deker.io/node=NAME, or to all nodes if
    none has it. Run it again after nodes were added, or after Ray was restarted.
    """
    address = parse_uri(uri)
    if address.mode is not Mode.CLUSTER:
        raise click.ClickException(
            f"{address} is a directory: its services start by themselves when it is opened"
        )
    # Importing it imports Ray, which would make every other command slow.
    from deker_coordinator.cluster import start_cluster

    connect_ray(RayEndpoint(ray_address))
    record = start_cluster(address, data_dir, shards_per_node)
    click.echo(f"cluster {record.id} is up; open it with Client({str(address)!r})")


@main.command()
@uri_argument
def status(uri: str) -> None:
    """Show the shards of a storage, and how durable its registry is."""
    registry, leave = open_registry(existing_address(uri))
    try:
        _show(registry)
    finally:
        registry.close()
        leave()


def _show(registry: Registry) -> None:
    console = Console()
    server = registry.server_info()
    console.print(
        f"registry: {server.kind} {server.version}, appendonly "
        f"{'yes' if server.appendonly else 'no'}, appendfsync {server.appendfsync}"
    )
    for weakness in server.weaknesses:
        console.print(f"[bold red]may lose acknowledged writes:[/] {weakness}")
    tiles: dict[int, list[int]] = {}
    for collection in registry.stored_collections():
        with contextlib.suppress(DekerInstanceNotExistsError):  # deleted meanwhile
            for part in registry.manifests(collection.id):
                for packed in part.values.values():
                    entry = TileEntry.unpack(packed)
                    for number in entry.shards:
                        tiles.setdefault(number, []).append(entry.stored_bytes)
    table = Table("shard", "actor", "host", "path", "state", "tiles", "MB")
    for shard in registry.shard_map().shards:
        sizes = tiles.get(shard.number, [])
        table.add_row(
            str(shard.number),
            str(shard.info.get("actor", "")),
            str(shard.info.get("host", "")),
            str(shard.info.get("path", "")),
            str(shard.info.get("state", "up")),
            str(len(sizes)),
            f"{sum(sizes) / 1e6:.1f}",
        )
    console.print(table)


main.add_command(import_)
main.add_command(export)
main.add_command(registry_commands)


if __name__ == "__main__":
    sys.exit(main())
