"""Programs that are always run: each intended difference that chance would rarely meet."""

from __future__ import annotations

from tests.parity.scripted_catalog import CATALOG
from tests.parity.scripted_constructors import CONSTRUCTORS
from tests.parity.scripted_surprises import SURPRISES
from tests.parity.scripted_tiles import TILES

__all__ = ["SCRIPTED"]

SCRIPTED = (*CONSTRUCTORS, *SURPRISES, *TILES, *CATALOG)
