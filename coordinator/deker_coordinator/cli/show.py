"""The command ``deker-cluster show``: a quick look at a slice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import numpy as np

from deker_cluster.client import Client
from deker_cluster.core.selection import AxisPoints, Selection
from deker_cluster.indexing import resolve_index
from deker_cluster.subset import Subset
from deker_coordinator.cli.commands import Refused, as_json_option, command, uri_argument
from deker_coordinator.cli.opening import array_of, collection_of, existing_address
from deker_coordinator.cli.output import console, emit
from deker_coordinator.cli.pictures import (
    as_blocks,
    as_letters,
    bands_last,
    limits,
    pixels,
    thinning,
    write_png,
)
from deker_coordinator.cli.slices import to_index

if TYPE_CHECKING:
    from deker_cluster.arrays import BaseArray

__all__ = ["show"]

_FILE_SIDE = 2048
_LETTERS_WIDE = 100
_LEAST_ROWS = 20
_LINES_BESIDE = 4
"""Of the terminal's height: the line below the picture, and the prompt."""


@command(short_help="Show a slice as a picture.")
@uri_argument
@click.argument("collection")
@click.argument("array")
@click.argument("slice_", metavar="SLICE", callback=to_index)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture file, such as x.png; needs Pillow.",
)
@as_json_option
def show(
    uri: str, collection: str, array: str, slice_: Any, output: Path | None, as_json: bool
) -> None:
    """Show a slice of two dimensions, or of three bands, as a picture: a quick look.

    SLICE is what stands between the brackets in Python, as in "0, :, :". Of a large one, every
    n-th cell is read, so that the picture fits the terminal, or 2048 pixels in a file. The scale
    goes from the second to the 98th percentile; what is no number is black.
    """
    if output is not None and not output.parent.is_dir():
        raise Refused(f"{output.parent} is no directory")
    existing_address(uri)
    terminal = console()
    if output is not None:
        room = (_FILE_SIDE, _FILE_SIDE)
    else:
        # A line shows two rows of pixels.
        columns = terminal.width if terminal.is_terminal else _LETTERS_WIDE
        room = (2 * max(_LEAST_ROWS, terminal.height - _LINES_BESIDE), columns)
    with Client(uri) as client:
        found = array_of(collection_of(client, collection), array)
        part, step = _thinned(found, slice_, room)
        cells = bands_last(np.asarray(part.read()))
    low, high = limits(cells)
    colours = pixels(cells, low, high)
    if output is not None:
        write_png(output, colours)
    document = {
        "array": found.id,
        "shape": list(cells.shape),
        "every": step,
        "dtype": str(cells.dtype),
        "darkest": low,
        "brightest": high,
        "file": None if output is None else str(output),
    }

    def render() -> None:
        if output is None and terminal.is_terminal and terminal.color_system is not None:
            terminal.print(as_blocks(colours), end="")
        elif output is None:
            click.echo(as_letters(colours))
        size = " x ".join(map(str, cells.shape))
        every = f", one of {step} in each direction" if step > 1 else ""
        where = "" if output is None else f"{output}: "
        click.echo(f"{where}{size} cells of {cells.dtype}{every}, from {low:g} to {high:g}")

    emit(document, as_json=as_json, render=render)


def _thinned(array: BaseArray, index: Any, room: tuple[int, int]) -> tuple[Subset, int]:
    """Return the part to read, with steps that make it fit, and the step."""
    selection = resolve_index(index, array.dimensions)
    kept = [place for place, axis in enumerate(selection.axes) if axis.keep]
    # Refused before anything is read.
    bands_last(np.broadcast_to(np.zeros((), array.dtype), selection.shape))
    if len(kept) == 3:
        kept.pop(0 if selection.shape[0] == 3 else 2)
    rows, columns = (selection.axes[place].count for place in kept)
    step = thinning(rows, columns, *room)
    axes = list(selection.axes)
    if step > 1:
        for place in kept:
            axis = axes[place]
            if isinstance(axis, AxisPoints):
                axes[place] = AxisPoints(axis.positions[::step])
            else:
                count = -(-axis.count // step)
                axes[place] = attrs.evolve(axis, count=count, step=axis.step * step)
    return Subset(array, Selection(tuple(axes), selection.bounds)), step
