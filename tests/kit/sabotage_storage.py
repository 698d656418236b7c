"""What switches off the guards of rows 5, 6, 7, 8, 9, 10 and 14."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kit.sabotage import edit_library, replace, sabotage


@sabotage(10)
def ignore_operation_ids() -> None:
    """Run every request again, whatever its operation id."""
    edit_library(
        (
            "local stored = redis.call('GET', operation)\n      if stored then",
            "local stored = redis.call('GET', operation)\n      if false then",
        )
    )


@sabotage(5)
def keep_no_log() -> None:
    """Start embedded servers that keep everything in memory only."""
    from deker_cluster.registry import valkey_config

    text = valkey_config._CONFIG.replace("appendonly yes", "appendonly no")
    assert text != valkey_config._CONFIG
    replace(valkey_config, "_CONFIG", text)


@sabotage(9)
def keep_temporary_files() -> None:
    """Let nobody delete a file that is not in place yet."""
    from deker_workers.atomic_write import TEMPORARY_PREFIX

    whole = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if not self.name.startswith(TEMPORARY_PREFIX):
            whole(self, missing_ok)

    replace(Path, "unlink", unlink)


@sabotage(6)
def leave_fsync_out() -> None:
    """Give files their names without having synced them."""
    from deker_workers import atomic_write

    replace(atomic_write, "_fsync_file", lambda path: None)  # noqa: ARG005


@sabotage(7)
def overlook_deletes() -> None:
    """Rebuild as if nothing had ever been deleted."""
    from deker_cluster.rebuild.state import RegistryState

    nothing = {kind: lambda *_: None for kind in (b"unarray", b"uncollection")}
    assert nothing.keys() <= RegistryState._APPLY.keys()
    replace(RegistryState, "_APPLY", {**RegistryState._APPLY, **nothing})


@sabotage(8)
def trust_stored_cells() -> None:
    """Look at the index of a file when all of it is to be looked at."""
    from deker_cluster.tilefile.source import TileFile

    replace(TileFile, "verify", lambda self: None)  # noqa: ARG005


@sabotage(14)
def trust_paths() -> None:
    """Make paths of whatever is given, and follow links."""
    from deker_cluster.tilefile import cache, layout
    from deker_workers import describing, tile_store

    replace(layout, "_ID", re.compile(".*", re.DOTALL))
    for module in (cache, tile_store, describing):
        replace(module, "require_own_folder", lambda *_: None)
