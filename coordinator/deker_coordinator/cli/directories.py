"""The commands ``deker-cluster up`` and ``deker-cluster down``."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deker_cluster.client import Client
from deker_cluster.uri import Address, Mode, parse_uri
from deker_coordinator.cli.commands import Refused, Stopped, as_json_option, command
from deker_coordinator.cli.output import emit
from deker_coordinator.identity import check_directory
from deker_coordinator.uphold import claimed, holder, start_detached, stop, wait_until_ended

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["down", "up"]

path_argument = click.argument("path")


@command(short_help="Keep the embedded cluster of a directory up.")
@path_argument
@click.option("--detach", is_flag=True, help="Return when it is up, and leave it running.")
@as_json_option
def up(path: str, detach: bool, as_json: bool) -> None:
    """Keep the embedded cluster of the directory PATH up: registry, Ray, shards, coordinator.

    They start with the first process that opens deker://PATH and end with the last one; this is
    one that does nothing else. It ends with Ctrl-C, or with deker-cluster down. A directory that
    is not there is made.
    """
    address, root = _embedded(path)
    check_directory(root)
    document = {"path": str(root), "uri": str(address)}
    if detach:
        pid = start_detached(address, root)
        emit(
            {**document, "pid": pid},
            as_json=as_json,
            render=lambda: click.echo(f"{address} is up; it ends with: deker-cluster down {root}"),
        )
        return
    if (other := holder(root)) is not None:
        raise Refused(f"{root} is kept up already, by process {other}")
    with Client(address.uri), claimed(root):
        emit(
            {**document, "pid": os.getpid()},
            as_json=as_json,
            render=lambda: click.echo(f"{address} is up; Ctrl-C ends it"),
        )
        stopped = _wait_for_the_end()
    if stopped == signal.SIGINT:
        raise Stopped(f"{root} is not kept up any more")


def _wait_for_the_end() -> int:
    """Wait for Ctrl-C, or to be told to end; return the signal."""
    told = threading.Event()
    numbers: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        numbers.append(number)
        told.set()

    # After the Ray was joined, which sets handlers of its own.
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        told.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return numbers[0]


@command(short_help='End what "up" keeps running.')
@path_argument
@as_json_option
def down(path: str, as_json: bool) -> None:
    """End what deker-cluster up keeps running for the directory PATH.

    Returns when its services have ended. Those stay that other processes use, until the last of
    them has closed it. It is no error if nothing was up.
    """
    _, root = _embedded(path)
    if not (root / "cluster.json").exists():
        raise Refused(f"{root} holds no storage")
    was_up = stop(root)
    ended = wait_until_ended(root)
    before = "was up, and is" if was_up else "was not kept up; it is"
    after = "down" if ended else "still open in other processes, for which its services stay"
    emit(
        {"path": str(root), "was_up": was_up, "open_elsewhere": not ended},
        as_json=as_json,
        render=lambda: click.echo(f"{root} {before} {after}"),
    )


def _embedded(path: str) -> tuple[Address, Path]:
    """Return the embedded address of a directory, given as a path or in any form of address."""
    if path.startswith(("file:", "deker:")):
        root = parse_uri(path).path
        if root is None:
            raise Refused(
                f"{parse_uri(path)} is no directory: a cluster by its registry runs until its Ray "
                "is stopped; see deker-cluster start"
            )
    else:
        root = Path(path).expanduser().resolve()
    return Address(mode=Mode.EMBEDDED, path=root), root
