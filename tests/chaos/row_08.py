"""Rot is found and repaired: five kinds of damage to one copy, then to all copies of a tile."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deker_cluster import DimensionSchema, Retention, VArraySchema
from deker_cluster.errors import DekerIntegrityError
from deker_cluster.registry.membership_calls import DamagedFile
from deker_coordinator.repairs import Repairs
from deker_coordinator.scrub_pass import ScrubPass
from tests.chaos.rows import Row
from tests.kit.rot import (
    add_shards,
    copies_of,
    flip_bit,
    put_stale,
    swap,
    tile_file,
    truncate,
    zero_page,
)
from tests.kit.storages import id_of, problems, storage

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster import Client
    from deker_cluster.core.manifest import TileEntry
    from tests.chaos.rows import RowResult, RunContext

_KINDS = ("bit flip", "zeroed page", "truncation", "swapped files", "stale version")
_SHARDS = 3
_ROWS, _COLUMNS = 48, 32
"""Of a tile of int64: some pages."""
_FILL = -77


class _Copy(NamedTuple):
    ordinal: int
    shard: int


class _Site:
    """An array of random cells, two copies of each tile, and what is done to them."""

    def __init__(
        self, context: RunContext, client: Client, name: str, tiles: int, *, past: int = 5
    ) -> None:
        self.context, self.client = context, client
        self.root = context.folder / "d"
        schema = VArraySchema(
            dtype="int64",
            dimensions=[
                DimensionSchema("y", tiles * _ROWS),
                DimensionSchema("x", _COLUMNS),
            ],
            vgrid=(tiles, 1),
            fill_value=_FILL,
        )
        collection = client.create_collection(
            name, schema, replication=2, retention=Retention(generations=past)
        )
        self.array: Any = collection.create(id_=id_of(name))
        self.array[:].update(self._random(tiles))
        self._old = {
            copy: self.path(copy, entry).read_bytes()
            for ordinal, entry in copies_of(client, self.array).items()
            for copy in [_Copy(ordinal, number) for number in entry.shards]
        }
        self.cells = self._random(tiles)
        self.array[:].update(self.cells)
        self.entries = copies_of(client, self.array)

    def _random(self, tiles: int) -> npt.NDArray[np.int64]:
        rng = np.random.default_rng(self.context.rng.randrange(1 << 32))
        return rng.integers(1, 1 << 60, (tiles * _ROWS, _COLUMNS))

    def path(self, copy: _Copy, entry: TileEntry | None = None) -> Path:
        entry = entry or self.entries[copy.ordinal]
        return tile_file(self.root, self.array, copy.ordinal, entry.version, copy.shard)

    def cells_of(self, ordinal: int) -> slice:
        return slice(ordinal * _ROWS, (ordinal + 1) * _ROWS)

    def forget_files(self) -> None:
        """Close what is open: nothing of what was in memory before the damage may help."""
        self.client.session.tiles.close()

    def damage(self, kind: str, *copies: _Copy, sure: bool) -> None:
        """Damage a copy, or swap two of one shard.

        Parameters
        ----------
        sure
            Damage cells, not just anything of the file.
        """
        chance = self.context.rng
        path = self.path(copies[0])
        if kind == "bit flip":
            size = path.stat().st_size
            flip_bit(path, size - 9 if sure else chance.randrange(size), chance.randrange(8))
        elif kind == "zeroed page":
            zero_page(path, chance)
        elif kind == "truncation":
            truncate(path, chance)
        elif kind == "swapped files":
            swap(path, self.path(copies[1]))
        else:
            put_stale(path, self._old[copies[0]])

    def name_of(self, copy: _Copy) -> DamagedFile:
        return DamagedFile(
            self.array.id, copy.ordinal, self.entries[copy.ordinal].version, copy.shard
        )

    def check_cells(self, what: str) -> None:
        try:
            right = np.array_equal(self.array[:].read(), self.cells)
        except DekerIntegrityError as error:
            self.context.check(False, f"{what}: {error}")
        else:
            self.context.check(right, f"{what}: wrong cells were read")


def run(context: RunContext) -> RowResult:
    runs = context.count(100, least=2)
    with storage(context.folder / "d") as client:
        add_shards(client, _SHARDS)
        found, mended = _one_copy_each(context, client, runs)
        lost = _all_copies(context, client, max(runs // 10, 1))
    return context.result(len(_KINDS) * runs, found=found, mended=mended, without_a_sound_copy=lost)


def _scrub(client: Client) -> set[DamagedFile]:
    found = set()
    scrub = ScrubPass(
        client.session.registry, client.session.shards, found=lambda rot: found.add(rot.file)
    )
    while not scrub.over:
        scrub.advance(math.inf)
    assert not scrub.tally.unseen
    assert None not in found
    return found  # type: ignore[return-value]


def _one_copy_each(context: RunContext, client: Client, runs: int) -> tuple[int, int]:
    """Each damage meets one copy, the other one is sound."""
    # Two tiles are swapped, and a few are left as they are.
    site = _Site(context, client, "one copy", 6 * runs + 20)
    before = {
        copy: site.path(copy).read_bytes()
        for ordinal, entry in site.entries.items()
        for copy in [_Copy(ordinal, number) for number in entry.shards]
    }
    site.forget_files()
    damaged: dict[_Copy, str] = {}
    free = list(site.entries)
    context.rng.shuffle(free)
    for number in range(runs):
        for kind in _KINDS:
            tile = free.pop(0)
            copy = _Copy(tile, context.rng.choice(site.entries[tile].shards))
            copies = [copy]
            if kind == "swapped files":
                other = next(at for at in free if copy.shard in site.entries[at].shards)
                free.remove(other)
                copies.append(_Copy(other, copy.shard))
            site.damage(kind, *copies, sure=not number)
            damaged |= dict.fromkeys(copies, kind)
    wanted = {site.name_of(copy): kind for copy, kind in damaged.items()}
    found = _scrub(client)
    for missed in wanted.keys() - found:
        context.check(False, f"a {wanted[missed]} was not found: {missed}")
    context.check(not found - wanted.keys(), f"sound files were reported: {found - wanted.keys()}")
    site.forget_files()
    site.check_cells("with one sound copy of each tile")
    mended = _repair(context, client, found)
    for copy, content in before.items():
        context.check(
            site.path(copy).read_bytes() == content,
            f"not what it was: {copy}, {damaged.get(copy, 'which nobody touched')}",
        )
    context.check(not _scrub(client), "a second scrub found something")
    site.forget_files()
    site.check_cells("after the repair")
    for problem in problems(client):
        context.check(False, f"after the repair: {problem}")
    context.progress(f"{len(found)} of {len(wanted)} bad files were found, {mended} mended")
    return len(found), mended


def _repair(context: RunContext, client: Client, found: set[DamagedFile]) -> int:
    registry = client.session.registry
    reported = set(registry.damage(100_000))
    context.check(found <= reported, f"not reported: {found - reported}")
    repairs = Repairs(registry, client.session.shards)
    mended = 0
    while some := repairs.step():
        mended += some
    left = registry.damage(100_000)
    context.check(not left, f"reports are left: {left[:5]}")
    context.check(mended == len(found), f"{mended} of {len(found)} files were mended")
    return mended


def _all_copies(context: RunContext, client: Client, runs: int) -> int:
    """Both copies are bad: an error, whichever way one reads, and never fill values."""
    # No past: once it is written again, nobody needs what was bad.
    site = _Site(context, client, "all copies", 8 * len(_KINDS) * runs + 8, past=1)
    site.forget_files()
    free = list(site.entries)
    bad: dict[int, str] = {}
    spared: set[int] = set()
    for number in range(runs):
        for kind in _KINDS:
            first = free.pop(0)
            tiles = [first]
            if kind == "swapped files":
                holders = set(site.entries[first].shards)
                tiles.append(next(at for at in free if set(site.entries[at].shards) == holders))
                free.remove(tiles[1])
            for shard in site.entries[first].shards:
                copies = [_Copy(tile, shard) for tile in tiles]
                site.damage(kind, *copies, sure=not number)
            bad |= dict.fromkeys(tiles, kind)
            if kind == "zeroed page" or (kind == "bit flip" and number):
                spared.update(tiles)
    wanted = {
        site.name_of(_Copy(tile, shard)): bad[tile]
        for tile in bad
        for shard in site.entries[tile].shards
    }
    found = _scrub(client)
    for missed in wanted.keys() - found:
        context.check(False, f"a {wanted[missed]} of all copies was not found: {missed}")
    Repairs(client.session.registry, client.session.shards).step()
    for tile, kind in bad.items():
        _expect_error(context, site, tile, kind, spared=tile in spared)
    for tile in free[:8]:
        right = np.array_equal(
            site.array[site.cells_of(tile)].read(), site.cells[site.cells_of(tile)]
        )
        context.check(right, f"tile {tile}, which nobody touched, is wrong")
    left = set(client.session.registry.damage(100_000))
    context.check(found <= left, f"reports of what cannot be mended are gone: {found - left}")
    # Whoever has the cells elsewhere can write them again.
    site.array[:].update(site.cells)
    site.check_cells("written again")
    Repairs(client.session.registry, client.session.shards).step()
    left = set(client.session.registry.damage(100_000))
    context.check(not left, f"reports of files that nobody needs any more are left: {left}")
    return len(bad)


def _expect_error(context: RunContext, site: _Site, tile: int, kind: str, *, spared: bool) -> None:
    """Read the tile by itself, and everything.

    Parameters
    ----------
    spared
        The damage may have met what HDF5 notes for itself, and left all cells as they were.
    """
    site.forget_files()
    for cells in (site.cells_of(tile), slice(None)):
        try:
            seen = site.array[cells].read()
        except DekerIntegrityError:
            continue
        if spared and np.array_equal(seen, site.cells[cells]):
            continue
        made_up = "fill values" if (seen == _FILL).any() else "cells"
        context.check(False, f"{kind} of all copies of tile {tile}: {made_up} were read")


ROW = Row(
    number=8,
    promise="rot is found and repaired",
    runs="5 x 100",
    run=run,
    sabotage="a scrub looks at the index of a file, not at its cells",
)
