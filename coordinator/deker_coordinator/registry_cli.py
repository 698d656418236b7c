"""The commands ``deker-cluster registry ...``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from deker_cluster.client import Client
from deker_cluster.uri import parse_uri
from deker_coordinator.exchange_cli import existing_address, uri_argument
from deker_coordinator.recovery import back_up, read_backup, rebuild, verify

if TYPE_CHECKING:
    from deker_cluster.rebuild.reconstruct import Reconstruction
    from deker_cluster.rebuild.state import RegistryState
    from deker_coordinator.recovery import Verification

__all__ = ["registry_commands"]

_SHOWN = 20
"""Differences and missing tiles that are printed one by one."""

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_data_dir = click.option(
    "--data-dir",
    "data_dirs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where shards of a cluster are on this host; may be given several times.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Look at everything, change nothing.")
_file = click.argument("file", type=click.Path(path_type=Path))


@click.group("registry")
def registry_commands() -> None:
    """Rebuild, verify, back up and restore what a storage knows of its tiles."""


@registry_commands.command("rebuild")
@uri_argument
@_data_dir
@click.option(
    "--replace", is_flag=True, help="Also a registry that is not empty. Nobody may be using it."
)
@_dry_run
@_as_json
def rebuild_(
    uri: str, data_dirs: tuple[Path, ...], replace: bool, dry_run: bool, as_json: bool
) -> None:
    """Make the empty registry of URI whole from the disks of the shards.

    It may be stopped and run again. All shards should be reachable: a write of the last second is
    only found if all its files are.
    """
    with _Progress(shown=not as_json) as progress:
        found = rebuild(
            parse_uri(uri),
            data_dirs=data_dirs,
            replace=replace,
            dry_run=dry_run,
            progress=progress.show,
        )
    _show_rebuilt(found, dry_run=dry_run, as_json=as_json)


@registry_commands.command("restore")
@uri_argument
@_file
@_data_dir
@click.option(
    "--as-of-backup", is_flag=True, help="Go back to the backup, whatever the disks know since."
)
@click.option(
    "--replace", is_flag=True, help="Also a registry that is not empty. Nobody may be using it."
)
@_dry_run
@_as_json
def restore(
    uri: str,
    file: Path,
    data_dirs: tuple[Path, ...],
    as_of_backup: bool,
    replace: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the empty registry of URI whole from the backup FILE and what the disks know since.

    With --as-of-backup tiles may be missing: what was replaced since then may be deleted.
    """
    with _Progress(shown=not as_json) as progress:
        found = rebuild(
            parse_uri(uri),
            data_dirs=data_dirs,
            backup=read_backup(file),
            as_of_backup=as_of_backup,
            replace=replace,
            dry_run=dry_run,
            progress=progress.show,
        )
    _show_rebuilt(found, dry_run=dry_run, as_json=as_json)


@registry_commands.command("verify")
@uri_argument
@_as_json
def verify_(uri: str, as_json: bool) -> None:
    """Compare the registry of URI with what the disks of the shards know.

    Others may go on writing. Exit code 1: there are differences.
    """
    existing_address(uri)
    with Client(uri) as client:
        result = verify(client.session)
    if as_json:
        click.echo(json.dumps(_verified(result), indent=2))
    else:
        _show_verified(result)
    if not result.ok:
        sys.exit(1)


@registry_commands.command()
@uri_argument
@_file
@_as_json
def backup(uri: str, file: Path, as_json: bool) -> None:
    """Write what the registry of URI holds to the new file FILE. Tiles are not in it."""
    existing_address(uri)
    with Client(uri) as client:
        state = back_up(client.session, file)
    if as_json:
        click.echo(json.dumps({"file": str(file), **_counts(state)}, indent=2))
    else:
        counts = ", ".join(f"{number} {what}" for what, number in _counts(state).items())
        click.echo(f"{file}: {counts}")


class _Progress:
    def __init__(self, *, shown: bool) -> None:
        self._bar = tqdm(unit=" arrays", disable=None if shown else True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, done: int, total: int) -> None:
        self._bar.total = total
        self._bar.update(done - self._bar.n)


def _counts(state: RegistryState) -> dict[str, int]:
    arrays = [array for _, array in state.alive_arrays()]
    return {
        "collections": len(state.collections),
        "arrays": len(arrays),
        "tiles": sum(len(array.entries) for array in arrays),
    }


def _show_rebuilt(found: Reconstruction, *, dry_run: bool, as_json: bool) -> None:
    taken = [write for write in found.writes if write.why_not is None]
    left = [write for write in found.writes if write.why_not is not None]
    if as_json:
        report: dict[str, Any] = {
            "changed": not dry_run,
            "source": found.source,
            **_counts(found.state),
            "writes_taken": [write._asdict() for write in taken],
            "writes_left": [write._asdict() for write in left],
            "leftover_files": len(found.leftovers.files),
            "missing_tiles": [tile._asdict() for tile in found.missing],
            "problems": list(found.problems),
        }
        click.echo(json.dumps(report, indent=2))
        return
    table = Table("", "found" if dry_run else "put in place")
    table.add_row("journal", found.source)
    for what, number in _counts(found.state).items():
        table.add_row(what, str(number))
    table.add_row("writes of the last moment, taken", str(len(taken)))
    table.add_row("writes of the last moment, left", str(len(left)))
    table.add_row("tiles whose files are missing", str(len(found.missing)))
    table.add_row("files that nothing needs", str(len(found.leftovers.files)))
    Console().print(table)
    for write in left[:_SHOWN]:
        click.echo(f"left: write {write.token} to array {write.array_id}: {write.why_not}")
    for tile in found.missing[:_SHOWN]:
        click.echo(f"missing: version {tile.version} of tile {tile.ordinal} of {tile.array_id}")
    for problem in found.problems:
        click.echo(f"problem: {problem}")


def _verified(result: Verification) -> dict[str, Any]:
    return {
        "ok": result.ok,
        "record": result.number,
        "rewound": result.rewound,
        "differences": [difference._asdict() for difference in result.differences],
        "missing_tiles": result.missing,
    }


def _show_verified(result: Verification) -> None:
    if result.rewound is not None:
        click.echo(result.rewound)
    for difference in result.differences[:_SHOWN]:
        click.echo(f"{difference.what} {difference.name}: {difference.problem} in the registry")
    kinds = Counter(difference.what for difference in result.differences)
    counts = ", ".join(f"{number} of {what}" for what, number in kinds.items()) or "none"
    click.echo(f"differences at record {result.number}: {counts}")
    click.echo(f"tiles whose files are missing: {result.missing}")
