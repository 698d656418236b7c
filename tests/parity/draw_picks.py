"""Random lists, masks and steps: several cells of a dimension in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from random import Random

    from tests.parity.draw_schema import Axis, Schema

__all__ = ["Points", "points"]


@attrs.frozen
class Points:
    """An index that picks any cells of one or more dimensions, each by itself.

    Parameters
    ----------
    text
        As the user writes it here.
    numpy
        The same for numpy.
    shape
        Of the result.
    unique
        Whether no cell is picked twice: only then it can be written.
    about
        Which form.
    """

    text: str
    numpy: str
    shape: tuple[int, ...]
    unique: bool
    about: str


def points(random: Random, schema: Schema) -> Points:
    """Draw such an index; dimensions at the end may be left out, and are taken whole."""
    last = random.randrange(len(schema.axes))
    picked = [
        _picked(random, axis) if number == last or random.random() < 0.3 else _whole(axis)
        for number, axis in enumerate(schema.axes[: last + 1])
    ]
    cells = [list(chosen) for _, chosen, _ in picked]
    cells += [list(range(axis.size)) for axis in schema.axes[last + 1 :]]
    return Points(
        text=", ".join(text for text, _, _ in picked),
        numpy=f"np.ix_({', '.join(map(str, cells))})",
        shape=tuple(len(chosen) for chosen in cells),
        unique=all(len(set(chosen)) == len(chosen) for chosen in cells),
        about=picked[-1][2],
    )


def _whole(axis: Axis) -> tuple[str, list[int], str]:
    return ":", list(range(axis.size)), "whole"


def _picked(random: Random, axis: Axis) -> tuple[str, list[int], str]:
    size = axis.size
    form = random.choice(("step", "step", "list", "array", "mask", "range", "coordinates"))
    cells = [random.randrange(size) for _ in range(random.randint(1, min(size, 5)))]
    if form == "step":
        step = random.choice((2, 3, -1, -1, -2))
        cells = list(range(size))[::step]
        return f"::{step}", cells, "step in a slice"
    if form == "mask":
        mask = [i in cells for i in range(size)]
        text = str(mask) if random.random() < 0.5 else f"np.array({mask})"
        return text, sorted(set(cells)), "mask"
    if form == "range":
        step = random.choice((1, 2, -1))
        cells = list(range(size))[::step]
        stop = -1 if step < 0 else size
        return f"range({cells[0]}, {stop}, {step})", cells, "range"
    if form == "coordinates" and axis.kind == "labels":
        return str([axis.labels[i] for i in cells]), cells, "list of coordinates"
    if form == "coordinates" and axis.kind == "scale":
        return str([axis.start + axis.step * i for i in cells]), cells, "list of coordinates"
    if form == "coordinates" and axis.kind == "time":
        assert axis.origin is not None
        instants = [(axis.origin + axis.delta * i).isoformat() for i in cells]
        return str(instants), cells, "list of coordinates"
    given = [i - random.choice((0, size)) for i in cells]
    return (str(given) if form != "array" else f"np.array({given})"), cells, "list of positions"
