"""Shapes of JSON documents: what scripts rely on. Pure (no I/O)."""

from __future__ import annotations

from typing import Any

number = (int, float)
text = str
flag = bool
maybe = type(None)


def check(value: Any, shape: Any, place: str = "") -> None:
    """Make sure that a document is of a shape, and has no other names.

    A shape is a type or a tuple of types, ``[shape]`` for a list, ``{name: shape}`` for an object
    with just these names, ``{str: shape}`` for one with any names, or None for anything.
    """
    where = place or "the document"
    if shape is None:
        return
    if isinstance(shape, list):
        assert isinstance(value, list), f"{where} is {value!r}"
        for at, item in enumerate(value):
            check(item, shape[0], f"{place}[{at}]")
    elif isinstance(shape, dict):
        assert isinstance(value, dict), f"{where} is {value!r}"
        if list(shape) == [str]:
            for name, item in value.items():
                check(item, shape[str], f"{place}.{name}")
            return
        assert value.keys() == shape.keys(), f"{where} has {sorted(value)}, not {sorted(shape)}"
        for name, part in shape.items():
            check(value[name], part, f"{place}.{name}")
    else:
        kinds = shape if isinstance(shape, tuple) else (shape,)
        assert isinstance(value, kinds), f"{where} is {value!r}, not {kinds}"
        assert bool in kinds or not isinstance(value, bool), f"{where} is {value!r}, not {kinds}"
