"""The changes of a collection, one by one, as they are committed."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from deker_cluster.arrays import BaseArray
from deker_cluster.change import Change, dimensions_of
from deker_cluster.core.boxes import boxes_from_note
from deker_cluster.core.ids import validate_id
from deker_cluster.dtypes import shown, to_utc
from deker_cluster.errors import DekerFeedError, DekerValidationError
from deker_cluster.instants import from_clock, microseconds
from deker_cluster.watching import WatchedRegion, touches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.collection import Collection
    from deker_cluster.core.selection import Axis
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ChangePage, ChangeRecord

__all__ = ["START", "ChangeFeed"]

START = "start"
"""As ``since``: from the oldest change that is kept."""

_PAGE = 500
_WAIT_S = 1.0
_ADVICE = (
    "read the arrays anew and begin with since=None; a collection whose retention has more "
    "changes keeps them longer"
)


class ChangeFeed:
    """Iterates over changes, see :meth:`.Collection.changes`. For one thread at a time.

    Raises
    ------
    DekerFeedError
        Changes that should come are no longer kept.
    DekerIndexError
        No array of the collection has such a region.
    DekerInstanceNotExistsError
        The collection has been deleted.
    DekerValidationError
        Another argument makes no sense.
    """

    def __init__(
        self,
        collection: Collection,
        since: str | datetime | None,
        region: object,
        arrays: BaseArray | str | Iterable[BaseArray | str] | None,
        timeout: float | None,
    ) -> None:
        schema = collection.schema
        self._collection = collection
        self._timeout_s = _checked_timeout(timeout)
        self._arrays = None if arrays is None else frozenset(_ids(arrays, collection))
        self._region = None if region is None else WatchedRegion(region, schema.dimensions)
        self._movable = any(
            attribute.name in schema.origin_attributes and not attribute.primary
            for attribute in schema.attributes
        )
        self._axes: dict[str, tuple[Axis, ...] | None] = {}
        self._waiting: deque[ChangeRecord] = deque()
        self._number = self._begin(since)

    @property
    def cursor(self) -> str:
        """Text from which another feed goes on, behind all that this one has looked at."""
        return f"{self._collection.id}:{self._number}"

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        give_up = math.inf if self._timeout_s is None else time.monotonic() + self._timeout_s
        last: int | None = None
        while True:
            while self._waiting:
                record = self._waiting.popleft()
                self._number = record.number
                change = self._of_interest(record)
                if change is not None:
                    return change
            # Others may write what nobody here wants, faster than it can be passed over.
            if last is not None and self._number >= last:
                raise StopIteration
            page = self._page(self._number, _PAGE)
            self._check_kept(page)
            left_s = give_up - time.monotonic()
            if left_s <= 0 and last is None:
                last = page.newest
            if page.items:
                self._waiting.extend(page.items)
                self._forget_axes()
            elif left_s <= 0:
                raise StopIteration
            else:
                self._registry.await_changes(
                    self._collection.id, self._number, min(left_s, _WAIT_S)
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._collection.name!r}, cursor={self.cursor!r})"

    @property
    def _registry(self) -> Registry:
        # Asked for each time: a client that another thread has closed says so.
        return self._collection.session.registry

    def _page(self, after: int, limit: int) -> ChangePage:
        with self._collection.naming():
            return self._registry.changes(self._collection.id, after, limit)

    def _begin(self, since: str | datetime | None) -> int:
        """Return the number of the change behind which the feed begins."""
        if since is None:
            return self._page(0, 1).newest
        if isinstance(since, datetime):
            return self._before(to_utc(since))
        if since == START:
            # A page of them: the oldest one alone would be gone after the next commit.
            page = self._page(0, _PAGE)
            self._waiting.extend(page.items)
            return page.items[0].number - 1 if page.items else page.newest
        number = self._number_in(since)
        self._number = number
        self._check_kept(self._page(number, 1))
        return number

    def _number_in(self, cursor: object) -> int:
        identity, _, digits = cursor.rpartition(":") if isinstance(cursor, str) else ("", "", "")
        if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
            raise DekerValidationError(
                f"{shown(cursor)} is no place in the changes of collection "
                f"{self._collection.name!r}: give the cursor of a change, a datetime, "
                f"{START!r}, or None for changes from now on"
            )
        if identity != self._collection.id:
            raise DekerValidationError(
                f"cursor {shown(cursor)} is of another collection than "
                f"{self._collection.name!r}, whose cursors begin with {self._collection.id}"
            )
        return int(digits)

    def _before(self, instant: datetime) -> int:
        """Return the number of the newest change before an instant."""
        since_s = microseconds(instant) / 1_000_000
        page = self._page(0, 1)
        first, behind = 1, page.newest + 1
        if page.items:
            first = page.items[0].number
            if page.lost and page.items[0].time_s >= since_s:
                raise DekerFeedError(
                    f"changes of collection {self._collection.name!r} are kept from "
                    f"{from_clock(page.items[0].time_s).isoformat()} on only: some after "
                    f"{instant.isoformat()} are lost; {_ADVICE}"
                )
        else:
            first = behind
        while first < behind:
            middle = (first + behind) // 2
            found = self._page(middle - 1, 1).items
            if not found or found[0].time_s >= since_s:
                behind = middle
            else:
                first = max(middle, found[0].number) + 1
        return first - 1

    def _check_kept(self, page: ChangePage) -> None:
        name = self._collection.name
        if page.lost:
            oldest = page.items[0].number if page.items else page.newest + 1
            raise DekerFeedError(
                f"{oldest - self._number - 1} changes of collection {name!r} after cursor "
                f"{self.cursor} are no longer kept; {_ADVICE}"
            )
        if page.newest < self._number:
            raise DekerFeedError(
                f"cursor {self.cursor} is ahead of collection {name!r}, whose newest change is "
                f"number {page.newest}: the registry has lost changes that were seen; {_ADVICE}"
            )

    def _of_interest(self, record: ChangeRecord) -> Change | None:
        if self._arrays is not None and record.array_id not in self._arrays:
            return None
        shape = self._collection.schema.shape
        boxes = boxes_from_note(record.note, shape)
        if self._region is not None:
            axes = self._axes_of(record.array_id, self._region)
            if axes is None or not any(touches(axes, box) for box in boxes):
                return None
        return Change(
            array=record.array_id,
            generation=record.generation,
            time=from_clock(record.time_s),
            tiles=record.tiles,
            boxes=tuple(tuple(slice(*bounds) for bounds in box) for box in boxes),
            cursor=self.cursor,
            source=self._collection,
        )

    def _axes_of(self, array_id: str, region: WatchedRegion) -> tuple[Axis, ...] | None:
        if not region.varies:
            return region.axes(None)
        if array_id not in self._axes:
            self._axes[array_id] = region.axes(dimensions_of(self._collection, array_id))
        return self._axes[array_id]

    def _forget_axes(self) -> None:
        # A custom attribute may have got another value since.
        if self._movable or len(self._axes) > _PAGE:
            self._axes.clear()


def _checked_timeout(timeout: object) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout >= 0:
        return float(timeout)
    raise DekerValidationError(
        f"timeout must be seconds to wait for the next change, or None to wait for ever, not "
        f"{shown(timeout)}"
    )


def _ids(arrays: object, collection: Collection) -> Iterator[str]:
    if isinstance(arrays, (str, BaseArray)) or not isinstance(arrays, Iterable):
        arrays = [arrays]
    for array in arrays:
        if not isinstance(array, (str, BaseArray)):
            raise DekerValidationError(
                f"arrays are watched by their handles or ids, not {shown(array)}"
            )
        if isinstance(array, BaseArray) and array.parent != collection:
            raise DekerValidationError(
                f"array {array.id} is of collection {array.collection!r}, not of "
                f"{collection.name!r}"
            )
        yield array.id if isinstance(array, BaseArray) else validate_id(array)
