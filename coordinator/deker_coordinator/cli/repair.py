"""The command ``deker-cluster repair``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from deker_cluster.registry.models import ShardState
from deker_coordinator.balancing import ASKED
from deker_coordinator.cli.commands import (
    Refused,
    as_json_option,
    command,
    quiet_option,
    uri_argument,
)
from deker_coordinator.cli.opening import attended_address, attended_registry, catalogue
from deker_coordinator.cli.output import emit
from deker_coordinator.cli.progress import (
    STALL_S,
    end,
    follow,
    no_wait_option,
    silent,
    timeout_option,
)
from deker_coordinator.cli.shards import shard_names, shards_named
from deker_coordinator.survey import state_of, survey

if TYPE_CHECKING:
    from deker_cluster.registry.client import Registry

__all__ = ["repair"]

_ALIVE_S = 15.0
"""What was heard of so lately is not lost."""

_DAMAGE_COUNTED = 10_000


@command(short_help="Watch until all copies are there; give a shard up.")
@uri_argument
@click.option("--lost", "lost", metavar="SHARD", help="First declare this shard lost, now.")
@click.option(
    "--force", is_flag=True, help="With --lost: although tiles have no other copy elsewhere."
)
@no_wait_option
@timeout_option
@as_json_option
@quiet_option
def repair(
    uri: str,
    lost: str | None,
    force: bool,
    no_wait: bool,
    timeout_s: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Watch until all copies of all tiles of URI are there, and no file is damaged.

    A shard that is silent is down first, and lost some minutes later: then its tiles are copied
    again from their other copies. --lost does not wait for that; a shard that comes back later
    is taken back. Exit code 1: something cannot be mended; it says what.
    """
    if force and lost is None:
        raise click.UsageError("--force belongs to --lost")
    if lost is not None:
        attended_address(uri)
        with catalogue(uri) as client:
            number = _declare_lost(client.session.registry, lost, force=force)
        if no_wait:
            emit(
                {"lost": number},
                as_json=as_json,
                render=lambda: click.echo(f"shard {number} is lost"),
            )
            return
    elif no_wait:
        raise click.UsageError("--no-wait without --lost has nothing to say")
    with attended_registry(uri) as registry:
        registry.update_settings(**{ASKED: time.time()})

        def left() -> int:
            return survey(registry).copies_missing + len(registry.damage(_DAMAGE_COUNTED))

        n_left, why = follow(
            "mending",
            left,
            lambda quiet_s: _beyond_repair(registry, quiet_s),
            quiet=quiet or as_json,
            timeout_s=timeout_s,
            stopped="stopped watching; the coordinator goes on mending",
        )
    document = {"left": n_left, "why": why}
    end(document, "all copies of all tiles are there, no file is damaged", as_json=as_json)


def _declare_lost(registry: Registry, name: str, *, force: bool) -> int:
    records = registry.shard_map().shards
    chosen = shards_named(records, name)
    if len(chosen) > 1:
        raise Refused(f"{name!r} has several shards: {shard_names(chosen)}; name one of them")
    (record,) = chosen
    state = state_of(record)
    if state == ShardState.LOST:
        return record.number
    beat = registry.beats().get(record.number)
    if beat is not None and beat.age_s < _ALIVE_S:
        raise Refused(
            f"shard {shard_names(chosen)} was heard of {beat.age_s:.0f} s ago: it is not lost; to "
            "take it away, drain it: deker-cluster drain"
        )
    only = survey(registry).only_on[record.number]
    if only and not force:
        raise Refused(
            f"{only} tiles have their only copy on shard {shard_names(chosen)}: they could not be "
            "read until it comes back. Start its node again, or accept that: --force"
        )
    if not registry.judge(record.number, state, ShardState.LOST):
        raise Refused(f"shard {shard_names(chosen)} has changed in this moment; look again")
    return record.number


def _beyond_repair(registry: Registry, quiet_s: float) -> str | None:
    if quiet_s < STALL_S:
        return None
    found = survey(registry)
    if found.urgent:
        return silent(registry, quiet_s)
    damaged = len(registry.damage(_DAMAGE_COUNTED))
    down = [each for each in registry.shard_map().shards if state_of(each) == ShardState.DOWN]
    reasons = []
    if found.copies_missing:
        reasons.append(
            f"{found.copies_missing} tiles lack copies that cannot be made now"
            + (
                f": shards {shard_names(down)} are down; start their nodes, or declare them lost"
                if down
                else ": too few shards take tiles, or no copy is in reach"
            )
        )
    if damaged:
        reasons.append(
            f"{damaged} files are damaged, and no other copy of them is sound and in reach "
            "(deker-cluster status --json names some)"
        )
    return "; ".join(reasons) or None
