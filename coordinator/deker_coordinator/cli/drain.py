"""The command ``deker-cluster drain``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from deker_cluster.registry.models import ShardState
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
    end,
    follow,
    no_wait_option,
    require_moves,
    silent,
    timeout_option,
)
from deker_coordinator.cli.shards import require_enough_left, shard_names, shards_named
from deker_coordinator.survey import past_versions_on, state_of, survey

if TYPE_CHECKING:
    from deker_cluster.registry.client import Registry

__all__ = ["drain"]


@command(short_help="Empty a shard or a node, so that it can be taken away.")
@uri_argument
@click.argument("shard")
@click.option("--undo", is_flag=True, help="Let it take tiles again.")
@no_wait_option
@timeout_option
@as_json_option
@quiet_option
def drain(
    uri: str,
    shard: str,
    undo: bool,
    no_wait: bool,
    timeout_s: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Empty a shard of URI, or all those of a node, so that it can be taken away.

    SHARD is a shard's number, actor or UUID, or the name of a node. It takes no new tiles, and its
    tiles move to other shards while everything else goes on. Refused if too few shards would be
    left for the copies that a collection wants.
    """
    attended_address(uri)
    if undo or no_wait:
        with catalogue(uri) as client:
            numbers = _mark(client.session.registry, shard, undo=undo)
        document: dict[str, Any] = {"shards": numbers, "draining": not undo}
        what = "take tiles again" if undo else "are draining; deker-cluster status shows how far"
        emit(document, as_json=as_json, render=lambda: click.echo(f"shards {numbers} {what}"))
        return
    with attended_registry(uri) as registry:
        require_moves(registry)
        numbers = _mark(registry, shard, undo=False)

        def left() -> int:
            held = survey(registry).held
            present = sum(held[number].tiles for number in numbers)
            return present or past_versions_on(registry, numbers)

        n_left, why = follow(
            "draining",
            left,
            lambda quiet_s: silent(registry, quiet_s),
            quiet=quiet or as_json,
            timeout_s=timeout_s,
            stopped=f"stopped watching; shards {numbers} go on draining (--undo takes it back)",
        )
        document = {"shards": numbers, "draining": True, "left": n_left, "why": why}
    said = f"shards {numbers} are empty, and can be taken away"
    end(document, said, as_json=as_json)


def _mark(registry: Registry, name: str, *, undo: bool) -> list[int]:
    records = registry.shard_map().shards
    chosen = shards_named(records, name)
    if not undo:
        lost = [record for record in chosen if state_of(record) == ShardState.LOST]
        if len(lost) == len(chosen):
            raise Refused(f"shards {shard_names(lost)} are lost: nothing can be moved from there")
        require_enough_left(registry, records, chosen)
    for record in chosen:
        registry.update_shard(record.number, {"draining": not undo})
    return [record.number for record in chosen]
