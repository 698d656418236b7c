"""Years and months on time dimensions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deker_cluster.dimensions import Dimension, TimeDimension
from deker_cluster.errors import DekerIndexError
from deker_cluster.indexing import resolve_index, resolve_names
from deker_cluster.instants import period

DAY = timedelta(days=1)
# 5 hours behind midnight: no period begins on the grid.
DAYS = TimeDimension("t", 120, datetime(2022, 12, 1, 5, tzinfo=UTC), DAY)
PAST = TimeDimension("t", 120, datetime(2023, 3, 30, 5, tzinfo=UTC), -DAY)
YEARS = TimeDimension("t", 4, datetime(2020, 7, 1, tzinfo=UTC), 365 * DAY)
LAST = TimeDimension("t", 3, datetime(9999, 12, 29, tzinfo=UTC), DAY)
GRID = TimeDimension("t", 59, datetime(2023, 1, 1, tzinfo=UTC), DAY)


def cells(index: Any, dimension: TimeDimension) -> list[datetime]:
    selection = resolve_index(index, (dimension,))
    (axis,) = selection.axes
    assert axis.keep
    assert resolve_index(selection.bounds, (dimension,)) == selection
    return dimension.coordinates(range(*selection.bounds[0].indices(dimension.size)))  # type: ignore[union-attr]


def months(index: Any, dimension: TimeDimension) -> list[int]:
    """Return the months of the selected cells, and see that each is taken whole."""
    found = cells(index, dimension)
    order = list(dict.fromkeys(instant.month for instant in found))
    whole = [i for i in dimension.coordinates(range(dimension.size)) if i.month in order]
    assert sorted(found) == sorted(whole)
    return order


@pytest.mark.parametrize(
    ("index", "dimension", "expected"),
    [
        ("2023-01", DAYS, [1]),
        ("2022-12", DAYS, [12]),
        ("2023-03", DAYS, [3]),
        ("2023", DAYS, [1, 2, 3]),
        ("2022", DAYS, [12]),
        ("2023-01", PAST, [1]),
        ("2023", PAST, [3, 2, 1]),
        (slice("2023-01", "2023-03"), DAYS, [1, 2]),
        (slice("2023", None), DAYS, [1, 2, 3]),
        (slice(None, "2023"), DAYS, [12]),
        (slice("2022", "2024"), DAYS, [12, 1, 2, 3]),
        (slice("1900", "2023-02"), DAYS, [12, 1]),
        (slice("2023-02", "9999"), DAYS, [2, 3]),
        (slice("2023-02", "2022-12"), PAST, [2, 1]),
        (slice("2024", "2023-02"), PAST, [3]),
        (slice("2023-01", "0001"), PAST, [1, 12]),
        (slice(None, "2023-01"), PAST, [3, 2]),
        (slice("2023-02", "2022-12", -1), DAYS, [2, 1]),
        (slice("2023-01", "2021", -1), DAYS, [1, 12]),
        (slice("2024", "2023-02", -1), DAYS, [3]),
        (slice("2022-12", "2023-02", -1), PAST, [12, 1]),
        (slice(None, "2022-12", -1), DAYS, [3, 2, 1]),
        ("2020", YEARS, [7]),
        ("9999", LAST, [12]),
        ("9999-12", LAST, [12]),
        (slice("9999-12", None), LAST, [12]),
    ],
)
def test_periods_select_whole_periods(
    index: Any, dimension: TimeDimension, expected: list[int]
) -> None:
    if dimension is YEARS:
        assert cells(index, dimension) == [datetime(2020, 7, 1, tzinfo=UTC)]
    else:
        assert months(index, dimension) == expected


def test_a_period_begins_with_its_first_instant() -> None:
    assert cells("2023-01", GRID) == GRID.coordinates(range(31))
    assert cells(slice("2023-02", None), GRID) == GRID.coordinates(range(31, 59))
    assert cells(slice(datetime(2023, 1, 3), "2023-02"), GRID) == GRID.coordinates(range(2, 31))  # noqa: DTZ001
    assert cells(slice("2023-01-30", "2023-02-02"), GRID) == GRID.coordinates(range(29, 32))
    assert cells(slice("2023-01", None, 7 * DAY), GRID) == GRID.coordinates(range(0, 59, 7))


def test_a_day_is_its_midnight() -> None:
    selection = resolve_index("2023-01-05", (GRID,))
    assert (selection.shape, selection.bounds) == ((), (4,))
    with pytest.raises(DekerIndexError, match="not on the grid"):
        resolve_index("2023-01-05", (DAYS,))


def test_periods_in_lists_are_all_their_cells() -> None:
    selection = resolve_index(["2023-02", "2023-01-03"], (GRID,))
    assert selection.bounds == ([*range(31, 59), 2],)


def test_nearest_leaves_periods_alone() -> None:
    for item in ("2023-01", slice("2023-01", "2023-03"), slice("2023-02", "2021", -1)):
        plain = resolve_index(item, (DAYS,))
        assert resolve_names(None, {"t": item}, (DAYS,), method="nearest", tolerance=0) == plain


@pytest.mark.parametrize(
    "item",
    [
        *("2021", "2024", "2023-04", "2022-11", "2023-00", "2023-13", "0000", "202301", "2023-1"),
        *("2023-", "-2023", "23", "2023-01\n", "\uff12\uff10\uff12\uff13", "2023-01\0", "0000-01"),
        *(slice("2023-01", "2023-01"), slice("2023-03", "2023-01"), slice("2024", None)),
        *(slice(None, "2022-12"), slice("2023-01", "2023-03", -1), slice("2023-13", None)),
        *(["2023-01", "2024"], slice("2023-01", 5), slice(None, "2023-03", -1)),
    ],
)
def test_nothing_within_names_the_extent(item: Any) -> None:
    with pytest.raises(DekerIndexError, match="'t'") as caught:
        resolve_index(item, (DAYS,))
    if not (isinstance(item, slice) and item.stop == 5):
        assert "2022-12-01T05:00:00+00:00 to 2023-03-30T05:00:00+00:00" in str(caught.value)


def test_a_step_over_a_whole_period_finds_nothing() -> None:
    wide = TimeDimension("t", 4, datetime(2020, 1, 1, tzinfo=UTC), 800 * DAY)
    with pytest.raises(DekerIndexError, match="no cell"):
        resolve_index("2021", (wide,))
    assert resolve_index(slice("2021", "2023"), (wide,)).bounds == (slice(1, 2),)


def test_years_and_months_are_labels_on_labelled_dimensions() -> None:
    labelled = Dimension("n", 2, ["2023", "2023-01"])
    assert resolve_index("2023-01", (labelled,)).bounds == (1,)
    assert resolve_index(["2023-01", "2023"], (labelled,)).bounds == ([1, 0],)
    with pytest.raises(DekerIndexError, match="no label '2024'"):
        resolve_index("2024", (labelled,))


def test_only_years_and_months_are_periods() -> None:
    assert period("1970-01") == (0, 31 * 24 * 3600 * 10**6)
    assert period("1969") == (-365 * 24 * 3600 * 10**6, 0)
    for text in ("2023-01-01", "20230101", "2023-W01", "", "now", "2023-01T00"):
        assert period(text) is None
