"""Pieces of inputs: cells of any axes, order and direction arrive where they belong."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deker_cluster.ingest.axes import Axis, Names
from deker_cluster.ingest.found import FoundArray
from deker_cluster.ingest.mosaic import pieces_of
from deker_cluster.ingest.placing import place

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen(eq=False)
class Held:
    """A reader of an array in memory; it is an open input itself."""

    cells: np.ndarray[Any, Any]

    @contextmanager
    def open(self) -> Iterator[Held]:
        yield self

    def read(self, box: tuple[slice, ...]) -> tuple[np.ndarray[Any, Any], None]:
        assert all(0 <= side.start < side.stop for side in box)
        return self.cells[box], None


@given(st.data())
@settings(deadline=None)
def test_runs_are_the_positions_of_labels(data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.integers(0, 12), min_size=1, unique=True))
    own = data.draw(st.lists(st.sampled_from([*labels, 99]), min_size=1, unique=True))
    target = Axis("a", len(labels), Names(tuple(labels)))
    runs = place(target, Axis("a", len(own), Names(tuple(own))), "f", clip=True)
    placed = {
        run.target + cell: own[run.source + run.sign * cell]
        for run in runs
        for cell in range(run.count)
    }
    assert placed == {labels.index(label): label for label in own if label != 99}
    assert sum(run.count for run in runs) == len(placed)
    assert len(runs) <= len(placed)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_cells_arrive_where_their_labels_are(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    target_axes, own_axes = [], []
    for number in range(rank):
        size = data.draw(st.integers(1, 5))
        labels = data.draw(st.permutations(range(size)))
        own = data.draw(st.lists(st.sampled_from(range(size)), min_size=1, unique=True))
        target_axes.append(Axis(f"d{number}", size, Names(tuple(labels))))
        own_axes.append(Axis(f"d{number}", len(own), Names(tuple(own))))
    order = data.draw(st.permutations(range(rank)))
    axes = tuple(own_axes[number] for number in order)
    # What the input lacks has one cell; what the array lacks has one, too.
    axes = (*axes, Axis("extra", 1)) if data.draw(st.booleans()) else axes
    shape = tuple(axis.size for axis in axes)
    cells = np.arange(1, np.prod(shape) + 1, dtype="i4").reshape(shape)
    nodata = data.draw(st.none() | st.integers(1, cells.size))
    member = FoundArray(
        source="f",
        name="f",
        axes=axes,
        dtype=cells.dtype,
        nodata=nodata,
        reader=Held(cells),
        reading="1",
    )
    pieces = pieces_of(
        member,
        target_axes,
        dtype=np.dtype("f8"),
        fill=np.float64(-1),
        order=0,
        array="a",
        clip=False,
    )
    result = np.full([axis.size for axis in target_axes], np.nan)
    seen = np.zeros(result.shape, bool)
    for piece in pieces:
        with piece.open() as opened:
            values, valid = opened.read(piece.box)
        assert values.dtype == np.float64
        assert piece.covers is (nodata is None)
        assert not seen[piece.box].any()
        seen[piece.box] = True
        if valid is not None:
            assert (values[~valid] == -1).all()
        result[piece.box] = np.where(True if valid is None else valid, values, np.nan)
    expected = np.full(result.shape, np.nan)
    for position in np.ndindex(*result.shape):
        names = {
            axis.name: axis.coordinates.values[at]
            for axis, at in zip(target_axes, position, strict=True)
        }  # type: ignore[union-attr]
        try:
            at = tuple(
                axis.coordinates.values.index(names[axis.name]) if axis.name in names else 0  # type: ignore[union-attr]
                for axis in axes
            )
        except ValueError:
            continue
        if cells[at] != nodata:
            expected[position] = cells[at]
    np.testing.assert_array_equal(result, expected)


def test_digests_change_with_all_that_is_read() -> None:
    axes = (Axis("x", 4, Names((0, 1, 2, 3))),)
    member = FoundArray(
        source="f",
        name="f",
        axes=axes,
        dtype=np.dtype("i4"),
        nodata=7,
        reader=Held(np.arange(4, dtype="i4")),
        reading="1",
    )

    def digest(found: FoundArray, *labels: int, dtype: str = "i4", fill: int = 0) -> str | None:
        target = [Axis("x", len(labels), Names(labels))]
        kind = np.dtype(dtype)
        (piece, *_) = pieces_of(
            found, target, dtype=kind, fill=kind.type(fill), order=0, array="a", clip=True
        )
        return piece.digest()

    same = digest(member, 0, 1, 2, 3)
    assert same == digest(attrs.evolve(member, source="g"), 0, 1, 2, 3)
    others = [
        digest(member, 5, 0, 1, 2, 3),
        digest(member, 3, 2, 1, 0),
        digest(member, 0, 1),
        digest(member, 0, 1, 2, 3, dtype="i8"),
        digest(member, 0, 1, 2, 3, fill=1),
        digest(attrs.evolve(member, reading="2"), 0, 1, 2, 3),
        digest(attrs.evolve(member, nodata=8), 0, 1, 2, 3),
        digest(attrs.evolve(member, nodata=None), 0, 1, 2, 3),
    ]
    assert len({same, *others}) == len(others) + 1
    assert digest(attrs.evolve(member, reading=None), 0, 1, 2, 3) is None
