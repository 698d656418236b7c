"""Cells as pictures: for a file, or for a terminal."""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from deker_coordinator.cli.commands import Refused

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]
    Cells = npt.NDArray[Any]

__all__ = [
    "as_blocks",
    "as_letters",
    "bands_last",
    "limits",
    "pixels",
    "thinning",
    "write_png",
]

_BANDS = 3
_LETTERS = " .:-=+*#%@"
_SHARE = 2.0
"""Percent of the cells that may be beyond each end of the scale: a few of them must not make all
others look the same."""

# Five points of a scale from dark to bright whose brightness grows evenly.
_SCALE = np.array(
    [[13, 8, 60], [90, 24, 120], [188, 55, 84], [249, 142, 9], [252, 255, 200]], np.float64
)


def bands_last(cells: Cells) -> Cells:
    """Return cells of shape (y, x), or with three bands at the end.

    Raises
    ------
    Refused
        They are no picture.
    """
    shape = cells.shape
    if cells.dtype.kind not in "buif":
        raise Refused(f"cells of {cells.dtype} have no colours; choose an array of numbers")
    if 0 in shape:
        raise Refused("there are no cells in this slice")
    if len(shape) == 3 and shape[0] == _BANDS:
        return np.moveaxis(cells, 0, -1)
    if len(shape) == 2 or (len(shape) == 3 and shape[-1] == _BANDS):
        return cells
    raise Refused(
        f"a slice of shape {shape} is no picture: choose one position on all dimensions but two, "
        "as in 0, :, :, or leave a third one with three bands"
    )


def limits(cells: Cells) -> tuple[float, float]:
    """Return the values that are shown darkest and brightest; the few beyond them are cut off."""
    sound = cells[np.isfinite(cells)] if cells.dtype.kind == "f" else cells
    if not sound.size:
        return 0.0, 1.0
    low, high = np.percentile(sound.astype(np.float64, copy=False), [_SHARE, 100 - _SHARE])
    if low == high:
        low, high = float(sound.min()), float(sound.max())
    return float(low), float(high)


def pixels(cells: Cells, low: float, high: float) -> Pixels:
    """Return pixels (y, x, 3): colours of a scale, or the three bands; black for no number."""
    values = cells.astype(np.float64, copy=False)
    with np.errstate(invalid="ignore", over="ignore"):
        level = np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)
    known = np.isfinite(values)
    level = np.where(known, level, 0.0)
    if cells.ndim == 3:
        return np.rint(level * 255).astype(np.uint8)
    place = level * (len(_SCALE) - 1)
    colours = np.empty((*cells.shape, _BANDS), np.uint8)
    for band in range(_BANDS):
        found = np.interp(place, np.arange(len(_SCALE)), _SCALE[:, band])
        colours[..., band] = np.where(known, np.rint(found), 0)
    return colours


def write_png(path: Path, colours: Pixels) -> None:
    """Write pixels to a file in the format that its name says.

    Raises
    ------
    Refused
        Pillow is not installed, or knows no such format.
    """
    try:
        image: Any = importlib.import_module("PIL.Image")
    except ImportError as error:
        raise Refused("pictures in files need Pillow: pip install pillow") from error
    try:
        image.fromarray(colours).save(path)
    except ValueError as error:
        raise Refused(f"{path}: {error}; end its name in .png") from error


def as_blocks(colours: Pixels) -> Text:
    """Return lines for a terminal with colours, two rows of pixels in each."""
    text = Text(no_wrap=True)
    for row in range(0, len(colours), 2):
        upper = colours[row]
        lower = colours[row + 1] if row + 1 < len(colours) else np.zeros_like(upper)
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            style = Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below))
            text.append("\N{UPPER HALF BLOCK}", style)
        text.append("\n")
    return text


def as_letters(colours: Pixels) -> str:
    """Return lines of letters, brighter ones denser, of every other row: letters are tall."""
    bright = colours[::2].astype(np.float64).mean(axis=-1) / 255
    places = np.minimum((bright * len(_LETTERS)).astype(int), len(_LETTERS) - 1)
    return "\n".join("".join(_LETTERS[place] for place in row) for row in places.tolist())


def thinning(rows: int, columns: int, most_rows: int, most_columns: int) -> int:
    """Return the step with which so many rows and columns fit."""
    return max(1, math.ceil(rows / most_rows), math.ceil(columns / most_columns))
