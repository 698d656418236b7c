"""What a tile file says of itself, without reading its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.tilefile.confined import require_own_folder
from deker_cluster.tilefile.source import TileFile
from deker_cluster.transport.messages import TileDescription

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["describe_tile"]


def describe_tile(path: Path) -> TileDescription | None:
    """Return what the file says; None when it is not there, or damaged."""
    try:
        require_own_folder(str(path.parent))
        with TileFile.open(path) as file:
            return TileDescription(
                digest=file.index.digest,
                stored_bytes=file.index.file_bytes,
                time_ms=path.stat().st_mtime_ns // 1_000_000,
                meta=file.read_meta(),
            )
    except (DekerBaseApplicationError, OSError):
        return None
