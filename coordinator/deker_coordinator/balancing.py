"""Keep every tile where it should be: repair after a loss, drain, share out among new shards."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deker_cluster.core.planning import split_by_bytes
from deker_coordinator.move_planning import Why, misplaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import ShardTable
    from deker_coordinator.move_planning import Relocation
    from deker_coordinator.mover import Mover

__all__ = ["ASKED", "DEFAULT_RATE", "NOTE", "PAUSED", "RATE", "Balancer"]

logger = logging.getLogger(__name__)

NOTE = "moves"
"""Under which name the registry has the progress."""

PAUSED = "moves_paused"
RATE = "moves_bytes_per_s"
"""Settings of the cluster: whether moves are paused that nothing depends on; and how fast they may
be, bytes per second, 0 for any speed. What is in danger is copied in any case, at full speed."""

DEFAULT_RATE = 100e6

ASKED = "moves_asked"
"""Setting of the cluster: when it changes, all tiles are looked at without waiting any longer."""

_PLAN_AT_ONCE = 50_000
_BATCH_TILES = 256
_BATCH_BYTES = 128 << 20
_BATCH_S = 5.0
"""What is copied between two looks at the settings and the shard map takes about so long."""

_AGAIN_S = 600.0
_AGAIN_SHARE = 0.05
"""All tiles are looked at again after so long, and for this share of the time at most."""

_STUCK_S = 5.0
_ASK_EVERY_S = 1.0


class Balancer:
    """Moves misplaced tiles when the shard map has changed, and looks for them now and then."""

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        mover: Mover,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._mover = mover
        self._clock = clock
        self._balanced: tuple[int, bool] | None = None
        self._asked: object = None
        self._due = clock()

    def step(self) -> int:
        """Do what is due; return how many tiles were moved."""
        epoch, settings = self._now()
        if (asked := settings.get(ASKED)) != self._asked:
            self._asked, self._balanced = asked, None
        state = epoch, bool(settings.get(PAUSED))
        if state == self._balanced and self._clock() < self._due:
            return 0
        return self._run(state[0], urgent_only=state[1])

    def _now(self) -> tuple[int, dict[str, Any]]:
        """Return the epoch and the settings."""
        cluster = self._registry.cluster()
        return (0, {}) if cluster is None else (cluster.epoch, dict(cluster.settings))

    def _run(self, epoch: int, *, urgent_only: bool) -> int:
        """Plan and move, until nothing is left, nothing gets better, or the map is another one."""
        total = 0
        while True:
            begin = self._clock()
            moved, stuck = 0, False
            # First what is found soon: nothing that is in danger waits for the long look.
            for urgent in (True,) if urgent_only else (True, False):
                go_on = self._while_map_is(epoch)
                plan = _most_urgent(misplaced(self._registry, urgent_only=urgent, go_on=go_on))
                if plan:
                    moved, interrupted = self._move(plan, epoch)
                    total += moved
                    if interrupted:
                        return total
                    stuck = not moved
                if moved:
                    break
            if moved:
                continue
            now = self._clock()
            pause_s = _STUCK_S if stuck else max(_AGAIN_S, (now - begin) / _AGAIN_SHARE)
            self._balanced, self._due = (epoch, urgent_only), now + pause_s
            if not stuck:
                self._tell(0, total, 0)
            return total

    def _while_map_is(self, epoch: int) -> Callable[[], bool]:
        """Return what ends a long look soon after the map has changed: something may be lost."""
        asked = self._clock()

        def go_on() -> bool:
            nonlocal asked
            if self._clock() - asked < _ASK_EVERY_S:
                return True
            asked = self._clock()
            return self._now()[0] == epoch

        return go_on

    def _move(self, plan: list[Relocation], epoch: int) -> tuple[int, bool]:
        done = copied = at = 0
        sizes = [tile.entry.stored_bytes for tile in plan]
        rate = float(self._now()[1].get(RATE, DEFAULT_RATE))
        # At a slow pace, less at a time: whoever pauses moves should not wait for minutes.
        most = min(_BATCH_BYTES, max(round(rate * _BATCH_S), 1)) if rate else _BATCH_BYTES
        for batch in split_by_bytes(plan, sizes, max_bytes=most):
            for first in range(0, len(batch), _BATCH_TILES):
                some = batch[first : first + _BATCH_TILES]
                moved, n_bytes = self._mover.move(some)
                done, copied, at = done + moved, copied + n_bytes, at + len(some)
                self._tell(len(plan) - at, done, copied)
                now, settings = self._now()
                if now != epoch or settings.get(PAUSED):
                    return done, True
        return done, False

    def _tell(self, left: int, done: int, n_bytes: int) -> None:
        note = {"left": left, "moved": done, "bytes": n_bytes, "time_s": round(time.time(), 1)}
        self._registry.note(NOTE, note)


def _most_urgent(found: Iterable[Relocation]) -> list[Relocation]:
    """Return relocations by urgency; of a kind that is very frequent, only the first ones."""
    kinds: dict[Why, list[Relocation]] = {why: [] for why in Why}
    for tile in found:
        kept = kinds[tile.why]
        if len(kept) < _PLAN_AT_ONCE:
            kept.append(tile)
    return [tile for why in Why for tile in kinds[why]]
