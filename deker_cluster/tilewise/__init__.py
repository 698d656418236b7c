"""Work on an array tile by tile, where the tiles lie."""

from __future__ import annotations

from deker_cluster.tilewise.parts import TilePart

__all__ = ["TilePart"]
