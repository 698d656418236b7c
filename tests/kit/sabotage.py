"""Switches one guarded step of the product off: the row that guards it must turn red then.

In the processes of a sabotaged row only, and there before anything is opened. A text of the
server's functions that is no longer there to be edited is an error: no sabotage does nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "VARIABLE",
    "active",
    "apply",
    "apply_from_environment",
    "edit_library",
    "known",
    "replace",
    "sabotage",
]

VARIABLE = "DEKER_TEST_SABOTAGE"
"""Number of the row whose guard is off; for processes that are started by a command line."""

_known: dict[str, Callable[[], None]] = {}
_applied = ""


def sabotage(row: int) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register what switches off the guard of a row."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        _known[str(row)] = function
        return function

    return register


def known() -> list[int]:
    """Return the rows whose guards can be switched off."""
    from tests.kit import sabotage_engine, sabotage_storage  # noqa: F401 - they register

    return sorted(map(int, _known))


def active() -> str:
    """Return the number of the row whose guard is off in this process; "" for none."""
    return _applied


def apply(row: str) -> None:
    """Switch the guard of a row off for the rest of this process; "" does nothing."""
    global _applied  # noqa: PLW0603 - one state for each process
    if not row or _applied == row:
        return
    assert not _applied, "one sabotage for each process"
    assert int(row) in known(), f"row {row} has no sabotage"
    _known[row]()
    _applied = row


def apply_from_environment() -> None:
    """Do what the starter of this process asks for."""
    apply(os.environ.get(VARIABLE, ""))


def edit_library(*edits: tuple[str, str]) -> None:
    """Replace texts in the server functions that this process loads into servers."""
    from deker_cluster.registry import functions, link

    text = functions.library_source()
    for old, new in edits:
        if text.count(old) != 1:
            raise AssertionError(f"the server functions hold {text.count(old)} times: {old}")
        text = text.replace(old, new)
    replace(functions, "library_source", lambda: text)
    replace(link, "library_source", lambda: text)


def replace(owner: Any, name: str, new: Any) -> None:
    """Put `new` in the place of something that is there."""
    if not hasattr(owner, name):
        raise AssertionError(f"{owner} has no {name}")
    setattr(owner, name, new)
