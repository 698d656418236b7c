"""A power cut loses nothing acknowledged: the order of system calls, and disks after a cut."""

from __future__ import annotations

import collections
import contextlib
import io
import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.integrity import check_integrity
from tests.chaos.rows import Row
from tests.kit import sabotage
from tests.kit.disk_model import Disk
from tests.kit.processes import await_server_end
from tests.kit.storages import array_of, cells_of, id_of, make_array, open_client, tiles_of
from tests.kit.syscalls import Call, ancestors, have_strace, read_log, run_traced

if TYPE_CHECKING:
    from tests.chaos.rows import RowResult, RunContext
    from tests.kit.disk_model import Inode

_TILES = 3
_STEPS = 24
_CUTS_PER_LOG = 20
_TILE = re.compile(r".*/tiles/.*/\d+-\d+\.h5")
_LOG = re.compile(r".*/registry/appendonlydir/.*\.incr\.aof")
_JOURNAL = re.compile(r".*/shards/s0/journal/[^/]+\.(jl|ck)")

State = dict[str, tuple[int, ...]]
Step = tuple[str, str, int, int, int]


def plan(seed: int) -> list[Step]:
    """Return what the writer is to do: (word, array, first tile, last, value)."""
    chance = random.Random(seed)
    steps: list[Step] = [("make", "array 0", 0, 0, 0)]
    there = ["array 0"]
    for number in range(1, _STEPS):
        word = chance.choices(("update", "clear", "make", "delete"), (8, 2, 2, 1))[0]
        if word == "make" or not there:
            there.append(f"array {number}")
            steps.append(("make", there[-1], 0, 0, 0))
            continue
        name = chance.choice(there)
        first = chance.randrange(_TILES)
        last = chance.randrange(first + 1, _TILES + 1)
        if word == "delete":
            there.remove(name)
        steps.append((word, name, first, last, number))
    return steps


def states(steps: list[Step]) -> list[State]:
    """Return what is there before the first step, and after each."""
    now: State = {}
    found = [now]
    for word, name, first, last, value in steps:
        now = dict(now)
        if word == "make":
            now[name] = (0,) * _TILES
        elif word == "delete":
            del now[name]
        else:
            tiles = list(now[name])
            tiles[first:last] = [value if word == "update" else 0] * (last - first)
            now[name] = tuple(tiles)
        found.append(now)
    return found


def write(root: str, seed: int) -> None:
    """Do what is planned; print the number of each step when it is acknowledged."""
    sabotage.apply_from_environment()
    with open_client(root) as client:
        for number, (word, name, first, last, value) in enumerate(plan(seed)):
            if word == "make":
                make_array(client, name, tiles=_TILES)
            elif word == "delete":
                array_of(client, name).delete()
            elif word == "update":
                array_of(client, name)[cells_of(first, last)].update(value)
            else:
                array_of(client, name)[cells_of(first, last)].clear()
            # Straight to the descriptor: the line of the log is the acknowledgement.
            sys.stdout.buffer.write(f"step {number}\n".encode())
            sys.stdout.buffer.flush()


def run(context: RunContext) -> RowResult:
    if not have_strace():
        raise AssertionError("this row needs strace, and the right to trace own processes")
    cuts = context.count(100, least=4)
    kinds: collections.Counter[str] = collections.Counter()
    done = 0
    while done < cuts and len(context.failures) < 20:
        number = done // _CUTS_PER_LOG
        seed = context.rng.randrange(1 << 32)
        what = f"log {number}, plan {seed}"
        root = context.folder / f"w{number}" / "d"
        root.parent.mkdir()
        log = context.folder / f"log{number}"
        with context.case(what, root.parent):
            run_traced(log, "tests.chaos.row_06", root, seed, **_environment(context))
            await_server_end(root)
            calls = read_log(log)
            disk = Disk(str(root.parent), calls)
            acknowledged = _acknowledged(calls)
            assert len(acknowledged) == _STEPS, f"{len(acknowledged)} steps were acknowledged"
            _check_order(context, what, calls, disk, plan(seed), acknowledged, kinds)
            for _ in range(min(_CUTS_PER_LOG, cuts - done)):
                _cut(context, f"{what}, cut {done}", disk, plan(seed), acknowledged, kinds)
                done += 1
        context.progress(f"{done} power cuts")
    return context.result(done, **kinds)


def _environment(context: RunContext) -> dict[str, str]:
    return {sabotage.VARIABLE: "6"} if context.sabotaged else {}


def _acknowledged(calls: list[Call]) -> list[int]:
    """Return the line of the log at which each step is acknowledged."""
    return [
        call.begin
        for call in calls
        if call.name == "write" and call.texts and re.fullmatch(r"step \d+\\n", call.texts[0])
    ]


