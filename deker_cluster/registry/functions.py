"""The library of server functions that every change goes through.

The sources in ``lua/`` are joined in the order of their names. The version is in the library, so
that a client can tell with one cheap call whether the server holds what it needs.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["LIBRARY_VERSION", "OLDEST_CLIENT_VERSION", "library_source"]

LIBRARY_VERSION = 7
"""Raise it with every change under ``lua/``: a server that holds an older one gets the new one.

Newer versions of the library ``deker1`` serve older clients, down to the one below.
"""

OLDEST_CLIENT_VERSION = 6
"""The oldest client, by the version of the library that it brings, that this library serves.

An older one says so when it connects, once the server holds this library: raise it when a function
changes its arguments or replies in a way that older clients do not know.
"""


@cache
def library_source() -> str:
    """Return the text for ``FUNCTION LOAD``."""
    parts = sorted(
        (part for part in (files(__package__) / "lua").iterdir() if part.name.endswith(".lua")),
        key=lambda part: part.name,
    )
    header = (
        f"#!lua name=deker1\nlocal VERSION = {LIBRARY_VERSION}\n"
        f"local OLDEST_CLIENT = {OLDEST_CLIENT_VERSION}\n"
    )
    return header + "\n".join(part.read_text(encoding="utf-8") for part in parts)
