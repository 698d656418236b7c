"""A commit happens once: its reply is lost, its request is lost, or the link goes down for long."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

from deker_cluster.errors import CommitStateUnknownError, DekerBaseApplicationError
from tests.chaos.rows import Row
from tests.kit.proxy import Fate, Proxy, socket_of, through
from tests.kit.storages import cells_of, make_array, open_client, storage, tiles_of

if TYPE_CHECKING:
    from deker_cluster import Client, VArray
    from tests.chaos.rows import RowResult, RunContext

_TILES = 6
_ARRAYS = 4
_DEADLINE_S = 0.25
_FATES = (Fate.LOSE_REPLY, Fate.LOSE_REPLY, Fate.LOSE_REQUEST)


def run(context: RunContext) -> RowResult:
    root = context.folder / "d"
    kinds: collections.Counter[str] = collections.Counter()
    with (
        storage(root, garbage_grace_s=0) as direct,
        Proxy(lambda: socket_of(root)) as proxy,
        open_client(root) as unlucky,
    ):
        arrays = [make_array(direct, f"array {number}", tiles=_TILES) for number in range(_ARRAYS)]
        through(unlucky.session.registry, proxy)
        found = unlucky.get_collection("grids")
        assert found is not None
        handles = {array.id: array for array in found}
        cuts = context.count(500, least=10)
        for number in range(cuts):
            array = context.rng.choice(arrays)
            kinds += _cut_commit(context, direct, proxy, array, handles[array.id], number + 1)
            if number % 100 == 99:
                context.progress(f"{number + 1} commits with lost messages")
            if len(context.failures) >= 20:
                break
        outages = context.count(20, least=3)
        through(unlucky.session.registry, proxy, _DEADLINE_S)
        for number in range(outages):
            # Its lease stays until it ends by itself: every outage has an array of its own.
            array = make_array(direct, f"outage {number}", tiles=_TILES)
            handle: Any = found.filter({"id": array.id}).last()
            kinds += _outage(context, direct, unlucky, proxy, array, handle, number)
    return context.result(cuts + outages, **kinds)


def _state(direct: Client, array: VArray) -> tuple[int, int, dict[int, bytes]]:
    """Return generation, number of changes told of, and manifest of an array."""
    registry = direct.session.registry
    now = registry.all_entries(array.id)
    collection = direct.get_collection("grids")
    assert collection is not None
    page = registry.changes(collection.id, 0, 100_000)
    told = sum(each.array_id == array.id for each in page.items)
    return now.generation, told, now.values


def _seen(array: VArray) -> dict[int, Any]:
    """Return what the tiles hold; a commit that was undone after it took place lost them."""
    try:
        return dict(tiles_of(array[:].read()))
    except DekerBaseApplicationError as error:
        return {-1: str(error)}


def _cut_commit(
    context: RunContext, direct: Client, proxy: Proxy, array: VArray, handle: Any, value: int
) -> collections.Counter[str]:
    """Update tiles while messages of the commit, or of the lease, are lost."""
    first = context.rng.randrange(_TILES)
    last = context.rng.randrange(first + 1, _TILES + 1)
    wanted = b"deker1_acquire" if context.rng.random() < 0.1 else b"deker1_commit"
    fates = [context.rng.choice(_FATES) for _ in range(context.rng.choice((1, 1, 1, 2, 3)))]
    if Fate.LOSE_REPLY not in fates:
        fates[0] = Fate.LOSE_REPLY
    left = list(fates)

    def decide(request: bytes) -> Fate:
        return left.pop() if left and wanted in request else Fate.ON

    before = _state(direct, array)
    expected = {**_seen(array), **dict.fromkeys(range(first, last), value)}
    proxy.decide = decide
    what = f"update {value} of tiles {first}...{last - 1} ({wanted.decode()}: {len(fates)} lost)"
    try:
        handle[cells_of(first, last)].update(value)
    except DekerBaseApplicationError as error:
        context.check(False, f"{what}: {type(error).__name__}: {error}")
    finally:
        proxy.decide = lambda _: Fate.ON
    after = _state(direct, array)
    context.check(not left, f"{what}: {len(left)} messages were not lost")
    context.check(after[0] == before[0] + 1, f"{what}: generation {before[0]} -> {after[0]}")
    context.check(after[1] == before[1] + 1, f"{what}: {after[1] - before[1]} changes were told")
    context.check(_seen(array) == expected, f"{what}: the tiles hold {_seen(array)}")
    held = [lock for lock in direct.session.registry.locks() if lock.array_id == array.id]
    context.check(not held, f"{what}: {held} is left")
    return collections.Counter({f"lost at {wanted.decode()[7:]}": 1})


def _outage(
    context: RunContext,
    direct: Client,
    unlucky: Client,
    proxy: Proxy,
    array: VArray,
    handle: Any,
    number: int,
) -> collections.Counter[str]:
    """Let the link go down at the commit, for longer than the client's patience."""
    fate = context.rng.choice((Fate.LOSE_REPLY, Fate.LOSE_REQUEST, Fate.HOLD))
    what = f"outage {number}, {fate.name}"
    begun = False

    def decide(request: bytes) -> Fate:
        nonlocal begun
        if b"deker1_commit" in request and not begun:
            begun = True
            proxy.down.set()
            return fate
        return Fate.ON

    array[:].update(1)
    before = _state(direct, array)
    proxy.decide = decide
    operation = ""
    try:
        handle[:].update(2)
        context.check(False, f"{what}: the update claims to have succeeded")
    except CommitStateUnknownError as unknown:
        operation = unknown.operation_id
    except DekerBaseApplicationError as error:
        context.check(False, f"{what}: {type(error).__name__}: {error}")
    finally:
        proxy.decide = lambda _: Fate.ON
        proxy.down.clear()
    if not operation:
        return collections.Counter({"outages": 1})
    committed = fate is Fate.LOSE_REPLY
    # A request that was held arrives before or after somebody asks what became of it.
    if fate is Fate.HOLD and context.rng.random() < 0.5:
        proxy.release()
        committed = True
    answer = unlucky.session.registry.outcome(operation)
    expected = {array.id: before[0] + 1} if committed else None
    context.check(answer == expected, f"{what}: the outcome is {answer}, not {expected}")
    proxy.release()
    after = _state(direct, array)
    moved = int(committed)
    context.check(
        (after[0], after[1]) == (before[0] + moved, before[1] + moved),
        f"{what}: generation and changes {before[:2]} -> {after[:2]}",
    )
    seen = set(_seen(array).values())
    context.check(seen == {1 + moved}, f"{what}: the tiles hold {seen}")
    return collections.Counter({"outages": 1, f"link down: {fate.name.lower()}": 1})


ROW = Row(
    number=10,
    promise="a commit happens once",
    runs="500 lost replies, 20 outages",
    run=run,
    sabotage="the server ignores operation ids",
)
