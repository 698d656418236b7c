"""Row 2: two replicas survive the loss of a node and its disk."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Self

import numpy as np
import ray

from deker_cluster import Client
from deker_cluster.errors import CommitConflictError, DekerBaseApplicationError
from deker_cluster.transport.actors import actor_namespace
from deker_coordinator.actor import COORDINATOR
from tests.chaos.rows import Row
from tests.kit.site import Site, copies_of, make_grid, number_of, until

if TYPE_CHECKING:
    from deker_cluster import VArray
    from tests.chaos.rows import RowResult, RunContext

_SIDE = 256
_GRID = 16
_NODES = ["a", "b", "c"]
_WITHIN_S = 60.0
"""For a thousand tiles; the time until the loss is believed is not in it."""


class _Writer:
    """Writes whole rows of tiles, and knows what of it was acknowledged."""

    def __init__(self, uri: str, array_name: str) -> None:
        self._uri = uri
        self._name = array_name
        self.acknowledged: dict[int, float] = {}
        self.under_way: dict[int, float] = {}
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        value = 0.0
        step = _SIDE // _GRID
        with Client(self._uri) as client:
            collection = client.get_collection(self._name)
            assert collection is not None
            (array,) = collection
            while not self._stop.is_set():
                value += 1
                row = int(value) % _GRID
                self.under_way[row] = value
                try:
                    array[row * step : (row + 1) * step].update(value)
                except CommitConflictError:
                    continue
                except DekerBaseApplicationError as error:
                    self.errors.append(f"a write failed: {error}")
                    continue
                self.acknowledged[row] = value
                time.sleep(0.02)


def run(context: RunContext) -> RowResult:
    wanted = context.count(30)
    site = Site(context.folder)
    slowest = longest = 0.0
    tiles = _GRID * _GRID
    try:
        site.add(*_NODES)
        with Client(site.uri) as client:
            client.session.registry.update_settings(
                down_after_s=3, lost_after_s=2, garbage_grace_s=1, moves_bytes_per_s=0
            )
            namespace = actor_namespace(client.session.cluster.id)
            for turn in range(wanted):
                array = make_grid(client, f"turn {turn}", 2, side=_SIDE, grid=_GRID)
                array[:].update(0.0)
                node = context.rng.choice(_NODES)
                lost = number_of(client, node)
                with _Writer(site.uri, f"turn {turn}") as writer:
                    time.sleep(context.rng.uniform(0.2, 1.0))
                    site.lose(node)
                    if context.rng.random() < 0.5:
                        actor = ray.get_actor(COORDINATOR, namespace=namespace)
                        ray.kill(actor, no_restart=False)
                    begun = time.monotonic()
                    if not _readable(context, array):
                        break
                    longest = max(longest, time.monotonic() - begun)
                    believed = until("the loss was not noticed", partial(_is_lost, client, lost))
                    took = until(
                        "copies are missing",
                        partial(_is_whole, client, array, lost),
                        _WITHIN_S,
                    )
                    slowest = max(slowest, took * 1000 / tiles)
                    time.sleep(0.2)
                for text in writer.errors:
                    context.check(False, text)
                _look(context, array[:].read(), writer)
                # What the history keeps is copied after what is current.
                until("integrity", partial(_is_sound, client))
                collection = client.get_collection(f"turn {turn}")
                assert collection is not None
                collection.delete()
                site.add(node)
                context.progress(
                    f"turn {turn + 1}: noticed after {believed:.1f} s, whole {took:.1f} s later"
                )
    finally:
        site.close()
    context.check(
        slowest <= _WITHIN_S, f"copies were back after {slowest:.0f} s for a thousand tiles"
    )
    return context.result(
        wanted,
        s_per_thousand_tiles=round(slowest, 1),
        longest_read_s=round(longest, 2),
    )


def _readable(context: RunContext, array: VArray) -> bool:
    try:
        array[:].read()
    except DekerBaseApplicationError as error:
        context.check(False, f"a read failed: {error}")
        return False
    return True


def _is_whole(client: Client, array: VArray, gone: int) -> bool:
    return copies_of(client, array, gone) == {2}


def _is_sound(client: Client) -> bool:
    return client.check_integrity(4, stop_on_error=False).ok


def _is_lost(client: Client, number: int) -> bool:
    records = client.session.registry.shard_map().shards
    return any(each.number == number and each.info.get("state") == "lost" for each in records)


def _look(context: RunContext, cells: np.ndarray, writer: _Writer) -> None:
    step = _SIDE // _GRID
    for row in range(_GRID):
        seen = set(np.unique(cells[row * step : (row + 1) * step]).tolist())
        possible = {writer.acknowledged.get(row, 0.0), writer.under_way.get(row, 0.0)}
        context.check(
            len(seen) == 1 and seen <= possible, f"row {row} holds {seen}, not one of {possible}"
        )


ROW = Row(
    number=2,
    promise="two replicas survive the loss of a node and its disk",
    runs="30",
    run=run,
    sabotage="only the first copy is written",
)
