"""Contests of writing: everything, and parts of every tile."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from limits import FileWriter, H5pyWriter, StoredTiles
from measure import Contender, Contest
from workload import make_array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from places import Place
    from workload import Field, Size

    from deker_cluster import VArray

__all__ = ["write_contests"]

Item = tuple[tuple[slice, ...], Any]
"""Where to write, and what."""


def write_contests(
    places: list[Place], field: Field, size: Size, folder: Path
) -> Iterator[Contest]:
    """Yield the contests one after the other; what they need lives as long as the loop."""
    whole = tuple(slice(0, n) for n in size.shape)
    # Other cells in every round: a write that did nothing would be found out.
    fields: list[Item] = [(whole, field), (whole, np.ascontiguousarray(field[::-1]))]
    rounds = [[fields[number % 2]] for number in range(size.rounds)]
    part = tuple(slice(n // 19 + 1, n - n // 11) for n in size.shape)
    parts = [
        [(part, np.full([c.stop - c.start for c in part], number, np.float32))]
        for number in range(size.rounds)
    ]
    for stored in ("raw", "lz4"):
        for fsync in (True, False):
            name = f"{stored}-{'fsync' if fsync else 'os'}"
            target = folder / name
            target.mkdir(parents=True)
            arrays = {}
            for place in places:
                client = place.durable if fsync else place.bulk
                arrays[place.name] = make_array(client, f"write-{name}", stored, size)
            own = next(iter(arrays.values()))
            own[:].update(field)
            tiles = StoredTiles(own)
            blobs = [path.read_bytes() for path in tiles.paths]
            plain = FileWriter(target / "plain", blobs, fsync=fsync)
            h5py = H5pyWriter(target / "h5py", tiles, stored, fsync=fsync)
            tiles.close()
            durable = "fsync" if fsync else "no fsync"
            yield _contest(f"write all, {stored}, {durable}", rounds, arrays, plain, h5py)
            if fsync:
                for array in arrays.values():
                    array[:].update(field)
                h5py.begin()
                h5py.write(field)
                yield _contest(f"write parts, {stored}, {durable}", parts, arrays, plain, h5py)
            shutil.rmtree(target)
            for array in arrays.values():
                array.delete()


def _contest(
    workload: str,
    rounds: list[list[Item]],
    arrays: dict[str, VArray],
    plain: FileWriter,
    h5py: H5pyWriter,
) -> Contest:
    """Let the plain files always be written whole: that is what a new version of a tile costs."""
    expected = np.empty(next(iter(arrays.values())).shape, np.float32)
    region, values = rounds[0][0]
    everything = values.shape == expected.shape
    if not everything:
        expected[...] = next(iter(arrays.values()))[:].read()

    def after(item: Item) -> Any:
        expected[item[0]] = item[1]
        return expected

    def settle(_: object) -> None:
        os.sync()  # what others have left to be written is not part of this write

    def begin_plain(item: Item) -> None:
        plain.begin(item)
        settle(item)

    def begin_h5py(item: Item) -> None:
        if everything:
            h5py.begin()
        settle(item)

    def write_h5py(item: Item) -> None:
        if everything:
            h5py.write(item[1])
        else:
            h5py.update(*item)

    def contender(name: str, array: VArray) -> Contender:
        return Contender(
            name,
            lambda item: array[item[0]].update(item[1]),
            lambda item, _: np.array_equal(array[:].read(), after(item)),
            settle,
            limit=False,
        )

    return Contest(
        workload,
        rounds,
        [
            *(contender(name, array) for name, array in arrays.items()),
            Contender("plain files", plain, plain.check, begin_plain),
            Contender("h5py", write_h5py, lambda item, _: h5py.check(after(item)), begin_h5py),
        ],
        call_bytes=4 * int(np.prod([cut.stop - cut.start for cut in region])),
    )
