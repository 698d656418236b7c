"""Random data for ``update``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

if TYPE_CHECKING:
    from random import Random

    from tests.parity.draw_schema import Schema

__all__ = ["Data", "bad_data", "draw_data", "peculiar_data", "whole_data"]

_NATURAL = {"int64": "int", "float64": "float", "complex128": "complex"}


@attrs.frozen
class Data:
    """What ``update`` is given.

    Parameters
    ----------
    text
        As the user writes it.
    plain
        The same in a form that Deker takes, if it does not take this one.
    about
        What is peculiar about it.
    """

    text: str
    plain: str | None = None
    about: str | None = None


def whole_data(random: Random, schema: Schema) -> str:
    """Return data for all cells of an array, none of them the fill value."""
    return f"cells({schema.shape}, {schema.dtype}, {random.randrange(10**6)}, 1, 100)"


def draw_data(random: Random, schema: Schema, shape: tuple[int, ...]) -> Data:
    """Draw data that both sides take."""
    numbers = f"cells({shape}, {schema.dtype}, {random.randrange(10**6)})"
    natural = schema.numpy_dtype.name in _NATURAL and schema.numpy_dtype.char not in "qQ"
    choice = random.random()
    if choice < 0.15 and natural:
        return Data(f"{numbers}.tolist()")
    if choice < 0.3 and (shape == () or not schema.virtual):
        return Data(random.choice(("3", "np.int8(3)" if not shape else "5", "True", "4.0")))
    if choice < 0.4:
        return Data(f"np.asfortranarray({numbers})" if shape else numbers)
    if choice < 0.5 and shape:
        return Data(f"{numbers}[::-1]")
    return Data(numbers)


def peculiar_data(random: Random, schema: Schema, shape: tuple[int, ...]) -> Data:
    """Draw data that Deker refuses although no value would change."""
    kind, dtype, size = schema.numpy_dtype.kind, schema.dtype, schema.numpy_dtype.itemsize
    count = int(np.prod(shape))
    choices = [_listed(random, schema, shape)]
    if schema.virtual and count > 1:
        choices.append(Data("3", f"np.full({shape}, 3, {dtype})", "scalar into a virtual array"))
    if kind == "f":
        choices.append(Data("float('nan')", f"np.full({shape}, np.nan, {dtype})", "NaN scalar"))
        if size < 8:
            choices.append(Data("0.1", f"np.full({shape}, 0.1, {dtype})", "rounded scalar"))
    if size > 1 and kind != "c" and size < 16:
        numbers = f"cells({shape}, {dtype}, {random.randrange(10**6)})"
        swapped = f"{numbers}.astype(np.dtype({dtype}).newbyteorder())"
        choices.append(Data(swapped, numbers, "other byte order"))
    smaller = {"i": "np.int8", "u": "np.uint8", "f": "np.float16", "c": "np.complex64"}[kind]
    if np.dtype(smaller[3:]) != schema.numpy_dtype:
        numbers = f"cells({shape}, {smaller}, {random.randrange(10**6)}, 1, 9)"
        choices.append(Data(numbers, f"{numbers}.astype({dtype})", "array of a smaller dtype"))
        choices.append(choices[-1])
    return random.choice(choices)


def _listed(random: Random, schema: Schema, shape: tuple[int, ...]) -> Data:
    numbers = f"cells({shape}, np.int64, {random.randrange(10**6)}, 1, 9).tolist()"
    if schema.numpy_dtype.char in "lq" and schema.numpy_dtype.name == "int64":
        numbers = numbers.replace("np.int64", "float").replace(", 1, 9)", ", 1, 9).round()")
    return Data(numbers, f"np.asarray({numbers}, {schema.dtype})", "list of other numbers")


def bad_data(random: Random, schema: Schema, shape: tuple[int, ...]) -> Data:
    """Draw data that neither side takes."""
    wider = (*shape, 2)
    choices = [
        Data("None"),
        Data(f"cells({wider}, {schema.dtype}, 1)"),
        Data(f"np.full({shape}, 'a')"),
        Data("'text'", about="text"),
        Data("object()", about="object"),
        Data("{'a': 1}", about="object"),
        Data(f"np.full({shape}, None)"),
        Data("[[1, 2], [3]]", about="ragged list"),
    ]
    kind = schema.numpy_dtype.kind
    if kind in "iu":
        choices += [Data("1.5"), Data(f"cells({shape}, float, 1)"), Data("10**30", about="huge")]
    if kind != "c":
        choices += [Data("1j"), Data(f"cells({shape}, complex, 1)")]
    if schema.numpy_dtype.name in ("int8", "uint8"):
        choices.append(Data("300"))
    return random.choice(choices)
