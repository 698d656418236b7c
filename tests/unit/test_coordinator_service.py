from __future__ import annotations

import threading

from deker_cluster.errors import RegistryUnavailableError
from deker_coordinator.service import SWEEP_EVERY_TICKS, CoordinatorService


class World:
    """What a coordinator sees and does."""

    def __init__(self) -> None:
        self.sweeps = 0
        self.flushes = 0
        self.users = True
        self.stopped = 0
        self.registry_up = True
        self.service = CoordinatorService(
            flush=self.flush,
            sweep=self.sweep,
            abandoned=lambda: not self.users,
            stop_everything=self.stop,
        )

    def flush(self) -> None:
        if not self.registry_up:
            raise RegistryUnavailableError("away")
        self.flushes += 1

    def sweep(self) -> int:
        if not self.registry_up:
            raise RegistryUnavailableError("away")
        self.sweeps += 1
        return 0

    def stop(self) -> None:
        self.stopped += 1


def test_sweeps_at_its_pace() -> None:
    world = World()
    for _ in range(3 * SWEEP_EVERY_TICKS):
        world.service.tick()
    assert world.sweeps == 3
    assert world.flushes == 3 * SWEEP_EVERY_TICKS
    assert world.stopped == 0


def test_stops_everything_when_nobody_is_left() -> None:
    world = World()
    world.service.tick()
    world.users = False
    world.service.tick()
    assert world.stopped == 1


def test_survives_an_absent_registry_and_goes_on_after_it() -> None:
    world = World()
    world.registry_up = False
    for _ in range(2 * SWEEP_EVERY_TICKS):
        world.service.tick()
    world.registry_up = True
    for _ in range(SWEEP_EVERY_TICKS):
        world.service.tick()
    assert world.sweeps == 1


def test_runs_until_told_to_end() -> None:
    world = World()
    stopped = threading.Event()
    stopped.set()
    world.service.run(stopped)
    assert world.sweeps == 0
