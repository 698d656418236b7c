"""The registry can be made again from the shards' disks, and what is deleted stays deleted."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pprint
import shutil
import signal
import time
import traceback
from typing import TYPE_CHECKING, Any

import psutil

from deker_cluster import AttributeSchema, DimensionSchema, VArraySchema
from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.integrity import check_integrity
from deker_cluster.rebuild.differences import canonical, differences
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.registry.opening import open_registry
from deker_cluster.uri import parse_uri
from deker_coordinator.recovery import rebuild
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, await_server_end, server_pid
from tests.kit.storage_plan import TILES, Array, State, Step, plan, states
from tests.kit.storages import cells_of, id_of, open_client, tiles_of

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client
    from deker_cluster.rebuild.state import RegistryState
    from tests.chaos.rows import RowResult, RunContext

_LENGTH = 30
_FLUSHED_AFTER_S = 3.0
_SETTLED = frozenset({"collection", "attribute", "delete", "drop", "empty", "both"})
"""Steps that are on the shards' disks before they are acknowledged, with all that came before."""

_SCHEMA = VArraySchema(
    dtype="int64",
    dimensions=[DimensionSchema("y", 2 * TILES), DimensionSchema("x", 3)],
    vgrid=(TILES, 1),
    fill_value=0,
    attributes=[AttributeSchema("number", int, False)],
)

Found = dict[str, dict[str, tuple[tuple[int, ...], int]]]
"""Collection -> array -> what its tiles hold, and its attribute."""


def work(talk: Talk, root: str, seed: int) -> None:
    """Do what is planned; say each step's number when it is acknowledged."""
    with open_client(root) as client:
        for number, step in enumerate(plan(seed, _LENGTH)):
            perform(client, step, number)
            talk(number)


def perform(client: Client, step: Step, number: int) -> None:
    if step.word == "collection":
        client.create_collection(step.collection, _SCHEMA)
        return
    collection: Any = client.get_collection(step.collection)
    if step.word == "drop":
        collection.delete()
    elif step.word == "empty":
        collection.clear()
    elif step.word == "make":
        collection.create(
            custom_attributes={"number": number}, id_=_id(step.collection, step.arrays[0])
        )
    else:
        arrays = [_array(collection, name) for name in step.arrays]
        with client.transaction() if step.word == "both" else contextlib.nullcontext():
            for array in arrays:
                _change(array, step)


def _change(array: Any, step: Step) -> None:
    cells = cells_of(step.first, step.last)
    if step.word == "clear":
        array[cells].clear()
    elif step.word == "attribute":
        array.update_custom_attributes({"number": step.value})
    elif step.word == "restore":
        array.restore(array.generation - 1)
    elif step.word == "delete":
        array.delete()
    else:
        array[cells].update(step.value)


def _id(collection: str, name: str) -> str:
    return id_of(f"{collection}/{name}")


def _array(collection: Any, name: str) -> Any:
    return collection.filter({"id": _id(collection.name, name)}).last()


def rebuild_it(talk: Talk, root: str) -> None:
    """Rebuild; whoever started this kills it on the way."""
    talk("begun")
    rebuild(parse_uri(f"file://{root}"))


def run(context: RunContext) -> RowResult:
    kinds: collections.Counter[str] = collections.Counter()
    runs = context.count(200, least=4)
    for number in range(runs):
        root = context.folder / f"d{number}"
        seed = context.rng.randrange(1 << 32)
        what = f"run {number}, plan {seed}"
        steps = plan(seed, _LENGTH)
        killed = context.rng.random() < 0.5
        with context.case(what, root):
            try:
                if killed:
                    before, done, flushed = None, *_killed(context, root, seed)
                else:
                    before, done, flushed = _to_the_end(root, steps), len(steps) - 1, len(steps)
                _lose_registry(root)
                if context.rng.random() < 0.3:
                    kinds["rebuilds killed"] += _killed_rebuild(context, root)
                rebuild(parse_uri(f"file://{root}"))
                _compare(context, root, what, steps, done, flushed, before)
            except (DekerBaseApplicationError, AttributeError) as error:
                # An array that is not there is None to those who look for it.
                text = "".join(traceback.format_exception(error))
                context.check(False, f"{what}: {text}")
            kinds["killed" if killed else "run to the end"] += 1
            _end_services(root)
        if len(context.failures) >= 20:
            break
        if number % 20 == 19:
            context.progress(f"{number + 1} registries rebuilt")
    return context.result(sum(kinds[word] for word in ("killed", "run to the end")), **kinds)


def _to_the_end(root: Path, steps: list[Step]) -> RegistryState:
    """Perform all steps, and return what the registry holds then."""
    with open_client(root) as client:
        for number, step in enumerate(steps):
            perform(client, step, number)
        return dump_state(client.session.registry)


