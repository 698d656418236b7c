"""Was a history of reads and writes of one array possible if each had happened at one instant?

The model is an array of tiles. A write puts one value of its own into some tiles, all at once; a
read returns the values of some tiles, all of one moment. Each operation takes effect somewhere
between its beginning and its end. The search goes through the events in the order of time and
keeps all states that are possible so far; it takes a write as late as it can: when the write
itself, or a read that saw it, ends (Lowe, "Testing for linearizability", 2017, calls this
just-in-time linearization). Values are unique, so what nobody saw of a write with an unknown
outcome can be left out, and what was seen must have been there when the first such read ended.
"""

from __future__ import annotations

import enum
import time
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Operation", "Outcome", "Verdict", "check_generations", "check_history"]

INITIAL = 0
"""What a tile holds that nobody has written."""

_STATE_LIMIT = 200_000


class Outcome(enum.Enum):
    """What the caller of an operation knows of it."""

    OK = "ok"
    FAILED = "failed"
    """It did not take place, and never will."""
    UNKNOWN = "unknown"
    """A write that may have taken place, or take place later."""


@attrs.frozen(eq=False)
class Operation:
    """One call of a client."""

    client: int
    kind: str
    """``"read"`` or ``"write"``."""
    begin: int
    """When it was called: any clock that all clients share."""
    end: int | None
    """When it returned; None: it never did."""
    tiles: Mapping[int, int]
    """Tile -> value that was written or read."""
    outcome: Outcome = Outcome.OK
    generation: int | None = None
    """Of the array, as far as the call told."""

    def __str__(self) -> str:
        when = f"{self.begin}..{'' if self.end is None else self.end}"
        return f"client {self.client} {self.kind} {dict(self.tiles)} [{when}] {self.outcome.value}"


@attrs.frozen
class Verdict:
    """What a check came to."""

    ok: bool | None
    """None: not decided within the limits."""
    reason: str = ""


_State = tuple[tuple[int, ...], frozenset[int]]
"""Values of the tiles, and which of the operations under way have taken effect."""


def check_history(operations: Iterable[Operation], *, tiles: int, limit_s: float = 60.0) -> Verdict:
    """Say whether a history of one array of `tiles` tiles is linearizable.

    Parameters
    ----------
    operations
        In any order. Reads that failed may be left out.
    limit_s
        After this time the verdict is "not decided".
    """
    history = list(operations)
    strange = _impossible_value(history)
    if strange:
        return Verdict(ok=False, reason=strange)
    return _Search(_bounded(history), tiles, limit_s).run()


def check_generations(operations: Iterable[Operation]) -> Verdict:
    """Check reads that know their generation: one content each, and never backwards in time."""
    seen: dict[tuple[int, int], tuple[int, Operation]] = {}
    reads = [
        each
        for each in operations
        if each.kind == "read" and each.outcome is Outcome.OK and each.generation is not None
    ]
    for read in reads:
        for tile, value in read.tiles.items():
            before = seen.setdefault((read.generation or 0, tile), (value, read))
            if before[0] != value:
                return Verdict(
                    ok=False, reason=f"one generation, two contents: {before[1]}; {read}"
                )
    newest, newest_read = -1, None
    ended = sorted(reads, key=lambda read: read.end or 0)
    at = 0
    for read in sorted(reads, key=lambda read: read.begin):
        while at < len(ended) and (ended[at].end or 0) < read.begin:
            if (ended[at].generation or 0) > newest:
                newest, newest_read = ended[at].generation or 0, ended[at]
            at += 1
        if (read.generation or 0) < newest:
            return Verdict(ok=False, reason=f"back in time: {newest_read}, later {read}")
    return Verdict(ok=True)


def _impossible_value(history: Sequence[Operation]) -> str:
    """Find a read of what was never written, or of what certainly did not take place."""
    writers: dict[tuple[int, int], Operation] = {}
    for each in history:
        if each.kind == "write":
            for tile, value in each.tiles.items():
                if (tile, value) in writers:
                    raise ValueError(f"value {value} was written twice: {each}")
                writers[tile, value] = each
    for each in history:
        if each.kind != "read" or each.outcome is not Outcome.OK:
            continue
        for tile, value in each.tiles.items():
            writer = writers.get((tile, value))
            if value != INITIAL and writer is None:
                return f"tile {tile} held {value}, which nobody wrote: {each}"
            if writer is not None and writer.outcome is Outcome.FAILED:
                return f"a write that had failed was seen: {writer}; {each}"
            if writer is not None and each.end is not None and each.end < writer.begin:
                return f"seen before it was written: {writer}; {each}"
    return ""


