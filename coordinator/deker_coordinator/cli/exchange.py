"""The commands ``deker-cluster import`` and ``deker-cluster export``."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from deker_cluster.client import Client
from deker_coordinator.cli.commands import (
    WRONG,
    Stopped,
    as_json_option,
    command,
    quiet_option,
    uri_argument,
)
from deker_coordinator.cli.opening import existing_address
from deker_coordinator.cli.output import emit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.exchange.report import ExportReport, ImportReport

__all__ = ["export", "import_"]

_collections = click.option(
    "--collection", "collections", multiple=True, help="Only this one; may be given several times."
)


@command("import", short_help="Bring a Deker storage over into this one.")
@click.argument("source")
@uri_argument
@_collections
@click.option("--dry-run", is_flag=True, help="Look at everything, write nothing.")
@click.option("--force", is_flag=True, help="Go on although young lock files are there.")
@as_json_option
@quiet_option
def import_(
    source: str,
    uri: str,
    collections: tuple[str, ...],
    dry_run: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Bring the Deker storage SOURCE (file:///path) over into the storage URI.

    Run it again after it was stopped: what is there already is skipped. SOURCE is only read, and
    must be of trusted origin. Exit code 1: something was not imported, the report says what.
    """
    # Importing it imports HDF5, which would make every other command slow.
    from deker_cluster.exchange.deker_layout import collection_folders, storage_root
    from deker_cluster.exchange.importing import import_storage

    # Before the target is opened, which makes it if it is not there.
    collection_folders(storage_root(source))
    # The tiles are there: whether this machine could hold one is not for it to ask.
    with _stoppable(), Client(uri, skip_collection_create_memory_check=True) as client:
        report = import_storage(
            source,
            client,
            collections=collections or None,
            force=force,
            progress=not quiet,
            dry_run=dry_run,
        )
    _end(report, as_json=as_json)


@command(short_help="Write a storage as Deker opens it.")
@uri_argument
@click.argument("target", type=click.Path(path_type=str))
@_collections
@as_json_option
@quiet_option
def export(uri: str, target: str, collections: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Write the storage URI into the folder TARGET (file:///path) as Deker 1.1.7 opens it.

    TARGET is empty, not there yet, or a Deker storage; arrays that are there are skipped. Exit code
    1: something was not exported, the report says what.
    """
    from deker_cluster.exchange.exporting import export_storage

    existing_address(uri)
    with _stoppable(), Client(uri) as client:
        report = export_storage(client, target, collections=collections or None, progress=not quiet)
    _end(report, as_json=as_json)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(
            "stopped; run the same command again to go on, what is there is skipped"
        ) from None


def _end(report: ImportReport | ExportReport, *, as_json: bool) -> None:
    emit(report.as_dict, as_json=as_json, render=lambda: click.echo(report.text))
    if not report.ok:
        sys.exit(WRONG)