def _check_order(
    context: RunContext,
    plan_name: str,
    calls: list[Call],
    disk: Disk,
    steps: list[Step],
    acknowledged: list[int],
    kinds: collections.Counter[str],
) -> None:
    """Look whether everything is synced before what may only come after it."""
    requests = [call for call in calls if call.name == "sendto" and call.texts]
    commits = [call.begin for call in requests if r"deker1_commit\r" in call.texts[0]]
    deletes = [call.begin for call in requests if r"deker1_delete_array\r" in call.texts[0]]
    tiles = [inode for inode in disk.inodes if _TILE.fullmatch(inode.path)]
    context.check(
        len(tiles) > len(acknowledged) // 4, f"{plan_name}: only {len(tiles)} tiles were written"
    )
    for tile in tiles:
        kinds["tiles in order"] += _tile_in_order(context, plan_name, disk, tile, commits)
    begin = 0
    for (word, name, *_), end in zip(steps, acknowledged, strict=True):
        what = f"{plan_name}: {word} {name}"
        between = [
            line for line in (commits if word != "delete" else deletes) if begin < line < end
        ]
        if word in ("update", "delete"):
            context.check(between, f"{what}: acknowledged without a request")
        if between:
            _check_logged(context, disk, _LOG, what, between[-1], end)
        # Tile files do not tell of these.
        if word == "delete" or (word == "clear" and between):
            _check_logged(context, disk, _JOURNAL, what, between[-1], end)
        begin = end


def _tile_in_order(
    context: RunContext, plan_name: str, disk: Disk, tile: Inode, commits: list[int]
) -> bool:
    """Bytes, sync, name, sync of the folder, names of the folders above, commit."""
    folder = disk.inode(str(Path(tile.path).parent))
    assert folder is not None
    name = Path(tile.path).name
    (named,) = [
        line
        for line, step in folder.names
        for what, inode in step
        if what == name and inode is tile
    ]
    written = max(line for line, _, _ in tile.writes)
    following = [line for line in commits if line > named]
    commit = min(following, default=1 << 62)
    well = context.check(
        written < named and tile.synced_between(written, named),
        f"{plan_name}: {tile.path}: not synced between its last byte and its name",
    )
    well &= context.check(
        folder.synced_between(named, commit),
        f"{plan_name}: {tile.path}: its folder was not synced between its name and the commit",
    )
    for path in ancestors(folder.path, disk.root):
        inner, outer = disk.inode(path), disk.inode(str(Path(path).parent))
        assert inner is not None
        assert outer is not None
        well &= context.check(
            outer.synced_between(inner.born, commit),
            f"{plan_name}: {path}: its name was not synced before the commit",
        )
    return well


def _check_logged(
    context: RunContext, disk: Disk, kind: re.Pattern[str], what: str, begin: int, end: int
) -> None:
    """Something was written to a file of this kind, and synced, between two lines."""
    for inode in disk.inodes:
        if kind.fullmatch(inode.path):
            written = [line for line, _, _ in inode.writes if begin < line < end]
            if written and inode.synced_between(min(written), end):
                return
    context.check(False, f"{what}: acknowledged before {kind.pattern} was written and synced")


def _cut(
    context: RunContext,
    cut_name: str,
    disk: Disk,
    steps: list[Step],
    acknowledged: list[int],
    kinds: collections.Counter[str],
) -> None:
    """Cut the power at a step's acknowledgement or some moments later, and look what is there."""
    number = context.rng.randrange(1, len(acknowledged))
    start = acknowledged[number]
    end = acknowledged[number + 1] if number + 1 < len(acknowledged) else start + 1
    cut = start if context.rng.random() < 0.4 else context.rng.randrange(start, end)
    luck = context.rng.choice((0.0, 0.0, 0.3, 0.7))
    copy = context.folder / cut_name.rsplit(", ", 1)[1].replace(" ", "")
    step = " ".join(map(str, steps[number]))
    what = f"{cut_name} at line {cut}, luck {luck}: after step {number} ({step})"
    disk.after_power_cut(cut, context.rng, luck, copy)
    allowed = states(steps)[number + 1 : number + 3]
    with context.case(what, copy):
        try:
            found = _look(context, copy / "d", what)
        except (DekerBaseApplicationError, AssertionError) as error:
            context.check(False, f"{what}: {type(error).__name__}: {error}")
        else:
            context.check(found in allowed, f"{what}: there is {found}, not one of {allowed}")
            there = "not there" if found == allowed[0] else "there"
            kinds[f"cuts: next step {there}"] += 1
        await_server_end(copy / "d")


def _look(context: RunContext, root: Path, what: str) -> State:
    """Return what a client finds, after a check of everything."""
    if not root.is_dir():
        raise AssertionError("the directory is gone")
    with open_client(root) as client:
        names: dict[str, Any] = {}
        for number in range(_STEPS):
            found = client.get_collection("grids")
            array = (
                found.filter({"id": id_of(f"array {number}")}).last() if found is not None else None
            )
            if array is not None:
                names[f"array {number}"] = tuple(tiles_of(array[:].read()).values())
        with contextlib.redirect_stdout(io.StringIO()):
            report = check_integrity(client.session, level=4, stop_on_error=False)
    # A write that was cut short leaves files; they are swept when their time has come.
    bad = [str(each) for each in report.findings if each.kind.name != "ORPHAN"]
    context.check(not bad, f"{what}: {bad}")
    return names


ROW = Row(
    number=6,
    promise="a power cut loses nothing acknowledged",
    runs="100 power cuts, the order of all system calls",
    run=run,
    sabotage="tile files are not synced",
)

if __name__ == "__main__":
    write(sys.argv[1], int(sys.argv[2]))
