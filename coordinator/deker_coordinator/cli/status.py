"""The command ``deker-cluster status``."""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import attrs
import click

from deker_cluster.client import Client
from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.registry.models import ShardState
from deker_cluster.uri import Mode
from deker_coordinator.balancing import DEFAULT_RATE, NOTE, PAUSED, RATE
from deker_coordinator.cli.commands import (
    WRONG,
    as_json_option,
    command,
    quiet_option,
    uri_argument,
)
from deker_coordinator.cli.opening import catalogue, existing_address
from deker_coordinator.cli.output import age, emit, pairs_table, print_table, size
from deker_coordinator.cli.progress import counting
from deker_coordinator.membership import DOWN_AFTER_S
from deker_coordinator.survey import state_of, survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.membership_calls import Beat
    from deker_cluster.registry.models import ShardRecord
    from deker_cluster.uri import Address
    from deker_coordinator.survey import Survey

__all__ = ["status"]

_TRIES = 3
_SHARD_DEADLINE_S = 2.0
_DAMAGE_COUNTED = 1000
_DAMAGE_SHOWN = 10
_UNNOTICED_S = 10.0
"""So long after it should have been noticed that a shard is silent, nobody is there to notice."""


@command(short_help="Show nodes, shards, copies, moves, damage and registry.")
@uri_argument
@click.option(
    "--latency", is_flag=True, help="Also ask every shard how fast it answers; joins the Ray."
)
@as_json_option
@quiet_option
def status(uri: str, latency: bool, as_json: bool, quiet: bool) -> None:
    """Show nodes, shards, tiles and their copies, moves, damage, and the registry of URI.

    Reads the registry alone, unless --latency is given. Exit code 1: it is not whole; the lines
    that begin with "problem" say why.
    """
    address = existing_address(uri)
    with catalogue(uri) as client:
        registry = client.session.registry
        with counting("tiles", quiet=quiet) as bar:
            found = survey(registry, progress=bar.update)
        shards = _shards(registry, found)
        document = {
            "uri": str(address),
            "mode": address.mode.value,
            "cluster": {"id": client.session.cluster.id, "epoch": registry.shard_map().epoch},
            **_judged(address, registry, shards, found),
            "registry": _server(registry),
            "nodes": _nodes(shards),
            "shards": shards,
            "tiles": {
                "stored": found.tiles,
                "bytes": found.bytes,
                "copies_missing": found.copies_missing,
                "one_copy_left": found.one_copy_left,
                "unreadable": found.unreadable,
                "damaged_entries": found.damaged,
            },
            "moves": _moves(registry, found),
            "damage": _damage(registry),
        }
    if latency:
        _ask_shards(uri, shards)
    emit(document, as_json=as_json, render=lambda: _show(document))
    if not document["whole"]:
        sys.exit(WRONG)


def _shards(registry: Registry, found: Survey) -> list[dict[str, Any]]:
    beats = registry.beats()
    return [
        _shard(record, beats.get(record.number), found) for record in registry.shard_map().shards
    ]


def _shard(record: ShardRecord, beat: Beat | None, found: Survey) -> dict[str, Any]:
    info = record.info
    holding = found.held.get(record.number)
    said = {} if beat is None else beat.said
    return {
        "number": record.number,
        "uuid": record.uuid,
        "actor": info.get("actor"),
        "node": info.get("node") or info.get("host"),
        "zone": info.get("zone"),
        "path": info.get("path"),
        "state": state_of(record).value,
        "draining": bool(info.get("draining")),
        "weight": float(info.get("weight", 1.0)),
        "beat_age_s": None if beat is None else round(beat.age_s, 1),
        "free_bytes": said.get("free_bytes"),
        "total_bytes": said.get("total_bytes"),
        "tiles": 0 if holding is None else holding.tiles,
        "bytes": 0 if holding is None else holding.bytes,
    }


