"""The command ``deker-cluster rebalance``."""

from __future__ import annotations

import time
from typing import Any

import click

from deker_cluster.errors import DekerValidationError
from deker_cluster.memory import memory_limit_bytes
from deker_coordinator.balancing import ASKED, DEFAULT_RATE, NOTE, PAUSED, RATE
from deker_coordinator.cli.commands import as_json_option, command, quiet_option, uri_argument
from deker_coordinator.cli.opening import attended_registry, catalogue
from deker_coordinator.cli.output import emit, size
from deker_coordinator.cli.progress import end, follow, require_moves, silent, timeout_option
from deker_coordinator.survey import survey

__all__ = ["rebalance"]


def _rate(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else memory_limit_bytes(value)
    except DekerValidationError as error:
        raise click.BadParameter(
            f"{value!r} is no number of bytes per second: write digits, and perhaps K, M or G, as "
            "in 100M; 0 for any speed",
            ctx,
            param,
        ) from error


@command(short_help="Watch, pause and pace the moving of tiles.")
@uri_argument
@click.option("--pause", is_flag=True, help="From now on only copy what is in danger.")
@click.option("--resume", is_flag=True, help="Move again.")
@click.option(
    "--rate",
    metavar="BYTES",
    callback=_rate,
    help="Move at most so many bytes per second; 0: any speed.",
)
@timeout_option
@as_json_option
@quiet_option
def rebalance(
    uri: str,
    pause: bool,
    resume: bool,
    rate: int | None,
    timeout_s: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Watch the tiles of URI move to where they should be, until all of them are there.

    They move by themselves when shards join, drain or are lost. With --pause, --resume or --rate
    it only changes how they do, and returns.
    """
    if pause and resume:
        raise click.UsageError("--pause and --resume contradict each other")
    changes: dict[str, Any] = {}
    if pause or resume:
        changes[PAUSED] = pause
    if rate is not None:
        changes[RATE] = rate
    if changes:
        with catalogue(uri) as client:
            settings = client.session.registry.update_settings(**changes).settings
        _tell_settings(settings, as_json=as_json)
        return
    with attended_registry(uri) as registry:
        require_moves(registry)
        registry.update_settings(**{ASKED: time.time()})
        left, why = follow(
            "moving",
            lambda: sum(survey(registry).to_move.values()),
            lambda quiet_s: silent(registry, quiet_s),
            quiet=quiet or as_json,
            timeout_s=timeout_s,
            stopped="stopped watching; tiles go on moving (deker-cluster rebalance --pause)",
        )
        document = {"left": left, "why": why, "progress": registry.notes().get(NOTE)}
    end(document, "every tile is where it should be", as_json=as_json)


def _tell_settings(settings: dict[str, Any], *, as_json: bool) -> None:
    document = {
        "paused": bool(settings.get(PAUSED)),
        "bytes_per_s": float(settings.get(RATE, DEFAULT_RATE)),
    }
    speed = f"up to {size(document['bytes_per_s'])}/s" if document["bytes_per_s"] else "any speed"
    state = "paused, but for what is in danger" if document["paused"] else "on"
    emit(document, as_json=as_json, render=lambda: click.echo(f"moves: {state}; {speed}"))
