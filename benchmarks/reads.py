"""Contests of reading: everything, a cut across tiles, small crops, single cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from limits import StoredTiles, copy_cells
from measure import Contender, Contest
from workload import STORED, make_array, random_boxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from places import Place
    from workload import Field, Region, Size

    from deker_cluster import VArray

__all__ = ["read_contests"]

CROP = (8, 64, 64)


def read_contests(places: list[Place], field: Field, size: Size) -> Iterator[Contest]:
    """Yield the contests one after the other; what they need lives as long as the loop."""

    def compete(
        workload: str,
        arrays: dict[str, VArray],
        rounds: list[list[Region]],
        limits: dict[str, Callable[[Any], Any]],
    ) -> Contest:
        def check(region: Region, result: Any) -> bool:
            return np.array_equal(result, field[region])

        ours = [Contender(n, _reader(array), check, limit=False) for n, array in arrays.items()]
        small = len(rounds[0]) > 1
        cells = 0 if small else field[rounds[0][0]].size
        return Contest(
            workload,
            rounds,
            [*ours, *(Contender(name, call, check) for name, call in limits.items())],
            call_bytes=None if small else 4 * cells,
        )

    whole: Region = tuple(slice(0, n) for n in size.shape)
    cut: Region = tuple(slice(n // 19, n - n // 11) for n in size.shape)
    for stored in STORED:
        arrays = {}
        for place in places:
            arrays[place.name] = make_array(place.bulk, f"read-{stored}", stored, size)
            arrays[place.name][:].update(field)
        tiles = StoredTiles(next(iter(arrays.values())))
        direct = {"memmap": tiles.memmap} if stored == "raw" else {"decode": tiles.decode}
        copying = {"copy": copy_cells(field)}
        others: dict[str, Callable[[Any], Any]] = {**direct, "h5py": tiles.h5py}

        contest = compete(
            f"read all, {stored}", arrays, [[whole]] * size.rounds, {**copying, **others}
        )
        stored_bytes = sum(tiles.sizes)
        pread = Contender("pread", tiles.pread, lambda _, done, n=stored_bytes: done == n)
        yield Contest(
            contest.workload, contest.rounds, [*contest.contenders, pread], contest.call_bytes
        )
        if stored != "gzip":
            yield compete(
                f"read a cut, {stored}", arrays, [[cut]] * size.rounds, {**copying, **others}
            )
            crops = random_boxes(size.shape, CROP, size.rounds, size.calls)
            yield compete(f"read 8x64x64, {stored}", arrays, crops, others)
        if stored == "raw":
            cells = random_boxes(size.shape, (1, 1, 1), size.rounds, size.calls)
            yield compete(
                "read one cell, raw", arrays, cells, {"pread": tiles.pread_cell, "h5py": tiles.h5py}
            )
        tiles.close()


def _reader(array: VArray) -> Callable[[Any], Any]:
    return lambda region: array[region].read()
