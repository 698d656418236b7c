"""The command ``deker-cluster scrub``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

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
from deker_coordinator.cli.output import emit, size
from deker_coordinator.scrub_all import scrub_all, stored_bytes

if TYPE_CHECKING:
    from deker_coordinator.scrub_all import ScrubReport

__all__ = ["scrub"]

_SHOWN = 20
"""Findings that are printed one by one."""


@command(short_help="Read every stored byte, and mend what is bad.")
@uri_argument
@click.option(
    "--rate",
    type=click.FloatRange(min=1),
    help="Bytes per second to read on each shard, as 50e6; without it as fast as disks are.",
)
@as_json_option
@quiet_option
def scrub(uri: str, rate: float | None, as_json: bool, quiet: bool) -> None:
    """Read every stored byte of URI where it lies, and mend what is not what was written.

    Tiles of histories and snapshots too, and every copy. Others may read and write meanwhile. What
    is bad is mended from another copy; without one it stays as it is, reads of it fail, and
    reports of it stay in the registry. Exit code 1: something is bad still, or was out of reach.
    """
    existing_address(uri)
    with (
        Client(uri) as client,
        tqdm(
            desc="scrub",
            unit="B",
            unit_scale=True,
            file=sys.stderr,
            disable=True if quiet or as_json else None,
        ) as bar,
    ):
        try:
            if not bar.disable:
                bar.total = stored_bytes(client.session.registry)
            report = scrub_all(client.session, rate=rate, progress=bar.update)
        except KeyboardInterrupt:
            raise Stopped("stopped; what was found bad by then is reported, and mended") from None
    emit(report.as_dict, as_json=as_json, render=lambda: _show(report))
    if not report.ok:
        sys.exit(WRONG)


def _show(report: ScrubReport) -> None:
    click.echo(
        f"{report.files} files ({size(report.bytes)}) were read in {report.seconds:.0f} s: "
        f"{report.bad} bad, {report.mended} of these mended"
    )
    for problem in report.unmended[:_SHOWN]:
        click.echo(f"bad: {problem}")
    if len(report.unmended) > _SHOWN:
        click.echo(f"... and {len(report.unmended) - _SHOWN} more")
    if report.unseen:
        click.echo(
            f"{report.unseen} files are on shards that are away or did not answer: see "
            "deker-cluster status, and scrub again when they are back"
        )
