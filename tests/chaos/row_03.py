"""No torn tile, no half update: writers of many tiles, readers of all, kills in between."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.chaos.bodies import group_reader, group_writer
from tests.chaos.rows import Row
from tests.kit.processes import Child, await_any, children
from tests.kit.storages import make_array, problems, settle, storage

if TYPE_CHECKING:
    from tests.chaos.rows import RowResult, RunContext

_TILES = 8
_NAMES = ["a", "b"]
_TTL_S = 0.5
_KILL_EVERY_S = 2.0
_VALUES = 10_000_000
"""Each writer has so many values of its own."""


class _Crowd:
    """Four writers and four readers at any time, and what they have done."""

    def __init__(self, context: RunContext, kids: list[Child]) -> None:
        self._context = context
        self._root = str(context.folder / "d")
        self._kids = kids
        self.commits = self.reads = self.kills = 0
        self._running = [self._start(kind) for kind in ["writer"] * 4 + ["reader"] * 4]

    def _start(self, kind: str) -> tuple[str, Child]:
        seed = self._context.rng.randrange(1 << 32)
        if kind == "writer":
            first = (len(self._kids) + 1) * _VALUES
            child = Child(group_writer, self._root, _NAMES, _TILES, first, seed, ttl_s=_TTL_S)
        else:
            child = Child(group_reader, self._root, _NAMES, seed)
        self._kids.append(child)
        return kind, child

    def listen(self) -> None:
        await_any([child for _, child in self._running], 0.2)
        for _, child in self._running:
            for said in child.waiting():
                self._note(said)

    def _note(self, said: object) -> None:
        if isinstance(said, int):
            self.commits += said
        elif isinstance(said, tuple):
            self.reads += said[0]
            for text in said[1]:
                self._context.check(False, f"mixed: {text}")

    def kill_one(self) -> None:
        at = self._context.rng.randrange(len(self._running))
        kind, child = self._running[at]
        child.kill()
        for said in child.rest():
            self._note(said)
        self._running[at] = self._start(kind)
        self.kills += 1

    def end(self) -> None:
        for _, child in self._running:
            child.send("end")
        for _, child in self._running:
            for said in child.rest():
                self._note(said)


def run(context: RunContext) -> RowResult:
    commits, reads = context.count(10_000, least=100), context.count(50_000, least=500)
    with storage(context.folder / "d", garbage_grace_s=5) as client, children() as kids:
        for name in _NAMES:
            make_array(client, name, tiles=_TILES)
        crowd = _Crowd(context, kids)
        kill_at = time.monotonic() + _KILL_EVERY_S / 2
        shown = 0
        while (crowd.commits < commits or crowd.reads < reads) and not context.failures:
            crowd.listen()
            if time.monotonic() > kill_at:
                crowd.kill_one()
                kill_at = time.monotonic() + _KILL_EVERY_S
            if crowd.commits // 2000 > shown:
                shown = crowd.commits // 2000
                context.progress(f"{crowd.commits} commits, {crowd.reads} reads")
        crowd.end()
        if not context.failures:
            settle(client)
            for problem in problems(client):
                context.check(False, f"at the end: {problem}")
    return context.result(
        crowd.commits, commits=crowd.commits, reads=crowd.reads, kills=crowd.kills
    )


ROW = Row(
    number=3,
    promise="no torn tile, no half update",
    runs="10,000 commits, 50,000 reads",
    run=run,
    sabotage="the commit is split in two: half of the tiles move some moments before the others",
)
