"""Contests of what moves no cells: planning, commits, and finding arrays."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from measure import Contender, Contest

from deker_cluster import AttributeSchema, DimensionSchema, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import Projection, plan
from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.registry.models import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from places import Place
    from workload import Size

    from deker_cluster import Collection

__all__ = ["catalog_contests"]

COMMIT_TILES = 16
_ENTRY_BYTES = 54 * COMMIT_TILES
"""What a commit adds to the server's log, about."""


def catalog_contests(places: list[Place], size: Size) -> Iterator[Contest]:
    """Yield the contests one after the other."""
    yield _planning(size)
    for place in places:
        numbers = itertools.count()
        rounds = [[next(numbers) for _ in range(size.calls)] for _ in range(size.rounds)]
        collection = place.durable.create_collection("catalog", _schema())
        yield Contest(
            "create an array",
            rounds,
            [
                Contender(
                    place.name,
                    # The warm-up takes the first number of all.
                    lambda n, c=collection: c.create({"number": n + len(c) * 10**6}),
                    lambda _, array: array is not None,
                    limit=False,
                ),
                *_round_trips(place.registry),
            ],
        )
        yield _finding(place, place.durable.create_collection("found", _schema()), rounds)
        yield _commits(place, place.durable.create_collection("commits", _schema()), rounds)


def _schema() -> VArraySchema:
    return VArraySchema(
        dtype="float32",
        dimensions=[DimensionSchema("y", 64), DimensionSchema("x", 64)],
        vgrid=(4, COMMIT_TILES // 4),
        attributes=[AttributeSchema("number", int, primary=True)],
    )


def _round_trips(server: redis.Redis) -> list[Contender]:
    payload = bytes(_ENTRY_BYTES)
    return [
        Contender("PING", lambda _: server.ping(), lambda _, reply: bool(reply)),
        Contender("SET", lambda _: server.set("bench", payload), lambda _, reply: bool(reply)),
    ]


def _planning(size: Size) -> Contest:
    grid = TileGrid((4000, 6400), (10, 25))  # 400 x 256 tiles
    axes = (AxisRange(3, 3990), AxisRange(7, 6380))
    selection = Selection(axes, (slice(3, 3993), slice(7, 6387)))
    slices = (slice(0, 1),) * 2

    def ours(_: object) -> list[Projection]:
        return list(plan(grid, selection))

    def covers(_: object, projections: list[Projection]) -> bool:
        counts = [
            [len(range(cut.start, cut.stop)) for cut in projection.source]
            for projection in projections
        ]
        return len(counts) == grid.n_tiles and int(np.prod(counts, axis=1).sum()) == 3990 * 6380

    return Contest(
        f"plan {grid.n_tiles:,} tiles",
        [[None]] * size.rounds,
        [
            Contender("no I/O", ours, covers, limit=False),
            Contender(
                "bare loop",
                lambda _: [Projection(n, slices, slices, True) for n in range(grid.n_tiles)],
                lambda _, made: len(made) == grid.n_tiles,
            ),
        ],
    )


def _finding(place: Place, collection: Collection, rounds: list[list[int]]) -> Contest:
    last = rounds[-1][-1]
    ids = [collection.create({"number": number}).id for number in range(last + 1)]
    return Contest(
        "open a collection, find an array",
        rounds,
        [
            Contender(
                place.name,
                lambda n: place.durable.get_collection("found").filter({"number": n}).first(),  # type: ignore[union-attr]
                lambda n, array: array.id == ids[n],
                limit=False,
            ),
            *_round_trips(place.registry),
        ],
    )


def _commits(place: Place, collection: Collection, rounds: list[list[int]]) -> Contest:
    registry = place.durable.session.registry
    array = collection.create({"number": 0})
    leases: list[Lease] = []
    tiles = [(array.id, range(COMMIT_TILES))]

    def lease(_: object) -> None:
        granted = registry.acquire(tiles, "benchmark", 20.0)
        if not isinstance(granted, Lease):
            raise TypeError(f"someone else writes: {granted}")
        leases[:] = [granted]

    def commit(_: object) -> Any:
        token, bases = leases[0].token, leases[0].entries[0]
        changes = [
            (ordinal, base, TileEntry(token, ordinal, 1, (0,)).pack())
            for ordinal, base in enumerate(bases)
        ]
        return registry.commit(token, [(array.id, changes)])[array.id]

    def moved(_: object, generation: int) -> bool:
        entries = registry.entries(array.id, range(COMMIT_TILES))
        return entries.generation == generation and all(
            entry is not None and TileEntry.unpack(entry).version == leases[0].token
            for entry in entries.values
        )

    return Contest(
        f"commit {COMMIT_TILES} tiles",
        rounds,
        [Contender(place.name, commit, moved, lease, limit=False), *_round_trips(place.registry)],
    )