def _killed(context: RunContext, root: Path, seed: int) -> tuple[int, int]:
    """Kill the writer on the way; return the last step done, and the last surely in a journal."""
    stop_after = context.rng.randrange(2, _LENGTH)
    said: list[tuple[int, float]] = []
    with Child(work, str(root), seed) as kid:
        while len(said) < stop_after and (number := kid.receive()) is not None:
            said.append((number, time.monotonic()))
        time.sleep(context.rng.choice((0, 0, context.rng.uniform(0, 0.01))))
        kid.kill()
        said += [(number, time.monotonic()) for number in kid.rest()]
    now = time.monotonic()
    old = [number for number, when in said if now - when > _FLUSHED_AFTER_S]
    return said[-1][0], max(old, default=-1)


def _end_services(root: Path) -> None:
    """Kill the keeper, and with it the server, instead of waiting until it sees that all left."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, OSError, IndexError):
        os.kill(psutil.Process(server_pid(root)).ppid(), signal.SIGKILL)
    await_server_end(root)


def _lose_registry(root: Path) -> None:
    _end_services(root)
    shutil.rmtree(root / "registry")


def _killed_rebuild(context: RunContext, root: Path) -> int:
    with Child(rebuild_it, str(root)) as kid:
        kid.receive()
        time.sleep(context.rng.uniform(0, 0.25))
        kid.kill()
    # Whether it was done is not for it to say: it may have been killed right after its last step.
    registry, leave = open_registry(parse_uri(f"file://{root}"))
    done = registry.cluster() is not None
    registry.close()
    leave()
    if done:
        _lose_registry(root)
    return not done


def _compare(
    context: RunContext,
    root: Path,
    what: str,
    steps: list[Step],
    done: int,
    flushed: int,
    before: RegistryState | None,
) -> None:
    with open_client(root) as client:
        after = dump_state(client.session.registry)
        found = _contents(client)
        with contextlib.redirect_stdout(io.StringIO()):
            report = check_integrity(client.session, level=4, stop_on_error=False)
        bad = [str(each) for each in report.findings if each.kind.name != "ORPHAN"]
        context.check(not bad, f"{what}: {bad}")
        if before is not None:
            both = {"before": canonical(before), "after": canonical(after)}
            other = f"{what}: other {list(differences(before, after))}"
            if not context.check(both["before"] == both["after"], other):
                for name, state in both.items():
                    (root / name).write_text(pprint.pformat(state))
        wrong = [
            _difference(found, state, steps, done, max(flushed, _settled(steps, done)))
            for state in states(steps)[done + 1 : done + 3]
        ]
        context.check("" in wrong, f"{what}, step {done} {steps[done]}: {wrong}")
        # What comes after it has names of its own.
        client.create_collection("after", _SCHEMA).create()[:].update(1)


def _contents(client: Client) -> Found:
    names = {
        _id(f"collection {i}", f"array {j}"): f"array {j}"
        for i in range(_LENGTH)
        for j in range(_LENGTH)
    }
    return {
        collection.name: {
            names[array.id]: (
                tuple(tiles_of(array[:].read()).values()),
                array.custom_attributes["number"],
            )
            for array in collection
        }
        for collection in client
    }


def _settled(steps: list[Step], done: int) -> int:
    """Return the last step, of those that are done, with which the journal came to the disks."""
    return max(number for number in range(done + 1) if steps[number].word in _SETTLED)


def _difference(found: Found, state: State, steps: list[Step], done: int, flushed: int) -> str:
    """Say in what the disks do not tell of a state; "" if they do.

    What was done without tile files since the journal last came to the disks may be missing: that
    an array without tiles was made, and what its attributes are now.
    """
    if found.keys() != state.keys():
        return f"collections {sorted(found)}, not {sorted(state)}"
    for collection, arrays in state.items():
        extra = found[collection].keys() - arrays.keys()
        if extra:
            return f"{collection}: {sorted(extra)} should not be there"
        for name, array in arrays.items():
            own = [
                step.value
                for step in steps[array.made : done + 2]
                if (step.word, step.collection, step.arrays) == ("attribute", collection, (name,))
            ]
            seen = found[collection].get(name)
            problem = _array_difference(seen, array, [array.made, *own], flushed)
            if problem:
                return f"{collection}, {name}: {problem}"
    return ""


def _array_difference(
    seen: tuple[tuple[int, ...], int] | None, array: Array, attributes: list[int], flushed: int
) -> str:
    tiles = tuple(each or 0 for each in array.tiles)
    if seen is None:
        return "" if array.made > flushed and len(array.past) == 1 else f"missing, {tiles}"
    if seen[0] != tiles:
        return f"tiles {seen[0]}, not {tiles}"
    surely = max((value for value in attributes if value <= flushed), default=array.made)
    allowed = [value for value in attributes if value >= surely]
    return "" if seen[1] in allowed else f"attribute {seen[1]}, not one of {allowed}"


ROW = Row(
    number=7,
    promise="the registry can be rebuilt from disks",
    runs="200 small",
    run=run,
    sabotage="a rebuild does not look at the deletes in the journal",
)
