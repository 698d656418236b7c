"""Small types of the public interface."""

from __future__ import annotations

from typing import NamedTuple

from deker_cluster.coordinates import Scale

__all__ = ["Scale", "StorageSize"]

_UNITS = ("B", "KB", "MB", "GB", "TB", "PB", "EB")
_STEP = 1024


class StorageSize(NamedTuple):
    """How much room something takes."""

    bytes: int
    human: str
    """The same for people, as ``"1.53 MB"``: units of 1024, two decimals at most."""

    @classmethod
    def of(cls, size_bytes: int) -> StorageSize:
        """Return the size of that many bytes."""
        size, unit = float(size_bytes), 0
        while round(size, 2) >= _STEP and unit < len(_UNITS) - 1:
            size, unit = size / _STEP, unit + 1
        return cls(size_bytes, f"{round(size, 2):.15g} {_UNITS[unit]}")