def _bounded(history: Sequence[Operation]) -> list[Operation]:
    """Give writes without an outcome an end: the first read that saw them; drop the unseen."""
    first_seen: dict[tuple[int, int], int] = {}
    for each in history:
        if each.kind == "read" and each.outcome is Outcome.OK and each.end is not None:
            for place in each.tiles.items():
                first_seen[place] = min(first_seen.get(place, each.end), each.end)
    kept = []
    for each in history:
        if each.kind == "read":
            if each.outcome is Outcome.OK and each.end is not None:
                kept.append(each)
        elif each.outcome is Outcome.OK and each.end is not None:
            kept.append(each)
        elif each.outcome is not Outcome.FAILED:
            seen = [first_seen[place] for place in each.tiles.items() if place in first_seen]
            if seen:
                kept.append(attrs.evolve(each, end=min(seen), outcome=Outcome.OK))
    return kept


class _Search:
    def __init__(self, operations: Sequence[Operation], tiles: int, limit_s: float) -> None:
        self._operations = operations
        self._give_up = time.monotonic() + limit_s
        self._states: set[_State] = {((INITIAL,) * tiles, frozenset())}
        self._writes: set[int] = set()
        self._reads: set[int] = set()
        self._to_see: dict[tuple[int, int], set[int]] = {}
        """(tile, value) -> the reads of it that have not ended, those to come included."""
        for number, each in enumerate(operations):
            if each.kind == "read":
                for place in each.tiles.items():
                    self._to_see.setdefault(place, set()).add(number)

    def run(self) -> Verdict:
        events = []
        for number, each in enumerate(self._operations):
            # At the same time beginnings come first: such operations count as concurrent.
            events.append((each.begin, 0, number))
            events.append((each.end or 0, 1, number))
        for _, kind, number in sorted(events):
            each = self._operations[number]
            under_way = self._writes if each.kind == "write" else self._reads
            if kind == 0:
                under_way.add(number)
                continue
            before = self._states
            after = self._after(number)
            if after is None:
                return Verdict(ok=None, reason=f"not decided: too many possibilities at {each}")
            if not after:
                tiles = sorted({state[0] for state in before})[:4]
                return Verdict(ok=False, reason=f"impossible: {each}; the tiles could be {tiles}")
            self._states = after
            under_way.discard(number)
            if each.kind == "read":
                for place in each.tiles.items():
                    self._to_see[place].discard(number)
        return Verdict(ok=True)

    def _after(self, number: int) -> set[_State] | None:
        """Return the states in which an operation has taken effect; it is then forgotten."""
        results: set[_State] = set()
        known = set(self._states)
        todo = list(known)
        while todo:
            if len(known) > _STATE_LIMIT or time.monotonic() > self._give_up:
                return None
            state = todo.pop()
            tiles, done = state
            if number in done or self._matches(number, tiles):
                results.add((tiles, done - {number}))
                continue
            for write in self._writes - done:
                following = self._apply(write, state)
                if following is not None and following not in known:
                    known.add(following)
                    todo.append(following)
        return results

    def _matches(self, number: int, tiles: tuple[int, ...]) -> bool:
        each = self._operations[number]
        return each.kind == "read" and all(tiles[at] == value for at, value in each.tiles.items())

    def _apply(self, write: int, state: _State) -> _State | None:
        """Let a write take effect; None when a read could then never see what it has to see."""
        tiles, done = state
        # A read takes effect as soon as it can: that keeps nothing else from happening.
        seen = done | {read for read in self._reads if self._matches(read, tiles)}
        after = list(tiles)
        for at, value in self._operations[write].tiles.items():
            # A value never comes back.
            if not self._to_see.get((at, tiles[at]), set()) <= seen:
                return None
            after[at] = value
        return tuple(after), seen | {write}
