"""Handles of arrays."""

from __future__ import annotations

import json
from collections import OrderedDict
from functools import cached_property
from typing import TYPE_CHECKING, Any

from deker_cluster.attribute_index import index_keys
from deker_cluster.attribute_json import decode_meta, encode_meta
from deker_cluster.attributes import merge_custom
from deker_cluster.dataplane.restoring import restore
from deker_cluster.dataplane.settling import deleting, settle
from deker_cluster.dataplane.tiled_array import TiledArray
from deker_cluster.dimensions import AnyDimension, build
from deker_cluster.errors import DekerInstanceNotExistsError
from deker_cluster.history import Generation, Named, named
from deker_cluster.registry.models import ArrayRecord
from deker_cluster.selectable import Selectable
from deker_cluster.snapshots import Snapshot
from deker_cluster.subset import Subset, VSubset

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np

    from deker_cluster.collection import Collection
    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.session import Session
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = ["Array", "BaseArray", "VArray"]


class BaseArray(Selectable[Subset]):
    """What plain and virtual arrays share. Handles can be pickled; they hold no data.

    Every commit makes a new generation of the array. Past ones can be read for as long as the
    collection's :class:`.Retention` keeps them.
    """

    def __init__(self, collection: Collection, record: ArrayRecord) -> None:
        self._collection = collection
        self._record = record

    @property
    def id(self) -> str:
        """UUID of the array."""
        return self._record.id

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self._collection.name

    @property
    def parent(self) -> Collection:
        """Handle of the collection."""
        return self._collection

    @property
    def schema(self) -> ArraySchema | VArraySchema:
        """The collection's schema."""
        return self._collection.schema

    @property
    def primary_attributes(self) -> OrderedDict[str, Any]:
        """The attributes that identify the array."""
        return OrderedDict(self._attributes[0])

    @property
    def custom_attributes(self) -> OrderedDict[str, Any]:
        """The attributes that may change, as of when this handle read them."""
        return OrderedDict(self._attributes[1])

    @cached_property
    def dimensions(self) -> tuple[AnyDimension, ...]:
        """The dimensions with their coordinates; time origins are this array's own."""
        primary, custom = self._attributes
        return tuple(build(schema, {**primary, **custom}) for schema in self.schema.dimensions)

    @cached_property
    def _attributes(self) -> tuple[OrderedDict[str, Any], OrderedDict[str, Any]]:
        return decode_meta(self._record.meta)

    @property
    def session(self) -> Session:
        """The open connection that this handle works through."""
        return self._collection.session

    @cached_property
    def tiled(self) -> TiledArray:
        """The array as the data plane sees it."""
        schema = self.schema
        return TiledArray(
            id=self.id,
            collection_id=self._collection.id,
            grid=schema.grid,
            dtype=schema.dtype,
            fill=schema.fill_value,
            options=self._collection.hdf5_options,
            copies=self._collection.replication,
            description={
                "collection": self._collection.name,
                "schema": self._collection.schema_digest,
                **json.loads(self._record.meta),
            },
        )

    def located(self, selection: Selection) -> Selection:
        """Return selected cells as cells of :attr:`tiled`."""
        return selection

    @property
    def as_dict(self) -> dict[str, Any]:
        """Everything about the array but its data; time dimensions have this array's origin."""
        return {
            "id": self.id,
            "collection": self.collection,
            "dimensions": [dimension.as_dict for dimension in self.dimensions],
            "shape": self.shape,
            "named_shape": self.named_shape,
            "primary_attributes": self.primary_attributes,
            "custom_attributes": self.custom_attributes,
        }

    def read_meta(self) -> dict[str, Any]:
        """Return id and attributes as they are stored now.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        primary, custom = decode_meta(self._current().meta)
        return {"id": self.id, "primary_attributes": primary, "custom_attributes": custom}

    def update_custom_attributes(self, attributes: dict[str, Any]) -> None:
        """Set the named custom attributes; the others keep their values.

        Two writers of different attributes do not undo each other.

        Raises
        ------
        DekerValidationError
            Unknown or primary name, or a value of a wrong type; nothing was changed.
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        while True:
            record = self._current()
            primary, custom = decode_meta(record.meta)
            merged = merge_custom(
                self.schema.attributes, custom, attributes, self.schema.origin_attributes
            )
            meta = encode_meta(primary, merged)
            index = index_keys(self.schema.attributes, {**primary, **merged})
            if self.session.registry.update_meta(self.id, record.meta, meta, index):
                self._forget()
                self._record = ArrayRecord(
                    id=record.id,
                    collection_id=record.collection_id,
                    meta=meta,
                    generation=record.generation,
                )
                settle(self.session)
                return

    @property
    def generation(self) -> int:
        """How many commits the array has seen by now.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        return self._current().generation

    def history(self) -> list[Generation]:
        """Return the generations that can be read, the newest first.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        found = self.session.registry.history(self._record.id, self._collection.id)
        return list(map(Generation.of, found))

    def snapshot(self) -> Snapshot:
        """Hold the present generation still; see :class:`.Snapshot`.

        Raises
        ------
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        return self._pinned({})

    def at(self, when: int | datetime | np.datetime64) -> Snapshot:
        """Hold a past generation still; see :class:`.Snapshot`.

        Parameters
        ----------
        when
            Number of a generation, or an instant: then the generation that was the present one at
            that time by the registry's clock, which counts milliseconds; a naive datetime is in
            UTC.

        Raises
        ------
        DekerGenerationError
            It was never made, or is no longer kept.
        DekerInstanceNotExistsError
            The array has been deleted.
        DekerValidationError
            Neither an int nor an instant.
        """
        return self._pinned(named(when))

    def restore(self, when: int | datetime | np.datetime64) -> int:
        """Give all cells the values that they had in a past generation; return the new generation.

        What was written since stays in the history. Stored chunks are taken over without decoding
        them. If the array was not written since, there is no commit, and the present generation is
        returned. Whoever writes meanwhile comes before or after the restore.

        Parameters
        ----------
        when
            As for :meth:`at`.

        Raises
        ------
        DekerBaseApplicationError
            As :meth:`at` and as :meth:`.Subset.update`; nothing was changed.
        """
        which = named(when)
        pins = self.session.pins
        with pins.held(self._record.id, self._collection.id, **which) as past:
            return restore(self.session, self.tiled, past.manifest.as_dict())

    def _pinned(self, which: Named) -> Snapshot:
        pinned = self.session.pins.take(self._record.id, self._collection.id, **which)
        return Snapshot(self, pinned)

    def delete(self) -> None:
        """Delete the array; its files go later. Repeating it does nothing."""
        with deleting(self.session):
            self.session.registry.delete_array(self.id, self._collection.id)

    def _current(self) -> ArrayRecord:
        record = self._collection.record_of(self._record.id)
        if record is None:
            raise DekerInstanceNotExistsError(
                f"array {self.id} of collection {self.collection!r} has been deleted"
            )
        return record

    def _forget(self) -> None:
        for name in ("_attributes", "dimensions", "tiled"):
            self.__dict__.pop(name, None)

    def part(self, selection: Selection) -> Subset:
        """Return the part with the selected cells."""
        return Subset(self, selection)

    def __setitem__(self, index: object, data: object) -> None:
        """Write into a part of the array: ``self[index].update(data)``."""
        self[index].update(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BaseArray) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        shape = ", ".join(f"{name}: {size}" for name, size in self.named_shape)
        return f"{type(self).__name__}({self.id}, {self.collection!r}, {self.dtype}, ({shape}))"

    def __getstate__(self) -> dict[str, Any]:
        return {"_collection": self._collection, "_record": self._record}


class Array(BaseArray):
    """An array that is stored as one tile."""


class VArray(BaseArray):
    """An array that is stored as a grid of tiles, on as many shards as there are."""

    def part(self, selection: Selection) -> VSubset:
        """Return the part with the selected cells."""
        return VSubset(self, selection)

    @property
    def vgrid(self) -> tuple[int, ...]:
        """Tiles per dimension."""
        return self.tiled.grid.vgrid

    @property
    def arrays_shape(self) -> tuple[int, ...]:
        """Cells of a tile per dimension."""
        return self.tiled.grid.tile_shape

    @property
    def as_dict(self) -> dict[str, Any]:
        """Everything about the array but its data."""
        return {**super().as_dict, "vgrid": self.vgrid}
