"""Slices as text: what stands between the brackets of ``array[...]``, without running it."""

from __future__ import annotations

import ast
from types import EllipsisType
from typing import Any

import click

__all__ = ["Index", "parse_slice", "to_index"]

_LONGEST = 10_000

Index = int | float | str | slice | list[Any] | tuple[Any, ...] | EllipsisType


def to_index(ctx: click.Context, param: click.Parameter, value: str) -> Index:
    """Return the index that an argument means; the callback of such arguments."""
    try:
        return parse_slice(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def parse_slice(text: str) -> Index:
    """Return the index that a text means. Nothing of the text is run.

    Raises
    ------
    ValueError
        It is none; the message says what may stand there.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST:
        raise ValueError("a slice is something like 0:10, 5, ::2 or '2023-01':'2023-03', ...")
    try:
        tree = ast.parse(f"_[{text}]", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    # Whatever closes the bracket early gives another tree than this.
    if not isinstance(tree, ast.Subscript) or not isinstance(tree.value, ast.Name):
        raise _none(text)
    return _index(tree.slice, text)


def _index(node: ast.expr, text: str) -> Index:
    if isinstance(node, ast.Tuple):
        if not node.elts:
            raise _none(text)
        return tuple(_axis(each, text) for each in node.elts)
    return _axis(node, text)


def _axis(node: ast.expr, text: str) -> Index:
    if isinstance(node, ast.Slice):
        bounds = [
            None if bound is None else _scalar(bound, text)
            for bound in (node.lower, node.upper, node.step)
        ]
        return slice(*bounds)
    if isinstance(node, ast.List):
        return [_scalar(each, text) for each in node.elts]
    if isinstance(node, ast.Constant) and node.value is ...:
        return ...
    return _scalar(node, text)


def _scalar(node: ast.expr, text: str) -> int | float | str:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand, text)
        if isinstance(value, str):
            raise _none(text)
        return -value if isinstance(node.op, ast.USub) else value
    return _constant(node, text)


def _constant(node: ast.expr, text: str) -> int | float | str:
    if isinstance(node, ast.Name):
        raise _unquoted(node.id)
    value = node.value if isinstance(node, ast.Constant) else None
    # True and False are of type int as well, and no numbers here.
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        return value
    raise _none(text)


def _none(text: str) -> ValueError:
    return ValueError(
        f"{text[:80]!r} is no slice: for each dimension a number, a quoted label or time, a range "
        "start:stop:step, a list of these, or ... for the dimensions that are not named"
    )


def _unquoted(word: str) -> ValueError:
    return ValueError(f"write labels and times in quotes: '{word}', not {word}")
