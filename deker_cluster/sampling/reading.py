"""Read samples of a snapshot, all by one ``read_many``, and what stands outside of the array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.memory import new_array, require_memory
from deker_cluster.snapshots import SnapshotSubset

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.sampling.samples import Samples
    from deker_cluster.snapshots import Snapshot

__all__ = ["read_samples"]


def read_samples(
    snapshot: Snapshot, samples: Samples, numbers: npt.NDArray[np.int64], epoch: int = 0
) -> npt.NDArray[Any]:
    """Return samples in a new, writable array of shape ``(len(numbers), *samples.size)``.

    Raises
    ------
    DekerBaseApplicationError
        As :meth:`.Subset.read`.
    """
    shape = (len(numbers), *samples.size)

    def what() -> str:
        return f"{len(numbers)} samples of {samples.size} cells of array {snapshot.id}"

    needed_bytes = int(np.prod(shape, dtype=object)) * snapshot.dtype.itemsize
    limit_bytes = snapshot.array.session.options.memory_limit_bytes
    require_memory(needed_bytes, limit_bytes, what)
    out = new_array(shape, snapshot.dtype, what)
    corners = samples.corners(numbers, epoch)
    ends = corners + np.array(samples.size)
    begins = np.maximum(corners, 0)
    stops = np.minimum(ends, samples.shape)
    parts = [
        _part(snapshot, begin, stop)
        for begin, stop in zip(begins.tolist(), stops.tolist(), strict=True)
    ]
    if np.array_equal(begins, corners) and np.array_equal(stops, ends):
        snapshot.read_many(parts, out=out)
        return out
    before, after = begins - corners, ends - stops
    for sample, cells, front, back in zip(
        out, snapshot.read_many(parts), before.tolist(), after.tolist(), strict=True
    ):
        margins = list(zip(front, back, strict=True))
        if samples.edge == "reflect":
            sample[...] = np.pad(cells, margins, mode="reflect")
        else:
            sample[...] = snapshot.fill_value
            inside = zip(front, cells.shape, strict=True)
            sample[tuple(slice(at, at + size) for at, size in inside)] = cells
    return out


def _part(snapshot: Snapshot, begin: list[int], stop: list[int]) -> SnapshotSubset:
    # By hand: to work out an index that a user wrote takes longer than to read a small sample.
    axes = tuple([AxisRange(at, end - at) for at, end in zip(begin, stop, strict=True)])
    bounds = tuple([slice(at, end) for at, end in zip(begin, stop, strict=True)])
    return SnapshotSubset(snapshot, Selection(axes, bounds))
