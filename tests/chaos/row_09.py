"""A full disk is clean: a typed error, readers go on, nothing is left, and it goes on with room."""

from __future__ import annotations

import collections
import contextlib
import os
import random
import resource
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil

from deker_cluster import Retention
from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerLockError,
    RegistryUnavailableError,
    StorageFullError,
)
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, children
from tests.kit.small_disk import Ballast, CannotMountError, small_disk
from tests.kit.storages import (
    array_of,
    make_array,
    open_client,
    storage,
    stored_files,
    sweep_now,
    tiles_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client
    from tests.chaos.rows import RowResult, RunContext

_TILES = 6
_RETENTION = Retention(generations=1)
"""So that what was replaced is garbage at once."""
_DISK_BYTES = 8 << 20
_FREE_BYTES = 48 << 10
_MOST_WRITES = 200
_DEADLINE_S = 1.0
_PATIENCE_S = 30.0
_SWEPT_WITHIN_S = 5.0
_ENOUGH = 20
"""So many failures tell enough."""
_REGISTRY_AWAY = (
    RegistryUnavailableError,
    CommitStateUnknownError,
    CommitConflictError,
    DekerLockError,
)


def run(context: RunContext) -> RowResult:
    kinds: collections.Counter[str] = collections.Counter()
    runs = context.count(50, least=3)
    notes: dict[str, Any] = {}
    done = _file_limits(context, context.folder / "limit", runs, kinds)
    try:
        done += _tile_disk(context, context.folder / "tiles", runs, kinds)
        done += _registry_disk(context, context.folder / "registry", runs, kinds)
    except CannotMountError as error:
        notes["left out: no small disk can be mounted"] = str(error)
    return context.result(done, **kinds, **notes)


def _temporary(root: Path) -> list[str]:
    return sorted(name for name, ordinal, _ in stored_files(root) if ordinal < 0)


def _holds(array: Any) -> int | str:
    """Return the one value of an array's cells."""
    try:
        values = set(tiles_of(array[:].read()).values())
    except DekerBaseApplicationError as error:
        return f"{type(error).__name__}: {error}"
    return values.pop() if len(values) == 1 else str(values)


def _tile_disk(context: RunContext, root: Path, runs: int, kinds: collections.Counter[str]) -> int:
    """Fill the disk of the tiles."""
    root.mkdir()
    with small_disk(root / "shards", _DISK_BYTES), storage(root, garbage_grace_s=0) as client:
        ballast = Ballast(root / "shards" / "ballast")
        array: Any = make_array(client, "one", tiles=_TILES, retention=_RETENTION)
        other: Any = make_array(client, "other", tiles=_TILES, retention=_RETENTION)
        other[:].update(7)
        value = 1
        array[:].update(value)
        for number in range(runs):
            what = f"full disk {number}"
            spare: Any = make_array(client, f"spare {number}", tiles=_TILES)
            ballast.leave(context.rng.randrange(_FREE_BYTES))
            for _ in range(_MOST_WRITES):
                generation = client.session.registry.all_entries(array.id).generation
                try:
                    array[:].update(value + 1)
                except StorageFullError as error:
                    context.check("free some space" in str(error), f"{what}: says {error}")
                    kinds["full disks"] += 1
                    break
                except Exception as error:  # noqa: BLE001 - whatever else it is, it is wrong
                    context.check(False, f"{what}: {type(error).__name__}: {error}")
                    break
                value += 1
            else:
                context.check(False, f"{what}: was never full")
            now = client.session.registry.all_entries(array.id).generation
            context.check(now == generation, f"{what}: generation {generation} -> {now}")
            context.check(_holds(array) == value, f"{what}: {_holds(array)}, not {value}")
            context.check(_holds(other) == 7, f"{what}: the other array: {_holds(other)}")
            context.check(not _temporary(root), f"{what}: left behind: {_temporary(root)}")
            try:
                spare.delete()  # how else would anybody make room?
            except DekerBaseApplicationError as error:
                context.check(False, f"{what}: deleting: {type(error).__name__}: {error}")
            ballast.drop()
            value = _write_again(context, array, value, what)
            if len(context.failures) >= _ENOUGH:
                break
            _check_clean(context, client, root, what)
    return runs


def _write_again(context: RunContext, array: Any, value: int, what: str) -> int:
    try:
        array[:].update(value + 1)
    except DekerBaseApplicationError as error:
        context.check(False, f"{what}: with room again: {type(error).__name__}: {error}")
        return value
    context.check(_holds(array) == value + 1, f"{what}: with room again: {_holds(array)}")
    return value + 1


def _check_clean(context: RunContext, client: Client, root: Path, what: str) -> None:
    """Sweep; then only the tiles of both arrays are there."""
    limit = time.monotonic() + _SWEPT_WITHIN_S
    while len(stored_files(root)) > 2 * _TILES and time.monotonic() < limit:
        sweep_now(client)
        time.sleep(0.002)
    left = len(stored_files(root))
    context.check(left == 2 * _TILES, f"{what}: {left} files stay where {2 * _TILES} are needed")


def limited_writer(talk: Talk, root: str, name: str, runs: int, seed: int) -> None:
    """Write an array while this process may write only small files; say what came of it."""
    chance = random.Random(seed)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with open_client(root) as client:
        array = array_of(client, name)
        value = 1
        for _ in range(runs):
            resource.setrlimit(resource.RLIMIT_FSIZE, (chance.randrange(64, 1200), most))
            try:
                array[:].update(-1)
                talk("no error")
            except StorageFullError:
                talk("full")
            except Exception as error:  # noqa: BLE001 - whatever else it is, it is wrong
                talk(f"{type(error).__name__}: {error}")
            talk(_holds(array))
            talk.recv()
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
            value += 1
            array[:].update(value)
            talk(_holds(array))


def _file_limits(
    context: RunContext, root: Path, runs: int, kinds: collections.Counter[str]
) -> int:
    """Let the system refuse files above a size."""
    with storage(root, garbage_grace_s=0) as client, children() as kids:
        array: Any = make_array(client, "one", tiles=_TILES, retention=_RETENTION)
        array[:].update(1)
        kid = Child(limited_writer, str(root), "one", runs, context.seed)
        kids.append(kid)
        for number in range(runs):
            what = f"file limit {number}"
            said = kid.receive()
            context.check(said == "full", f"{what}: {said}")
            seen, mine = kid.receive(), _holds(array)
            context.check(seen == mine == number + 1, f"{what}: {seen} and {mine} are read")
            context.check(not _temporary(root), f"{what}: left behind: {_temporary(root)}")
            kid.send("go on")
            after = kid.receive()
            context.check(after == number + 2, f"{what}: with room again: {after}")
            kinds["file limits"] += 1
            if len(context.failures) >= _ENOUGH:
                break
    return runs


def _registry_disk(
    context: RunContext, root: Path, runs: int, kinds: collections.Counter[str]
) -> int:
    """Fill the disk of the registry: its server ends, and is started again."""
    root.mkdir()
    with (
        small_disk(root / "registry", _DISK_BYTES),
        storage(root, garbage_grace_s=0) as client,
    ):
        ballast = Ballast(root / "registry" / "ballast")
        registry = client.session.registry
        registry._link._deadline_s = _DEADLINE_S
        for number in range(runs):
            what = f"full registry {number}"
            # What a failed write leaves of its lease concerns this array only.
            array: Any = make_array(client, f"array {number}", tiles=_TILES)
            array[:].update(1)
            value, error = 1, None
            ballast.leave(context.rng.randrange(4 << 10))
            while error is None and value < _MOST_WRITES:
                try:
                    array[:].update(value + 1)
                    value += 1
                except _REGISTRY_AWAY as caught:
                    error = caught
                except Exception as caught:  # noqa: BLE001 - whatever else it is, it is wrong
                    context.check(False, f"{what}: {type(caught).__name__}: {caught}")
                    error = caught
            context.check(error is not None, f"{what}: was never full")
            kinds[f"full registry: {type(error).__name__}"] += 1
            ballast.drop()
            # Its pauses grow with every end of the server, to 5 s: the row has no time for them.
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                os.kill(_keeper(root), signal.SIGKILL)
            _await_registry(client)
            if isinstance(error, CommitStateUnknownError):
                value += registry.outcome(error.operation_id) is not None
            context.check(_holds(array) == value, f"{what}: {_holds(array)}, not {value}")
            fresh: Any = make_array(client, f"fresh {number}", tiles=_TILES)
            _write_again(context, fresh, 0, what)
            context.check(not _temporary(root), f"{what}: left behind: {_temporary(root)}")
            if len(context.failures) >= _ENOUGH:
                break
    return runs


def _keeper(root: Path) -> int:
    log = (root / "registry" / "keeper.log").read_text()
    return int(log.rsplit(" keeper ", 1)[1].split(":")[0])


def _await_registry(client: Client) -> None:
    limit = time.monotonic() + _PATIENCE_S
    while True:
        try:
            client.session.registry.update_settings(garbage_grace_s=0)
        except RegistryUnavailableError:
            if time.monotonic() > limit:
                raise
        else:
            return


ROW = Row(
    number=9,
    promise="a full disk is clean",
    runs="50 full disks, 50 file limits, 50 full disks of the registry",
    run=run,
    sabotage="the temporary files of a failed write stay",
)
