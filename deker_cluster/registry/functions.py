"""The library of server functions that every change goes through.

The sources in ``lua/`` are joined in the order of their names. The version is in the library, so
that a client can tell with one cheap call whether the server holds what it needs.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["LIBRARY_VERSION", "library_source"]

LIBRARY_VERSION = 3
"""Raise it with every change under ``lua/``: a server that holds an older one gets the new one.

Newer versions of the library ``deker1`` must serve older clients; what cannot is ``deker2``.
"""


@cache
def library_source() -> str:
    """Return the text for ``FUNCTION LOAD``."""
    parts = sorted(
        (part for part in (files(__package__) / "lua").iterdir() if part.name.endswith(".lua")),
        key=lambda part: part.name,
    )
    header = f"#!lua name=deker1\nlocal VERSION = {LIBRARY_VERSION}\n"
    return header + "\n".join(part.read_text(encoding="utf-8") for part in parts)
