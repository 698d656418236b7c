"""A paused writer cannot write: its lease ends, a rival commits, and it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster import failpoints
from deker_cluster.errors import CommitConflictError
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, children
from tests.kit.storages import array_of, cells_of, make_array, open_client, storage, tiles_of

if TYPE_CHECKING:
    from deker_cluster import Client
    from tests.chaos.rows import RowResult, RunContext

_TILES = 4
_TTL_S = 0.5
_LANES = 4
_PAUSES = ("lease.granted", "stage.written", "stage.renamed", "stage.done", "commit.ask")


def paused_writer(talk: Talk, root: str, name: str) -> None:
    """Make the writes that it is told to, stop in each at a failpoint, and tell what came of it."""
    with open_client(root) as client:
        array = array_of(client, name)
        talk("ready")
        while (wish := talk.recv()) is not None:
            point, value, clears, first, last = wish
            failpoints.configure(f"{point}=stop@1")
            try:
                if clears:
                    array[cells_of(first, last)].clear()
                else:
                    array[cells_of(first, last)].update(value)
            except CommitConflictError as refusal:
                talk(f"refused: {refusal}")
            else:
                talk("committed")


def run(context: RunContext) -> RowResult:
    wanted = context.count(200, least=4)
    root = context.folder / "d"
    refused = 0
    with storage(root, garbage_grace_s=1) as client, children() as kids:
        names = [f"lane {lane}" for lane in range(_LANES)]
        arrays = [make_array(client, name, tiles=_TILES) for name in names]
        for name in names:
            kids.append(Child(paused_writer, str(root), name, ttl_s=_TTL_S))
            kids[-1].receive()
        done = 0
        while done < wanted and len(context.failures) < 20:
            plans = []
            for array, kid in zip(arrays, kids, strict=True):
                plans.append(_begin(context, array, kid, done))
                done += 1
            for array, kid, plan in zip(arrays, kids, plans, strict=True):
                refused += _end(context, client, array, kid, plan)
            if done % 40 < _LANES:
                context.progress(f"{done} pauses, {refused} refused")
        for kid in kids:
            kid.send(None)
            kid.rest()
    return context.result(done, refused=f"{refused} of {done}")


def _begin(context: RunContext, array, kid: Child, number: int) -> tuple[int, int, int, bool, str]:
    """Set the tiles, and let the writer run into its pause."""
    value = 2 * number
    first = context.rng.randrange(_TILES - 1)
    last = context.rng.randrange(first + 1, _TILES + 1)
    # A tile that was cleared again has the entry that the writer saw: only its token is wrong. By
    # turns, not by chance: a short run must have some of these.
    returns = (number + number // _LANES) % 2 == 0
    if returns:
        array[:].clear()
    else:
        array[:].update(value + 1)
    point = context.rng.choice(_PAUSES)
    clears = point in ("lease.granted", "commit.ask") and context.rng.random() < 0.3
    kid.send((point, value + 2, clears, first, last))
    what = f"pause {number} at {point}, {'clear' if clears else 'update'} of {first}...{last - 1}"
    return value, first, last, returns, what


def _end(context: RunContext, client: Client, array, kid: Child, plan) -> int:
    value, first, last, returns, what = plan
    kid.await_stop()
    # The rival waits for the paused writer's lease to end.
    overlap = context.rng.randrange(first, last)
    array[cells_of(overlap, _TILES)].update(-value - 5)
    if returns:
        array[:].clear()
    before = tiles_of(array[:].read())
    kid.wake()
    said = kid.receive()
    ok = context.check(said.startswith("refused"), f"{what}: {said}")
    after = tiles_of(array[:].read())
    context.check(after == before, f"{what}: the rival wrote {before}, there is {after}")
    return int(ok)


ROW = Row(
    number=4,
    promise="a paused writer cannot write",
    runs="200",
    run=run,
    sabotage="the commit does not look at the lease and its token",
)
