"""Which names a collection may have. Pure (no I/O)."""

from __future__ import annotations

import unicodedata

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError

__all__ = ["MAX_NAME_BYTES", "validate_collection_name"]

MAX_NAME_BYTES = 255
"""Longest collection name, bytes of UTF-8: the limit of a file name on common file systems."""

# Control characters, line and paragraph separators, lone surrogates (which UTF-8 cannot carry).
_REFUSED_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Cs"})


def validate_collection_name(name: object) -> str:
    r"""Return `name` in Unicode normal form C.

    Two spellings that look the same (a letter with an accent, a letter and a combining accent)
    thereby name one collection.

    Raises
    ------
    DekerValidationError
        Not a string, blank, more than :data:`MAX_NAME_BYTES` bytes of UTF-8, ``.`` or ``..``, with
        a blank at either end, or with ``/``, ``\`` or a control character in it.
    """
    if not isinstance(name, str):
        raise DekerValidationError(
            f"a collection name must be a str, not {type(name).__name__}: {shown(name)}"
        )
    # A plain str even for subclasses; NFC is what most keyboards and file systems give.
    normal = unicodedata.normalize("NFC", str.__str__(name))
    problem = _problem(normal)
    if problem is not None:
        raise DekerValidationError(f"collection name {shown(name)} {problem}")
    return normal


def _problem(name: str) -> str | None:
    if not name.strip():
        return "is blank"
    if name != name.strip():
        return "begins or ends with a blank"
    if name in (".", ".."):
        return "means a directory"
    for character in name:
        if character in "/\\" or unicodedata.category(character) in _REFUSED_CATEGORIES:
            return f"contains {character!r}, which names may not"
    length = len(name.encode("utf-8"))
    if length > MAX_NAME_BYTES:
        return f"has {length} bytes of UTF-8, at most {MAX_NAME_BYTES} are allowed"
    return None
