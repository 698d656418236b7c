"""The state of a lost registry, from the disks of the shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DataDirectoryError, DekerBaseApplicationError
from deker_cluster.rebuild.checkpoint import find_damage, fold
from deker_cluster.rebuild.reachable import Leftovers, ReachableShard, find_leftovers
from deker_cluster.rebuild.tail import FoundWrite, add_tail
from deker_cluster.tilefile.layout import tile_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.rebuild.state import RegistryState

__all__ = ["MissingTile", "Reconstruction", "missing_tiles", "newest_state", "reconstruct"]

_PATHS_PER_CALL = 1000


class MissingTile(NamedTuple):
    """A tile whose file is on none of the shards that could be asked."""

    array_id: str
    ordinal: int
    version: int


@attrs.frozen(eq=False)
class Reconstruction:
    """What the disks add up to."""

    state: RegistryState
    source: str
    """Where the newest journal is."""
    leftovers: Leftovers
    """Files that the state does not need."""
    writes: tuple[FoundWrite, ...]
    """Writes that the journal does not have, taken or not."""
    missing: tuple[MissingTile, ...]
    problems: tuple[str, ...]
    """Shards that could not be asked, and journals that could not be read."""


def newest_state(
    shards: Sequence[ReachableShard], until: int | None = None
) -> tuple[RegistryState, str, list[str]]:
    """Return the newest state that a shard's journal adds up to, and where, and what went wrong.

    Parameters
    ----------
    until
        Number of the last record to take.

    Raises
    ------
    DataDirectoryError
        There is no journal.
    """
    best: tuple[RegistryState, str] | None = None
    problems = []
    for shard in shards:
        try:
            contents = shard.handle.journal_contents()
            problems += find_damage(contents, f"shard {shard.name}")
            state = fold(contents, f"shard {shard.name}", until)
        except (DekerBaseApplicationError, OSError) as error:
            problems.append(str(error))
            continue
        if state.cluster and (best is None or state.number > best[0].number):
            best = state, f"shard {shard.name}"
    if best is None:
        raise DataDirectoryError(
            f"no journal of a registry is on any of {len(shards)} shards"
            + "".join(f"; {problem}" for problem in problems)
            + ". Tile files alone do not tell the schemas of collections: restore the registry's "
            "folder from a backup, or use: deker-cluster registry restore"
        )
    return *best, problems


def reconstruct(
    shards: Sequence[ReachableShard],
    base: tuple[RegistryState, str] | None = None,
    *,
    as_of_base: bool = False,
) -> Reconstruction:
    """Return what the shards' disks add up to; nothing on them is changed.

    Parameters
    ----------
    shards
        All that can be reached: a tile file on another one counts as not there.
    base
        A state from elsewhere and its name; the newest of it and of the journals is taken.
    as_of_base
        Take the base, whatever is newer on the disks.

    Raises
    ------
    DataDirectoryError
        There is no journal, and no base.
    DekerBaseApplicationError, OSError
        A shard cannot be listed.
    """
    try:
        state, source, problems = newest_state(shards)
    except DataDirectoryError as error:
        if base is None:
            raise
        state, source, problems = *base, [str(error)]
    if base is not None and as_of_base:
        # Records and tokens that the disks have heard of must not be given again.
        base[0].number = max(base[0].number, state.number)
        base[0].tokens = max(base[0].tokens, state.tokens)
    if base is not None and (as_of_base or base[0].number > state.number):
        state, source = base
    problems += [
        f"shard {shard.name} ({shard.uuid}) is not in the journal: its files are passed over"
        for shard in shards
        if shard.number_in(state) is None
    ]
    writes = [] if as_of_base else add_tail(state, shards)
    return Reconstruction(
        state=state,
        source=source,
        leftovers=find_leftovers(state, shards),
        writes=tuple(writes),
        missing=tuple(missing_tiles(state, shards)),
        problems=tuple(problems),
    )


def missing_tiles(state: RegistryState, shards: Sequence[ReachableShard]) -> Iterator[MissingTile]:
    """Find the tiles of the present generations that are on none of these shards."""
    wanted: list[tuple[MissingTile, tuple[int, ...]]] = []
    numbered = [(shard.number_in(state), shard) for shard in shards]
    for array_id, array in state.alive_arrays():
        for ordinal, packed in sorted(array.entries.items()):
            entry = TileEntry.unpack(packed)
            wanted.append((MissingTile(array_id, ordinal, entry.version), entry.shards))
            if len(wanted) == _PATHS_PER_CALL:
                yield from _absent(wanted, numbered)
                wanted = []
    yield from _absent(wanted, numbered)


def _absent(
    wanted: Sequence[tuple[MissingTile, tuple[int, ...]]],
    shards: Sequence[tuple[int | None, ReachableShard]],
) -> Iterator[MissingTile]:
    found: set[MissingTile] = set()
    for number, shard in shards:
        here = [tile for tile, numbers in wanted if number in numbers]
        there = shard.handle.present([tile_path(*tile) for tile in here]) if here else []
        found.update(tile for tile, present in zip(here, there, strict=True) if present)
    return (tile for tile, _ in wanted if tile not in found)
