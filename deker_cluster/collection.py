"""Handle of a collection."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from deker_cluster.arrays import Array, BaseArray, VArray
from deker_cluster.changes import ChangeFeed
from deker_cluster.core.ids import validate_id
from deker_cluster.creating import NewArray, create_array, create_arrays
from deker_cluster.dataplane.settling import deleting, settle
from deker_cluster.described_collection import DescribedCollection
from deker_cluster.errors import (
    DekerInstanceNotExistsError,
    DekerInvalidManagerCallError,
    DekerValidationError,
)
from deker_cluster.filters import FilteredManager
from deker_cluster.managers import ArrayManager
from deker_cluster.replication import checked_replication
from deker_cluster.retention import Retention, checked_retention
from deker_cluster.schemas import ArraySchema, VArraySchema
from deker_cluster.tiles import TileManager

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from deker_cluster.client import Client
    from deker_cluster.dataplane.session import Session
    from deker_cluster.registry.models import ArrayRecord, CollectionRecord

__all__ = ["Collection"]

_PAGE = 1000


class Collection(DescribedCollection):
    """Arrays of one schema. Handles can be pickled, and are equal if they mean one collection."""

    def __init__(self, client: Client, record: CollectionRecord) -> None:
        self._client = client
        self._record = record

    @property
    def arrays(self) -> ArrayManager | TileManager:
        """The plain arrays; in a collection of virtual arrays, the tiles that are stored."""
        if isinstance(self.schema, ArraySchema):
            return ArrayManager(self)
        return TileManager(self)

    @property
    def varrays(self) -> ArrayManager:
        """The virtual arrays.

        Raises
        ------
        DekerInvalidManagerCallError
            The collection holds plain ones.
        """
        if isinstance(self.schema, ArraySchema):
            raise DekerInvalidManagerCallError(
                f"collection {self.name!r} holds plain arrays: use .arrays"
            )
        return ArrayManager(self)

    @property
    def path(self) -> Path | None:
        """Directory where the files are, with those of other collections; None for a cluster."""
        return self._client.root_path

    @property
    def retention(self) -> Retention:
        """How long old generations of the arrays stay readable, as it is stored now.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        with self.naming():
            return Retention.of(self.session.registry.retention(self.id))

    def set_retention(self, retention: Retention) -> None:
        """Change how long old generations of the arrays stay readable.

        What is too much by then goes soon, bit by bit; what is gone does not come back.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        DekerValidationError
            It is no :class:`.Retention`; nothing was changed.
        """
        kept = checked_retention(retention).kept
        with self.naming():
            self.session.registry.set_retention(self.id, kept)
        settle(self.session)

    def set_replication(self, replication: int) -> None:
        """Change how many shards hold each tile.

        What is written through this handle from now on has so many copies. The coordinator makes
        or drops those of what is stored, and of what others write who have opened the collection
        before; :attr:`replication` of such a handle is the number that it goes by.

        Parameters
        ----------
        replication
            1 to 5.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        DekerValidationError
            It is no such number, or the cluster has fewer shards; nothing was changed.
        """
        copies = checked_replication(replication, self.session)
        with self.naming():
            self._record = self.session.registry.update_collection(
                self._record, {"replication": copies}
            )
        settle(self.session)

    @property
    def session(self) -> Session:
        """The open connection that this handle works through."""
        return self._client.session

    def create(
        self,
        primary_attributes: Mapping[str, Any] | None = None,
        custom_attributes: Mapping[str, Any] | None = None,
        id_: str | None = None,
    ) -> BaseArray:
        """Make an array; it reads as the fill value until written.

        Parameters
        ----------
        primary_attributes
            A value for every primary attribute of the schema.
        custom_attributes
            Values of other attributes; those left out are None.
        id_
            A UUID of one's own choice.

        Raises
        ------
        DekerValidationError
            An attribute is missing, unknown or of a wrong type; the id is no UUID.
        DekerArrayAlreadyExistsError
            The id or the primary attributes are taken.
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        return create_array(
            self,
            {
                "primary_attributes": primary_attributes,
                "custom_attributes": custom_attributes,
                "id_": id_,
            },
        )

    def create_many(self, items: Iterable[NewArray]) -> list[BaseArray]:
        """Make many arrays, several times as fast as one by one.

        ``collection.create_many({"primary_attributes": {"dt": day}} for day in days)``

        Parameters
        ----------
        items
            What :meth:`create` takes for each of them, as a dict by the names of its parameters.

        Returns
        -------
        list
            Their handles, in the order of the items, which is that of creation.

        Raises
        ------
        DekerValidationError
            An item that :meth:`create` would not take, or two of one id or of the same primary
            attributes. Nothing was changed.
        DekerArrayAlreadyExistsError
            An id or primary attributes are taken; the message says whose. Nothing was changed,
            unless they were taken during the call: the message says how many were made.
        DekerInstanceNotExistsError
            The collection has been deleted.

        Notes
        -----
        All items are checked before the first array is made. Then the arrays are made a hundred at
        a time: others may see the first ones without the last ones. If it fails in the midst, a
        note on the error (``__notes__``) says how many there are; these stay. Once it has returned,
        all of them are found again by a rebuild of the registry, also those that are never written.
        """
        return create_arrays(self, items)

    def filter(self, filters: Mapping[str, Any]) -> FilteredManager:
        """Look for arrays by their attributes; see :class:`.FilteredManager`.

        ``collection.filter({"dt": slice("2023-01-01", None)}).order_by("dt")`` can be iterated
        over, counted, and asked for its first and last array.
        """
        return FilteredManager(self, filters)

    def changes(
        self,
        since: str | datetime | None = None,
        *,
        region: object = None,
        arrays: BaseArray | str | Iterable[BaseArray | str] | None = None,
        timeout: float | None = None,
    ) -> ChangeFeed:
        """Iterate over the commits to the arrays, in their order, and wait for the next ones.

        Each :class:`.Change` that is kept comes once: none is missed and none comes twice, also
        when ``change.cursor`` is given as `since` later, in another process. A transaction over
        several arrays gives a change for each of them.

        Parameters
        ----------
        since
            None: what is committed from this call on. A cursor: all behind that change. A datetime
            (naive: UTC): all that was committed then or later. ``"start"``: all that is kept.
        region
            An index as between the brackets of ``array[...]``, or a dict by names of dimensions:
            only changes that may have touched one of these cells come. Of a dimension whose times
            begin at an attribute, each array's own cells are meant, if it has any there.
        arrays
            Handle or id of an array, or several: only their changes come.
        timeout
            How long to wait for the next change before the iteration ends, s. None: for ever. 0:
            what has been committed so far.

        Raises
        ------
        DekerFeedError
            Changes behind the cursor are no longer kept: some can never be told.
        DekerIndexError
            There can be no such region.
        DekerInstanceNotExistsError
            The collection has been deleted.
        DekerValidationError
            No cursor of this collection, or another argument that makes no sense.

        Notes
        -----
        All of these are raised here; the first and third also while waiting, like
        ``DekerClientError`` when another thread closes the client. While the registry is away the
        iteration goes on trying, then raises ``RegistryUnavailableError``: asked for its next
        change it goes on where it was.
        """
        return ChangeFeed(self, since, region, arrays, timeout)

    def clear(self) -> None:
        """Delete all arrays; the collection stays."""
        with self.naming(), deleting(self.session):
            self.session.registry.clear_collection(self.id)

    def delete(self) -> None:
        """Delete the collection with all its arrays. Repeating it does nothing."""
        with deleting(self.session):
            self.session.registry.delete_collection(self.id)

    @contextlib.contextmanager
    def naming(self) -> Iterator[None]:
        """Name the collection in errors of the registry, which knows of its id only."""
        try:
            yield
        except DekerInstanceNotExistsError as error:
            raise DekerInstanceNotExistsError(
                f"collection {self.name!r} has been deleted"
            ) from error

    def handle(self, record: ArrayRecord) -> BaseArray:
        """Return the handle of one of the collection's arrays."""
        kind = VArray if isinstance(self.schema, VArraySchema) else Array
        return kind(self, record)

    def record_of(self, array_id: str) -> ArrayRecord | None:
        """Return what is stored of an array now, None if it is not in the collection."""
        record = self.session.registry.array(array_id)
        # The id may have been used again, in a collection of another schema.
        return record if record is not None and record.collection_id == self.id else None

    def handle_of(self, array_id: str) -> BaseArray | None:
        """Return the handle of an array, None if it is not in the collection."""
        record = self.record_of(array_id)
        return None if record is None else self.handle(record)

    def __iter__(self) -> Iterator[BaseArray]:
        after: int | None = None
        while True:
            with self.naming():
                page, after = self.session.registry.arrays(self.id, after, _PAGE)
            yield from map(self.handle, page)
            if after is None:
                return

    def __len__(self) -> int:
        with self.naming():
            return self.session.registry.count_arrays(self.id)

    def __contains__(self, item: Any) -> bool:
        """Whether an array, given as a handle or by its id, is in the collection now."""
        array_id = item.id if isinstance(item, BaseArray) else item
        try:
            return self.record_of(validate_id(array_id)) is not None
        except DekerValidationError:
            return False

    def __bool__(self) -> bool:
        return True  # an empty collection is still one: `if collection:` asks whether it was found

    def __getstate__(self) -> dict[str, Any]:
        return {"_client": self._client, "_record": self._record}
