"""The commands ``deker-cluster registry ...``."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
from tqdm import tqdm

from deker_cluster.client import Client
from deker_cluster.uri import parse_uri
from deker_coordinator.cli.commands import WRONG, Group, as_json_option, uri_argument
from deker_coordinator.cli.opening import existing_address
from deker_coordinator.cli.output import emit, pairs_table
from deker_coordinator.recovery import back_up, read_backup, rebuild, verify

if TYPE_CHECKING:
    from deker_cluster.rebuild.reconstruct import Reconstruction
    from deker_cluster.rebuild.state import RegistryState
    from deker_coordinator.recovery import Verification

__all__ = ["registry_commands"]

_SHOWN = 20
"""Differences and missing tiles that are printed one by one."""

_data_dir = click.option(
    "--data-dir",
    "data_dirs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where shards of a cluster are on this host; may be given several times.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Look at everything, change nothing.")
_file = click.argument("file", type=click.Path(path_type=Path))


@click.group("registry", cls=Group, short_help="Rebuild, verify, back up and restore a registry.")
def registry_commands() -> None:
    """Rebuild, verify, back up and restore what a storage knows of its tiles."""


@registry_commands.command("rebuild", short_help="Make an empty registry whole from the disks.")
@uri_argument
@_data_dir
@click.option(
    "--replace", is_flag=True, help="Also a registry that is not empty. Nobody may be using it."
)
@_dry_run
@as_json_option
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


@registry_commands.command("restore", short_help="Make an empty registry whole from a backup.")
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
@as_json_option
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


@registry_commands.command("verify", short_help="Compare the registry with the disks.")
@uri_argument
@as_json_option
def verify_(uri: str, as_json: bool) -> None:
    """Compare the registry of URI with what the disks of the shards know.

    Others may go on writing. Exit code 1: there are differences.
    """
    existing_address(uri)
    with Client(uri) as client:
        result = verify(client.session)
    emit(_verified(result), as_json=as_json, render=lambda: _show_verified(result))
    if not result.ok:
        sys.exit(WRONG)


@registry_commands.command(short_help="Write what the registry holds to a file.")
@uri_argument
@_file
@as_json_option
def backup(uri: str, file: Path, as_json: bool) -> None:
    """Write what the registry of URI holds to the new file FILE. Tiles are not in it."""
    existing_address(uri)
    with Client(uri) as client:
        state = back_up(client.session, file)
    counts = ", ".join(f"{number} {what}" for what, number in _counts(state).items())
    emit(
        {"file": str(file), **_counts(state)},
        as_json=as_json,
        render=lambda: click.echo(f"{file}: {counts}"),
    )


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

    def render() -> None:
        click.echo("this would be put in place:" if dry_run else "this was put in place:")
        pairs_table(
            [
                ("journal", found.source),
                *_counts(found.state).items(),
                ("writes of the last moment, taken", len(taken)),
                ("writes of the last moment, left", len(left)),
                ("tiles whose files are missing", len(found.missing)),
                ("files that nothing needs", len(found.leftovers.files)),
            ]
        )
        for write in left[:_SHOWN]:
            click.echo(f"left: write {write.token} to array {write.array_id}: {write.why_not}")
        for tile in found.missing[:_SHOWN]:
            click.echo(f"missing: version {tile.version} of tile {tile.ordinal} of {tile.array_id}")
        for problem in found.problems:
            click.echo(f"problem: {problem}")

    emit(report, as_json=as_json, render=render)


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
