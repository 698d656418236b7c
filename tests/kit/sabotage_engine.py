"""What switches off the guards of rows 1, 2, 3, 4, 11, 12 and 13."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.errors import DekerBaseApplicationError
from tests.kit.sabotage import edit_library, replace, sabotage

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOMENT_S = 0.005


@sabotage(3)
def split_the_commit() -> None:
    """Move half of the entries by a command of its own before the commit moves the others."""
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.keys import cluster_key

    whole = Registry.commit

    def commit(self: Any, tokens: Any, changes: Sequence[Any], **options: Any) -> Any:
        prefix = cluster_key(self.name).removesuffix("cluster")
        rest = []
        for array_id, moves in changes:
            early = [move for move in moves[: len(moves) // 2] if move[2] is not None]
            for ordinal, _, new in early:
                self._link.command("HSET", f"{prefix}a:{array_id}:m", ordinal, new)
            moved = {move[0] for move in early}
            rest.append((array_id, [(m[0], m[2] if m[0] in moved else m[1], m[2]) for m in moves]))
        time.sleep(_MOMENT_S)
        return whole(self, tokens, rest, **options)

    replace(Registry, "commit", commit)


@sabotage(4)
def leave_the_token_check_out() -> None:
    """Let a commit through whose lease has ended, or is another's."""
    edit_library(
        (
            "if not expires or tonumber(expires) <= now then\n      return 'lease'",
            "if false then\n      return 'lease'",
        ),
        (
            "if not tokens[holders[i] or ''] then\n        return 'tile'",
            "if false then\n        return 'tile'",
        ),
    )


@sabotage(11)
def let_leases_never_end() -> None:
    """Take the lease of a dead holder for a live one."""
    edit_library(
        ("if expiry[token] > now then", "if true then"),
        ("'-inf', now, 'LIMIT', 0, args[2])\n  for _, token", "'-inf', '-inf')\n  for _, token"),
    )


@sabotage(12)
def look_twice() -> None:
    """Read the entries of the first half of the tiles some moments before the others'."""
    from deker_cluster.registry.client import Registry

    whole = Registry.entries

    def entries(self: Any, array_id: str, ordinals: Sequence[int], *rest: Any) -> Any:
        half = len(ordinals) // 2
        if not half:
            return whole(self, array_id, ordinals, *rest)
        early = whole(self, array_id, ordinals[:half], *rest)
        time.sleep(_MOMENT_S)
        late = whole(self, array_id, ordinals[half:], *rest)
        return attrs.evolve(late, values=[*early.values, *late.values])

    replace(Registry, "entries", entries)


@sabotage(1)
def acknowledge_early() -> None:
    """Let a commit happen some moments after its writer has been told that it has."""
    from deker_cluster.registry.client import Registry

    if multiprocessing.parent_process() is None:
        return  # whoever looks for what was lost must not lose anything himself
    whole = Registry.commit

    def commit(self: Any, tokens: Any, changes: Sequence[Any], **options: Any) -> Any:
        def late() -> None:
            with contextlib.suppress(DekerBaseApplicationError):  # deleted, or closed meanwhile
                whole(self, tokens, changes, **options)

        later = threading.Timer(_MOMENT_S, late)
        later.daemon = True
        later.start()
        return {array_id: 0 for array_id, _ in changes}

    replace(Registry, "commit", commit)


@sabotage(13)
def let_garbage_ignore_pins() -> None:
    """Delete what only a pin needs."""
    edit_library(
        (
            "if not kept[j] and tiles[2 * j] ~= '' then",
            "if tiles[2 * j] ~= '' then",
        ),
    )


@sabotage(2)
def write_the_first_copy_only() -> None:
    """Name shards that hold nothing."""
    from deker_cluster.dataplane import copies

    send = copies._send

    def first_only(session: Any, blobs: Any) -> Any:
        number = min(blobs)
        return send(session, {number: blobs[number]})

    replace(copies, "_send", first_only)
