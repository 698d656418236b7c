"""The manifest of one generation of an array, in little memory. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["FixedManifest"]


class FixedManifest:
    """Tile ordinal -> packed entry, never changing.

    A dict of 100,000 entries would take tens of megabytes and as many small objects in a pickle:
    here they are two arrays and one byte string, about 45 bytes a tile.
    """

    __slots__ = ("_block", "_ends", "_ordinals")

    def __init__(self, entries: Mapping[int, bytes]) -> None:
        self._ordinals = np.array(sorted(entries), np.int64)
        packed = [entries[ordinal] for ordinal in self._ordinals.tolist()]
        self._block = b"".join(packed)
        self._ends = np.cumsum([0, *map(len, packed)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ordinals)

    def look_up(self, ordinals: npt.NDArray[np.int64]) -> list[bytes | None]:
        """Return the entry of each tile, None where there is none; looks at these tiles only."""
        count = len(self._ordinals)
        if count == 0:
            return [None] * len(ordinals)
        if len(ordinals) == 1:  # most reads are of one tile, and should take microseconds
            place = min(int(self._ordinals.searchsorted(ordinals[0])), count - 1)
            if self._ordinals[place] != ordinals[0]:
                return [None]
            return [self._block[self._ends[place] : self._ends[place + 1]]]
        places = np.minimum(np.searchsorted(self._ordinals, ordinals), count - 1)
        found = (self._ordinals[places] == ordinals).tolist()
        begins, ends = self._ends[places].tolist(), self._ends[places + 1].tolist()
        return [
            self._block[begin:end] if is_there else None
            for is_there, begin, end in zip(found, begins, ends, strict=True)
        ]

    def as_dict(self) -> dict[int, bytes]:
        """Return all entries by ordinal."""
        ends = self._ends.tolist()
        return {
            ordinal: self._block[begin:end]
            for ordinal, begin, end in zip(self._ordinals.tolist(), ends, ends[1:], strict=False)
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
