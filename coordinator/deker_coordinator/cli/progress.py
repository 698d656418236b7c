"""Watching work that the coordinator does, until it is done."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from deker_cluster.registry.models import ShardState
from deker_coordinator.balancing import PAUSED
from deker_coordinator.cli.commands import WRONG, Refused, Stopped
from deker_coordinator.cli.output import emit
from deker_coordinator.cli.shards import shard_names
from deker_coordinator.survey import barred, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deker_cluster.registry.client import Registry

__all__ = [
    "STALL_S",
    "counting",
    "end",
    "follow",
    "no_wait_option",
    "require_moves",
    "silent",
    "timeout_option",
]

STALL_S = 90.0
"""So long without a change is waited for: the coordinator tries again sooner what did not work."""

_EVERY_S = 1.0
_SHARE = 0.2
"""Of the time, at most, is spent looking: in a large cluster a look takes a while."""

no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Only say what is wanted, and do not wait until it is done."
)
timeout_option = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    help="Seconds after which to stop watching; the work goes on. Exit code 1.",
)


def counting(what: str, *, quiet: bool) -> tqdm[Any]:
    """Return a progress bar for something of unknown length that takes a second at least."""
    return tqdm(desc=what, unit=" tiles", delay=1, leave=False, disable=True if quiet else None)


def require_moves(registry: Registry) -> None:
    """Refuse if tiles are not moved at present."""
    cluster = registry.cluster()
    if cluster is not None and cluster.settings.get(PAUSED):
        raise Refused("moves are paused, nothing would happen: deker-cluster rebalance --resume")


def follow(
    what: str,
    left: Callable[[], int],
    stuck: Callable[[float], str | None],
    *,
    quiet: bool,
    timeout_s: float | None,
    stopped: str,
) -> tuple[int, str | None]:
    """Watch until nothing is left.

    Parameters
    ----------
    left
        Counts what is left to do.
    stuck
        Given the seconds since something has changed, says why waiting is of no use; or None.
    stopped
        What to say at Ctrl-C.

    Returns
    -------
    tuple
        How much is left, and why it was not waited for any longer; None: nothing is left.
    """
    try:
        return _watch(what, left, stuck, quiet=quiet, timeout_s=timeout_s)
    except KeyboardInterrupt:
        raise Stopped(stopped) from None


def _watch(
    what: str,
    left: Callable[[], int],
    stuck: Callable[[float], str | None],
    *,
    quiet: bool,
    timeout_s: float | None,
) -> tuple[int, str | None]:
    begun = changed = time.monotonic()
    now = left()
    with tqdm(
        total=now, desc=what, unit=" tiles", file=sys.stderr, disable=True if quiet else None
    ) as bar:
        while now:
            looked = time.monotonic()
            if timeout_s is not None and looked - begun >= timeout_s:
                return now, f"{now} were left after {timeout_s:g} s; the work goes on"
            if (why := stuck(looked - changed)) is not None:
                return now, why
            before, now = now, left()
            took_s = time.monotonic() - looked
            if now != before:
                changed = time.monotonic()
            bar.total = max(bar.total or 0, now)
            bar.n = bar.total - now
            bar.refresh()
            if now:
                time.sleep(max(_EVERY_S, took_s * (1 / _SHARE - 1)))
    return 0, None


def silent(registry: Registry, quiet_s: float) -> str | None:
    """Say that nothing moves, if that has been so for long."""
    if quiet_s < STALL_S:
        return None
    if barred(registry):
        return (
            "tiles are to go to shards where they were deleted less than an hour ago; they move "
            "when that hour is over, by themselves"
        )
    down = [each for each in registry.shard_map().shards if state_of(each) != ShardState.UP]
    return (
        f"nothing has moved for {quiet_s:.0f} s"
        + (f"; shards that are not up: {shard_names(down)}" if down else "")
        + "; does the coordinator run? see 'ray status', and deker-cluster start"
    )


def end(document: Mapping[str, Any], fine: str, *, as_json: bool) -> None:
    """Print how it ended; exit code 1 if something is left."""
    why = document["why"]
    emit(document, as_json=as_json, render=lambda: click.echo(fine if why is None else why))
    if why is not None:
        sys.exit(WRONG)
