"""The commands ``deker-cluster import`` and ``deker-cluster export``."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING

import click

from deker_cluster.client import Client
from deker_cluster.uri import parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.exchange.report import ExportReport, ImportReport
    from deker_cluster.uri import Address

__all__ = ["existing_address", "export", "import_", "uri_argument"]

uri_argument = click.argument("uri", envvar="DEKER_CLUSTER_URI")
"""The address. On a command line, its password is shown to the whole machine."""

_collections = click.option(
    "--collection", "collections", multiple=True, help="Only this one; may be given several times."
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
_quiet = click.option("--quiet", is_flag=True, help="Show no progress.")


@click.command("import")
@click.argument("source")
@uri_argument
@_collections
@click.option("--dry-run", is_flag=True, help="Look at everything, write nothing.")
@click.option("--force", is_flag=True, help="Go on although young lock files are there.")
@_as_json
@_quiet
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


@click.command()
@click.argument("uri")
@click.argument("target", type=click.Path(path_type=str))
@_collections
@_as_json
@_quiet
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


def existing_address(uri: str) -> Address:
    """Return the address of a storage to look at: opening a folder would make one there."""
    address = parse_uri(uri)
    if address.path is not None and not (address.path / "cluster.json").exists():
        raise click.ClickException(f"{address.path} holds no storage")
    return address


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        raise click.ClickException(
            "stopped; run the same command again to go on, what is there is skipped"
        ) from stop


def _end(report: ImportReport | ExportReport, *, as_json: bool) -> None:
    click.echo(json.dumps(report.as_dict, indent=2) if as_json else report.text)
    if not report.ok:
        sys.exit(1)
