"""The commands ``deker-cluster start`` and ``deker-cluster join``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deker_cluster.uri import Mode, parse_uri
from deker_coordinator.cli.commands import Command, Refused, as_json_option, command, uri_argument
from deker_coordinator.cli.output import emit
from deker_coordinator.local_ray import RayEndpoint, connect_ray

if TYPE_CHECKING:
    from deker_cluster.registry.models import ClusterRecord
    from deker_cluster.uri import Address

__all__ = ["join", "start"]


@command(short_help="Start a cluster's services on a running Ray.")
@uri_argument
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Absolute directory on every storage node.",
)
@click.option(
    "--shards-per-node",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Data directories, each with an actor of its own, on every node.",
)
@click.option(
    "--weight",
    type=click.FloatRange(min=0),
    help="Share of the tiles that each shard gets that is started now, relative to others. "
    "[default: as large as its disk; of one that was there before, as it was]",
)
@click.option("--ray-address", default="auto", show_default=True, help="The Ray cluster to run on.")
@as_json_option
def start(
    uri: str,
    data_dir: Path,
    shards_per_node: int,
    weight: float | None,
    ray_address: str,
    as_json: bool,
) -> None:
    """Start the services of the cluster URI (deker://host:port/name) on a running Ray.

    Shards go to the nodes that were started with the label deker.io/node=NAME, or to all nodes if
    none has it. Run it again after nodes were added, or after Ray was restarted: what is there
    stays as it is.
    """
    address = parse_uri(uri)
    if address.mode is not Mode.CLUSTER:
        raise Refused(
            f"{address} is a directory: its services start by themselves when it is opened, and "
            f"stay with: deker-cluster up {address.path}"
        )
    record = _start(address, data_dir, shards_per_node, weight, ray_address)
    emit(
        {"uri": str(address), "id": record.id, "epoch": record.epoch},
        as_json=as_json,
        render=lambda: click.echo(
            f"cluster {record.id} is up; open it with Client({str(address)!r})"
        ),
    )


def _start(
    address: Address, data_dir: Path, shards_per_node: int, weight: float | None, ray_address: str
) -> ClusterRecord:
    # Importing it imports Ray, which would make every other command slow.
    from deker_coordinator.cluster import start_cluster

    connect_ray(RayEndpoint(ray_address))
    return start_cluster(address, data_dir, shards_per_node, weight)


join = Command(
    "join",
    callback=start.callback,
    params=start.params,
    short_help="Take new nodes into a cluster.",
    help="Take the new nodes of the Ray into the cluster URI: the same as running start again.\n\n"
    "Start Ray on the new node with the label deker.io/node=NAME, then run this on any node. Its "
    "shards take new tiles at once, and a fair share of the old ones moves there; see "
    "deker-cluster rebalance. Nodes that are in it already stay as they are.",
)