def _nodes(shards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    nodes: dict[str, dict[str, Any]] = {}
    for shard in shards:
        name = str(shard["node"] or "this machine")
        node = nodes.setdefault(
            name, {"name": name, "zone": shard["zone"], "shards": [], "tiles": 0, "bytes": 0}
        )
        node["shards"].append(shard["number"])
        node["tiles"] += shard["tiles"]
        node["bytes"] += shard["bytes"]
    return list(nodes.values())


def _server(registry: Registry) -> dict[str, Any]:
    server = registry.server_info()
    return {
        "kind": server.kind,
        "version": server.version,
        "role": server.role,
        "appendonly": server.appendonly,
        "appendfsync": server.appendfsync,
        "weaknesses": list(server.weaknesses),
        "latency_ms": _milliseconds(registry.ping),
    }


def _milliseconds(call: Callable[[], object]) -> float:
    took = []
    for _ in range(_TRIES):
        begun = time.perf_counter()
        call()
        took.append(time.perf_counter() - begun)
    return round(statistics.median(took) * 1000, 3)


def _moves(registry: Registry, found: Survey) -> dict[str, Any]:
    cluster = registry.cluster()
    settings = {} if cluster is None else cluster.settings
    note = registry.notes().get(NOTE)
    age_s = None if note is None else max(round(time.time() - float(note.get("time_s", 0)), 1), 0.0)
    return {
        "paused": bool(settings.get(PAUSED)),
        "bytes_per_s": float(settings.get(RATE, DEFAULT_RATE)),
        "waiting": dict(found.to_move),
        "progress": None if note is None else {**note, "age_s": age_s},
    }


def _damage(registry: Registry) -> dict[str, Any]:
    files = registry.damage(_DAMAGE_COUNTED)
    return {
        "files": len(files),
        "more": len(files) == _DAMAGE_COUNTED,
        "first": [file._asdict() for file in files[:_DAMAGE_SHOWN]],
    }


def _judged(
    address: Address, registry: Registry, shards: list[dict[str, Any]], found: Survey
) -> dict[str, Any]:
    """Say whether everything is as it should be, and what is not."""
    cluster = registry.cluster()
    settings = {} if cluster is None else cluster.settings
    silent_s = float(settings.get("down_after_s", DOWN_AFTER_S)) + _UNNOTICED_S
    problems = []
    if found.unreadable:
        problems.append(f"{found.unreadable} tiles cannot be read: no shard that holds one is up")
    if found.copies_missing:
        problems.append(
            f"{found.copies_missing} tiles have fewer live copies than their collection wants, "
            f"{found.one_copy_left} of them only one"
        )
    if found.damaged:
        problems.append(f"{found.damaged} entries of the manifest cannot be read")
    if registry.damage(1):
        problems.append("files are damaged or missing, and were not mended yet")
    for shard in shards:
        named = f"shard {shard['number']} ({shard['actor']})"
        if shard["state"] == ShardState.DOWN:
            problems.append(f"{named} is down")
        elif shard["state"] == ShardState.LOST and shard["tiles"]:
            problems.append(f"{named} is lost, and {shard['tiles']} tiles still name it")
        # A directory that nobody has open on Ray has no beats, and needs none.
        elif (
            address.mode is Mode.CLUSTER
            and shard["state"] == ShardState.UP
            and (shard["beat_age_s"] or 0) > silent_s
        ):
            problems.append(
                f"{named} has been silent for {age(shard['beat_age_s'])}, and nobody has noticed: "
                "the coordinator does not run; see 'ray status', and deker-cluster start"
            )
    return {"whole": not problems, "problems": problems}


def _ask_shards(uri: str, shards: list[dict[str, Any]]) -> None:
    with Client(uri) as client:
        client.session.shards.refresh()
        handles: dict[int, Any] = {
            shard.number: shard.handle for shard in client.session.shards.all()
        }
        for shard in shards:
            handle = handles.get(shard["number"])
            shard["latency_ms"] = None
            if handle is None or shard["state"] == ShardState.LOST:
                continue
            if hasattr(handle, "deadline_s"):  # an actor, which would be waited for
                handle = attrs.evolve(handle, deadline_s=_SHARD_DEADLINE_S)
            try:
                handle.journal_position()  # the first call finds the actor
                shard["latency_ms"] = _milliseconds(handle.journal_position)
            except (DekerBaseApplicationError, OSError) as error:
                click.echo(f"shard {shard['number']} does not answer: {error}", err=True)


def _show(document: dict[str, Any]) -> None:
    server, moves, tiles = document["registry"], document["moves"], document["tiles"]
    damaged = document["damage"]["files"]
    for problem in document["problems"]:
        click.secho(f"problem: {problem}", fg="red")
    for weakness in server["weaknesses"]:
        click.secho(f"may lose acknowledged writes: {weakness}", fg="red")
    pairs_table(
        [
            ("storage", f"{document['uri']}, {'whole' if document['whole'] else 'NOT WHOLE'}"),
            ("registry", _server_line(server)),
            ("tiles", _tiles_line(tiles)),
            ("moves", None if document["mode"] == Mode.LIBRARY.value else _moves_line(moves)),
            ("damage", f"{damaged} files" if damaged else None),
        ]
    )
    print_table(
        ("shard", "actor", "node", "path", "state", "heard", "free", "of", "tiles", "size", "ms"),
        [
            (
                shard["number"],
                shard["actor"],
                shard["node"],
                shard["path"],
                shard["state"] + (", draining" if shard["draining"] else ""),
                age(shard["beat_age_s"]),
                size(shard["free_bytes"]),
                size(shard["total_bytes"]),
                shard["tiles"],
                size(shard["bytes"]),
                shard.get("latency_ms"),
            )
            for shard in document["shards"]
        ],
    )


def _moves_line(moves: dict[str, Any]) -> str:
    rate = f"{size(moves['bytes_per_s'])}/s" if moves["bytes_per_s"] else "any speed"
    parts = ["paused" if moves["paused"] else f"up to {rate}"]
    waiting = ", ".join(f"{count} {why}" for why, count in moves["waiting"].items())
    parts.append(f"waiting: {waiting or 'none'}")
    if (last := moves["progress"]) is not None:
        parts.append(
            f"last said {age(last['age_s'])} ago: {last.get('moved')} moved, "
            f"{size(last.get('bytes', 0))}, {last.get('left')} left"
        )
    return "; ".join(parts)


def _server_line(server: dict[str, Any]) -> str:
    return (
        f"{server['kind']} {server['version']}, "
        f"appendonly {'yes' if server['appendonly'] else 'no'}, "
        f"appendfsync {server['appendfsync']}, answers in {server['latency_ms']:.2f} ms"
    )


def _tiles_line(tiles: dict[str, Any]) -> str:
    return (
        f"{tiles['stored']}, {size(tiles['bytes'])} with all copies; "
        f"copies missing: {tiles['copies_missing']}, unreadable: {tiles['unreadable']}"
    )
