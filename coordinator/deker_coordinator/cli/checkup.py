"""The command ``deker-cluster doctor``."""

from __future__ import annotations

import sys

import click

from deker_coordinator.cli.commands import URI_VARIABLE, WRONG, as_json_option, command
from deker_coordinator.cli.opening import existing_address
from deker_coordinator.cli.output import emit, print_table
from deker_coordinator.doctor import machine_findings
from deker_coordinator.storage_doctor import storage_findings

__all__ = ["doctor"]


@command(short_help="Check this machine and a storage; say what to mend.")
@click.argument("uri", required=False, envvar=URI_VARIABLE)
@as_json_option
def doctor(uri: str | None, as_json: bool) -> None:
    """Check this machine, and the storage URI if it is given; say what to mend.

    Looks at Python, packages, HDF5 filters, the limit of open files and shared memory; of URI at
    its disk, registry, durability, clocks, Ray and shards. Exit code 1: there are findings.
    """
    # A slip in the address is no finding.
    address = None if uri is None else existing_address(uri)
    findings = list(machine_findings())
    if address is not None:
        findings += storage_findings(address)
    wrong = [finding for finding in findings if not finding.ok]
    document = {"ok": not wrong, "checks": [finding._asdict() for finding in findings]}

    def render() -> None:
        print_table(
            ("", "checked", "found"),
            [("ok" if each.ok else "WRONG", each.name, each.found) for each in findings],
        )
        for each in wrong:
            click.echo(f"{each.name}: {each.advice}")
        if not wrong:
            click.echo("nothing to mend")

    emit(document, as_json=as_json, render=render)
    if wrong:
        sys.exit(WRONG)
