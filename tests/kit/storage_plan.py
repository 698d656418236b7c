"""Random programs on a storage, and what has to be there after each of their steps. Pure."""

from __future__ import annotations

import random
from typing import NamedTuple

import attrs

__all__ = ["TILES", "Array", "State", "Step", "plan", "states"]

TILES = 3

Tiles = tuple[int | None, ...]


class Step(NamedTuple):
    """One call."""

    word: str
    collection: str
    arrays: tuple[str, ...] = ()
    first: int = 0
    last: int = 0
    value: int = 0


@attrs.frozen
class Array:
    """One array."""

    past: tuple[Tiles, ...]
    """What the tiles held in each generation; None for a tile that is not there."""
    number: int
    """Its attribute."""
    made: int
    """Number of the step that made it."""

    @property
    def tiles(self) -> Tiles:
        return self.past[-1]

    def changed(self, tiles: Tiles) -> Array:
        return attrs.evolve(self, past=(*self.past, tiles))


State = dict[str, dict[str, Array]]

_WEIGHTS = {
    "collection": 1,
    "make": 3,
    "update": 10,
    "clear": 3,
    "attribute": 2,
    "both": 2,
    "restore": 2,
    "delete": 2,
    "empty": 0.5,
    "drop": 0.5,
}


def plan(seed: int, length: int) -> list[Step]:
    """Return a program that makes sense: it only touches what is there."""
    chance = random.Random(seed)
    steps = [Step("collection", "collection 0"), Step("make", "collection 0", ("array 1",))]
    state = states(steps)[-1]
    while len(steps) < length:
        word = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        step = _drawn(chance, word, state, len(steps))
        if step is not None:
            steps.append(step)
            state = after(state, step, len(steps) - 1)
    return steps


def _drawn(chance: random.Random, word: str, state: State, number: int) -> Step | None:
    if word == "collection":
        return Step(word, f"collection {number}")
    if not state:
        return None
    collection = chance.choice(sorted(state))
    if word == "make":
        return Step(word, collection, (f"array {number}",))
    if word in ("empty", "drop"):
        return Step(word, collection)
    arrays = sorted(state[collection])
    if len(arrays) < (2 if word == "both" else 1):
        return None
    first = chance.randrange(TILES)
    last = chance.randrange(first + 1, TILES + 1)
    chosen = tuple(chance.sample(arrays, 2 if word == "both" else 1))
    if word == "restore" and len(state[collection][chosen[0]].past) < 2:
        return None
    return Step(word, collection, chosen, first, last, number)


def states(steps: list[Step]) -> list[State]:
    """Return what is there before the first step, and after each."""
    found: list[State] = [{}]
    for number, step in enumerate(steps):
        found.append(after(found[-1], step, number))
    return found


def after(state: State, step: Step, number: int) -> State:
    """Return what is there after a step."""
    now = {name: dict(arrays) for name, arrays in state.items()}
    if step.word == "collection":
        now[step.collection] = {}
        return now
    if step.word == "drop":
        del now[step.collection]
        return now
    arrays = now[step.collection]
    if step.word == "empty":
        arrays.clear()
    elif step.word == "delete":
        del arrays[step.arrays[0]]
    elif step.word == "make":
        arrays[step.arrays[0]] = Array(((None,) * TILES,), number, number)
    elif step.word == "attribute":
        arrays[step.arrays[0]] = attrs.evolve(arrays[step.arrays[0]], number=number)
    else:
        for name in step.arrays:
            arrays[name] = _committed(arrays[name], step)
    return now


def _committed(array: Array, step: Step) -> Array:
    if step.word == "restore":
        return array.changed(array.past[-2])
    tiles = list(array.tiles)
    value = None if step.word == "clear" else step.value
    tiles[step.first : step.last] = [value] * (step.last - step.first)
    return array.changed(tuple(tiles))
