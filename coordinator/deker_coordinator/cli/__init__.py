"""The command ``deker-cluster``; each module here has the commands of one theme."""

from __future__ import annotations

import os

import click

from deker_cluster import __version__
from deker_coordinator.cli.catalogue import collections, describe, ls
from deker_coordinator.cli.checkup import doctor
from deker_coordinator.cli.clusters import join, start
from deker_coordinator.cli.commands import EXIT_CODES, Group
from deker_coordinator.cli.completion import completion
from deker_coordinator.cli.directories import down, up
from deker_coordinator.cli.drain import drain
from deker_coordinator.cli.exchange import export, import_
from deker_coordinator.cli.ingest import ingest
from deker_coordinator.cli.locks import gc, locks
from deker_coordinator.cli.rebalance import rebalance
from deker_coordinator.cli.registry import registry_commands
from deker_coordinator.cli.repair import repair
from deker_coordinator.cli.scrub import scrub
from deker_coordinator.cli.show import show
from deker_coordinator.cli.status import status
from deker_coordinator.cli.tiles import tiles

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="deker-cluster")
def main() -> None:
    """Start, look at, mend and move storages of deker_cluster.

    URI is file:///path, deker://./path or deker://host:port/name; it may be left out where the
    environment variable DEKER_CLUSTER_URI has it, which keeps its password out of the process list.
    """
    # What actors print belongs into their logs: a document on stdout must stay one document.
    os.environ.setdefault("RAY_LOG_TO_DRIVER", "0")


for _command in (
    up,
    down,
    start,
    join,
    status,
    doctor,
    collections,
    describe,
    ls,
    tiles,
    show,
    locks,
    rebalance,
    drain,
    repair,
    scrub,
    gc,
    registry_commands,
    ingest,
    import_,
    export,
    completion,
):
    main.add_command(_command)
