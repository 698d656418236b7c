"""The commands ``deker-cluster locks`` and ``deker-cluster gc``."""

from __future__ import annotations

from typing import Any

import attrs
import click

from deker_cluster.client import Client
from deker_coordinator.cli.commands import as_json_option, command, uri_argument
from deker_coordinator.cli.opening import catalogue, existing_address
from deker_coordinator.cli.output import emit, print_table
from deker_coordinator.garbage import sweep

__all__ = ["gc", "locks"]

_TILES_SHOWN = 3


@command(short_help="Show who writes what at the moment.")
@uri_argument
@click.option("--collection", help="Only those in this collection.")
@click.option("--clear", is_flag=True, help="End these writes: their commits will be refused.")
@as_json_option
def locks(uri: str, collection: str | None, clear: bool, as_json: bool) -> None:
    """Show who writes which tiles of URI at the moment, oldest first.

    Locks of writers that died end by themselves after some 20 s, so --clear is rarely needed: what
    such a writer has not committed never becomes visible.
    """
    with catalogue(uri) as client:
        held = client.locks(collection)
        document: dict[str, Any] = {"locks": [attrs.asdict(lock) for lock in held]}
        if clear:
            document["cleared"] = client.clear_locks(collection)

    def render() -> None:
        if not held and not document.get("cleared"):
            click.echo("nobody writes at the moment")
            return
        print_table(
            ("token", "collection", "array", "tiles", "held by", "since (UTC)", "left, s"),
            [
                (
                    lock.token,
                    lock.collection,
                    lock.array,
                    _some(lock.tiles),
                    lock.owner,
                    f"{lock.since:%Y-%m-%d %H:%M:%S}",
                    f"{lock.remaining_s:.1f}",
                )
                for lock in held
            ],
        )
        if clear:
            click.echo(f"writes that were ended: {document['cleared']}")

    emit(document, as_json=as_json, render=render)


def _some(tiles: tuple[tuple[int, ...], ...]) -> str:
    shown = ", ".join(str(tile) for tile in tiles[:_TILES_SHOWN])
    more = len(tiles) - _TILES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


@command(short_help="Delete what nobody needs any more, now.")
@uri_argument
@as_json_option
def gc(uri: str, as_json: bool) -> None:
    """Delete the files of URI that nobody needs any more, now and here.

    A coordinator, or a process that has the directory open, does so by itself every few seconds.
    What was replaced within the grace time stays for those who are reading it.
    """
    existing_address(uri)
    with Client(uri) as client:
        session = client.session
        swept = sweep(session.registry, session.shards, session.journal.flush)
        waiting = sum(1 for _ in session.registry.pending_garbage())
    emit(
        {"swept": swept, "waiting": waiting},
        as_json=as_json,
        render=lambda: click.echo(f"swept: {swept}; still in their grace time: {waiting}"),
    )
