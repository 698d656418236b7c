"""Collection is safe: sweeps with no grace during reads, snapshots, deletes and kills."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from deker_cluster import Retention
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    CommitConflictError,
    DekerGenerationError,
    DekerInstanceNotExistsError,
    DekerIntegrityError,
)
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, children
from tests.kit.storages import (
    TORN,
    array_of,
    cells_of,
    id_of,
    make_array,
    open_client,
    problems,
    settle,
    storage,
    stored_files,
    sweep_now,
    tiles_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deker_cluster import Client
    from tests.chaos.rows import RowResult, RunContext

_TILES = 4
_NAMES = ["a", "b"]
_TTL_S = 0.5
_KEPT = Retention(generations=3, age=timedelta(seconds=0.3))
_SWEEPS = ";".join(
    f"{point}=kill%0.01"
    for point in ("sweep.listed", "sweep.journaled", "sweep.deleted", "sweep.forgotten")
)
_HELD = 4
_ROUNDS = 25
"""After so many kills everything is stopped, and all that is stored is looked at."""


def writer(talk: Talk, root: str, first: int, seed: int) -> None:
    """Write, clear, restore, and make arrays that are deleted while snapshots of them are open."""
    chance = random.Random(seed)
    with open_client(root) as client:
        arrays = [array_of(client, name) for name in _NAMES]
        talk("ready")
        value = first
        while not talk.asked():
            value += 1
            array = chance.choice(arrays)
            low = chance.randrange(_TILES)
            high = chance.randint(low + 1, _TILES)
            kind = chance.random()
            try:
                if kind < 0.8:
                    array[cells_of(low, high)].update(value)
                elif kind < 0.9:
                    array[cells_of(low, high)].clear()
                elif kind < 0.95:
                    array.restore(array.history()[-1].number)
                else:
                    _deleted_under_a_snapshot(talk, array.parent, value)
            except (CommitConflictError, DekerGenerationError):
                pass
            except DekerIntegrityError as error:  # a version that was pinned or current is gone
                talk(f"a change failed: {error}")


def _deleted_under_a_snapshot(talk: Talk, collection: Any, value: int) -> None:
    array = collection.create(id_=id_of(str(value)))
    array[:].update(value)
    with array.snapshot() as moment:
        array.delete()
        time.sleep(0.02)
        _forget_files(array.parent)
        seen = set(tiles_of(moment[:].read()).values())
        if seen != {value}:
            talk(f"a snapshot of a deleted array held {value}, now {seen}")


def reader(talk: Talk, root: str, seed: int) -> None:
    """Read what is there now; without a grace time a read may be overtaken, but never be wrong."""
    chance = random.Random(seed)
    with open_client(root) as client:
        arrays = [array_of(client, name) for name in _NAMES]
        talk("ready")
        while not talk.asked():
            _forget_files(client)
            try:
                seen = tiles_of(chance.choice(arrays)[:].read())
            except DekerIntegrityError as error:
                if "swept" not in str(error):
                    talk(f"a read failed: {error}")
            else:
                if TORN in seen.values():
                    talk(f"a torn tile: {seen}")


def holder(talk: Talk, root: str, seed: int) -> None:
    """Keep snapshots of now and of kept generations; what they hold must never change."""
    chance = random.Random(seed)
    with open_client(root) as client:
        arrays = [array_of(client, name) for name in _NAMES]
        talk("ready")
        held: list[tuple[Any, dict[int, int]]] = []
        while not talk.asked():
            array = chance.choice(arrays)
            try:
                if chance.random() < 0.5:
                    moment = array.snapshot()
                else:
                    moment = array.at(chance.choice(array.history()).number)
            except DekerGenerationError:
                continue  # it was the oldest, and went between the two calls
            try:
                held.append((moment, tiles_of(moment[:].read())))
                while len(held) > _HELD:
                    old, expected = held.pop(chance.randrange(len(held)))
                    _forget_files(client)
                    with old:
                        seen = tiles_of(old[:].read())
                    if seen != expected:
                        talk(f"{old} held {expected}, now {seen}")
            except (
                DekerIntegrityError,
                DekerGenerationError,
                DekerInstanceNotExistsError,
            ) as error:
                talk(f"a snapshot cannot be read: {error}")
                held.clear()
        for moment, _ in held:
            moment.close()


def sweeper(talk: Talk, root: str) -> None:
    """Sweep all the time, beside the sweepers of all others; killed now and then on the way."""
    with open_client(root) as client:
        talk("ready")
        while not talk.asked():
            sweep_now(client)
            time.sleep(0.005)


def _forget_files(opened: Any) -> None:
    """Close what is open: a deleted file can be read for as long as somebody has it open."""
    opened.session.tiles.close()


def run(context: RunContext) -> RowResult:
    wanted = context.count(200, least=4)
    root = context.folder / "d"
    done = 0
    with storage(root, garbage_grace_s=0) as client:
        for name in _NAMES:
            make_array(client, name, tiles=_TILES, retention=_KEPT)
        while done < wanted and len(context.failures) < 5:
            kills = min(_ROUNDS, wanted - done)
            _disturbed(context, root, kills, done)
            done += kills
            _look(context, root, client)
            context.progress(f"{done} kills, {len(stored_files(root))} files at rest")
        commits = sum(array_of(client, name).generation for name in _NAMES)
        context.check(commits, "nothing was ever written")
    return context.result(done, commits=commits)


def _disturbed(context: RunContext, root: Path, kills: int, before: int) -> None:
    with children() as kids:

        def start(kind: str) -> Child:
            seed = context.rng.randrange(1 << 32)
            first = 1000 * (1000 * before + len(kids))
            bodies: dict[str, Callable[[], Child]] = {
                "writer": lambda: Child(writer, str(root), first, seed, ttl_s=_TTL_S),
                "reader": lambda: Child(reader, str(root), seed),
                "holder": lambda: Child(holder, str(root), seed, ttl_s=_TTL_S),
                "sweeper": lambda: Child(sweeper, str(root), points=_SWEEPS, seed=str(seed)),
            }
            kids.append(bodies[kind]())
            return kids[-1]

        kinds = ["writer", "writer", "sweeper", "sweeper", "holder", "holder", "reader"]
        running = [start(kind) for kind in kinds]
        made = 0
        while made < kills and len(context.failures) < 5:
            time.sleep(context.rng.uniform(0.05, 0.5))
            at = context.rng.randrange(len(kinds))
            running[at].kill()
            made += 1
            for at, kid in enumerate(running):
                _listen(context, kid, kid.waiting())
                if kid.over or kid.ended():
                    _listen(context, kid, kid.rest())
                    running[at] = start(kinds[at])
        for kid in running:
            kid.send("end")
        for kid in running:
            _listen(context, kid, kid.rest())


def _listen(context: RunContext, kid: Child, said: Any) -> None:
    for text in said:
        context.check(text == "ready", str(text))


def _look(context: RunContext, root: Path, client: Client) -> None:
    """With everything at rest: what is named is there, and nothing else is."""
    settle(client)
    for problem in problems(client):
        context.check(False, f"at rest: {problem}")
    # Histories end by their age: then only the present generation needs its files.
    collection = client.get_collection("grids")
    assert collection is not None
    time.sleep(0.35)
    settle(client)
    registry = client.session.registry
    named = set()
    for array in collection:
        kept = registry.kept_versions([array.id])[array.id]
        entries = {*registry.all_entries(array.id).values.items(), *kept}
        named |= {
            (array.id, ordinal, TileEntry.unpack(packed).version) for ordinal, packed in entries
        }
    # Whatever waits for its time is garbage that no sweep has seen yet, or a pin's.
    files = stored_files(root)
    context.check(named <= files, f"deleted though they are named: {sorted(named - files)[:5]}")
    context.check(files <= named, f"orphans: {sorted(files - named)[:5]}")


ROW = Row(
    number=13,
    promise="collection is safe",
    runs="200",
    run=run,
    sabotage="garbage does not look at pins",
)
