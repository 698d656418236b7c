"""What commands print: one JSON document, or tables for people."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["age", "console", "emit", "pairs_table", "plain", "print_table", "size"]

_WIDE = 1000
"""Columns when nobody looks: what reads a file or a pipe is not helped by wrapped lines."""

_UNITS = ("kB", "MB", "GB", "TB", "PB")


def emit(document: Mapping[str, Any], *, as_json: bool, render: Callable[[], None]) -> None:
    """Print the document as JSON, or let `render` print it for people."""
    if as_json:
        click.echo(json.dumps(plain(document), indent=2))
    else:
        render()


def plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON has no numbers for, and dates, become text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def console() -> Console:
    """Return where tables go."""
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_WIDE if wide else None, highlight=False)


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; cells are text as it is, None is left empty, columns without any left out."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = Table()
    filled = []
    for at, name in enumerate(columns):
        if not texts or any(at < len(row) and row[at] for row in texts):
            filled.append(at)
            table.add_column(name, overflow="fold")
    for row in texts:
        # As Text: a name in brackets would be taken for a colour.
        table.add_row(*(Text(row[at]) for at in filled if at < len(row)))
    console().print(table)


def pairs_table(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; values that are None are left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value is not None:
            table.add_row(Text(name, "bold"), Text(str(value)))
    console().print(table)


def size(n_bytes: float | None) -> str:
    """Return a number of bytes for people."""
    if n_bytes is None:
        return ""
    if n_bytes < 1000:
        return f"{n_bytes:.0f} B"
    scaled = float(n_bytes)
    for unit in _UNITS:
        scaled /= 1000
        if scaled < 1000 or unit == _UNITS[-1]:
            break
    return f"{scaled:.1f} {unit}"


def age(seconds: float | None) -> str:
    """Return a time that has passed for people."""
    if seconds is None:
        return ""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
